"""The documents of `nfold compare` and `nfold check`: files of results beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compute.report.document import Document, Section
from compute.scaling.comparing import machines
from compute.scaling.comparing.gate import (
    SLOWDOWN,
    UNREPEATED,
    CheckResult,
    Limits,
    Outcome,
    PairFinding,
    Test,
    disturbance,
    drifted,
    exceeds_chance,
    is_interleaved,
)
from compute.scaling.comparing.pairs import Pair
from compute.scaling.dataset import Dataset
from compute.scaling.formatting import ratio, seconds
from compute.scaling.statistics import Interval
from compute.scaling.tables.sheet import KEYS, Row, Sheet, keyed
from compute.scaling.tables.table import heading

MENTIONED = 3  # points that are named above the tables, which hold all of them
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
OUTCOMES = {"regression": "Regression", "inconclusive": "Inconclusive", "fine": "Fine"}
LEAST: dict[Test, str] = {"efficiency": "efficiency", "attainable": "of what was attainable"}


@dataclass(frozen=True)
class Compared:
    """Files by name, the first one compared with each of the others: pairs[k] is of the file k + 1."""

    names: tuple[str, ...]
    datasets: tuple[Dataset, ...]
    pairs: tuple[tuple[Pair, ...], ...]
    by_controls: bool = False


def compared(files: Compared) -> Document:
    """The document of `nfold compare`."""
    letters = _letters(len(files.names))
    numbered = list(zip(letters[1:], files.pairs, strict=True))
    title = "; ".join(_summary(letter, pairs, files.by_controls) for letter, pairs in numbered)
    most = [line for letter, pairs in numbered for line in _most(letter, pairs, files.by_controls)]
    return Document(
        title, (Section(lines=(*most, *_about(files, letters))), *_tables(files, letters), *_warnings(files, letters))
    )


def judged(files: Compared, judgement: CheckResult) -> Document:
    """The document of `nfold check`: the verdict, what it rests on, and the table."""
    letters = _letters(2)
    title = f"{OUTCOMES[judgement.outcome]}: {_counted(judgement)}"
    heads: dict[Outcome, str] = {"regression": "Beyond doubt", "inconclusive": "Undecided"}
    sections = []
    for outcome, head in heads.items():
        by_reason: dict[str, list[str]] = {}
        for finding in judgement.of(outcome):
            reason = f"{head}: {finding.reason}" if finding.reason else head
            by_reason.setdefault(reason, []).append(_told(finding, judgement.limits))
        sections += [Section(reason, tuple(lines)) for reason, lines in by_reason.items()]
    tables = [Section(f"All points: {s.title}", (), s.sheet, folded=True) for s in _tables(files, letters)]
    about = Section(lines=_about(files, letters))
    return Document(title, (*sections, about, *tables, *_warnings(files, letters)))


def _letters(many: int) -> list[str]:
    return [LETTERS[k] if k < len(LETTERS) else f"{k + 1}" for k in range(many)]


def _about(files: Compared, letters: Sequence[str]) -> tuple[str, ...]:
    """Which letter is which file, measured on what; and what changed from the first one."""
    first = files.datasets[0].machine
    lines = [f"{letters[0]} is {files.names[0]}: {heading(files.datasets[0])}"]
    for letter, name, dataset, pairs in zip(letters[1:], files.names[1:], files.datasets[1:], files.pairs, strict=True):
        changes = [str(change) for change in machines.other_versions(first, dataset.machine)]
        lines.append(f"{letter} is {name}: {', '.join(changes) if changes else 'the same versions'}")
        lines += _about_machine(letter, first, dataset.machine, files.by_controls)
        lines += _about_controls(letter, pairs)
        lines += _about_processes(letter, pairs)
    lines += [
        line for letter, data in zip(letters, files.datasets, strict=True) for line in _about_rounds(letter, data)
    ]
    many = sum(pair.problem is None for pairs in files.pairs for pair in pairs)
    if many >= 20:
        lines.append(
            f"Of {many} intervals at 95 %, {round(many / 20)} may exclude 1 by chance; nfold check allows for that"
        )
    if files.by_controls:
        lines.append("Ratios are what is left when the controls' own are taken out.")
    return tuple(lines)


def _about_machine(letter: str, first: Mapping[str, Any], machine: Mapping[str, Any], by_controls: bool) -> list[str]:
    if changes := machines.other_machine(first, machine):
        listed_changes = ", ".join(map(str, changes))
        remedy = "" if by_controls else ": ratios compare the machines, too (--scale-by-controls takes that out)"
        return [f"{letter} was measured on another machine ({listed_changes}){remedy}"]
    if not machines.is_known(first, machine):
        return [f"A or {letter} does not say on which machine it was measured: nobody knows whether it is the same"]
    return []


def _warnings(files: Compared, letters: Sequence[str]) -> list[Section]:
    """The warnings of each file."""
    lines = [
        f"{letter}: {warning}"
        for letter, dataset in zip(letters, files.datasets, strict=True)
        for warning in dataset.warnings
    ]
    return [Section("What the files warn of", tuple(lines), folded=True)] if lines else []


def _about_controls(letter: str, pairs: Sequence[Pair]) -> list[str]:
    """A line where the controls show that the machine itself was faster or slower."""
    moved = [pair.expected[0] for pair in pairs if pair.expected and drifted(pair.expected, SLOWDOWN)]
    if not moved:
        return []
    several = [ratio(min(moved)), *([ratio(max(moved))] if ratio(max(moved)) != ratio(min(moved)) else [])]
    return [
        f"The controls took {' to '.join(several)} times as long beside {letter} as beside A: the machine has changed"
    ]


def _about_processes(letter: str, pairs: Sequence[Pair]) -> list[str]:
    """A line where the runs of a file are of one process and one moment, which no interval shows."""
    if all(is_interleaved(pair) for pair in pairs if pair.problem is None):
        return []
    return [
        f"A or {letter} does not say that it was measured in turns: runs of one process and one moment, in which nobody"
        f" watched what others did. A change of less than {percent(UNREPEATED)} is not told from chance"
    ]


def _about_rounds(letter: str, dataset: Dataset) -> list[str]:
    """A line where others disturbed many rounds of the file."""
    noisy = [p for p in dataset.points if disturbance(p) > 1]
    if not noisy:
        return []
    worst = max(noisy, key=lambda p: (p.contaminated or 0) / len(p.samples))
    return [
        f"Others disturbed {worst.contaminated} of {len(worst.samples)} rounds of {letter}: its times hold that, too"
    ]


def _tables(files: Compared, letters: Sequence[str]) -> list[Section]:
    """A table for each kernel and size. A row has the first file's time, and the time and ratio of each other file."""
    rows: dict[str, dict[tuple[str, str, str], dict[int, Pair]]] = {}
    for number, pairs in enumerate(files.pairs, 1):
        for pair in pairs:
            rows.setdefault(_title(pair), {}).setdefault(keyed(pair.point), {})[number] = pair
    columns = [*KEYS, f"time {letters[0]}"]
    for letter in letters[1:]:
        columns += [f"time {letter}", f"{letter}/{letters[0]}", f"{letter} is"]
    columns += [f"speedup {letter}" for letter in letters]
    short = {name: name.replace("speedup ", "S ").replace("time ", "") for name in columns[3:]} | {"workers": "N"}
    return [
        Section(title, _without_ratio(by_key), Sheet(title, tuple(columns), tuple(_rows(by_key, files)), short))
        for title, by_key in rows.items()
    ]


def _title(pair: Pair) -> str:
    p = pair.point
    sizes = dict.fromkeys(f"{q.size:,}" for q in (pair.before, pair.after) if q is not None and q.size is not None)
    size = f" · size {' and '.join(sizes)}" if sizes else ""
    size += f" · {pair.apart}" * bool(pair.apart)
    return p.title + size + " for one worker, N times the work for N" * (p.mode == "weak")


def _rows(by_key: Mapping[tuple[str, str, str], Mapping[int, Pair]], files: Compared) -> list[Row]:
    rows: list[Row] = []
    for key, pairs in by_key.items():
        some = next(iter(pairs.values()))
        cells = [*key, _time(some.before)]
        changes = []
        for number in range(1, len(files.names)):
            pair = pairs.get(number)
            changes.append(_change(pair, files.by_controls) if pair else "")
            cells += [_time(pair.after) if pair else "", _ratio(pair, files.by_controls) if pair else "", changes[-1]]
        points = [some.before, *(pairs[k].after if k in pairs else None for k in range(1, len(files.names)))]
        cells += [ratio(p.speedup) if p is not None and p.speedup else "" for p in points]
        starts = bool(rows) and rows[-1].point.variant != some.point.variant
        flagged = frozenset(_flagged(changes))
        rows.append(Row(some.point, tuple(cells), starts, flagged))
    return rows


def _flagged(changes: Sequence[str]) -> list[str]:
    return [f"{LETTERS[k]} is" for k, change in enumerate(changes, 1) if change == "slower" and k < len(LETTERS)]


def _without_ratio(by_key: Mapping[tuple[str, str, str], Mapping[int, Pair]]) -> tuple[str, ...]:
    """Why some rows have no interval, each reason once."""
    reasons: dict[str, list[str]] = {}
    for key, pairs in by_key.items():
        for pair in pairs.values():
            if pair.problem:
                reasons.setdefault(pair.problem, []).append(f"{key[0]}·{key[1]} {key[2]}")
    return tuple(f"{', '.join(dict.fromkeys(of))}: {reason}" for reason, of in reasons.items())


def _time(p: Any) -> str:
    return "–" if p is None else seconds(p.seconds)


def _figures(pair: Pair, by_controls: bool) -> tuple[float | None, Interval | None]:
    if not by_controls:
        return pair.ratio, pair.interval
    return pair.scaled if pair.scaled else (None, None)


def _ratio(pair: Pair, by_controls: bool) -> str:
    value, interval = _figures(pair, by_controls)
    return "–" if value is None else with_interval(value, interval)


def with_interval(value: float, interval: Interval | None) -> str:
    """`1.10 [1.08, 1.12]`"""
    text = ratio(value)
    return text if interval is None else f"{text} [{ratio(interval[0])}, {ratio(interval[1])}]"


def _change(pair: Pair, by_controls: bool) -> str:
    """slower or faster, as the interval says; alike where it contains 1; unclear where the two cannot be compared."""
    _, interval = _figures(pair, by_controls)
    if interval is None or pair.problem:
        return "unclear"
    if interval[0] <= 1 <= interval[1]:
        return "alike"
    if not by_controls and not exceeds_chance(pair):
        return "unclear"
    return "slower" if interval[0] > 1 else "faster"


def _summary(letter: str, pairs: Sequence[Pair], by_controls: bool) -> str:
    """`B against A: 2 of 14 points slower, 1 faster, 11 alike`"""
    changes = [_change(pair, by_controls) for pair in pairs]
    parts = [f"{changes.count(word)} {word}" for word in ("slower", "faster", "alike", "unclear") if word in changes]
    return f"{letter} against A, of {len(pairs)} point{'s' * (len(pairs) != 1)}: {', '.join(parts)}"


def _most(letter: str, pairs: Sequence[Pair], by_controls: bool) -> Iterator[str]:
    """The points that became slower by most, and those that became faster by most."""
    for change in ("slower", "faster"):
        changed = [(_figures(pair, by_controls), pair) for pair in pairs if _change(pair, by_controls) == change]
        changed.sort(key=lambda change_of_pair: change_of_pair[0][0] or 1.0, reverse=change == "slower")
        named = [
            f"{pair.name} {with_interval(value or 1.0, interval)}" for (value, interval), pair in changed[:MENTIONED]
        ]
        if named:
            more = f"; {len(changed) - MENTIONED} more" if len(changed) > MENTIONED else ""
            yield f"{letter} is {change}: {'; '.join(named)}{more}"


def _counted(judgement: CheckResult) -> str:
    """`2 of 14 tests beyond doubt, 1 of 14 undecided`; where all are fine, what was asked of each kind of test."""
    tests = [finding for finding in judgement.findings if finding.outcome != "fine" or finding.value is not None]
    new, many = len(judgement.findings) - len(tests), len(tests)
    bad, unclear = len(judgement.of("regression")), len(judgement.of("inconclusive"))
    if judgement.outcome == "fine":
        times = [finding for finding in tests if finding.test == "time"]
        kinds = [f"{len(times)} of {len(times)} tests, at most {percent(judgement.limits.slowdown)} slower"]
        for test, unit in LEAST.items():
            if reached := [finding for finding in tests if finding.test == test]:
                kinds.append(f"{len(reached)} of {len(reached)} at {_asked(test, judgement.limits):g} {unit} or more")
        return "; ".join([*kinds, *[f"{new} new, and not compared"] * bool(new)])
    parts = [f"{bad} of {many} tests beyond doubt"] * bool(bad) + [f"{unclear} of {many} undecided"] * bool(unclear)
    return ", ".join(parts) or "nothing could be compared"


def _told(finding: PairFinding, limits: Limits) -> str:
    """A finding in a line: the point and its figures."""
    if finding.pair is None:
        return f"{_asked(finding.test, limits):g} {LEAST[finding.test]} is asked for"
    figure = ""
    if finding.test == "time" and finding.value is not None:
        pair = finding.pair
        times = f" ({_time(pair.before)} → {_time(pair.after)})" if pair.before and pair.after else ""
        figure = f"{with_interval(finding.value, finding.interval)} times as long{times}"
        figure += f", and {percent(limits.slowdown)} more is allowed" * (finding.outcome == "regression")
    elif finding.test != "time" and finding.value is not None:
        least = _asked(finding.test, limits)
        figure = f"{with_interval(finding.value, finding.interval)} {LEAST[finding.test]}, and {least:g} is asked for"
    figure += f"; about {finding.rounds} rounds would tell" if finding.rounds else ""
    return f"{finding.pair.name}: {figure}" if figure else finding.pair.name


def _asked(test: Test, limits: Limits) -> float:
    return (limits.efficiency if test == "efficiency" else limits.attainable) or 0.0


def percent(share: float) -> str:
    """`5 %`, `2.5 %`"""
    return f"{100 * share:.3g} %"
