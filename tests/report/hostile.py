"""Texts that a terminal, a page, a table or a spreadsheet would obey instead of showing them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from example_points import a_point, a_scaling, explained

from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling

OBEYED = {  # what may never reach a terminal
    "escape sequence": "\x1b[31mred\x1b[0m",
    "title of the window": "\x1b]0;owned\x07",
    "link of a terminal": "\x1b]8;;https://evil.example\x1b\\here\x1b]8;;\x1b\\",
    "C1": "\x9b31m\x90\x9c",
    "carriage return": "fine\rBAD",
    "backspace": "a\b\b\x7f",
    "newline": "one\ntwo\u2028three\x85",
    "tab": "a\tb\x0b\x0c",
    "nul": "a\0b",
    "turned": "\u202etxt.exe\u202c\u2066",
    "hidden": "a\u200bb\u00ad\ufeff\u2060c",
    "tags": "a\U000e0041\U000e0042",
    "half a character": "caf\udce9",
}
MEANT = {  # what some format would take for its own
    "console markup": "[red]k[/red] [/nothing] [link=https://evil.example]x[/link]",
    "emoji code": ":smile:",
    "markdown": "a|b `c` *d* __e__ ~~f~~ \\",
    "link": "[here](https://evil.example) ![x](y) <https://evil.example> www.evil.example",
    "reference": "[x]: https://evil.example",
    "heading": "# not a heading",
    "quote": "> not a quote",
    "list": "- not a list",
    "numbered": "1. not a list",
    "html": "<img src=x onerror=alert(1)> &lt; &#60;",
    "script": "</script><script>alert(1)</script><!--",
    "attribute": '" onmouseover="alert(1)" \'',
    "formula": "=cmd|' /C calc'!A0",
    "plus": "+1+1",
    "minus": "-2+3",
    "at": "@SUM(1)",
    "blank formula": "  =1+1",
    "wide formula": "＝1+1",
    "mathtext": r"$\frac{1}{0}$",
    "half mathtext": r"$\nonsense{",
    "format": "{0} {heading} %s %(x)s",
    "underscore": "_mine",
    "letters": "häßlich 計算 🎉",
    "empty": "",
}
CORPUS = {**OBEYED, **MEANT}


@cache
def a_hostile(text: str) -> Scaling:
    """Results with the text at every place that holds one."""
    named = {"kernel": f"{text}k", "variant": f"{text}v", "unit": f"{text}u", "arguments": text, "notes": (text,)}
    points = compare_points([a_point(**named), a_point(f"{text}b", 2, **named)])
    scaling = explained(Scaling(points))
    return replace(
        scaling,
        points=tuple(replace(p, verdict=text or None, cause=text, rate=1.0, file=text) for p in scaling.points),
        machine={"cpus": 2, "model": text, "python": text, text: [text, {text: text}]},
        warnings=(text,),
        laws=tuple({**law, "file": text, "sentences": [text], "assumption": text} for law in scaling.laws),
        conditions=tuple({**one, "file": text, "marked": one["marked"] and text} for one in scaling.conditions),
    ) + a_scaling(kernels=["primes"])
