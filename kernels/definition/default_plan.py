"""What a kernel has that gives no plan and no example: an index for each element of its arrays, and made-up arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np

from kernels.definition.arguments import NUMBERS, PLAIN_DTYPES, as_input, name_at
from kernels.definition.bodies import POSITIONAL, inputs_of, names_of
from kernels.definition.plan import Plan, as_index
from kernels.definition.rows import sole_element


def plan_from_arguments(
    body: FunctionType, dtype: Any, grain: int | None, inout: Sequence[int], ends_otherwise: bool
) -> Callable[..., Plan]:
    """A planner for a kernel that gives none: an index for each element along the arrays' first axis.

    dtype: the output's; float64 where it is None, which refuses complex inputs. ends_otherwise: whether a reduce or a
    finish makes the value, which may read a part of the output alone. The planner takes what the body takes after
    (lo, hi, out), and binds it as Python would.
    """
    signature, names = inputs_of(body), names_of(body)
    dtype, is_said = np.float64 if dtype is None else dtype, dtype is not None
    is_plain = all(p.default is p.empty and p.kind in POSITIONAL for p in signature.parameters.values())
    needed = [p for p in signature.parameters.values() if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    most = len(names) if not any(name.startswith("*") for name in names) else None

    def bound_as_python_does(args: tuple[Any, ...], kw: dict[str, Any]) -> Sequence[Any]:
        if is_plain and not kw and len(args) == len(names):
            return args  # the usual case: binding would take as long as the rest of a plan
        if not kw and (len(args) < len(needed) or (most is not None and len(args) > most)):
            raise ValueError(f"{body.__name__} takes {_count(needed, most)} ({', '.join(names)}), not {len(args)}")
        bound = signature.bind(*args, **kw)
        bound.apply_defaults()
        given = list(bound.args)
        # A default that is no input, such as None, is left out where the caller gave no value: Python fills it in.
        while len(given) > len(args) and names[len(given) - 1] not in kw and not isinstance(given[-1], NUMBERS):
            given.pop()
        return given

    def filled(plan: Plan) -> Plan:
        element = None if ends_otherwise or plan.indices < 2 else sole_element(body)
        if element == "0" or (element and plan.step > 1):
            raise ValueError(
                f"{body.__name__} writes out[{element}] and nothing else, and what a chunk has to fill is out[lo:hi]; a"
                " chunk's one partial result goes into out[0], and @kernel(reduce=sum) makes the value of them all"
            )
        return plan

    def plan(*args: Any, **kw: Any) -> Plan:
        given = bound_as_python_does(args, kw)
        for k in inout:
            if k < len(given) and type(given[k]) not in (np.ndarray, np.memmap):
                kind = type(given[k]).__name__
                raise ValueError(f"{names[k]} is written to, so it must be an array, not {kind}; pass np.asarray(…)")
        inputs = tuple(as_input(x, name_at(names, k)) for k, x in enumerate(given))
        if not is_said:
            _check_real(inputs, names, body.__name__)
        arrays = [(k, x) for k, x in enumerate(inputs) if isinstance(x, np.ndarray) and x.ndim]
        if arrays:
            first, longest = arrays[0][0], len(arrays[0][1])
            for k, x in arrays[1:]:
                if len(x) != longest:
                    a, b = name_at(names, first), name_at(names, k)
                    raise ValueError(
                        f"{a} has {longest} along its first axis and {b} has {len(x)}; pass arrays of one length, or"
                        f" say which counts: @kernel(plan=lambda {', '.join(names)}: Plan(len({a}), …))"
                    )
            return filled(Plan(longest, inputs, dtype=dtype, grain=grain))
        if not inputs:
            raise ValueError(f"{body.__name__} has no input to count indices by; give it plan=")
        try:
            count = as_index(inputs[0], name_at(names, 0))
        except ValueError as error:
            raise ValueError(
                f"{error}: where no input is an array, the first is how many indices there are; pass an array"
                f" (np.atleast_1d({name_at(names, 0)})), or give {body.__name__} a plan="
            ) from None
        return filled(Plan(count, inputs, dtype=dtype, grain=grain))

    plan.__signature__ = signature  # type: ignore[attr-defined]
    return plan


def _count(needed: Sequence[inspect.Parameter], most: int | None) -> str:
    least = len(needed)
    if most is None:
        return f"at least {least} input{'' if least == 1 else 's'}"
    if least == most:
        return "1 input" if least == 1 else f"{least} inputs"
    return f"{least} to {most} inputs"


@dataclass(frozen=True)
class MadeUp:
    """An example for a kernel that gives none: a random array for each input, or for a plan the size itself."""

    names: tuple[str, ...]
    of_a_plan: bool

    def __call__(self, size: int) -> tuple[Any, ...]:
        if self.of_a_plan:
            return (size,)
        return tuple(np.random.default_rng(20261122).random((len(self.names), size)))

    def refused(self, kernel: str, reason: str) -> str:
        """The line for a kernel that failed with it, with what to say."""
        names = ", ".join(self.names)
        given = "its plan was given SIZE alone" if self.of_a_plan else f"it was given random arrays for {names}"
        return (
            f"{kernel} has no example=, so {given}; where it takes something else, say"
            f" @kernel(example=lambda size: ({names}{',' * (len(self.names) == 1)})). It failed: {reason}"
        )


def made_up(body: FunctionType, plan: Callable[..., Plan] | None) -> MadeUp:
    """The example of a kernel of that body that gives none: of each input that has no default."""
    takes = inspect.signature(plan) if plan else inputs_of(body)
    names = tuple(p.name for p in takes.parameters.values() if p.default is p.empty)
    return MadeUp(names, plan is not None)


def _check_real(inputs: Sequence[Any], names: Sequence[str], body: str) -> None:
    """ValueError where an input is complex, of a kernel that did not say what its output's dtype is."""
    for k, x in enumerate(inputs):
        if type(x) not in (float, int) and np.iscomplexobj(x) and np.result_type(x) in PLAIN_DTYPES:  # others: later
            raise ValueError(
                f"{name_at(names, k)} is complex, and {body} fills float64, which has no imaginary part; say"
                " @kernel(dtype=np.complex128), or dtype=np.float64 where it makes real numbers of it"
            )
