"""Text from outside, made safe for whatever shows it: a terminal, Markdown, a page, a spreadsheet, JSON.

Such text is names of files and machines, contents of results files, messages of errors. Here and in kernels.texts
alone it is escaped; for pictures, compute.report.canvas keeps matplotlib from typesetting it.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar

from kernels.texts import visible as visible

T = TypeVar("T")
LINE_END = r"\n *"
WITHOUT_TEXT = (float, int, bool, type(None))  # most of what results hold
LONGEST = 2000  # characters of a text that are shown: no sentence of nfold's is longer
# Where a spreadsheet's formula begins, in wide letters as well, and where a cell begins for those that end one at a ;.
FORMULAS = re.compile(r"(?:^|(?<=[;|]))(?=\s*[=+\-@＝＋－＠])")
MARKDOWN = re.compile(
    r"""[\\`|*<\#$~&]
    | (?<![^\W_])_ | _(?![^\W_])        # within a word GitHub leaves it alone
    | \[(?![\d.,<\ ]+\](?![\[(:]))      # an interval opens no link
    | :(?=//) | (?<=www)\.             # nor does an address
    | ^>|^[-+=](?!\d)                  # a number below 0 begins no list""",
    re.VERBOSE | re.IGNORECASE,
)
ORDERED = re.compile(r"^(\d+)([.)])(?=\s|$)")


def cut(text: str) -> str:
    """The text, or its beginning where it is longer than LONGEST; two that differ stay different."""
    if len(text) <= LONGEST:
        return text
    end = f"… ({len(text):,} characters, {_digest(text)})"
    return text[: LONGEST - len(end)] + end


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def short(text: str, most: int) -> str:
    """The text, or its beginning and its `mark` where it is longer than `most` characters."""
    return text if len(text) <= most else text[: most - len(mark(text))] + mark(text)


def mark(text: str) -> str:
    """`…3f9a`: what ends a name that is cut, so that two which begin alike stay different."""
    return f"…{_digest(text)[:4]}"


def as_text(value: Any, words: Callable[[Any], str] = str) -> str:
    """What the value calls itself, `cut`; what it cannot be called for, where it raises an error instead."""
    try:
        return cut(words(value))
    except Exception as error:  # its own, or Python's: of an integer with more than 4300 digits
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__}: {cut(str(error))})"


def lines(text: str) -> str:
    """The text as lines for a terminal, each of them `visible`."""
    return "\n".join(map(visible, text.split("\n")))


def in_html(text: str) -> str:
    """The text for a page: no tag, attribute or entity in it. Line breaks stay; to a page they are blanks."""
    return html.escape(lines(text))


def in_markdown(text: str) -> str:
    """The text as Markdown that shows it: no cell, emphasis, code, HTML, link, formula or list in it."""
    return ORDERED.sub(r"\1\\\2", MARKDOWN.sub(r"\\\g<0>", visible(text).strip()))


def in_csv(text: str) -> str:
    """The text as a cell: what a spreadsheet would compute has a ' before it, as spreadsheets mark texts themselves."""
    return FORMULAS.sub("'", visible(text))


def shown(data: T) -> T:
    """The data with every text in it `visible` and `cut`: in tuples, lists, mappings and dataclasses, at any depth.

    Texts in it that would look alike are told apart by a digest: a control character, say, and what stands for it.
    Where nothing is to be escaped, it is the same object.
    """
    forms = {text: cut(visible(cut(text))) for text in _texts_in(data)}  # what is escaped may be longer
    looks = {text: _look(form) for text, form in forms.items()}
    times = Counter(looks.values())
    for text, look in looks.items():
        if times[look] > 1 and text != look:
            forms[text] += f" ({_digest(text)})"
    changed = {text: form for text, form in forms.items() if form != text}
    return _shown(data, changed) if changed else data


def _look(text: str) -> str:
    """What two texts have in common that nobody can tell apart: how letters are put together, and blanks at an end."""
    return text if text.isascii() and text.strip() == text else unicodedata.normalize("NFC", text).strip()


def _texts_in(data: Any) -> set[str]:
    texts, rest = set(), [data]
    while rest:
        part = rest.pop()
        if isinstance(part, str):
            texts.add(part)
        elif type(part) not in WITHOUT_TEXT:
            rest += _parts(part)
    return texts


def _parts(data: Any) -> Iterable[Any]:
    """What it holds."""
    if isinstance(data, Mapping):
        return (*data, *data.values())
    if isinstance(data, tuple | list):
        return data
    return [getattr(data, name) for name in _fields(data.__class__)]


@cache
def _fields(of: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(of)) if is_dataclass(of) else ()


def _shown(data: Any, forms: Mapping[str, str]) -> Any:
    """The data with these forms for these texts."""
    if type(data) in WITHOUT_TEXT:
        return data
    if isinstance(data, str):
        return forms.get(data, data)
    if isinstance(data, Mapping):
        escaped: Any = {_shown(key, forms): _shown(value, forms) for key, value in data.items()}
        same = all(a is b and data[a] is escaped[a] for a, b in zip(data, escaped, strict=False))
        return data if same else escaped
    if isinstance(data, tuple | list):
        items = [_shown(item, forms) for item in data]
        return data if all(a is b for a, b in zip(data, items, strict=True)) else type(data)(items)
    parts = {name: getattr(data, name) for name in _fields(data.__class__)}
    changed = {name: now for name, part in parts.items() if (now := _shown(part, forms)) is not part}
    return replace(data, **changed) if changed else data


def as_json(data: Mapping[str, Any]) -> str:
    """The data as JSON that reads back unchanged: letters of any language as they are, invisible characters escaped.

    ValueError for a number that JSON does not have.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # A list of numbers is a line. Within a text there is no line break, so no text looks like one.
    text = re.sub(r'\[\n *([^\[\]{}"]*?)\n *\]', lambda match: f"[{re.sub(LINE_END, ' ', match[1])}]", text)
    return re.sub(r"[^\n -~]", lambda match: match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1], text)
