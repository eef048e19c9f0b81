"""Make text from outside safe to print: control characters and the like become escapes.

Such text is names of files and machines, contents of results files, messages of errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")
LINE_END = r"\n *"


def visible(text: str) -> str:
    r"""The text with characters that a terminal would obey or lose as escapes: `\x1b`, `\n`, `\u202e`, `\udc80`.

    These are control characters, line breaks, marks that reorder or hide the text beside them, and surrogates, as they
    come from file names that are not valid text. `str.isprintable` decides, as it does for repr.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(data: T) -> T:
    """The data with every text in it made `visible`: in tuples, lists, mappings and dataclasses, at any depth.

    Where nothing is to be escaped, it is the same object.
    """
    return _shown(data)  # type: ignore[no-any-return]


def _shown(data: Any) -> Any:
    if isinstance(data, str):
        return visible(data)
    if isinstance(data, Mapping):
        escaped: Any = {_shown(key): _shown(value) for key, value in data.items()}
        same = all(a is b and data[a] is escaped[a] for a, b in zip(data, escaped, strict=False))
        return data if same else escaped
    if isinstance(data, tuple | list):
        items = [_shown(item) for item in data]
        return data if all(a is b for a, b in zip(data, items, strict=True)) else type(data)(items)
    if is_dataclass(data) and not isinstance(data, type):
        parts = {f.name: getattr(data, f.name) for f in fields(data)}
        changed = {name: now for name, part in parts.items() if (now := _shown(part)) is not part}
        return replace(data, **changed) if changed else data
    return data


def as_json(data: Mapping[str, Any]) -> str:
    """The data as JSON that reads back unchanged: letters of any language as they are, invisible characters escaped.

    ValueError for a number that JSON does not have.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # A list of numbers is a line. Within a text there is no line break, so no text looks like one.
    text = re.sub(r'\[\n *([^\[\]{}"]*?)\n *\]', lambda found: f"[{re.sub(LINE_END, ' ', found[1])}]", text)
    return re.sub(r"[^\n -~]", lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)
