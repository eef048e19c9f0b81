"""What a caller has put in the wrong place, told in a line: a backend among the inputs, a word of run's, no kernel.

A backend is known here by what it can do, because `compute` is not known here. The module is loaded for an error alone.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kernels.definition.each import Each, name_of, short
from kernels.definition.kernel_class import Kernel, nearest

WORDS_OF_RUN = "on", "variant", "check", "progress"
# By which other libraries say who computes, and how many.
WORDS_OF_OTHERS = r"(n|n_|num_|max_)?(workers|jobs|threads|proc(esse)?s|cpus|cores)|backend|executor|pool"


def says_who(value: Any) -> bool:
    """Whether it is a backend, or the class of one."""
    return hasattr(value if isinstance(value, type) else type(value), "with_workers")


def is_pool(value: Any) -> bool:
    """Whether it is a pool of a backend."""
    # Statically: what a user's own object does at a look for an attribute is not to be met here.
    return not isinstance(value, type) and says_who(inspect.getattr_static(value, "backend", None))


def in_words(backend: Any) -> str:
    """How a backend is written: a class by its call."""
    return f"{backend.__name__}()" if isinstance(backend, type) else repr(backend)


def in_call(kernel: Kernel, args: Sequence[Any], kw: Mapping[str, Any], error: Exception) -> str | None:
    """What is wrong with a call that a kernel's planner has refused, or None where the planner's own words say it."""
    name = f"each({kernel.name})" if isinstance(kernel, Each) else kernel.name
    takes = inspect.signature(kernel.variants[kernel.variant].planner or kernel.planner)
    for value in [*args, *kw.values()]:
        if is_pool(value):
            return f"{value!r} computes, and is no input of {kernel.name}: write pool.run({name}, …)"
    for value in args:
        if says_who(value):
            return f"{in_words(value)} says who computes, and is no input: run({name}, …, on={in_words(value)})"
    try:
        takes.bind(*args, **kw)
    except TypeError as unbound:
        unknown = [word for word in kw if word not in takes.parameters]
        known = next(filter(None, (_about_a_word(name, word, kw[word]) for word in unknown)), None)
        if known is not None or not isinstance(error, TypeError):
            return known
        plain = [p.replace(annotation=p.empty) for p in takes.parameters.values()]
        reason = str(unbound)
        if unknown:
            reason = f"got an unexpected keyword argument {unknown[0]!r}{nearest(unknown[0], list(takes.parameters))}"
        return f"{kernel.name}{inspect.Signature(plain)}: {reason}"
    return None


def _about_a_word(name: str, word: str, value: Any) -> str | None:
    """Where a keyword belongs that a kernel does not have, or None; name: what is to be run."""
    if says_who(value):
        return f"{word}={in_words(value)} is no input of {name}: run({name}, …, on={in_words(value)})"
    if word in WORDS_OF_RUN:
        return f"{word}= is no input of {name}, but a word of compute.run: run({name}, …, {word}={short(value)})"
    if re.fullmatch(WORDS_OF_OTHERS, word):
        return f"{word}= is no input of {name}; who computes is said by on=: run({name}, …, on=Threads(2))"
    return None


def no_kernel(value: Any, known: Mapping[str, Any]) -> str:
    """What to do with something that was given in the place of a kernel; known: the kernels by name."""
    if is_pool(value):
        return f"{value!r} is not a kernel; write pool.run(kernel, …)"
    if says_who(value):
        return f"{in_words(value)} is not a kernel; give it after the kernel: run(kernel, …, on={in_words(value)})"
    if isinstance(value, str):
        if value in known:
            return f"{value!r} is not a kernel but its name; from kernels import {value}, and write {value}"
        return f"{short(value)} is not a kernel; give the kernel itself, and a backend's name after it: on='threads'"
    if callable(value):
        return (
            f"{name_of(value)} is not a kernel; each(f) makes one of a function of one item,"
            " @kernel of a body(lo, hi, out, *inputs)"
        )
    return f"{short(value)} is not a kernel; give the kernel first, and then its inputs"
