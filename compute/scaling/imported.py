"""`read`: a results file of nfold or of pytest-benchmark as a Scaling.

Of pytest-benchmark's those benchmarks are points whose extra_info says which kernel, variant, backend and workers ran.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from compute.scaling import agreement, derive, schema, statistics
from compute.scaling.dataset import Point
from compute.scaling.files import StrPath
from compute.scaling.results import Scaling, from_data, judged
from compute.scaling.schema import COUNT, MACHINE, NUMBER, OR_NULL, REQUIRED, TEXT, TIMES, FieldType, read_object
from compute.texts import cut, visible
from compute.traits import SERIAL

NOT_INTERLEAVED = (
    "pytest-benchmark ran each configuration by itself, not in turns: the speedups hold a drift of the clock speed"
    " between them (nfold scale interleaves)"
)
POINTS = "points"  # of extra_info, where the marker `scaling` keeps what it measured
KEYS: dict[str, FieldType] = {name: REQUIRED[name] for name in ("kernel", "variant", "backend", "workers")}


def read(path: StrPath, *, every: bool = False) -> Scaling:
    """The results in a file, nfold's own or pytest-benchmark's. ValueError, in one line, where it holds neither.

    every: a benchmark that names no kernel is a point of its own, called by its full name, to be compared with itself
           in another file; else it is left out, with a warning.
    """
    data = read_object(path)
    return from_benchmarks(data, path, every=every) if "benchmarks" in data else from_data(data, path)


def from_benchmarks(data: Mapping[str, Any], path: StrPath, *, every: bool = False) -> Scaling:
    """A Scaling from pytest-benchmark's JSON object; path is for errors."""
    path = visible(str(path))
    benchmarks = data["benchmarks"]
    if not (isinstance(benchmarks, list) and all(isinstance(benchmark, dict) for benchmark in benchmarks)):
        raise ValueError(f"{path}: 'benchmarks' must be a list of objects; run pytest --benchmark-json={path} again")
    points: dict[tuple[Any, ...], Point] = {}
    kept: list[tuple[str, list[Point]]] = []
    unnamed = []
    for benchmark in benchmarks:
        if (own := _kept_points(benchmark, path)) is not None:
            kept.append((str(benchmark.get("name", "?")), own))
            continue
        point = _point(benchmark, path) or (_unnamed(benchmark, path) if every else None)
        if point is None:
            unnamed.append(str(benchmark.get("name", "?")))
            continue
        key = point.configuration
        if key in points:  # the same configuration, run twice: more samples of one thing
            point = replace(points[key], samples=points[key].samples + point.samples)
        points[key] = point
    if not points and not kept:
        raise ValueError(
            f"no benchmark in {path} says in extra_info which kernel, variant, backend and workers it ran; use nfold's"
            " `scaling` fixture, or nfold scale"
        )
    warnings = [NOT_INTERLEAVED] if points else []
    twice = [name for name, times in Counter(p.name for _, own in kept for p in own).items() if times > 1]
    if twice:
        warnings.append(
            f"several tests measured {', '.join(twice[:3])}{', …' * (len(twice) > 3)}: each stands by itself"
        )
    if unnamed:
        some = ", ".join(unnamed[:3]) + (", …" if len(unnamed) > 3 else "")
        warnings.append(f"left out {len(unnamed)} of {len(benchmarks)} benchmarks that name no kernel: {some}")
    made = derive.compare_points(points.values(), paired=False)
    return Scaling((*made, *_apart(kept, set(points))), _machine(data), (*warnings, *_about_baselines(made)))


def _apart(kept: Iterable[tuple[str, Sequence[Point]]], taken: set[tuple[object, ...]]) -> Iterator[Point]:
    """The points of all tests. A measurement of a configuration that is taken gets the name of its test as its file."""
    for test, points in kept:
        for measurement in _measurements(points):
            named, number = measurement, 1
            while any(p.configuration in taken for p in named):
                file = test if number == 1 else f"{test} {number}"
                named, number = [replace(p, file=file) for p in measurement], number + 1
            taken |= {p.configuration for p in named}
            yield from named


def _measurements(points: Iterable[Point]) -> Iterable[list[Point]]:
    """A test's points by measurement: a configuration that comes again begins another one."""
    measurements: list[list[Point]] = [[]]
    for p in points:
        if p.configuration in {other.configuration for other in measurements[-1]}:
            measurements.append([])
        measurements[-1].append(p)
    return measurements


def _kept_points(benchmark: Mapping[str, Any], path: StrPath) -> list[Point] | None:
    """The points that a test with the marker `scaling` measured in rounds of its own; None for other tests."""
    info = benchmark.get("extra_info")
    kept = info.get(POINTS) if isinstance(info, dict) else None
    if not isinstance(kept, list) or not kept:
        return None
    where = f"{path}: {_name(benchmark)}"
    return list(judged([schema.read_point(item, f"{where}: point {n}") for n, item in enumerate(kept, 1)], where))


def _name(benchmark: Mapping[str, Any]) -> str:
    """What an error calls it."""
    return visible(cut(str(benchmark.get("name"))))


def _unnamed(benchmark: Mapping[str, Any], path: StrPath) -> Point:
    """A benchmark that names no kernel as a Point of its own, its own baseline: its workers are not known."""
    name = benchmark.get("fullname") or benchmark.get("name") or "?"
    if not TEXT[1](name):
        raise ValueError(f"{path}: the name of a benchmark must be a text, not {name!r}; run pytest again")
    about = {"kernel": name, "variant": "python", "backend": SERIAL, "workers": 1}
    point = _point({**benchmark, "extra_info": about}, path)
    assert point is not None
    return point


def _point(benchmark: Mapping[str, Any], path: StrPath) -> Point | None:
    """The benchmark as a Point of samples only; None where it is not about a kernel at all."""
    info = benchmark.get("extra_info")
    if not isinstance(info, dict) or not KEYS.keys() & info.keys():
        return None
    stats = benchmark.get("stats")
    if not isinstance(stats, dict):
        stats = {}
    samples = stats.get("data") or [stats.get("median")]
    asked = {**KEYS, "size": OR_NULL["size"]}
    for name, (want, holds) in asked.items():
        if not holds(info.get(name)) and not (name == "size" and info.get(name) is None):
            raise ValueError(
                f"{path}: extra_info[{name!r}] of {_name(benchmark)} must be {want}, not {info.get(name)!r}; use"
                " nfold's `scaling` fixture, which fills it"
            )
    values: dict[str, Any] = {name: info.get(name) for name in asked}
    if not TIMES[1](samples):
        raise ValueError(f"{path}: {_name(benchmark)} holds no times; run pytest --benchmark-json={path} again")
    for name, follows in (("rounds", len(samples)), ("min", min(samples)), ("max", max(samples))):
        says = stats.get(name) if stats.get("data") else None
        if says is not None and not (NUMBER[1](says) and math.isclose(says, follows, rel_tol=agreement.NEAR)):
            raise ValueError(
                f"{path}: {_name(benchmark)} has {name} {says!r}, and its data make it {follows}; run pytest"
                f" --benchmark-json={path} again"
            )
    point = Point(**values, seconds=statistics.median(samples), samples=tuple(samples))
    if problem := agreement.of_point(point):
        raise ValueError(f"{path}: {_name(benchmark)}: {problem}; run pytest --benchmark-json={path} again")
    return point


def _about_baselines(made: tuple[Point, ...]) -> list[str]:
    """A warning for each kernel, size and variant without a serial run, with the backends that it touches."""
    touched: dict[tuple[str, str | None], dict[str, None]] = {}
    for p in made:
        if p.baseline != SERIAL:
            work = f"{p.kernel} ({p.variant})" if p.size is None else f"{p.kernel} {p.size:,} ({p.variant})"
            touched.setdefault((work, p.baseline), {})[p.backend] = None
    consequence = {derive.ONE_WORKER: "speedup is against one worker of its own for", None: "no speedup for"}
    return [
        f"{work} has no serial run: {consequence[baseline]} {', '.join(backends)}"
        for (work, baseline), backends in touched.items()
    ]


def _machine(data: Mapping[str, Any]) -> dict[str, Any]:
    """pytest-benchmark's machine_info under the names of nfold's own description."""
    info = data.get("machine_info")
    info = info if isinstance(info, dict) else {}
    cpu = info.get("cpu") if isinstance(info.get("cpu"), dict) else {}
    assert isinstance(cpu, dict)
    machine = {
        "cpus": cpu.get("count") if COUNT[1](cpu.get("count")) else None,
        "cpus_present": cpu.get("count") if COUNT[1](cpu.get("count")) else None,
        "model": cpu.get("brand_raw") or info.get("processor"),
        "python": info.get("python_version"),
        "platform": "-".join(str(info[key]) for key in ("system", "release") if info.get(key)),
        "date": data.get("datetime"),
        "source": f"pytest-benchmark {data.get('version') or ''}".strip(),
    }
    return {key: value for key, value in machine.items() if value and MACHINE[key][1](value)}
