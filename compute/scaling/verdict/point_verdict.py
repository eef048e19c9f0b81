"""The Verdict of a point, for whoever shows it: its cause, its name, its remedy, not only the sentence."""

from __future__ import annotations

import re

from compute.scaling.dataset import Point
from compute.scaling.verdict.causes import NONE, UNKNOWN, name_of
from compute.scaling.verdict.evidence import Evidence
from compute.scaling.verdict.judgement import NO_SINGLE, Verdict, judge

FORMER_FINE = "nothing wrong"
FORMER_OPENING = re.compile(r"^[^ ]+ % of attainable(?=[:,])")
FORMER_REACHED = re.compile(r"^[^ ]+ % of what is possible; ")
FORMER_SHARE = re.compile(r" ([0-9.e-]+) % of core-seconds")


def verdict_of(p: Point) -> Verdict | None:
    """What the point's evidence says. Files of before evidence was kept hold a sentence, which is read. Else None."""
    evidence = Evidence.of_point(p)
    if evidence is not None:
        return judge(evidence)
    return _read_former(p.cause, p.verdict) if p.verdict else None


def _read_former(cause: str | None, sentence: str) -> Verdict:
    """The Verdict of a file of before evidence was kept, as far as its sentence tells. Those words change no more."""
    if cause is not None and cause != UNKNOWN:
        opening = match[0] if (match := FORMER_OPENING.match(sentence)) else ""
        finding, remedy = _split(sentence[len(opening) :])
        return Verdict(
            cause, finding, remedy, opening, name_of(cause), cause == NONE and sentence.endswith(FORMER_FINE)
        )
    # Several losses have this code: what this one is called stands in the sentence alone.
    reached = match[0] if (match := FORMER_REACHED.match(sentence)) else ""
    finding, remedy = _split(sentence[len(reached) :])
    if finding.startswith(NO_SINGLE):
        return Verdict(UNKNOWN, reached + finding, remedy, name=NO_SINGLE)
    share = float(match[1]) / 100 if (match := FORMER_SHARE.search(finding)) else None
    return Verdict(UNKNOWN, reached + finding, remedy, name=FORMER_SHARE.sub("", finding), share=share)


def _split(text: str) -> tuple[str, str]:
    """What was found, and the remedy behind the last semicolon; "" where there is none."""
    finding, semicolon, remedy = text.rpartition("; ")
    return (finding, remedy) if semicolon else (text, "")
