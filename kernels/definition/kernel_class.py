"""Kernel: the class behind `@kernel` and `each`. `find` looks a kernel up by `module:name`.

A kernel is plan -> body -> finish. It says *what* to compute over the indices 0 .. n. A backend decides who computes
which of them.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kernels.compilation.bounded import MADE
from kernels.definition import refusals
from kernels.definition.arguments import check_holds_value, checked, checked_out, guarded
from kernels.definition.bodies import nothing_returned, plain
from kernels.definition.module_names import check_module, functions_of, listed
from kernels.definition.plan import Plan, fault_of, same_elements, surrounded
from kernels.definition.plan import as_index as as_index
from kernels.definition.recycled import empty
from kernels.definition.rows import check_row, writes_at_every_index
from kernels.definition.variant import Body, Mode, Variant, awaited, numba_is_here, where_numba_is
from kernels.texts import visible
from kernels.vectors.memory import check_ever_fits, with_figures


@dataclass(frozen=True, eq=False, repr=False)
class Kernel:
    """A parallel computation that is an ordinary function to its caller: `kernel(*args)` runs it on one core.

    `kernel.python`, `kernel.nogil` … are the same kernel held to one variant; the bare kernel takes the fastest
    that this interpreter can run. Everything that can be wrong with the arguments is raised by `plan`, before any
    work begins.
    """

    name: str
    module: str
    variants: dict[str, Variant]
    planner: Callable[..., Plan]
    reduce: Callable[[Any], Any] | None = None
    finisher: Callable[[Any, Plan], Any] | None = None
    example: Callable[[int], tuple[Any, ...]] = lambda size: (size,)
    cost: Callable[[int], float] = float
    check: Callable[..., None] | None = None
    memory: Callable[[int], float] = lambda size: 0.0
    unit: str = "indices"
    bound: str | None = None
    work_of: Callable[[Any], float] | None = None
    inputs: tuple[str, ...] = ()
    inout: tuple[int, ...] = ()
    is_repeatable: bool = True  # whether a chunk whose worker died may be run again: its body has no effects outside
    timeout: float | None = None  # seconds after which a chunk's worker is killed; None for never
    chosen: str | None = None
    __doc__: str | None = field(default=None, compare=False)

    def __call__(self, *args: Any, **kw: Any) -> Any:
        """Run on this thread alone."""
        args, kw = self.settled(args, kw)
        with surrounded(self.plan(*args, **kw)) as plan:
            return self._run(plan)

    def _run(self, plan: Plan) -> Any:
        out = self.allocate(plan)
        plan = plan._replace(inputs=guarded(plan.inputs, self.inout))
        body = self.body(self._chunk_arguments(0, out, plan)) if plan.chunks else self.body()
        try:
            for chunk in range(plan.chunks):
                self.run_chunk(body, chunk, out, plan)
        except Exception as error:
            if (explanation := self.explained(error)) is not error:
                raise explanation from None
            raise
        return self.finish(out, plan)

    def body(self, arguments: tuple[Any, ...] | None = None) -> Body:
        """The chosen variant's body, as any thread can call it. arguments: as for `Variant.load`."""
        variant = self.variants[self.variant]
        loaded = variant.load(self.reduce is not None, arguments)
        return awaited(loaded) if variant.mode == "awaits" else loaded

    def written_body(self, variant: str) -> Body:
        """The function that a user has written for a variant; it may need numba to be imported."""
        return self.variants[variant].source()

    def run_chunk(self, body: Body, chunk: int, out: Any, plan: Plan) -> None:
        """Run one chunk of a plan on this thread, with a body that `body` gave."""
        nothing_returned(body(*self._chunk_arguments(chunk, out, plan)))

    def _chunk_arguments(self, chunk: int, out: Any, plan: Plan) -> tuple[Any, ...]:
        return *plan.bounds(chunk), out[chunk : chunk + 1] if self.reduce else out, *plan.inputs

    def plan(self, *args: Any, **kw: Any) -> Plan:
        """Check the caller's arguments and say what there is to do."""
        variant = self.variants[self.variant]
        plan = self._planned(args, kw)
        if not _is_sound(plan):
            raise ValueError(f"{self.name}'s plan {fault_of(plan)}")
        check_ever_fits(self.output_bytes(plan))
        if plan.shape is not None and not self.reduce and not (plan.shape and plan.shape[0] >= plan.indices):
            self._check_extent(plan)
        if plan.out is not None:
            shape = self.output_shape(plan) if plan.value_shape is None else plan.value_shape
            # Where there is a reduce or a finish, only the value tells its shape and dtype.
            plan = plan._replace(out=checked_out(plan, None if self.reduce or self.finisher else shape))
        if variant.compiled:
            _check_writes_once(variant.function, self.inputs, self.inout)
        return checked(plan, self.inputs, self.inout, variant.compiled)

    def settled(self, args: tuple[Any, ...], kw: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Make the arguments reusable: an iterator becomes a list. Call this before planning them twice."""
        return args, kw

    def _planned(self, args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        """What the planner makes of the arguments; a TypeError that names the kernel where it does not take them."""
        try:
            return (self.variants[self.variant].planner or self.planner)(*args, **kw)
        except MemoryError as error:
            raise with_figures(error) from None
        except (TypeError, ValueError) as error:
            from kernels.definition import misplaced

            reason = misplaced.in_call(self, args, kw, error)
            if reason is None:
                raise
            raise TypeError(reason) from None

    def _check_extent(self, plan: Plan) -> None:
        """ValueError where the body's text shows that it writes beyond an output that is shorter than the indices."""
        python = self.variants.get("python")
        if python is not None and writes_at_every_index(python.source()):
            raise ValueError(
                f"{self.name}'s plan gives an output of shape {plan.shape} for {plan.indices} indices, and its body"
                f" writes to each of them along the first axis; say shape=({plan.indices}, …)"
            )

    def output_shape(self, plan: Plan) -> tuple[int, ...]:
        """The shape of the array that the chunks fill: a row for each chunk where the kernel reduces."""
        if self.reduce:
            return (plan.chunks, *(plan.shape or ()))
        return (plan.indices,) if plan.shape is None else plan.shape

    def output_bytes(self, plan: Plan) -> int:
        """Bytes of that array; a whole number of any size, which may be beyond what numpy can count."""
        return math.prod(self.output_shape(plan)) * int(np.dtype(plan.dtype).itemsize)

    def fills_out(self, plan: Plan) -> bool:
        """Whether bodies fill the caller's `out`: of a reduced or finished value, it has the shape of the value."""
        if self.reduce or (target := plan.target) is None or not plan.writes_into_out:
            return False
        shape = self.output_shape(plan)
        return target.shape == shape if plan.value_shape is None else target.size == math.prod(shape)

    def allocate(self, plan: Plan, empty: Callable[..., Any] = empty) -> np.ndarray[Any, Any]:
        """The array that the bodies fill: the caller's own where that is safe, else a new one from `empty`."""
        if self.fills_out(plan) and (target := plan.target) is not None:
            return target if plan.value_shape is None else target.reshape(self.output_shape(plan))
        # Read and written together, element by element: it helps if both begin at the same place in a cache line.
        beside = next((x for x in plan.inputs if isinstance(x, np.ndarray)), None) if plan.elementwise else None
        out: np.ndarray[Any, Any] = empty(self.output_shape(plan), dtype=plan.dtype, beside=beside)
        return out

    def finish(self, out: Any, plan: Plan) -> Any:
        """Turn the filled output, in chunk order, into the caller's value."""
        value = self._reduced(out) if self.reduce else out
        if plan.out is not None and value is out and not self.finisher and np.may_share_memory(out, plan.out):
            return plan.out  # which `allocate` gave the bodies
        if self.finisher:
            value = self.finisher(value, plan)
        if plan.value_shape is not None:
            value = value.reshape(plan.value_shape)[()]  # numpy, too, gives a number where there are no axes
        if (target := plan.target) is not None:
            if not same_elements(np.asarray(value), target):
                check_holds_value(target.dtype, value)
                target[...] = value
            return plan.out
        return value.item() if isinstance(value, np.generic) else value

    def _reduced(self, rows: Any) -> Any:
        assert self.reduce
        try:
            return self.reduce(_wide(rows) if self.reduce is sum else rows)
        except (ValueError, TypeError, IndexError) as error:
            name = self.reduce.__name__ if self.reduce in (max, min) else ""
            if not len(rows):
                value = f"{name}(rows, default=0.0)" if name else "… if len(rows) else 0.0"
                reason = f"is given no indices, and its reduce makes no value of no partial results ({error})"
            elif name and rows.ndim > 1:
                value = f"rows.{name}(axis=0)"
                reason = f"has partial results of several numbers, and {name} compares single ones"
            else:
                raise
            raise ValueError(f"{self.name} {reason}; say reduce=lambda rows: {value}") from error

    def explained(self, error: Exception) -> Exception:
        """What a body raised: one line with a remedy, where numpy or numba raised it about the body; else unchanged."""
        return refusals.explained(error, self)

    def work(self, plan: Plan, value: Any) -> float:
        """How much work a run did, in `unit`: by its value, where only that tells, else by its plan."""
        if self.work_of:
            return float(self.work_of(value))
        return float(plan.indices if plan.work is None else plan.work)

    @property
    def variant(self) -> str:
        """The variant that runs: the one this kernel is held to, or the fastest that can run here."""
        if self.chosen:
            return self.chosen
        return [name for name, v in self.variants.items() if not v.compiled or numba_is_here()][-1]

    def held_to(self, variant: str | None) -> Kernel:
        """The same kernel, held to one variant; None leaves it as it is."""
        if variant is None or variant == self.chosen:
            return self
        if variant not in self.variants:
            raise ValueError(
                f"{self.name} has no variant {variant!r}; choose from {', '.join(self.variants)}"
                + nearest(variant, self.variants)
            )
        if self.variants[variant].compiled and not numba_is_here():
            raise ValueError(
                f"variant {variant!r} needs numba's compiler, which is {where_numba_is()}; use variant 'python'"
            )
        return _held(self, variant)

    def __getattr__(self, name: str) -> Kernel:
        if name.startswith("_") or name not in self.__dict__.get("variants", ()):
            raise AttributeError(
                f"kernel has no attribute or variant {name!r}{nearest(name, self.__dict__.get('variants', {}))}"
            )
        return self.held_to(name)

    def add_variant(
        self,
        variant: str,
        function: Body | str,
        *,
        compiled: bool = False,
        plan: Callable[..., Plan] | None = None,
    ) -> None:
        """Add a faster variant (or put another body under a name that is there). The last one added is the fastest.

        A body that is a coroutine function makes one that awaits.
        """
        mode: Mode = "compiled" if compiled else "python"
        if not isinstance(function, str):
            mode = "awaits" if inspect.iscoroutinefunction(function) else mode
            function = plain(function, compiled)
            if self.reduce:
                check_row(function)
        self.variants.pop(variant, None)
        self.variants[variant] = Variant(function, mode, plan)

    def set_planner(self, variant: str, plan: Callable[..., Plan]) -> None:
        """Give a variant that is there a planner of its own."""
        self.variants[variant] = replace(self.variants[variant], planner=plan)

    @property
    def path(self) -> str:
        """`package.module:name`, by which `find` finds this kernel."""
        return f"{self.module}:{self.name}"

    def __repr__(self) -> str:
        return f"<kernel {self.path}" + (f" ({self.chosen})>" if self.chosen else ">")

    def __reduce__(self) -> Any:
        # Pickle by name if the name finds this kernel. Kernels of __main__, closures and lambdas are pickled by value.
        if self.module != "__main__":
            try:
                if find(self.path).variants is self.variants:
                    return _found, (self.path, self.chosen)
            except ValueError:
                pass
        return self.by_value()

    def by_value(self) -> tuple[Any, ...]:
        """What a pickler needs to make this kernel again, wherever it is defined."""
        state = {k: v for k, v in self.__dict__.items() if k != "__signature__"}
        return _rebuilt, (type(self), state)


def _is_sound(plan: Any) -> bool:
    """Fast check for a usual plan; only other plans are examined by `fault_of`."""
    return (
        type(plan) is Plan
        and type(plan.indices) is int
        and plan.indices >= 0
        and type(plan.inputs) is tuple
        and (plan.grain is None or (type(plan.grain) is int and plan.grain > 0))
        and (plan.shape is None or (type(plan.shape) is tuple and all(type(extent) is int for extent in plan.shape)))
    ) or not fault_of(plan)


def _wide(out: np.ndarray[Any, Any]) -> Any:
    """Partial results for Python's own `sum`, which would add numpy's integers in their dtype, where they overflow."""
    if out.dtype.kind not in "biu":
        return out
    return out.tolist() if out.ndim == 1 else out.astype(np.uint64 if out.dtype.kind == "u" else np.int64)


_check_writes_once = functools.lru_cache(maxsize=MADE)(refusals.check_writes)


@functools.lru_cache(maxsize=MADE)  # making a kernel costs as much as dispatching a small run
def _held(kernel: Kernel, variant: str) -> Kernel:
    return replace(kernel, chosen=variant)


def _found(path: str, chosen: str | None) -> Kernel:
    return find(path).held_to(chosen)


def _rebuilt(kind: type[Kernel], state: dict[str, Any]) -> Kernel:
    return kind(**state)


def nearest(word: str, words: Mapping[str, Any] | list[str]) -> str:
    """`; did you mean 'x'?` for the most similar of the words, or nothing."""
    import difflib  # for an error alone

    close = difflib.get_close_matches(word, list(words), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def find(path: str) -> Kernel:
    """The kernel called `package.module:name`, or `each` of a plain function of that name.

    Where its module has a function `example`, example(size) gives that many items of a function, for the command line.
    A ValueError says what is missing where there is neither.
    """
    module, _, name = path.partition(":")
    check_module(module, name)
    try:
        home: Any = importlib.import_module(module)
    except (ImportError, ValueError) as error:
        raise ValueError(f"cannot import {module!r} for kernel {path!r}: {error}") from error
    except SystemExit as error:  # a program, and no module
        raise ValueError(
            f"cannot import {module!r} for kernel {path!r}: it calls sys.exit({error.code!r}) when it is imported; put"
            ' that under `if __name__ == "__main__":`'
        ) from error
    named = getattr(home, name, None)
    if isinstance(named, Kernel):
        return named
    if callable(named) and not isinstance(named, type):
        from kernels.definition.each import each_of_module

        return each_of_module(named, home)
    made = {k for k, v in vars(home).items() if isinstance(v, Kernel)}
    names = sorted(made | functions_of(home))
    raise ValueError(
        f"{visible(path)} is a class, and a kernel is made of a function"
        if isinstance(named, type)
        else f"{visible(module)} has no kernel {name!r}; it has {listed(sorted(made) or names)}{nearest(name, names)}"
    )
