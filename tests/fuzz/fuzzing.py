"""What the fuzz targets share: random cases until the time is over, and what every case is held to.

In the suite's short form a test runs a fixed number of cases, always the same. NFOLD_FUZZ_SECONDS lets each test run so
long, with other cases each time. A case that fails says its number; NFOLD_FUZZ_CASE runs that one alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compute.cli.commands import main

SECONDS = float(os.environ.get("NFOLD_FUZZ_SECONDS", 0))
CASE = os.environ.get("NFOLD_FUZZ_CASE")
MOST_MEMORY = 2**30  # bytes that a target may need beyond what it began with
MOST_PRINTED = 10**6  # characters
OUR_OWN = re.compile(r"\x1b\[[0-9;]*m")  # the colours that nfold itself prints
NO_NUMBER = re.compile(r"(?<![\w.\\])[+-]?(?:inf|infinity|nan)(?![\w.])", re.IGNORECASE)

# What a terminal, a table, a page, a spreadsheet, a picture or a shell would obey.
TEXTS = (
    "", " ", "$$", "$", r"$\frac{", "_", "__main__", "a\0b", "\x1b[31m", "\x1b]8;;x\x07", "\x9b2J", "\x7f", "\r\n=1+1",
    "\t@x", "=cmd|'/C calc'!A0", "-1+1", "a;=1+1", "[x](https://e.example)", "![x](y)", "<img src=x onerror=alert(1)>",
    "</script>", "`|*_~", "\u202eabc\u2066", "\u200b\ufeff\u00ad", "\ud800", "\udce9x", "\U000e0041", "\u2028\x85\x0b",
    "[red]x[/nothing]", "{0} %s {workers}", "計算🎉", "e\u0301" * 9, "k" * 300, "λ" * 5000, "a b " * 400, "x\n" * 50,
    "\\", "%", "'", '"',
)  # fmt: skip
NUMBERS = (
    0, -0.0, 1, -1, 2, 3, 7, 64, 1.5, 0.1, 1e-3, 1e-9, 1e-12, 1e-13, 1e-100, 1e-300, 5e-324, 1e12, 1.1e12, 1e15, 1e99,
    1e100, 1.1e100, 1e300, 1.7e308, -1e99, -1.7e308, 2**22, 2**22 + 1, 2**31, 2**53, 2**63 - 1, 2**63, 10**99, 10**300,
    -(10**300), 10**400,
)  # fmt: skip


class Case(random.Random):
    """A generator of random numbers that knows which case it makes."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def cases(short: int) -> Iterator[Case]:
    """`short` cases, or as many as there is time for; their memory is held to its bound."""
    if CASE is not None:
        yield Case(int(CASE))
        return
    first = random.SystemRandom().randrange(10**12) if SECONDS else 0
    until, began, number, worst = time.monotonic() + SECONDS, _peak(), 0, (0, 0)
    while time.monotonic() < until if SECONDS else number < short:
        before = _peak()
        yield Case(first + number)
        worst = max(worst, (_peak() - before, first + number))
        number += 1
    needed = f"{number} cases from {first} on needed {_peak() - began} bytes more, {worst[0]} of them case {worst[1]}"
    print(needed)
    assert _peak() - began < MOST_MEMORY, needed


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass(frozen=True)
class Done:
    """What a command line came to."""

    code: int
    out: str
    err: str


def call(argv: Sequence[str]) -> Done:
    """The command line in this process: a thousand times as cheap as in one of its own."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="\n") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(argv))
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return Done(code, *texts)


def hold(done: Done, case: Case, about: object, codes: Sequence[int] = (0, 2), given: str = "") -> None:
    """Assert what every case is held to: a code that its command has, lines without a traceback, nothing obeyed.

    about: the case, in the words of a failure. given: what was read; a name in it may be nan.
    """
    named = f"NFOLD_FUZZ_CASE={case.number}: {about!r:.2000} gave {done!r:.4000}"
    assert done.code in codes, named
    assert "Traceback" not in done.err, named
    for text in done.out, done.err:
        _check_text(text, named, given if done.code != 2 else NAMED)
    if done.code == 2:
        assert done.out == "", named
        assert re.fullmatch(r"nfold: [^\n]+\n", done.err), named


NAMED = "nan"  # given: what is refused is named


def hold_file(path: Path, case: Case, about: object, given: str = "") -> None:
    """The same of a file that was written."""
    named = f"NFOLD_FUZZ_CASE={case.number}: {about!r:.2000} wrote into {path}"
    text = path.read_bytes().decode()
    if path.suffix == ".html":
        text = text[text.index("<body>") : text.index("<script")] if "<script" in text else text[text.index("<body>") :]
    _check_text(text, named, given)


def _check_text(text: str, named: str, given: str) -> None:
    obeyed = {c for c in OUR_OWN.sub("", text) if not c.isprintable() and c != "\n"}
    assert not obeyed, f"{obeyed} in what {named}"
    assert len(text) < MOST_PRINTED, f"{len(text)} characters are what {named}"
    if not NO_NUMBER.search(given):
        assert not (found := NO_NUMBER.search(text)), f"{found} in what {named}"
