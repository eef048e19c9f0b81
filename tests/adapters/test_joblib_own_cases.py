"""joblib's own cases for its backends, with ours: each function of its test_parallel.py that has a backend parameter.

joblib's wheel contains its tests. What cannot apply to us is listed with the reason.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from lokys_end import end_loky

import compute.adapters.joblib as ours

theirs = pytest.importorskip("joblib.test.test_parallel", reason="this joblib was installed without its tests")

PARAMETERS = ("backend", "parent_backend", "child_backend", "outer_backend", "inner_backend")
APPLY = (
    "test_simple_parallel",
    "test_parallel_pretty_print",
    "test_main_thread_renamed_no_warning",
    "test_background_thread_parallelism",
    "test_nested_loop",
    "test_parallel_as_context_manager",
    "test_parallel_timeout_success",
    "test_parallel_timeout_fail",
    "test_parallel_timeout_fail_with_generator",
    "test_error_capture",
    "test_error_in_task_iterator",
    "test_dispatch_one_job",
    "test_dispatch_multiprocessing",
    "test_batching_auto_subprocesses",
    "test_nested_exception_dispatch",
    "test_invalid_njobs",
    "test_njobs_converted_to_int",
    "test_backend_context_manager",
    "test_nested_backend_context_manager",
    "test_nested_backend_in_sequential",
    "test_backend_nesting_level",
    "test_no_blas_crash_or_freeze_with_subprocesses",
    "test_parallel_unordered_generator_returns_fastest_first",
    "test_abort_backend",
    "test_deadlock_with_generator",
    "test_multiple_generator_call",
    "test_multiple_generator_call_managed",
    "test_multiple_generator_call_separated",
    "test_multiple_generator_call_separated_gc",
    "test_lambda_expression",
    "test_backend_batch_statistics_reset",
    "test_nested_parallelism_limit",
    "test_thread_bomb_mitigation",
    "test_parallel_thread_limit",
    "test_initializer_context",
    "test_initializer_parallel",
)
NO_IMPORT = "its script does not import us; test_main of test_joblib_backend.py is like it, and does"
CANNOT_APPLY = {
    "test_parallel_with_interactively_defined_functions": NO_IMPORT,
    "test_parallel_with_unpicklable_functions_in_args": NO_IMPORT,
    "test_auto_memmap_on_arrays_from_generator": "asks for memory-mapped files, and arrays go through shared memory",
    "test_memmapping_leaks": "asks for memory-mapped files, and arrays go through shared memory",
    "test_nested_parallel_warnings": "has an answer for each pair; ours are in test_joblib_backend.py",
}
# Several calls, each with workers of its own: seconds.
LONG = "test_error_capture", "test_initializer_context", "test_initializer_parallel", "test_njobs_converted_to_int"
LONG += "test_parallel_as_context_manager", "test_parallel_unordered_generator_returns_fastest_first"
# What a backend's name is paired with in joblib's own tables: whether a nested call warns, or the next call fails.
PAIRED = {"error": False}


# joblib's other backends whose workers look for ours by its name, and have not imported it.
WITHOUT_US = {"loky", "multiprocessing", "back_compat_backend"}


@pytest.fixture(scope="module", autouse=True)
def nobody_idle():
    yield
    ours.close_idle_workers()
    end_loky()


def _parametrized(function: Any) -> list[tuple[tuple[str, ...], list[Any]]]:
    """The names and values of each of a function's parametrize marks."""
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
    return [(tuple(name.strip() for name in mark.args[0].split(",")), list(mark.args[1])) for mark in reversed(marks)]


def _cases_of_theirs() -> dict[str, Any]:
    named = {name: one for name, one in vars(theirs).items() if name.startswith("test_")}
    return {
        name: one for name, one in named.items() if any(set(names) & set(PARAMETERS) for names, _ in _parametrized(one))
    }


def _with_nfold(names: tuple[str, ...], values: list[Any]) -> list[dict[str, Any]]:
    """The values of a parametrize mark, with ours in the place of the backend that they name."""
    if len(names) > 1 and set(names) & set(PARAMETERS):
        return [{name: "nfold" if name in PARAMETERS else PAIRED[name] for name in names}]
    if names[0] == "backend":
        return [{"backend": "nfold"}]
    if names[0] in PARAMETERS:
        return [{names[0]: value} for value in dict.fromkeys([*values, "nfold"])]
    rows = [[value] if len(names) == 1 else value for value in values]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _cases() -> Iterator[Any]:
    known = _cases_of_theirs()
    for name in APPLY:
        if name not in known:
            yield pytest.param(name, {}, marks=pytest.mark.skip("this release of joblib has no such test"), id=name)
            continue
        marks = [mark for mark in known[name].pytestmark if mark.name == "skipif"]
        quick = name in LONG
        for chosen in itertools.product(*(_with_nfold(*mark) for mark in _parametrized(known[name]))):
            arguments = {key: value for part in chosen for key, value in part.items()}
            if "nfold" in [arguments.get(parameter) for parameter in PARAMETERS]:
                told = "-".join(getattr(value, "__name__", str(value)) for value in arguments.values())
                lack = _lack(arguments)
                more = [pytest.mark.slow] if quick else []  # of each of the others, `make test` runs one
                quick = quick or not lack
                yield pytest.param(name, arguments, marks=[*marks, *lack, *more], id=f"{name}[{told}]")


def _lack(arguments: dict[str, Any]) -> list[Any]:
    """A mark that skips a call of ours in workers of others that have not imported us."""
    outer = arguments.get("parent_backend", arguments.get("outer_backend"))
    inner = arguments.get("child_backend", arguments.get("inner_backend"))
    if inner == "nfold" and outer in WITHOUT_US:
        return [pytest.mark.skip(f"{outer}'s workers look for nfold by its name, and have not imported it")]
    return []


def test_each_of_their_cases_is_listed():
    assert _cases_of_theirs().keys() <= {*APPLY, *CANNOT_APPLY}


@pytest.mark.parametrize(("name", "arguments"), list(_cases()))
@pytest.mark.filterwarnings("default")
def test_theirs(name: str, arguments: dict[str, Any], request: pytest.FixtureRequest):
    case = getattr(theirs, name)
    fixtures = [parameter for parameter in inspect.signature(case).parameters if parameter not in arguments]
    case(**arguments, **{fixture: request.getfixturevalue(fixture) for fixture in fixtures})
