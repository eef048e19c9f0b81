"""The figures of `fit_laws` in sentences: what each law says, how sure it is, and what it takes for granted.

Pure functions. They read the figures that a file keeps, and the sentences of older files, which hold no figures.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compute.scaling.laws.models import FALLING, FEWEST_COUNTS, FLAT, NOT_IDENTIFIABLE, RISING
from compute.scaling.statistics import FEWEST_ROUNDS

ASSUMED = "Assumed: "  # in files of before, too, which hold sentences
NEAR = 0.1  # of a speedup: law and replay agree if they differ by less; neither is more exact

TRENDS = {
    FLAT: "flat, a serial fraction",
    RISING: "rising, so overhead or imbalance that grows with the workers",
    FALLING: "falling, so a cost that two workers pay already and more do not add to",
}

BOUNDS = {
    "chunk": "the longest chunk alone allows",
    "counter": "the ticket counter serves one lane at a time, which allows",
    "memory": "the memory's roof alone allows",
    "serial": "what one thread does before and after the chunks alone allows",
}


def tell_law(law: Mapping[str, Any], with_assumption: bool = True) -> list[str]:
    """All that the laws of a configuration say, a sentence each; in files of before, the sentences that they hold.

    with_assumption: whether the projection says what it takes for granted.
    """
    if "left_out" not in law:
        former = [str(sentence) for sentence in law.get("sentences") or ()]
        assumed = "" if with_assumption else f"{ASSUMED}{tell_assumption(law)}"
        return [sentence.replace(assumed, "").rstrip() for sentence in former] if assumed else former
    return [*_tell_laws(law, with_assumption), *(_tell_chunks(law) if law["chunks"] else ())]


def tell_assumption(laws: Mapping[str, Any]) -> str:
    """What a projection takes for granted; "" where nothing was projected. In files of before, as they tell it."""
    if "left_out" not in laws:
        former = str(laws.get("assumption") or "")
        return former.removeprefix(ASSUMED) if former.startswith(ASSUMED) else ""
    counts = laws["counts"]
    parts = []
    if laws["law"] == "usl":
        parts.append(f"contention and coherency cost more workers what the USL fitted up to {counts[-1]} workers says")
    elif laws["law"]:
        parts.append(f"all that was lost at {_counts(counts[1:])} workers is one serial fraction")
        if laws["trend"] == RISING:
            parts[-1] += " (it rises, so this is an upper bound)"
        elif not laws[laws["law"]]["tested"]:
            parts[-1] += " (one count above 1 cannot tell it from overhead that grows)"
    if laws["law"]:
        parts.append(f"every further core is like the {counts[-1]} measured: clock, caches, its part of the memory")
    if laws["chunks_of"] is not None:
        parts.append(
            f"the replayed chunks take what they took on {_workers(laws['chunks_of'])}, and nothing slows them but"
            " start-up, tickets, the caller's own part, and memory where its roof is known"
        )
    if not parts:
        return ""
    interval = " The interval holds the noise of the rounds, not a law that fails to hold." if laws["law"] else ""
    return f"{'; '.join(parts)}.{interval}"


def _tell_laws(laws: Mapping[str, Any], with_assumption: bool) -> Iterable[str]:
    """What Karp–Flatt, the laws and the projection say."""
    if laws["left_out"]:
        crowd = f"{_counts(laws['left_out'])} workers share {laws['cpus']} CPUs"
        yield f"{crowd}, which says nothing about more of them: left out here."
    if laws["rounds"] < FEWEST_ROUNDS:
        yield _karp_flatt(laws) + "."
        rounds = f"{laws['rounds']} round{'s' * (laws['rounds'] > 1)}"
        yield f"No law is identifiable from {rounds}; an interval needs {FEWEST_ROUNDS}."
        return
    yield _karp_flatt(laws) + _trend(laws)
    yield from _one_fraction(laws)
    yield from _usl(laws)
    if laws["law"]:
        ends = laws["projection"][0], laws["projection"][-1]
        speedups = " and ".join(f"{_ci(p['speedup'], (p['low'], p['high']))} at {p['workers']} workers" for p in ends)
        yield f"Projected speedup: {speedups}." + f" {ASSUMED}{tell_assumption(laws)}" * with_assumption


def _tell_chunks(laws: Mapping[str, Any]) -> Iterable[str]:
    """What the replay of the chunks says of the projection: where both agree, and where the chunks end the scaling."""
    projection, chunks = laws["projection"], laws["chunks"]
    last = projection[-1]
    few = _few(chunks) if last["workers"] > chunks else ""
    if not laws["law"]:
        allowed = f"{_chunks(chunks)} would allow {_times(last['simulated'])} at {last['workers']} workers"
        yield f"Replayed: {allowed}{few and '; ' + few}."
        return
    agree = [p["workers"] for p in itertools.takewhile(lambda p: not (_ends(p) or _loses(p)), projection)]
    losses, ends = [p for p in projection if _loses(p)], [p for p in projection if _ends(p)]
    if agree:
        allow = "allows" if chunks == 1 else "allow"
        yield f"Replayed: {_chunks(chunks)} {allow} what the law projects, up to {agree[-1]} workers."
    if losses:
        p = losses[-1]
        yield (
            f"At {p['workers']} workers {_chunks(chunks)} would allow {_times(p['simulated'])} where the law"
            f" projects {_times(p['speedup'])}: that loss is not in how the chunks share out."
        )
    if ends:
        p = ends[0]
        yield (
            f"From {p['workers']} workers on the chunks, not the law, end the scaling ({_times(p['simulated'])}"
            f" replayed, {_times(p['speedup'])} projected): {_why_chunks_end_it(p, chunks)}."
        )
    elif few:
        yield f"{few[0].upper()}{few[1:]}."


def _chunks(chunks: int) -> str:
    return "the one chunk" if chunks == 1 else f"the {chunks} chunks"


def _few(chunks: int) -> str:
    if chunks == 1:
        return "there is only one chunk: one lane alone has work"
    return f"only {chunks} chunks: no more than {chunks} lanes have work"


def _ends(p: Mapping[str, Any]) -> bool:
    """Whether the chunks allow less than the law projects."""
    less: bool = p["simulated"] < (1 - NEAR) * p["speedup"]
    return less


def _loses(p: Mapping[str, Any]) -> bool:
    """Whether the law projects less than the chunks allow, for certain."""
    more: bool = p["simulated"] > max(p["high"], (1 + NEAR) * p["speedup"])
    return more


def _why_chunks_end_it(p: Mapping[str, Any], chunks: int) -> str:
    """What limits the replay: the lowest bound where it reaches it, else how the chunks are divided among lanes."""
    name, bound = min(p["bounds"].items(), key=lambda item: item[1])
    reached = p["simulated"] >= (1 - NEAR) * bound
    if name == "chunk" and reached:
        even = bound >= (1 - NEAR) * chunks
        return _few(chunks) if even else f"{BOUNDS[name]} {_times(bound)}"
    if not reached and p["idle"] >= (1 - p["simulated"] / p["workers"]) / 2:
        return f"{chunks} chunks do not share out evenly among {p['workers']} lanes"
    return f"{BOUNDS[name]} {_times(bound)}"


def _karp_flatt(laws: Mapping[str, Any]) -> str:
    return "Karp–Flatt " + ", ".join(f"{e:z.3f} at {n}" for n, e in laws["karp_flatt"])


def _trend(laws: Mapping[str, Any]) -> str:
    if laws["trend"] in TRENDS:
        return f": {TRENDS[laws['trend']]}."
    if len(laws["counts"]) < 3:
        return f": a trend is {NOT_IDENTIFIABLE} from one count above 1."
    if laws["rise_ci"][0] > 0:
        return ": faster than N-fold, so one worker pays what more do not, or caches help; no trend."
    low, high = laws["rise_ci"]
    return (
        f": the trend is {NOT_IDENTIFIABLE}; a rise may explain {_percent(low)} to {_percent(high)} of the core-seconds"
        f" at {laws['counts'][-1]} workers; more rounds would tell."
    )


def _one_fraction(laws: Mapping[str, Any]) -> Iterable[str]:
    for name, key in ("Amdahl", "amdahl"), ("Gustafson", "gustafson"):
        law = laws[key]
        if law == NOT_IDENTIFIABLE:
            yield f"{name}: {NOT_IDENTIFIABLE}; the interval of the serial fraction holds half of all answers or more."
        elif law is not None:
            text = (
                f"{name}: a serial fraction of {_percent(law['serial_fraction'])}{_percents(law['serial_fraction_ci'])}"
            )
            if law["limit"] is not None:
                text += f", so never more than {_ci(law['limit'], law['limit_ci'])}"
            elif law["limit_ci"][0] is not None:
                text += f", so a limit, if any, is above {_times(law['limit_ci'][0])}"
            if not law["tested"]:
                text += "; not tested, as two counts fit any law"
            elif laws["trend"] == RISING:
                text += "; the trend contradicts it"
            yield text + "."


def _usl(laws: Mapping[str, Any]) -> Iterable[str]:
    law = laws["usl"]
    if law == NOT_IDENTIFIABLE:
        few = len(laws["counts"]) < FEWEST_COUNTS
        why = (
            f"from {len(laws['counts'])} worker counts; it needs {FEWEST_COUNTS}" if few else "; contention may be any"
        )
        yield f"USL: {NOT_IDENTIFIABLE}{' ' * few}{why}."
        return
    text = (
        f"USL: contention {_percent(law['alpha'])}{_percents(law['alpha_ci'])},"
        f" coherency {_percent(law['beta'])}{_percents(law['beta_ci'])}"
    )
    if law["best_workers"] is not None:
        workers = _ci(law["best_workers"], law["best_workers_ci"], unit="")
        yield f"{text}: fastest with {workers} workers, {_ci(law['best_speedup'], law['best_speedup_ci'])}."
    elif law["best_speedup"] is not None:
        yield f"{text}: ever more workers come near {_ci(law['best_speedup'], law['best_speedup_ci'])}."
    else:
        yield f"{text}: no limit seen."


def _ci(value: float, interval: Sequence[float | None], unit: str = "×") -> str:
    """`12.3× [11.9, 12.8]`"""
    low, high = ("∞" if end is None else _digits(end) for end in interval)
    return f"{_digits(value)}{unit} [{low}, {high}]"


def _times(value: float) -> str:
    return f"{_digits(value)}×"


def _percents(interval: Sequence[float | None]) -> str:
    low, high = ("∞" if end is None else _percent(end) for end in interval)
    return f" [{low}, {high}]"


def _digits(value: float) -> str:
    """Three digits: `1.95`, `12.3`, `1230`."""
    return f"{float(f'{value:.3g}'):.10g}"


def _percent(value: float) -> str:
    """Two digits: `2.1 %`."""
    return f"{float(f'{100 * value:.2g}') + 0.0:.10g} %"


def _counts(counts: Sequence[int]) -> str:
    *first, last = map(str, counts)
    return f"{', '.join(first)} and {last}" if first else last


def _workers(n: int) -> str:
    return "one worker" if n == 1 else f"{n} workers"
