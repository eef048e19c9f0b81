"""`@kernel`: make a kernel of a body."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypedDict, Unpack, overload

from kernels.definition.bodies import Body, names_of, places_of, plain
from kernels.definition.default_plan import made_up, plan_from_arguments
from kernels.definition.kernel_class import Kernel, nearest
from kernels.definition.plan import Plan, as_index
from kernels.definition.rows import check_row
from kernels.definition.variant import Variant


class Options(TypedDict, total=False):
    """The options of `@kernel(…)`; its docstring says what each means."""

    plan: Callable[..., Plan] | None
    reduce: Callable[[Any], Any] | None
    finish: Callable[[Any, Plan], Any] | None
    dtype: Any
    grain: int | None
    compiled: bool
    example: Callable[[int], tuple[Any, ...]] | None
    cost: Callable[[int], float]
    check: Callable[..., None] | None
    memory: Callable[[int], float] | None
    unit: str
    bound: str | None
    work: Callable[[Any], float] | None
    inout: Iterable[str]


@overload
def kernel(body: Body, **options: Unpack[Options]) -> Kernel: ...
@overload
def kernel(body: None = None, **options: Unpack[Options]) -> Callable[[Body], Kernel]: ...
def kernel(body: Body | None = None, **options: Unpack[Options]) -> Any:
    """Make a kernel of `body(lo, hi, out, *inputs)`, with a `python` and (through numba) a `nogil` variant.

    An async function makes a kernel whose bodies wait, with an `awaits` variant alone.

    The body is a plain function that returns nothing: it fills what belongs to the indices lo .. hi of `out` and
    touches nothing else, so that running a chunk twice changes nothing. A body that breaks these rules is a ValueError.
    With `reduce`, `out` is an array of one row, the chunk's own: assign its partial result to out[0] (to out[0, j], for
    j up to k, where the plan's shape is (k,)). `reduce(partials)` makes the value of all of them, an array with a row
    for each chunk, in chunk order.

    plan:     (*args) -> Plan, for anything but "one float64 for each element along the arrays' first axis (or up to the
              first number)". It raises ValueError for what it cannot take.
    finish:   (out, plan) -> value, for anything but the filled array itself.
    dtype:    of the output, whatever the inputs' is; float64 where left out, and complex inputs are refused then.
    grain:    indices to a chunk; 1/256 of them where left out.
    compiled: False leaves only the `python` variant, for a body that numba cannot take.
    example:  size -> args, for the command line; random arrays of that length where left out (the size itself
              where there is a plan).
    cost:     size -> the amount of work, in `unit`; an estimate if only the result tells exactly. It grows with the
              time that one core takes.
    check:    (value, *args) raises AssertionError where the value is wrong.
    memory:   size -> bytes that the example of that size and its result take. Needed only where they cannot be
              extrapolated from two small sizes.
    unit:     what is counted, "indices" where left out: rates are in `unit`/s. The work of a run is its plan's, the
              indices where that has none.
    work:     value -> the amount of work of that run, in `unit`, where only the result tells.
    inout:    names of the inputs that the body may write to, such as ("a",): the caller's arrays then hold what it
              wrote, on every backend. All others are read-only to it. A chunk whose worker dies is not run again.
    bound:    what limits it on a perfect machine: "compute", "memory", or "wait" (for a server or a disk outside);
              None: not known, to be measured.
    """
    for name in options:
        if name not in Options.__annotations__:
            raise TypeError(f"kernel() has no option {name!r}{nearest(name, list(Options.__annotations__))}")
    if body is None:
        return functools.partial(kernel, **options)
    for name in ("plan", "reduce", "finish", "example", "cost", "check", "memory", "work"):
        if not (callable(value := options.get(name)) or value is None):
            hint = f"; write {name}={value}" if value in ("sum", "max", "min") else ""
            raise ValueError(f"{name} must be a function, not {value!r}{hint}")
    compiled = options.get("compiled", not inspect.iscoroutinefunction(body))
    grain, bound = options.get("grain"), options.get("bound")
    body = plain(body, compiled)
    if options.get("reduce"):
        check_row(body)
    names = names_of(body)
    places = places_of(options.get("inout", ()), names, body.__name__)
    if grain is not None:
        as_index(grain, "grain", least=1)
    if bound not in (None, "compute", "memory", "wait"):
        raise ValueError(
            f"bound must be 'compute', 'memory' or 'wait', not {bound!r}; leave it out where it is not known"
        )
    awaits = inspect.iscoroutinefunction(body)
    variants = {"awaits": Variant(body, "awaits")} if awaits else {"python": Variant(body)}
    if compiled:
        variants["nogil"] = Variant(body, "compiled")
    plan, ends_otherwise = options.get("plan"), bool(options.get("reduce") or options.get("finish"))
    return Kernel(
        name=body.__name__,
        module=body.__module__,
        variants=variants,
        planner=plan or plan_from_arguments(body, options.get("dtype"), grain, places, ends_otherwise),
        reduce=options.get("reduce"),
        finisher=options.get("finish"),
        example=options.get("example") or made_up(body, plan),
        cost=options.get("cost", float),
        check=options.get("check"),
        memory=options.get("memory") or (lambda size: 0.0),
        unit=options.get("unit", "indices"),
        bound=bound,
        work_of=options.get("work"),
        inputs=names,
        inout=places,
        __doc__=(plan.__doc__ if plan else None) or body.__doc__,
    )
