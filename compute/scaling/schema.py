"""A results file, schema "nfold/1", as a Dataset. A value of another kind than its name's is refused in one line."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from compute import texts
from compute.scaling import agreement, files, kept_timeline
from compute.scaling.dataset import Dataset, Point

SCHEMA = "nfold/1"
REMEDY = "give the file as it was written, or measure again"
BESIDE = "mode", "rounds", "contaminated", "controls"  # nfold writes them beside evidence, which relies on them
DEEPEST = 32  # objects and lists within each other: nfold writes six
LARGEST = 2**27  # bytes of a file: a thousand times what nfold writes
MOST, MOST_DIGITS = 1e100, 4000  # the largest number: products of several are finite, too
SHORTEST, LONGEST = 1e-12, 1e12  # s: no clock is finer, and no program runs for longer


def from_data(data: Mapping[str, Any], path: files.StrPath) -> Dataset:
    """The dataset of a JSON object of schema "nfold/1"; path is for errors."""
    path = texts.visible(str(path))
    schema = data.get("schema")
    if schema != SCHEMA:
        problem = f"has schema {schema!r}, not {SCHEMA!r}" if schema else f"has no schema (nfold writes {SCHEMA!r})"
        raise ValueError(f"{path} {problem}; measure again with this version, or give a file that nfold wrote")
    points = _item(data, "points", list, path)
    if not points:
        raise ValueError(f"{path} holds no points; measure again")
    machine = _item(data, "machine", dict, path)
    _check_types(machine, MACHINE, path, "'machine'")
    warnings = data.get("warnings") or []
    if not (isinstance(warnings, list) and all(isinstance(warning, str) for warning in warnings)):
        raise ValueError(f"{path}: 'warnings' must be a list of texts; measure again")
    made = tuple(read_point(item, f"{path}: point {number}") for number, item in enumerate(points, 1))
    if any(p.evidence is not None for p in made):
        _check_whole(data, ("conditions",), path)
    dataset = Dataset(
        made,
        machine,
        tuple(warnings),
        tuple(_objects(data, "laws", LAW, path)),
        tuple(_objects(data, "conditions", CONDITION, path)),
        _harness(data, path),
        _command(data, path),
    )
    _check_agreement(agreement.of_dataset(dataset), path)
    return dataset


def read_object(path: files.StrPath) -> dict[str, Any]:
    """The JSON object of a results file; ValueError, in one line, where there is none to be read."""
    name = str(path)
    path = texts.visible(name)
    try:
        text = files.read(name, LARGEST).decode()
    except FileNotFoundError:
        raise ValueError(f"there is no file {name!r}; measure one with --json {path}") from None
    except (OSError, ValueError) as error:
        reason = "it is not text" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", 0) or error
        raise ValueError(f"cannot read {name!r}: {reason}; give a JSON file of results") from None
    if not text.strip():
        raise ValueError(f"{path} is empty; measure again")
    try:
        data = json.loads(
            text, parse_constant=_refuse_constant, parse_int=_whole, parse_float=_finite, object_pairs_hook=_once
        )
        _check_depth(data)
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
    _check_range(data, path)
    return data


def _refuse_constant(word: str) -> None:
    raise ValueError(f"it holds {word}")


def _finite(word: str) -> float:
    if math.isinf(number := float(word)):
        _refuse_constant(word)
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError where it has a key twice: readers differ in which of the two they take."""
    made = dict(pairs)
    if len(made) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"an object in it has {twice!r} twice")
    return made


def _whole(word: str) -> int:
    if len(word) > MOST_DIGITS:
        raise ValueError(f"it holds a number of {len(word)} digits")
    return int(word)


def _check_depth(data: Any) -> None:
    """ValueError where objects and lists are nested so deep that recursion over them would fail."""
    layer, depth = [data], 0
    while layer := [part for of in layer for _, part in _parts(of)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"objects in it are nested more than {DEEPEST} deep")


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """The parts of an object by name, and of a list by number from 1 on."""
    return value.items() if isinstance(value, dict) else enumerate(value, 1) if isinstance(value, list) else ()


def _check_range(value: Any, path: str, where: tuple[Any, ...] = ()) -> None:
    """ValueError that names the first number that is too large to calculate with."""
    if isinstance(value, int | float) and not abs(value) <= MOST:
        names = "".join(f" {name!r}" for name in where)
        raise ValueError(f"{path}:{names} is {_shown(value)}, which is out of range; {REMEDY}")
    for name, part in _parts(value):
        if not isinstance(part, str | bool | None):
            _check_range(part, path, (*where, name))


def _item(data: Mapping[str, Any], key: str, kind: type, path: Any) -> Any:
    if key not in data:
        raise ValueError(f"{path} has no {key!r}; give a file that nfold wrote, or measure again")
    if not isinstance(data[key], kind):
        want = "a list" if kind is list else "an object"
        raise ValueError(f"{path}: {key!r} must be {want}, not {_shown(data[key])}; measure again")
    return data[key]


def _objects(
    data: Mapping[str, Any], key: str, types: Mapping[str, FieldType], path: files.StrPath
) -> list[dict[str, Any]]:
    """A list of objects, none where the key is absent; what a report reads of them is of its kind, absent or null."""
    objects: list[dict[str, Any]] = _item({key: [], **data}, key, list, path)
    for number, item in enumerate(objects, 1):
        if not isinstance(item, dict):
            raise ValueError(f"{path}: {key!r} must be a list of objects, not of {_shown(item)}; measure again")
        _check_types(item, types, path, f"{key!r} {number}")
    return objects


def _check_types(item: Mapping[str, Any], types: Mapping[str, FieldType], path: Any, whose: str) -> None:
    """ValueError where a value is of another kind than its name's; absent or null it may be."""
    for name, (want, holds) in types.items():
        if item.get(name) is not None and not holds(item[name]):
            raise ValueError(f"{path}: {name!r} of {whose} must be {want}, not {_shown(item[name])}; measure again")


def _harness(data: Mapping[str, Any], path: files.StrPath) -> dict[str, float]:
    costs: dict[str, float] = _item({"harness": {}, **data}, "harness", dict, path)
    if not all(map(_is_number, costs.values())):
        raise ValueError(
            f"{path}: 'harness' must be an object of numbers from 0 on, not {_shown(costs)}; measure again"
        )
    return costs


def _command(data: Mapping[str, Any], path: files.StrPath) -> str:
    command = data.get("command") or ""
    if not isinstance(command, str):
        raise ValueError(f"{path}: 'command' must be a text, not {_shown(command)}; measure again")
    return command


def _is_signed(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and abs(x) <= MOST


def _is_number(x: Any) -> bool:
    return _is_signed(x) and x >= 0


def _is_count(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and 0 <= x < 2**63


def _is_time(x: Any) -> bool:
    return _is_signed(x) and SHORTEST <= x <= LONGEST


FieldType = tuple[str, Callable[[Any], bool]]

TEXT: FieldType = "a text", lambda x: isinstance(x, str)
FLAG: FieldType = "true or false", lambda x: isinstance(x, bool)
COUNT: FieldType = "a whole number from 0 on", _is_count
COUNTS: FieldType = "a list of whole numbers", lambda x: isinstance(x, list | tuple) and all(map(_is_count, x))
NUMBER: FieldType = "a number from 0 on", _is_number
TIME: FieldType = "a number of seconds above 0", _is_time
TIMES: FieldType = (
    "a list of seconds above 0",
    lambda x: isinstance(x, list | tuple) and bool(x) and all(map(_is_time, x)),
)
MODE: FieldType = "strong or weak", lambda x: x in ("strong", "weak")
TEXTS: FieldType = "a list of texts", lambda x: isinstance(x, list | tuple) and all(isinstance(i, str) for i in x)
INTERVAL: FieldType = (
    "[low, high]",
    lambda x: isinstance(x, list | tuple) and len(x) == 2 and all(map(_is_number, x)) and x[0] <= x[1],
)
TIMES_BY_NAME: FieldType = (
    "an object of seconds above 0",
    lambda x: isinstance(x, dict) and all(map(_is_time, x.values())),
)
SECONDS_BY_NAME: FieldType = "an object of numbers", lambda x: isinstance(x, dict) and all(map(_is_signed, x.values()))

REQUIRED: dict[str, FieldType] = {
    "kernel": TEXT,
    "variant": TEXT,
    "backend": TEXT,
    "workers": ("a whole number from 1 on", lambda x: _is_count(x) and x > 0),
    "seconds": TIME,
    "samples": TIMES,
}
OR_NULL: dict[str, FieldType] = {  # scripts rely on these keys, so they are there; those of EXTRA may be absent
    "size": COUNT,
    "speedup": NUMBER,
    "speedup_ci": INTERVAL,
    "efficiency": NUMBER,
    "ceiling": NUMBER,
    "attainable": NUMBER,
    "ledger": SECONDS_BY_NAME,
    "verdict": TEXT,
}
EXTRA: dict[str, FieldType] = {
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
    "pinned": ("a list of CPU numbers", COUNTS[1]),
    "cause": TEXT,
    "contaminated": COUNT,
    "mode": MODE,
    "file": TEXT,
    "traits": TEXTS,
    "evidence": ("an object", lambda x: isinstance(x, dict)),
    "timeline": ("an object of seconds, sections, lanes and spans", kept_timeline.holds),
    "controls": TIMES_BY_NAME,
}

EVIDENCE: dict[str, FieldType] = {  # what a point's `evidence` keeps; any may be absent or null
    "compiled": FLAG,
    "has_gil": FLAG,
    "cpus": COUNT,
    "cpus_shared": COUNT,
    "quota": NUMBER,
    "steal": NUMBER,
    "others": NUMBER,
    "throttled": NUMBER,
    "ticket_seconds": NUMBER,
    "ceiling_compute": NUMBER,
    "ceiling_memory": NUMBER,
    "free_blocked": NUMBER,
    "elsewhere_blocked": NUMBER,
    "elsewhere_inflation": NUMBER,
    "waits": NUMBER,
    "copied": TEXT,
    "without_copies": NUMBER,
}

OF_LAW = "kernel", "variant", "backend"  # what a law is of
LAW: dict[str, FieldType] = {
    "kernel": TEXT,
    "size": COUNT,
    "variant": TEXT,
    "backend": TEXT,
    "counts": COUNTS,
    "rounds": COUNT,
    "left_out": COUNTS,
    "cpus": COUNT,
    "chunks": COUNT,
    "chunks_of": COUNT,
    "arguments": TEXT,
    "assumption": TEXT,  # this and the next are in older files, which hold sentences and no left_out
    "sentences": TEXTS,
    "file": TEXT,
}
CONDITION: dict[str, FieldType] = {
    "kernel": TEXT,
    "variant": TEXT,
    "size": COUNT,
    "mode": MODE,
    "arguments": TEXT,
    "variants": TEXTS,
    "others": NUMBER,
    "steal": NUMBER,
    "throttled": NUMBER,
    "marked": TEXT,
    "file": TEXT,
}

MACHINE: dict[str, FieldType] = {  # other keys are shown as they are
    **dict.fromkeys(("cpus", "cpus_present", "cores"), COUNT),
    "quota": NUMBER,
    **dict.fromkeys(("virtual", "gil"), FLAG),
    **dict.fromkeys(("model", "platform", "python", "implementation", "numpy", "numba", "joblib", "nfold"), TEXT),
    **dict.fromkeys(("date", "source"), TEXT),
}


def read_point(data: Any, where: str) -> Point:
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
    _check_types(values.get("evidence") or {}, EVIDENCE, where, "'evidence'")
    point = Point(**{"size": None, **values})
    if point.evidence is not None:
        _check_whole(data, BESIDE, where)
    _check_agreement(agreement.of_point(point), where)
    return point


def _check_whole(data: Mapping[str, Any], names: Iterable[str], where: Any) -> None:
    """ValueError where one of these keys is missing: the file was edited, and what the key would say is lost."""
    if missing := next((name for name in names if name not in data), None):
        raise ValueError(f"{where} has no {missing!r}, which nfold writes beside 'evidence'; {REMEDY}")


def _check_agreement(problem: str | None, where: Any) -> None:
    if problem:
        raise ValueError(f"{where}: {problem}; {REMEDY}")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
