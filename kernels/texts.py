"""Text from outside in a message: the one place where it is made visible. compute.texts has it for every format."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""The text with characters that a terminal would obey or lose as escapes: `\x1b`, `\n`, `\u202e`, `\udc80`.

    These are control characters, line breaks, marks that reorder or hide the text beside them, and surrogates, as they
    come from file names that are not valid text. `str.isprintable` decides, as it does for repr.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
