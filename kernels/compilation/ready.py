"""This library's own kernels from the compile cache, in processes that have not imported numba.

`function` gives a function's machine code without a compiler where it is on disk, and what numba makes of it elsewhere;
then it is kept for the next process. README.md beside this file says what its key holds in place of what numba would
say, and when numba is imported after all.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kernels.compilation import digests, kept_code, mathematics, our_files, our_values, provenance, signal_guard
from kernels.compilation.bounded import MADE, Bounded
from kernels.compilation.native_code import CannotRun, NativeCode, is_possible, words_of

# Lines of /proc/cpuinfo that differ between two CPUs of a kind, or from one moment to the next.
_CHANGING = ("processor", "core id", "apicid", "initial apicid", "physical id", "cpu MHz", "bogomips")
_CPUINFO_BYTES = 1 << 14  # of which the first CPU takes 2,000
_CONFIGURED_BY = ".numba_config.yaml"  # in the current folder, beside the environment


def function(name: str, make: Callable[[], Any], arguments: tuple[Any, ...]) -> Any:
    """A function of this library in machine code, to be called with arguments of these types.

    name: what it is, for its key: with this library's files, it says all that it computes. make: numba's dispatcher of
    it, compiled with `ready_as=name`.
    """
    if "numba" in sys.modules:  # its settings may have been changed, and it costs nothing any more
        if name in _noted or not our_values.is_noting():
            return make()
    elif (words := words_of(arguments)) is not None:
        known = _found.get((name, words))
        if known is None or not known[1].is_current():
            with signal_guard.postponed():
                known = _on_disk(name, words)
        if known is not None:
            _found[name, words] = known
            return known[0]
    made = our_values.noting(make)
    _noted.add(name)
    return made


_found: Bounded[tuple[str, tuple[str, ...]], tuple[NativeCode, our_values.Agreeing]] = Bounded(MADE)
_noted: set[str] = set()  # functions whose modules are imported
_refused: set[Path] = set()  # entries that are damaged, or not for this process, or not there


def _on_disk(name: str, words: tuple[str, ...]) -> tuple[NativeCode, our_values.Agreeing] | None:
    """The machine code of a function for arguments of these types; None where numba is to be asked for it."""
    if (path := _path(name, words)) is None:
        return None
    read, _, content = (kept_code.read(path) or b"").partition(b"\n")
    try:
        if (agreeing := our_values.agreeing(json.loads(read))) is not None:
            native = NativeCode(content)
            if native.words == words:
                return native, agreeing
    except (CannotRun, ValueError, KeyError, TypeError, AttributeError):  # of another system; it costs a compilation
        pass
    _refused.add(path)
    return None


def keep(name: str, result: Any, takes_more: bool, reach: Any) -> None:
    """Keep a compile result of numba's, where a process without numba would come to the same.

    takes_more: whether its last arguments are `*inputs`. reach: what its function had reached when it was compiled.
    """
    from kernels.compilation import machine_code

    if not is_possible() or (read := our_values.described(reach)) is None or not _is_as_imported():
        return
    made = machine_code.without_numba(result, takes_more)
    if made is not None:
        words, content = made
        path = _path(name, words)
        if path is not None and (path in _refused or not os.path.exists(path)):  # no error where a folder is closed
            _refused.discard(path)
            kept_code.write(path, json.dumps(read).encode() + b"\n" + content)


def _path(name: str, words: tuple[str, ...]) -> Path | None:
    """The file for a function and the types of its arguments; None where it cannot be said what decides its code."""
    about = _about_machine()
    ours, compiler = our_files.digest(), about_compiler("numba", "llvmlite")
    if not (about and ours and compiler):
        return None
    digest = digests.sha256()
    for part in ("ready 2", name, repr(words), about, mathematics.identity(), compiler, _settings(), ours):
        digest.update(f"{len(part)}:{part}".encode("utf-8", "surrogateescape"))
    readable = re.sub("[^A-Za-z0-9_]", "_", name)[: kept_code.LONGEST_NAME]
    return kept_code.cache_folder() / f"{readable}-{digest.hexdigest()[:32]}.nbc"


@functools.cache
def _about_machine() -> str:
    """What decides which CPU LLVM finds: this machine, since it was started, and what Linux says of its first CPU.

    LLVM asks the CPU itself, of which Linux need not tell all. So an entry is for one start of one machine.
    """
    if not is_possible():
        return ""
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text()
        with open("/proc/cpuinfo") as file:
            first = file.read(_CPUINFO_BYTES).partition("\n\n")[0]
    except (OSError, ValueError):
        return ""
    if "flags" not in first:
        return ""
    return started + "\n".join(line for line in first.splitlines() if not line.startswith(_CHANGING))


def about_compiler(*packages: str) -> str:
    """Which Python, numpy and compiling packages would make it; "" where one of these cannot be told."""
    return _versions(sys.version, *map(_place_of, packages))


def _place_of(package: str) -> str:
    spec = importlib.util.find_spec(package)
    return "" if spec is None else str(spec.origin or "")


@functools.cache
def _versions(python: str, *places: str) -> str:
    try:
        packages = [(place, Path(place).with_name("_version.py").read_bytes()) for place in places]
    except (OSError, ValueError):
        return ""
    return repr((python, np.__version__, packages))


def _settings() -> str:
    """What numba reads its settings from as it is imported."""
    try:
        with open(_CONFIGURED_BY, "rb") as file:
            configured: object = file.read()
    except OSError as error:
        configured = type(error).__name__
    given = sorted(item for item in os.environ.items() if item[0].startswith(("NUMBA_", "LLVMLITE_")))
    return repr((given, configured))


def _is_as_imported() -> bool:
    """Whether numba compiles as it would in a process that has just imported it: nobody set or extended anything."""
    import numba  # noqa: F401  # all of it, before a part: see kernels/compilation/importing.py
    from numba.core import config

    spec = importlib.util.spec_from_file_location("numba.core.config", config.__file__)
    if spec is None or spec.loader is None:
        return False
    afresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(afresh)
    names = [name for name in kept_code.settings_of_code() if name != "USING_SVML"]  # for code that calls its functions
    now, then = ([repr(vars(module).get(name)) for name in names] for module in (config, afresh))
    return now == then and not provenance.foreign()
