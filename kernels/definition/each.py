"""`each(f)`: a kernel of any Python function of one item. Its indices are the items, its value the list of results.

The bodies are Python. Where lanes share the caller's memory, they see the items themselves. Elsewhere a pool passes
other objects in place of `Items` and of `keep`, with the same interface. So the bodies are the same on every backend.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import operator
import reprlib
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kernels.compilation.bounded import MADE, Bounded
from kernels.definition.kernel_class import Kernel, nearest
from kernels.definition.notes import add_note
from kernels.definition.plan import MOST_CHUNKS, Plan, as_index
from kernels.definition.variant import Variant
from kernels.vectors.memory import check_memory

BYTES_PER_PLACE = 16  # of an item: in the list of items and in that of results
BYTES_PER_ITEM = BYTES_PER_PLACE + 32  # and a number, the smallest of items
BATCH = 2**20  # items between two looks at the memory that is left
LONGEST_TIMEOUT = 10**8  # s: three years, which every system's clocks can add
Errors = Literal["raise", "return"]


class Items:
    """The items of a call, as bodies see them: a slice of them is a list."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, part: slice) -> list[Any]:
        return self.values[part]

    def __copy__(self) -> Items:  # with a way of its own to be copied, it is not made read-only: see containers.py
        return self


def keep(out: Any, lo: int, values: list[Any]) -> None:
    """Put a chunk's results into its row as they are: for lanes that share the caller's memory."""
    out[0] = values


@dataclass(frozen=True, eq=False, repr=False)
class Each(Kernel):
    """A kernel of a function of one item."""

    returns_errors: bool = False
    function: Callable[..., Any] | None = None

    def written_body(self, variant: str) -> Callable[..., Any]:
        """The function of an item, not what calls it for each."""
        return self.function or super().written_body(variant)

    def late(self, plan: Plan, item: int) -> TimeoutError:
        """The error for an item that took too long."""
        return late(self.name, item, plan.inputs[0].values[item], self.timeout)

    def __call__(self, *args: Any, **kw: Any) -> Any:
        """Run on this thread alone."""
        if self.timeout is not None:
            raise ValueError(f"{self.name} has a timeout, and nobody can end a function here; run it on Processes")
        return super().__call__(*args, **kw)

    def explained(self, error: Exception) -> Exception:
        """Return the error unchanged: `each` has no rules for bodies that it could explain."""
        return error

    def settled(self, args: tuple[Any, ...], kw: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """With the items as a list: an iterator can be read only once, and would be empty for a second plan."""
        if args:
            return (listed(args[0], self.name), *args[1:]), kw
        return args, kw | {"items": listed(kw["items"], self.name)} if "items" in kw else kw

    def plan(self, *args: Any, **kw: Any) -> Plan:
        """As for any kernel; items need no check, because lanes take them as they are."""
        plan: Plan = self._planned(args, kw)
        return plan

    def allocate(self, plan: Plan, empty: Callable[..., Any] = np.empty) -> np.ndarray[Any, Any]:
        if plan.dtype is object:  # arenas lend no memory for objects
            return np.empty(plan.chunks, object)
        return super().allocate(plan, empty)


def each(
    f: Callable[..., Any] | None = None,
    *,
    star: bool = False,
    seed: int | None = None,
    errors: Errors = "raise",
    retry: bool = True,
    cost: Callable[[Any], float] | None = None,
    timeout: float | None = None,
    example: Callable[[int], tuple[Any, ...]] | None = None,
) -> Any:
    """Make a kernel of any function of one item: `each(f)(items)` is `[f(item) for item in items]`, on any backend.

    f may be an async function: on Coroutines(n), n items wait at the same time; elsewhere each lane has a loop.

    An item whose worker dies is run again, three times at most. That is wrong for a function with effects outside,
    such as one that sends a mail: say retry=False, and a death is an error that names the items.

    items:   any iterable; it is read to its end before the first item is run.
    star:    call f(*item).
    seed:    call f(item, rng) with a numpy.random.Generator for this item alone, made from the seed and the item's
             index: the same numbers on every backend, for every number of workers, and when an item is run again.
    errors:  "raise": the first exception ends the run; a note of it names the item. "return": an exception stands in
             the list in the place of its item's result.
    retry:   whether items whose worker died are run again.
    timeout: seconds that an item may take; then its worker is killed, or its wait cancelled, and it is a TimeoutError
             that names the item. It is not run again. Threads cannot do this for a function that is not async.
    cost:    item -> how long it takes, in any unit: the longest are begun first. Lanes are then seldom idle at the end.
    example: size -> (items,), for `nfold scale module:name SIZE`; range(size) where left out.

    On threads items and results are the caller's own objects. On processes they are pickled, as numpy, cloudpickle and
    multiprocessing do it; arrays of 64 KB and more lie in shared memory, each once, and are read-only to f.
    TypeError: f is not callable, or items cannot be iterated, or do not pickle. ValueError: an option is wrong.
    """
    if f is None:
        return functools.partial(
            each, star=star, seed=seed, errors=errors, retry=retry, cost=cost, timeout=timeout, example=example
        )
    if not callable(f):
        raise TypeError(f"each takes a function of one item, not {short(f)}; give it before the items")
    if isinstance(f, Kernel):
        raise TypeError(f"{f!r} is a kernel already; run it as it is, or pass a function of one item to each")
    if inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f):
        raise TypeError(f"{name_of(f)} is a generator function, which computes nothing when called; return a list")
    if errors not in ("raise", "return"):
        raise ValueError(
            f"errors must be 'raise' or 'return', not {errors!r}{nearest(str(errors), ['raise', 'return'])}"
        )
    if seed is not None:
        as_index(seed, "seed")
    if cost is not None and not callable(cost):
        raise ValueError(f"cost must be a function of an item, not {cost!r}")
    if timeout is not None:
        _check_timeout(timeout)
    name = name_of(f)
    variants = _variants(f, name, _caller(f, star, seed), errors == "return", timeout)
    return Each(
        name=name,
        module=getattr(f, "__module__", None) or "builtins",
        variants=variants,
        planner=_planner(name, cost, alone=timeout is not None),
        reduce=_in_order,
        example=example or (lambda size: (range(size),)),
        unit="items",
        inputs=("items",),
        is_repeatable=retry,
        timeout=None if "awaits" in variants else timeout,  # an async function is cancelled where it waits
        returns_errors=errors == "return",
        function=f,
        __doc__=f.__doc__,
    )


def _check_timeout(timeout: Any) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout!r}; leave it out to wait for ever")
    if not timeout < LONGEST_TIMEOUT:
        longest = f"{LONGEST_TIMEOUT:,}"
        raise ValueError(f"timeout must be under {longest} seconds, not {timeout!r}; leave it out to wait for ever")


_known: Bounded[tuple[int, tuple[Any, ...]], tuple[Any, Each]] = Bounded(MADE)


def each_of(f: Callable[..., Any], **options: Any) -> Each:
    """each(f, **options), the same kernel for the same function and options: pools know its code then."""
    if isinstance(f, Each) and not options:
        return f
    key = id(f), tuple(sorted((name, id(value)) for name, value in options.items()))
    known = _known.get(key)
    if known is None:  # the entry keeps the objects alive whose ids are its key
        known = _known[key] = (f, options), each(f, **options)
    return known[1]


def task_of(f: Callable[..., Any], **options: Any) -> Callable[[int, Any], Any]:
    """Return a function of (index, item) that computes what each(f, **options) would for that item.

    imap uses it. Errors as for `each`.
    """
    if "cost" in options:
        raise TypeError("cost orders items that are all known, and these come one by one; leave it out")
    kernel = each(f, **options)
    if not kernel.is_repeatable:
        raise ValueError(
            f"{kernel.name} is made with retry=False, and imap runs items again whose worker died; use map"
        )
    if kernel.timeout is not None:
        raise ValueError(f"{kernel.name} has a timeout, and imap ends no function; use map, or an async function")
    body = kernel.body()

    def task(index: int, item: Any) -> Any:
        row: list[Any] = [None]
        body(index, index + 1, row, _At(index, item), keep)
        return row[0][0]

    task.__name__ = kernel.name  # shown in the error if its worker dies
    return task


class _At:
    """One item at its index, for a body."""

    def __init__(self, index: int, item: Any) -> None:
        self._index, self._item = index, item

    def __getitem__(self, part: slice) -> list[Any]:
        return [self._item]


def each_of_module(f: Callable[..., Any], module: Any) -> Each:
    """each(f), whose items of a size are what the module's own `example(size)` gives; range(size) where it has none."""
    example = getattr(module, "example", None)
    if not callable(example):
        return each_of(f)
    kernel: Each = each(f, example=lambda size: (listed(example(size), name_of(f)),))
    return kernel


def name_of(f: Callable[..., Any]) -> str:
    """The name of a callable: its own, that of the function in a partial, else that of its class."""
    if isinstance(f, functools.partial):
        return name_of(f.func)
    return str(getattr(f, "__name__", None) or type(f).__name__)


def _planner(name: str, cost: Callable[[Any], float] | None, alone: bool) -> Callable[..., Plan]:
    """alone: whether each item is a chunk of its own, so that one that takes too long can be named."""

    def plan(items: Iterable[Any]) -> Plan:
        if isinstance(items, Iterator):  # `settled` was not called
            raise TypeError(f"the items for {name} can be read only once; pass list(items)")
        values = listed(items, name)
        grain = 1 if alone else max(1, -(-len(values) // MOST_CHUNKS))
        plan = Plan(len(values), (Items(values), keep), (), object, grain=grain)
        return plan if cost is None else plan._replace(order=_longest_first(plan, values, cost))

    return plan


def listed(items: Any, name: str) -> list[Any]:
    """The items as a new list; TypeError where they cannot be iterated, MemoryError where so many have no room."""
    if isinstance(items, list):
        return items.copy()
    try:
        iterator = iter(items)
    except TypeError:
        raise TypeError(f"the items for {name} must be iterable, not {short(items)}; pass a list of them") from None
    if isinstance(items, range):  # whose length may be beyond what Python counts
        count = max(0, -((items.start - items.stop) // items.step))
        check_memory(BYTES_PER_ITEM * count, f"these are {count} items, so use fewer")
    else:  # they may exist already
        count = operator.length_hint(iterator)
        check_memory(BYTES_PER_PLACE * count, f"these are {count} items, so use fewer")
    values: list[Any] = []
    while batch := list(itertools.islice(iterator, BATCH)):  # it may be endless
        values += batch
        if len(batch) < BATCH:
            break
        check_memory(BYTES_PER_ITEM * BATCH, f"there are more than {len(values)} items, so use fewer")
    return values


def _longest_first(plan: Plan, values: list[Any], cost: Callable[[Any], float]) -> np.ndarray[Any, Any]:
    costs = np.empty(len(values))
    for index, item in enumerate(values):
        value = cost(item)
        try:
            costs[index] = operator.index(value) if isinstance(value, int) else float(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"cost gives {short(value)} for item {index}, {short(item)}; return a number") from None
    if np.isnan(costs).any():
        first = int(np.flatnonzero(np.isnan(costs))[0])
        raise ValueError(f"cost gives nan for item {first}, {short(values[first])}; return a number")
    chunks = np.add.reduceat(costs, np.arange(0, len(costs), plan.step)) if len(costs) else costs
    order: np.ndarray[Any, Any] = np.argsort(-chunks, kind="stable")
    return order


def _in_order(out: np.ndarray[Any, Any]) -> list[Any]:
    """The results of all chunks, each a list."""
    return list(itertools.chain.from_iterable(out))


def _caller(f: Callable[..., Any], star: bool, seed: int | None) -> Callable[[int, Any], Any] | None:
    """How f is called with an item and its index; None where that is f(item)."""
    if seed is not None:
        if star:
            return lambda index, item: f(*item, rng_of(seed, index))
        return lambda index, item: f(item, rng_of(seed, index))
    return (lambda index, item: f(*item)) if star else None


def rng_of(seed: int, index: int) -> np.random.Generator:
    """The generator of one item or chunk: the same for the same seed and index, independent of all others'.

    It is numpy's SeedSequence(seed).spawn(n)[index], without making the others.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))


def _variants(
    f: Callable[..., Any],
    name: str,
    call: Callable[[int, Any], Any] | None,
    returns_errors: bool,
    timeout: float | None,
) -> dict[str, Variant]:
    if inspect.iscoroutinefunction(f) or inspect.iscoroutinefunction(type(f).__call__):
        return {"awaits": Variant(_awaiting_body(f, name, call, returns_errors, timeout), "awaits")}
    return {"python": Variant(_body(f, name, call, returns_errors))}


def _awaiting_body(
    f: Callable[..., Any],
    name: str,
    call: Callable[[int, Any], Any] | None,
    returns_errors: bool,
    timeout: float | None,
) -> Callable[..., Coroutine[Any, Any, None]]:
    import asyncio  # late: importing it takes half as long as numpy, and most programs await nothing

    async def body(lo: int, hi: int, out: Any, items: Items, keep: Callable[[Any, int, list[Any]], None]) -> None:
        values: list[Any] = []
        part = items[lo:hi]
        for index, item in enumerate(part, lo):
            try:
                async with asyncio.timeout(timeout) as timer:
                    values.append(await (f(item) if call is None else call(index, item)))
            except BaseException as caught:
                is_late = isinstance(caught, TimeoutError) and timer.expired()
                error = late(name, index, item, timeout) if is_late else caught
                add_note(error, f"in item {index} of {name}: {short(item)}")
                if not (returns_errors and isinstance(error, Exception)):
                    if is_late:
                        raise error from None
                    raise
                values.append(error)
        keep(out, lo, values)

    return body


def _body(
    f: Callable[..., Any], name: str, call: Callable[[int, Any], Any] | None, returns_errors: bool
) -> Callable[..., None]:
    def body(lo: int, hi: int, out: Any, items: Items, keep: Callable[[Any, int, list[Any]], None]) -> None:
        values: list[Any] = []
        part = items[lo:hi]
        while len(values) < hi - lo:  # one pass; one more after each error that is kept as a result
            try:
                for index, item in _from(lo, len(values), part):
                    values.append(f(item) if call is None else call(index, item))
            except BaseException as error:
                index = lo + len(values)
                add_note(error, f"in item {index} of {name}: {short(part[index - lo])}")
                if not (returns_errors and isinstance(error, Exception)):
                    raise
                values.append(error)
        keep(out, lo, values)

    return body


def late(name: str, index: int, item: Any, timeout: float | None) -> TimeoutError:
    """The error for an item that took too long."""
    return TimeoutError(f"item {index} of {name}, {short(item)}, took longer than {timeout} s")


def short(item: Any) -> str:
    """An item's repr, shortened; its type where repr raises."""
    try:
        return reprlib.repr(item)
    except Exception as error:
        return f"a {type(item).__name__} whose repr raises {type(error).__name__}"


def _from(lo: int, first: int, part: list[Any]) -> Iterator[tuple[int, Any]]:
    return zip(itertools.count(lo + first), part[first:] if first else part, strict=False)
