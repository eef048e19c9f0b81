"""Lines of text folded for a console's width."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType
from rich.text import Text


def hanging(text: Text, width: int) -> RenderableType:
    """The text folded at the width; its further lines are indented by two. A terminal of two columns gets three."""
    lines = text.wrap(Console(width=width, file=io.StringIO()), max(width - 2, 1))
    for line in lines:
        line.rstrip()
    return Text("\n").join([line if k == 0 else Text("  ") + line for k, line in enumerate(lines)])


def warned(warning: str) -> Text:
    """A warning as text, with the mark of a warning."""
    return Text.assemble(("! ", "bold yellow"), warning)
