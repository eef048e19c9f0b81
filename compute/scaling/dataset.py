"""Point and Scaling: what was measured, as plain data that goes to JSON ("nfold/1") and comes back unchanged."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from compute import texts
from compute.scaling import files
from compute.traits import SERIAL, Traits, former_traits, traits_from

SCHEMA = "nfold/1"
SEVERAL = "these points come from several machines; the first one's name stands above them"


@dataclass(frozen=True)
class Point:
    """One configuration (kernel, size, variant, backend, workers) and what it reached. Seconds are wall seconds.

    seconds:    the median of samples, one sample a round. seconds_ci: its 95 % interval, None with too few rounds.
    speedup:    the median of the rounds' own ratios baseline / sample, with its 95 % interval (where rounds do not
                pair, as in imported files: the ratio of the medians); baseline says of what: "serial" (the variant on
                Serial), "one worker" (of the same backend), or None (nothing to compare).
    efficiency: speedup / workers. ceiling, attainable, ledger, verdict: None where they were not measured.
    work, unit, rate: what a run computes, in the kernel's unit, and how much of it a second.
    cpu_per_wall: a lane's CPU seconds per wall second, mean over lanes, median over rounds: near 1 where lanes compute
                all the time, near 1/N where N lanes take turns at the GIL.
    processes:  how many the lanes ran in.
    sections:   median seconds of the caller: plan, transfer, dispatch, finish.
    startup, compile: seconds that opening the pool and compiling or loading the kernel in it took; not in `seconds`.
    notes:      what this configuration met, in words.
    ceiling:    the speedup that the machine allowed a perfect kernel of this kind at these workers, in the same rounds;
                attainable is speedup / ceiling. memory_share: the kind, from 0 (computes) to 1 (streams memory).
    ledger:     core-seconds of the median round by where they went (compute.scaling.ledger); unknown: the entries that
                could not be read here, each folded into its neighbour. They sum to workers × seconds of that round.
    efficiencies: the POP tree: global, parallel, load_balance, communication, computation.
    details:    per-lane sums of the median round: voluntary and involuntary switches, minor faults, nested CPU seconds;
                system, CPU seconds in the system beyond the serial run's; gil, the share of the time it was taken.
    chunks, chunk_seconds: how many, and the CPU seconds of the average one.
    pinned:     the CPU of each lane; None where lanes were not pinned.
    cause, verdict: what took most of the gap, in one word of compute.scaling.verdict, and in a sentence.
    contaminated: how many of the rounds were marked as disturbed from outside.
    mode:       "strong" (the same work for every worker count) or "weak" (work grows with the workers; speedup is then
                workers × baseline / seconds).
    file:       the results file that it is from, where several that hold this kernel are shown together.
    traits:     what holds for the backend's lanes (compute.traits); None in files of before they were kept.
    """

    kernel: str
    size: int | None
    variant: str
    backend: str
    workers: int
    seconds: float
    samples: tuple[float, ...]
    speedup: float | None = None
    speedup_ci: tuple[float, float] | None = None
    efficiency: float | None = None
    ceiling: float | None = None
    attainable: float | None = None
    ledger: Mapping[str, float] | None = None
    verdict: str | None = None
    seconds_ci: tuple[float, float] | None = None
    baseline: str | None = None
    rounds: int | None = None
    unit: str | None = None
    work: float | None = None
    rate: float | None = None
    cpu_per_wall: float | None = None
    sections: Mapping[str, float] | None = None
    startup: float | None = None
    compile: float | None = None
    processes: int | None = None
    arguments: str | None = None
    notes: tuple[str, ...] = ()
    memory_share: float | None = None
    unknown: tuple[str, ...] = ()
    efficiencies: Mapping[str, float] | None = None
    details: Mapping[str, float] | None = None
    chunks: int | None = None
    chunk_seconds: float | None = None
    pinned: tuple[int, ...] | None = None
    cause: str | None = None
    contaminated: int | None = None
    mode: str | None = None
    file: str | None = None
    traits: tuple[str, ...] | None = None

    @property
    def has(self) -> Traits:
        """The traits of its backend."""
        return former_traits(self.backend) if self.traits is None else traits_from(self.traits)

    @property
    def is_serial(self) -> bool:
        """Whether it is of the backend that the others are compared with."""
        return self.backend == SERIAL

    @property
    def title(self) -> str:
        """What its table is of: the kernel, `triad`, or one file's kernel, `triad (b.json)`."""
        return f"{self.kernel} ({self.file})" if self.file else self.kernel

    @property
    def group(self) -> tuple[str, int | None]:
        """What it is compared within: the kernel and the size."""
        return self.kernel, self.size


@dataclass(frozen=True)
class Scaling:
    """Points measured on one machine, in the order in which they are shown; warnings are what a reader must know.

    laws:       what the points of each (kernel, size, variant, backend) say about more workers (compute.scaling.laws).
    conditions: by kernel and round, what disturbed it from outside (compute.scaling.noise).
    harness:    seconds: the timer's resolution, and what measuring adds to a run.

    `str(scaling)` is the table, `to_json` and `from_json` keep it; compute.report shows it in other forms.
    """

    points: tuple[Point, ...]
    machine: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    laws: tuple[Mapping[str, Any], ...] = ()
    conditions: tuple[Mapping[str, Any], ...] = ()
    harness: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        from compute.scaling.tables.table import plain  # late: tables are made of the points that this file defines

        return plain(self)

    def __add__(self, other: Scaling) -> Scaling:
        """The points of both, with this one's machine; a warning where the other's was another."""
        warnings = dict.fromkeys((*self.warnings, *other.warnings))
        if any(self.machine.get(key) != other.machine.get(key) for key in ("model", "cpus", "platform")):
            warnings[SEVERAL] = None
        return Scaling(
            self.points + other.points,
            self.machine,
            tuple(warnings),
            self.laws + other.laws,
            self.conditions + other.conditions,
            self.harness or other.harness,
        )

    def to_json(self, path: files.StrPath) -> None:
        """Write the dataset; the file is whole or it is not there."""
        files.write(path, self.as_json())

    def as_json(self) -> str:
        """The dataset as the text of a JSON object, schema "nfold/1"."""
        data = {
            "schema": SCHEMA,
            "machine": dict(self.machine),
            "warnings": list(self.warnings),
            "points": [asdict(point) for point in self.points],
            "laws": [dict(law) for law in self.laws],
            "conditions": [dict(condition) for condition in self.conditions],
            "harness": dict(self.harness),
        }
        return texts.as_json(data)

    @classmethod
    def from_json(cls, path: files.StrPath) -> Scaling:
        """Read what to_json wrote. ValueError, in one line, that names the file, what is wrong and the remedy."""
        data, name = read_object(path), texts.visible(str(path))
        if "benchmarks" in data:
            raise ValueError(f"{name} is pytest-benchmark's, not nfold's own; read it with `nfold report {name}`")
        return from_data(data, name)


def from_data(data: Mapping[str, Any], path: files.StrPath) -> Scaling:
    """A Scaling from a JSON object of schema "nfold/1"; path is for errors."""
    schema = data.get("schema")
    if schema != SCHEMA:
        told = f"has schema {schema!r}, not {SCHEMA!r}" if schema else f"has no schema (nfold writes {SCHEMA!r})"
        raise ValueError(f"{path} {told}; measure again with this version, or give a file that nfold wrote")
    points = _item(data, "points", list, path)
    if not points:
        raise ValueError(f"{path} holds no points; measure again")
    machine = _item(data, "machine", dict, path)
    warnings = data.get("warnings") or []
    if not (isinstance(warnings, list) and all(isinstance(warning, str) for warning in warnings)):
        raise ValueError(f"{path}: 'warnings' must be a list of texts; measure again")
    return Scaling(
        tuple(_point(item, f"{path}: point {number}") for number, item in enumerate(points, 1)),
        machine,
        tuple(warnings),
        tuple(_objects(data, "laws", LAW, path)),
        tuple(_objects(data, "conditions", CONDITION, path)),
        _harness(data, path),
    )


def read_object(path: files.StrPath) -> dict[str, Any]:
    """The JSON object of a results file; ValueError, in one line, where there is none to be read."""
    name = str(path)
    path = texts.visible(name)
    try:
        text = Path(name).read_text("utf-8")
    except FileNotFoundError:
        raise ValueError(f"there is no file {name!r}; measure one with --json {path}") from None
    except (OSError, ValueError) as error:
        reason = "it is not text" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", 0) or error
        raise ValueError(f"cannot read {name!r}: {reason}; give a JSON file of results") from None
    if not text.strip():
        raise ValueError(f"{path} is empty; measure again")
    try:
        data = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].strip()
        unfinished = error.msg.startswith(("Unterminated", "Invalid \\")) or any(
            word.startswith(rest) for word in ("true", "false", "null", "-", ".", "e-", "e+")
        )
        if text.lstrip().startswith("{") and unfinished:
            raise ValueError(
                f"{path} is cut off at line {error.lineno}; measure again, or copy the file again"
            ) from None
        raise ValueError(
            f"{path} is not JSON (line {error.lineno}: {error.msg}); give a file that nfold wrote"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON that nfold wrote ({error}); measure again") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds a JSON {type(data).__name__}, not an object; give a file that nfold wrote")
    return data


def _refuse_constant(word: str) -> None:
    raise ValueError(f"it holds {word}")


def _finite(word: str) -> float:
    if math.isinf(number := float(word)):
        _refuse_constant(word)
    return number


def _item(data: Mapping[str, Any], key: str, kind: type, path: Any) -> Any:
    if key not in data:
        raise ValueError(f"{path} has no {key!r}; give a file that nfold wrote, or measure again")
    if not isinstance(data[key], kind):
        want = "a list" if kind is list else "an object"
        raise ValueError(f"{path}: {key!r} must be {want}, not {_shown(data[key])}; measure again")
    return data[key]


def _objects(data: Mapping[str, Any], key: str, kinds: Mapping[str, Kind], path: files.StrPath) -> list[dict[str, Any]]:
    """A list of objects, none where the key is absent; what a report reads of them is of its kind, absent or null."""
    found: list[dict[str, Any]] = _item({key: [], **data}, key, list, path)
    for number, one in enumerate(found, 1):
        if not isinstance(one, dict):
            raise ValueError(f"{path}: {key!r} must be a list of objects, not of {_shown(one)}; measure again")
        for name, (want, holds) in kinds.items():
            if one.get(name) is not None and not holds(one[name]):
                raise ValueError(
                    f"{path}: {name!r} of {key!r} {number} must be {want}, not {_shown(one[name])}; measure again"
                )
    return found


def _harness(data: Mapping[str, Any], path: files.StrPath) -> dict[str, float]:
    found: dict[str, float] = _item({"harness": {}, **data}, "harness", dict, path)
    if not all(map(_is_number, found.values())):
        raise ValueError(
            f"{path}: 'harness' must be an object of numbers from 0 on, not {_shown(found)}; measure again"
        )
    return found


def _is_count(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and x >= 0


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) and x >= 0


def _is_time(x: Any) -> bool:
    return _is_number(x) and x > 0


def _is_signed(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)


Kind = tuple[str, Callable[[Any], bool]]

TEXT: Kind = "a text", lambda x: isinstance(x, str)
COUNT: Kind = "a whole number from 0 on", _is_count
NUMBER: Kind = "a number from 0 on", _is_number
TIME: Kind = "a number of seconds above 0", _is_time
TIMES: Kind = "a list of seconds above 0", lambda x: isinstance(x, list | tuple) and bool(x) and all(map(_is_time, x))
TEXTS: Kind = "a list of texts", lambda x: isinstance(x, list | tuple) and all(isinstance(i, str) for i in x)
INTERVAL: Kind = (
    "[low, high]",
    lambda x: isinstance(x, list | tuple) and len(x) == 2 and all(map(_is_number, x)) and x[0] <= x[1],
)
SECONDS_BY_NAME: Kind = "an object of numbers", lambda x: isinstance(x, dict) and all(map(_is_signed, x.values()))

REQUIRED: dict[str, Kind] = {
    "kernel": TEXT,
    "variant": TEXT,
    "backend": TEXT,
    "workers": ("a whole number from 1 on", lambda x: _is_count(x) and x > 0),
    "seconds": TIME,
    "samples": TIMES,
}
OR_NULL: dict[str, Kind] = {  # of the Fixed keys; the others of Point may also be absent
    "size": COUNT,
    "speedup": NUMBER,
    "speedup_ci": INTERVAL,
    "efficiency": NUMBER,
    "ceiling": NUMBER,
    "attainable": NUMBER,
    "ledger": SECONDS_BY_NAME,
    "verdict": TEXT,
}
EXTRA: dict[str, Kind] = {
    "seconds_ci": INTERVAL,
    "baseline": TEXT,
    "rounds": COUNT,
    "unit": TEXT,
    "work": NUMBER,
    "rate": NUMBER,
    "cpu_per_wall": NUMBER,
    "sections": SECONDS_BY_NAME,
    "startup": NUMBER,
    "compile": NUMBER,
    "processes": COUNT,
    "arguments": TEXT,
    "notes": TEXTS,
    "memory_share": NUMBER,
    "unknown": TEXTS,
    "efficiencies": SECONDS_BY_NAME,
    "details": SECONDS_BY_NAME,
    "chunks": COUNT,
    "chunk_seconds": NUMBER,
    "pinned": ("a list of CPU numbers", lambda x: isinstance(x, list | tuple) and all(map(_is_count, x))),
    "cause": TEXT,
    "contaminated": COUNT,
    "mode": TEXT,
    "file": TEXT,
    "traits": TEXTS,
}

LAW: dict[str, Kind] = {
    "kernel": TEXT,
    "size": COUNT,
    "variant": TEXT,
    "backend": TEXT,
    "assumption": TEXT,
    "sentences": TEXTS,
    "file": TEXT,
}
CONDITION: dict[str, Kind] = {
    "kernel": TEXT,
    "variant": TEXT,
    "others": NUMBER,
    "steal": NUMBER,
    "throttled": NUMBER,
    "marked": TEXT,
    "file": TEXT,
}


def _point(data: Any, where: str) -> Point:
    """A Point from its JSON object; keys that this version does not know are left out."""
    if not isinstance(data, dict):
        raise ValueError(f"{where} must be an object, not {_shown(data)}; measure again")
    values: dict[str, Any] = {}
    for name in (f.name for f in fields(Point)):
        want, holds = REQUIRED.get(name) or OR_NULL.get(name) or EXTRA[name]
        if name not in data and name not in EXTRA:
            raise ValueError(f"{where} has no {name!r}; measure again with this version")
        value = data.get(name)
        if value is None and name not in REQUIRED:
            continue
        if not holds(value):
            raise ValueError(f"{where}: {name!r} must be {want}, not {_shown(value)}; measure again")
        values[name] = tuple(value) if isinstance(value, list) else value
    return Point(**{"size": None, **values})


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
