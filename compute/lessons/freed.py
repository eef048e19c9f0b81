"""Lesson 5: threads without a common GIL: machine code, an interpreter for each thread, a Python without a GIL."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sysconfig
from collections.abc import Callable, Mapping

from compute import machine
from compute.backends.backend import Backend
from compute.backends.interpreters import Interpreters
from compute.backends.pool import Pool
from compute.backends.threads import Threads
from compute.lessons.computing import collatz
from compute.lessons.lesson import Evidence, Figure, Judgement, Lesson, Picture, Series, Setting
from compute.lessons.rounds import enough, in_rounds, is_above, noting_crowds, ratio, too_crowded
from compute.scaling.formatting import listed
from compute.scaling.formatting import ratio as in_digits
from compute.scaling.verify import WrongAnswer

RUN = 0.15  # s of one run with one worker: thirty of Python's switch intervals
FASTER = 1.25  # two over one: with more they did run side by side
SMALL = 1000  # indices: for these all must return the same
PYTHON, COMPILED, INTERPRETERS = "Python on threads", "machine code on threads", "Python on interpreters"
WITHOUT_GIL = "python3.14t", "python3.15t", "python3.13t"  # the names that installers give them; the best one first


def steps_by(pool, variant, n):
    return int(pool.run(collatz, n, variant=variant).value.sum())


CANDIDATES: tuple[tuple[str, type[Backend], str], ...] = (
    (PYTHON, Threads, "python"),
    (COMPILED, Threads, "nogil"),
    (INTERPRETERS, Interpreters, "python"),
)


@noting_crowds
def measure(setting: Setting) -> Evidence:
    """Seconds with one worker and with two, of Python and of what holds no GIL."""
    missing: dict[str, str] = {}
    ways: dict[str, Callable[[], int]] = {}
    answers: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        for name, backend, variant in CANDIDATES:
            setting.say(name)
            try:
                one, two = (stack.enter_context(backend(workers).open()) for workers in (1, 2))
                n, answer = _size_and_answer(name, one, two, variant, min(RUN, setting.seconds / 60))
            except (ValueError, ImportError, OSError, RuntimeError) as error:
                missing[name] = str(error)
                continue
            for count, pool in ("1", one), ("2", two):
                ways[f"{name}, {count}"] = functools.partial(steps_by, pool, variant, n)
                answers[f"{name}, {count}"] = answer
        samples = in_rounds(ways, setting, answers=answers)
    return {
        "samples": {
            name: {count: samples[f"{name}, {count}"] for count in ("1", "2")}
            for name, *_ in CANDIDATES
            if name not in missing
        },
        "missing": missing,
        "cpus": machine.usable_cpus(),
        "gil": machine.has_gil(),
        "can_be_without": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "elsewhere": next((path for name in WITHOUT_GIL if (path := shutil.which(name))), None),
    }


def _size_and_answer(name: str, one: Pool, two: Pool, variant: str, run: float) -> tuple[int, int]:
    """How many indices take one worker `run` seconds, and the value that they give.

    WrongAnswer where two workers return something else than the plain body, for a few indices.
    """
    if (given := steps_by(two, variant, SMALL)) != (right := int(collatz.python(SMALL).sum())):
        raise WrongAnswer(f"{name} gave {given}, not {right}: its time would say nothing")
    n = enough(functools.partial(steps_by, one, variant), 256, run)
    return n, steps_by(one, variant, n)


def judge(evidence: Evidence) -> Judgement:
    samples, cpus, gil = evidence["samples"], evidence["cpus"], evidence["gil"]
    speedups = {name: ratio(f"{name}: two over one", taken["1"], taken["2"]) for name, taken in samples.items()}
    freed = [name for name in speedups if name != PYTHON or not gil]
    side_by_side = {name: is_above(speedups[name], FASTER) for name in freed} if cpus > 1 else {}
    held = [name for name, is_faster in side_by_side.items() if is_faster is False]
    untold = [name for name, is_faster in side_by_side.items() if is_faster is None]
    crowd = too_crowded(evidence["crowded"]) if side_by_side else None
    gains = listed([f"{name} {in_digits(figure.value)}" for name, figure in speedups.items()])
    return Judgement(
        None if crowd or (untold and not held) or not side_by_side else not held,
        f"a second worker makes {gains} times as fast" if speedups else "nothing was measured",
        "; ".join([crowd or _why(evidence, held, untold), *_absent(evidence["missing"]), *_to_try(evidence)]),
        tuple(speedups.values()),
        (_picture(speedups, cpus),) if speedups else (),
    )


def _why(evidence: Evidence, held: list[str], untold: list[str]) -> str:
    if evidence["cpus"] < 2:
        return "with one usable CPU nothing can run side by side, with a GIL or without"
    if held:
        return f"{listed(held)} had a second CPU and gained nothing by it: something inside the interpreter is shared"
    if untold:
        return f"the rounds do not tell whether two are {FASTER} times as fast for {listed(untold)}; measure for longer"
    if not evidence["gil"]:
        return "this interpreter has no GIL: its threads run Python side by side"
    released = [
        words
        for name, words in (
            (COMPILED, "machine code lets go of the GIL"),
            (INTERPRETERS, "each interpreter has a GIL of its own"),
        )
        if name in evidence["samples"]
    ]
    return listed(released) or "nothing here runs without the GIL"


def _absent(missing: Mapping[str, str]) -> list[str]:
    return [f"no {name} here: {why}" for name, why in missing.items()]


def _to_try(evidence: Evidence) -> list[str]:
    """How to see the same without a GIL."""
    if not evidence["gil"]:
        return []
    if evidence["can_be_without"]:
        return ["this Python can be without its GIL: PYTHON_GIL=0 switches it off"]
    path = evidence["elsewhere"] or "PATH"
    reason = (
        f"{path} has no GIL" if evidence["elsewhere"] else "a Python without a GIL, such as python3.14t, is not here"
    )
    return [f"{reason}: nfold lessons 5 --python {path} puts it beside this one"]


def _picture(speedups: Mapping[str, Figure], cpus: int) -> Picture:
    return Picture(
        "Speedup of the same loop by a second worker, beside the ideal",
        tuple(speedups),
        (
            Series.of("two", speedups.values()),
            Series("ideal", tuple(float(min(2, cpus)) for _ in speedups)),
        ),
        y_label="speedup over one",
        unit="×",
        ideal=("ideal",),
    )


LESSON = Lesson(
    5,
    "freed",
    "The GIL gone",
    "Where no GIL is held, threads run side by side: in machine code, in interpreters, in a Python without one.",
    (collatz.variants["python"].source(), steps_by),
    measure,
    judge,
)
