"""Findings as text (value, meaning, remedy) and as JSON. A terminal also gets colours."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from compute import texts
from compute.diagnosis.finding import Finding

STYLES = {"ok": "green", "note": "cyan", "warn": "bold yellow", "unknown": "dim"}


def render(findings: Sequence[Finding], width: int = 80) -> str:
    """The findings as text without colours."""
    text = io.StringIO()
    show(findings, Console(file=text, width=width, force_terminal=False, color_system=None))
    return text.getvalue()


def show(findings: Sequence[Finding], console: Console) -> None:
    """Print the findings to a rich console, in its width, and how many there are of each level."""
    findings = texts.shown(tuple(findings))
    left = 2 + max(map(len, STYLES)), 2 + max((len(finding.topic) for finding in findings), default=0)
    for finding in findings:
        head = Text.assemble((finding.level.ljust(left[0]), STYLES[finding.level]), finding.topic.ljust(left[1]))
        for line in _lines(finding, max(console.width - sum(left), 20)):
            console.print(head + line, soft_wrap=True)
            head = Text(" " * sum(left))
    many = [f"{number} {level}" for level in STYLES if (number := sum(f.level == level for f in findings))]
    console.print(Text("\n" + ", ".join(many), style="dim"))


def _lines(finding: Finding, width: int) -> Iterator[Text]:
    """Value, meaning and remedy, folded at the width."""
    yield from (Text(line, style="bold") for line in textwrap.wrap(finding.value, width))
    yield from (Text(line, style="dim" * (finding.level == "ok")) for line in textwrap.wrap(finding.meaning, width))
    if finding.remedy:
        yield from map(Text, textwrap.wrap(f"→ {finding.remedy}", width, subsequent_indent="  "))


def as_json(findings: Sequence[Finding]) -> str:
    """The findings as the text of a JSON object, schema "nfold-doctor/1"."""
    data = {"schema": "nfold-doctor/1", "findings": [asdict(finding) for finding in findings]}
    return texts.as_json(data)
