"""Parse the words of the command line: checked values, or a ValueError that names the word and the remedy.

Everything here is decided before a worker starts and before a large array is made.
"""

from __future__ import annotations

import math
import os
import re
import sys
from decimal import Decimal
from typing import Any

import numpy as np

import kernels
from compute import machine
from compute.backends import Backend, named
from compute.scaling import calibration, configurations
from compute.scaling.formatting import in_bytes
from compute.scaling.workload import Work, grow_work
from kernels.definition import Kernel, nearest

LARGEST_SIZE = 2**63 - 1  # an index is an int64
WORKERS_A_CPU = 32  # with more, a run only measures the scheduler, and processes fill the memory
MODES = "strong", "weak"
SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
DTYPES = "float64", "float32", "complex128", "int64"
PROBES = 256, 512  # sizes that take microseconds, far enough apart to tell n, n² and n³ apart


def kernel(word: str) -> Kernel:
    """The kernel of a registered name, or of "package.module:name" (the current folder counts, as with python -m)."""
    if ":" not in word:
        if word not in kernels.REGISTRY:
            close = _in_a_file(word) or nearest(word, kernels.REGISTRY)
            raise ValueError(
                f"no kernel is called {word!r}{close} (nfold list shows them all; one of your own is written"
                " package.module:name)"
            )
        return kernels.REGISTRY[word]
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # workers get this path, too
    try:
        return kernels.find(word)
    except ValueError:
        raise
    except Exception as error:  # the user's module may raise anything
        raise ValueError(f"cannot import {word.partition(':')[0]!r}: {type(error).__name__}: {error}") from error


def _in_a_file(word: str) -> str:
    """`; did you mean 'table:table'?` where a file of that name is here."""
    module = word.removesuffix(".py")
    if not (module.isidentifier() and os.path.isfile(f"{module}.py")):
        return ""
    return f"; did you mean '{module}:{module}', the kernel {module} of {module}.py?"


def size(word: str, least: int = 1) -> int:
    """A whole number written 1000, 1_000 or 1e9."""
    text = word.strip()
    parts = re.fullmatch(r"([+-]?)[0-9](?:_?[0-9])*(?:\.[0-9]+)?(?:[eE]\+?([0-9]+))?", text)
    huge = parts and (len(text) > 40 or len(parts[2] or "") > 3)  # too large to calculate
    number = Decimal(0 if huge or not parts else text)
    if not parts or number != number.to_integral_value():
        raise ValueError(f"SIZE must be a whole number such as 1000, 1_000 or 1e9, not {text!r}")
    if number < least if not huge else parts[1] == "-":
        raise ValueError(f"SIZE must be at least {least}, not {text}")
    if huge or number > LARGEST_SIZE:
        raise ValueError(f"SIZE must be at most {LARGEST_SIZE}, not {text}")
    return int(number)


def budget(word: str, option: str = "--budget") -> float:
    """Seconds, from 30s, 2m, 1.5h, 500ms or 10; option: for what is said of one that is none."""
    text = word.strip().lower()
    parts = re.fullmatch(r"([+-]?[0-9.]+(?:e[+-]?[0-9]+)?|nan|[+-]?inf)\s*([a-z]*)", text)
    try:
        seconds = float(parts[1]) * SECONDS[parts[2]] if parts else math.nan
    except (ValueError, KeyError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{option} must be a time above 0 such as 30s, 2m or 500ms, not {word.strip()!r}")
    return seconds


def backend(word: str, workers: int | None = None, scheduler: str | None = None) -> Backend:
    """One backend by its name; scheduler: of the cluster that it is to use."""
    chosen = named(word.strip()) if scheduler is None else named(word.strip()).at(scheduler)
    return chosen if workers is None else chosen.with_workers(workers)


def backends(words: str, scheduler: str | None = None) -> list[Backend]:
    """The backends of a comma list, each once; scheduler: of the cluster for those that compute on one."""
    chosen = [backend(word) for word in _items(words, "--on", "threads,processes")]
    if scheduler is None:
        return chosen
    if not any(each.traits.remote for each in chosen):
        raise ValueError(
            f"--scheduler is for backends that compute on a cluster, and --on {words} names none: nfold list shows"
            " which do"
        )
    return [each.at(scheduler) if each.traits.remote else each for each in chosen]


def worker_counts(words: str | None, scheduler: str | None = None) -> list[int]:
    """The worker counts of a comma list, in order, each once; 1, 2, 4 … and the usable CPUs where left out."""
    if words is None:
        return configurations.worker_counts()
    return sorted({worker_count(word, scheduler) for word in _items(words, "--workers", "1,2,4")})


def worker_count(word: str, scheduler: str | None = None) -> int:
    """One worker count, from 1 on; scheduler: of a cluster, which has more CPUs than this machine."""
    usable = machine.usable_cpus()
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", word.strip()):
        raise ValueError(f"--workers must be whole numbers such as 1,2,4, not {word.strip()!r}")
    count = int(word)
    if count < 1:
        raise ValueError(f"--workers must be at least 1, not {count}; leave it out to use all {usable} CPUs")
    if scheduler is None and count > WORKERS_A_CPU * usable:
        raise ValueError(
            f"--workers must be at most {WORKERS_A_CPU * usable} ({WORKERS_A_CPU} for each of {usable} usable CPUs),"
            f" not {count}"
        )
    return count


def variants(words: str | None, of: Kernel) -> list[str]:
    """The variants of a comma list, each once, all of them the kernel's; its fastest where left out."""
    if words is None:
        return [of.variant]
    return [of.held_to(word).variant for word in _items(words, "--variant", "python,nogil")]


def _items(words: str, option: str, such_as: str) -> list[str]:
    items = list(dict.fromkeys(word.strip() for word in words.split(",")))
    if not all(items):
        raise ValueError(f"{option} must be a comma list such as {such_as}, not {words!r}")
    return items


def operands(of: Kernel, number: int, dtype: str | None = None) -> tuple[Any, ...]:
    """The kernel's example arguments of a size, checked by its plan. ValueError where they do not fit in memory.

    dtype: of their arrays, where the kernel computes in it.
    """
    if dtype is not None:
        _in_dtype(of, of.example(min(number, PROBES[0])), dtype)  # a refusal, before large arrays are made
    wider = 1.0 if dtype is None else 1.0 + np.dtype(dtype).itemsize / 8  # float64, and what is made of it
    needed, free = wider * memory_needed(of, number), machine.memory_available()
    if needed > free:
        raise ValueError(
            f"{of.name} of size {number} needs {in_bytes(needed)} and {in_bytes(free)} are free; use a smaller size"
        )
    args = of.example(number) if dtype is None else _in_dtype(of, of.example(number), dtype)
    of.plan(*args)
    return args


def _in_dtype(of: Kernel, args: tuple[Any, ...], word: str) -> tuple[Any, ...]:
    """The arguments with arrays of a dtype; a ValueError where the kernel does not compute in it."""
    if word not in DTYPES:
        raise ValueError(f"--dtype must be {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, not {word!r}")
    dtype = np.dtype(word)

    def converted(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        # Whole numbers that use their bits: the examples are between -1 and 1.
        return (x * 2.0**53).astype(dtype) if dtype.kind == "i" and x.dtype.kind == "f" else x.astype(dtype)

    given = tuple(converted(x) for x in args)
    try:
        computed = np.dtype(of.plan(*given).dtype)
    except ValueError as error:
        raise ValueError(f"{of.name} does not take {word}: {error}") from None
    if computed != dtype or not any(isinstance(x, np.ndarray) for x in args):
        raise ValueError(f"{of.name} does not compute in {word} (its result is {computed}); leave --dtype out")
    return given


def scaling_mode(word: str) -> str:
    """One of MODES."""
    if word not in MODES:
        raise ValueError(f"--mode must be {' or '.join(MODES)}, not {word!r}{nearest(word, list(MODES))}")
    return word


def work(of: Kernel, number: int, variants: list[str], counts: list[int], mode: str) -> Work:
    """What `nfold scale` is to measure: the example of a size, or one that grows with the workers."""
    if scaling_mode(mode) == "strong":
        return Work(of, operands(of, number), variants=variants, size=number)
    operands(of, calibration.size_for(of, sum(counts) * of.cost(number)))  # all of them are held at once
    return grow_work(of, number, counts, variants)


def memory_needed(of: Kernel, number: int) -> float:
    """Bytes of the kernel's example arguments and output: what it states, or two small sizes foretell."""
    stated = float(of.memory(number))
    low, high = PROBES
    if number <= high:
        return stated
    try:
        few, many = (_bytes_held(of, probe) for probe in PROBES)
    except Exception:  # not a size that this kernel takes: its plan will say so of the real one
        return stated
    power = math.log2(max(many, 1) / max(few, 1)) / math.log2(high / low)
    return max(stated, float(many * (number / high) ** max(power, 0.0)))


def _bytes_held(of: Kernel, number: int) -> float:
    args = of.example(number)
    plan = of.plan(*args)
    output = math.prod(of.output_shape(plan)) * np.dtype(plan.dtype).itemsize
    return float(output + sum(getattr(x, "nbytes", 0) for x in args))


def gives_matrix(of: Kernel, args: tuple[Any, ...]) -> bool:
    """Whether the kernel's value is a matrix with something in it, which can be shown as a picture."""
    plan = of.plan(*args)
    shape = of.output_shape(plan) if plan.value_shape is None else plan.value_shape
    return of.reduce is None and len(shape) == 2 and min(shape) > 0
