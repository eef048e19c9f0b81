"""Files like those that nfold and pytest-benchmark write, and random changes to them."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import replace
from typing import Any

from exact_laws import amdahl_times, even, threads
from example_points import a_point, a_scaling, a_timeline, explained
from fuzzing import NUMBERS, TEXTS

from compute.scaling import laws
from compute.scaling.dataset import Point
from compute.scaling.derive import compare_points
from compute.scaling.kept_timeline import keep
from compute.scaling.results import Scaling

EVIDENCE = {
    "compiled": True, "has_gil": True, "cpus": 4, "cpus_shared": 2, "quota": 2.5, "steal": 0.01, "others": 0.3,
    "throttled": 0.0, "ticket_seconds": 7e-8, "ceiling_compute": 1.9, "ceiling_memory": 1.4, "free_blocked": 0.01,
    "elsewhere_blocked": 0.1, "elsewhere_inflation": 0.2, "waits": 0.0,
}  # fmt: skip
CONTROLS = {bound + end: 0.5 for bound in ("compute", "memory") for end in ("", "_low", "_high")}
TRAITS = ("shares_memory", "shares_gil")
WORDS = (None, True, False, [], {}, [[]], {"a": {"b": [1]}}, [None], [1e300], "1", [0, 0], [1, 2, 3])
RAW = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"NaN", b"-Infinity", b"1e999", b"-", b"\\ud800", b"\\", b'"',
    b"\x1b[2J", b"[" * 99, b'{"a":' * 50, b"," * 9, b"9" * 400, b"9" * 5000, b"\r", b"]", b"}", b"e", b".",
)  # fmt: skip


def results() -> list[dict[str, Any]]:
    """nfold's own files: with all that explains them, with laws, of programs and weak, and of few samples."""
    whole = explained(a_scaling((1, 2), kernels=["matvec"]))
    kept = keep(a_timeline(), 0.03)
    sections = {"plan": 1e-3, "transfer": 0.0, "dispatch": 0.1, "finish": 1e-4}
    more = {"evidence": EVIDENCE, "timeline": kept, "controls": CONTROLS, "traits": TRAITS, "sections": sections}
    points = tuple(
        replace(p, rounds=len(p.samples), notes=("met",), startup=0.1, compile=1.0, **more)
        for p in whole.points
        if p.variant == "nogil" and p.backend in ("serial", "threads", "processes")
    )
    fitted = threads({n: amdahl_times(n, 0.2) for n in (1, 2, 3, 4, 8)})
    few = compare_points(
        [a_point(samples=[1.0] * 3), a_point("mine", 2, [0.6] * 3), a_point("dask", 3, [1.0], mode="weak")]
    )
    made = [
        replace(whole, points=points, laws=()),
        replace(whole, points=whole.points[:3]),
        Scaling(tuple(fitted), laws=laws.fit_laws(fitted, chunk_seconds=even(40), cpus=4)),
        Scaling(
            few, {"model": "x", "caches": {"L1d": 48000}, "quota": 1.5}, ("one", "two"), command="nfold scale matvec"
        ),
    ]
    return [json.loads(scaling.as_json()) for scaling in made]


def benchmarks() -> list[dict[str, Any]]:
    """pytest-benchmark's files."""

    def one(name: str, workers: int, **other: Any) -> dict[str, Any]:
        info = {"kernel": "matvec", "size": 100, "variant": "nogil", "backend": "threads" if workers > 1 else "serial"}
        times = [1.0 / workers, 1.1 / workers, 0.9 / workers]
        stats = {"data": times, "rounds": 3, "min": min(times), "max": max(times), "median": times[0]}
        return {
            "name": name,
            "fullname": f"t.py::{name}",
            "extra_info": info | {"workers": workers},
            "stats": stats,
        } | other

    machine = {
        "cpu": {"brand_raw": "Invented", "count": 2},
        "python_version": "3.12",
        "system": "Linux",
        "release": "6",
    }
    about = {"machine_info": machine, "version": "5.0.0", "datetime": "2026-01-01"}
    kept = {"points": results()[0]["points"]}
    return [
        {"benchmarks": [one("a", 1), one("b", 2), one("c", 2, extra_info={})], **about},
        {"benchmarks": [one("a", 1, extra_info=kept), one("b", 2, extra_info=kept)], **about},
        {"benchmarks": [one("a", 1, extra_info={}), one("b", 1, extra_info={}, fullname=None)]},
    ]


def mutated(seed: dict[str, Any], case: random.Random) -> bytes:
    """The file with a few changes: to its values, to a text or number wherever it stands, or to its bytes."""
    data: Any = copy.deepcopy(seed)
    for _ in range(case.choice((0, 1, 1, 1, 2, 4))):
        data = case.choice((_change, _change, _rename, _rename, _stretch))(data, case)
    text = json.dumps(data, ensure_ascii=case.random() < 0.5)  # NaN, inf and surrogates as they are
    raw = text.encode("utf-8", "surrogatepass")
    for _ in range(case.choice((0, 0, 0, 0, 1, 3))):
        at, wide = case.randrange(len(raw) + 1), case.choice((0, 0, 1, 5, len(raw)))
        raw = raw[:at] + case.choice((b"", *RAW, bytes([case.randrange(256)]))) + raw[at + wide :]
    return raw


def _value(case: random.Random) -> Any:
    return copy.deepcopy(case.choice(case.choice((TEXTS, NUMBERS, NUMBERS, WORDS))))  # the next change may be in it


def _places(data: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything within."""
    found = []
    for key in list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        found += [(data, key), *_places(data[key])]
    return found


def _change(data: Any, case: random.Random) -> Any:
    """Another value, none, one from elsewhere, or the same twice, at one place."""
    places = _places(data)
    if not places:
        return _value(case)
    parent, key = case.choice(places)
    do = case.randrange(6)
    if do == 0:
        del parent[key]
    elif do == 1:
        other, its = case.choice(places)
        parent[key] = (
            copy.deepcopy(other[its]) if its in other or (isinstance(other, list) and its < len(other)) else None
        )
    elif do == 2 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif do == 3 and isinstance(parent, dict):
        parent[case.choice(TEXTS)] = parent.pop(key)
    else:
        parent[key] = _value(case)
    return data


def _rename(data: Any, case: random.Random) -> Any:
    """A text that is there, everywhere, as another: names that agree with each other are read."""
    texts = [parent[key] for parent, key in _places(data) if isinstance(parent[key], str) and parent[key] != "nfold/1"]
    if texts:
        old, new = case.choice(texts), case.choice(TEXTS) + case.choice(("", "k"))
        for parent, key in _places(data):
            if parent[key] == old:
                parent[key] = new
    return data


def _stretch(data: Any, case: random.Random) -> Any:
    """A number below one key as another one for all points alike: such files agree with themselves."""
    places = [(parent, key) for parent, key in _places(data) if type(parent[key]) in (int, float)]
    if places:
        _, name = case.choice(places)
        new = case.choice(NUMBERS)
        for parent, key in places:
            if key == name:
                parent[key] = new
    return data


def extreme(case: random.Random) -> bytes:
    """A file whose figures all follow from its samples, and are as far from the usual as a reader allows."""
    counts = case.sample((1, 2, 3, 4, 7, 8, 64, 1000, 2**20, 2**22), case.randint(1, 4))
    kernel, many = case.choice(TEXTS), case.choice((1, 2, 6, 7))

    def samples() -> list[float]:
        middle = case.choice((1e-12, 1e-9, 1e-3, 1.0, 1e3, 1e9, 1e12))
        return [min(max(middle * case.choice((1, 1, 1.1, 0.5, 1e3)), 1e-12), 1e12) for _ in range(many)]

    about = {"kernel": kernel, "variant": case.choice(TEXTS), "size": case.choice((None, 0, 1, 2**63 - 1)),
             "work": case.choice((None, 1.0, 1e-100, 1e100)), "unit": case.choice((None, *TEXTS))}  # fmt: skip
    names = case.sample((*TEXTS, "threads", "processes"), case.randint(1, 3))
    points = [a_point("serial", 1, samples(), **about)] * (case.random() < 0.8)
    points += [a_point(name, n, samples(), **about) for name in names for n in counts]
    compared = compare_points(points)
    if case.random() < 0.6:
        compared = tuple(_explained(p, case) for p in compared)
    data = json.loads(Scaling(compared).as_json())
    for p in data["points"]:
        if p["evidence"] and case.random() < 0.5:
            p["evidence"][case.choice(list(EVIDENCE))] = case.choice((0, 1, 1e-100, 1e-300, 1e100, 1e50))
    return json.dumps(data).encode()


def _explained(p: Point, case: random.Random) -> Point:
    ceiling, whole = case.choice((1e-12, 0.5, 1.0, 1e12, 1e100)), p.workers * p.seconds
    return replace(
        p,
        ceiling=ceiling,
        attainable=p.speedup / ceiling if p.speedup else None,
        ledger={"useful": whole, "idle": case.choice((0.0, 1e-20, -1e-3)) * whole},
        evidence=case.choice((None, EVIDENCE)),
        controls=CONTROLS,
        mode="strong",
        contaminated=0,
        verdict="v",
        cause="none",
    )
