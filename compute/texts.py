"""Texts that came from elsewhere: names, files, machines, errors. Nothing here interprets them; a reader sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")
LINE_END = r"\n *"


def visible(text: str) -> str:
    r"""The text with what would not be seen, but obeyed or lost, as Python's escapes: `\x1b`, `\n`, `\u202e`, `\udc80`.

    Those are control characters, line breaks, marks that turn or hide what is beside them, and halves of characters, as
    they come from file names that are not text. `str.isprintable` decides, as it does for repr.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(data: T) -> T:
    """The data with every text in it visible: tuples, lists, mappings and dataclasses of them, at any depth.

    What has nothing to be escaped is the very object that was given.
    """
    return _shown(data)  # type: ignore[no-any-return]


def _shown(data: Any) -> Any:
    if isinstance(data, str):
        return visible(data)
    if isinstance(data, Mapping):
        made: Any = {_shown(key): _shown(value) for key, value in data.items()}
        same = all(a is b and data[a] is made[a] for a, b in zip(data, made, strict=False))
        return data if same else made
    if isinstance(data, tuple | list):
        items = [_shown(item) for item in data]
        return data if all(a is b for a, b in zip(data, items, strict=True)) else type(data)(items)
    if is_dataclass(data) and not isinstance(data, type):
        parts = {f.name: getattr(data, f.name) for f in fields(data)}
        changed = {name: now for name, part in parts.items() if (now := _shown(part)) is not part}
        return replace(data, **changed) if changed else data
    return data


def as_json(data: Mapping[str, Any]) -> str:
    """The data as JSON that comes back unchanged: letters of any language as they are, what is not visible escaped.

    ValueError for a number that JSON does not have.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # A list of numbers is a line. Within a text there is no line break, so no text looks like one.
    text = re.sub(r'\[\n *([^\[\]{}"]*?)\n *\]', lambda found: f"[{re.sub(LINE_END, ' ', found[1])}]", text)
    return re.sub(r"[^\n -~]", lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)
