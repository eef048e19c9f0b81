"""How much memory this process may still take, and the refusal of what needs more, before any of it is touched.

What limits it is the system's memory, a limit of any control group above this process (in versions 1 and 2, and in both
at once), or its own limits (`ulimit -v`, `ulimit -d`). Files are read under `root`, so that tests can supply a fake
machine.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path("/")
UNLIMITED = 1 << 60  # version 1 writes "no limit" as the largest multiple of a page
SMALL = 2**24  # bytes for which nobody is asked: asking takes as long as writing a megabyte
LARGE = 2**30  # bytes of a plan for which nobody is asked before its arrays are made
OWN_LIMITS = ("RLIMIT_AS", 0), ("RLIMIT_DATA", 5)
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")

reserves: list[Callable[[], None]] = []  # each frees memory that is kept only because nobody else needs it


def check_memory(size: int, remedy: str = "use a smaller size", kept: int = 0) -> None:
    """MemoryError where `size` bytes are more than are free, before any of it is touched.

    kept: bytes that the caller has for it, and that count as used.
    """
    if size < SMALL:
        return
    free = memory_available() + kept
    if size > free:
        for give_back in reserves:
            give_back()
        free = memory_available() + kept
    if size > free:
        raise _refusal(size, free, remedy)


def check_ever_fits(size: int, remedy: str = "use a smaller size") -> None:
    """MemoryError where `size` bytes are more than this process could have, however much is freed before.

    For plans: a pool may keep memory of an earlier run, which counts as used, and which it lends again.
    """
    if size >= LARGE and size > memory_limit():
        raise _refusal(size, memory_available(), remedy)


def _refusal(size: int, free: int, remedy: str) -> MemoryError:
    return MemoryError(f"{in_bytes(size)} are needed and {in_bytes(free)} are free; {remedy}")


def with_figures(error: MemoryError) -> MemoryError:
    """The same error; numpy's and Python's own with what is needed and what there is."""
    size = getattr(error, "_total_size", None)  # of the array that numpy could not make
    if size is None and str(error):
        return error
    try:
        free = memory_available()
    except MemoryError:  # not even for reading a line of figures
        return MemoryError("more memory is needed than there is; use a smaller size")
    if size is None:
        return MemoryError(
            f"more memory is needed than there is, of which {in_bytes(free)} are free; use a smaller size"
        )
    return _refusal(size, free, "use a smaller size")


def in_bytes(size: float) -> str:
    """`1.5 GB`: a number of bytes, to three digits."""
    unit = 0
    while size >= 10**15 and unit < len(UNITS) - 1:
        size, unit = size // 1000, unit + 1  # a whole number may be beyond every float
    while size >= 999.5 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {UNITS[unit]}" if size < 10**15 else f"more than 10^15 {UNITS[unit]}"


def memory_available(root: Path = ROOT) -> int:
    """Bytes that can still be allocated: what the system has, and what is left under each limit."""
    return max(0, min(_memory(root)[1], *(limit - used for limit, used in _limits(root))))


def memory_limit(root: Path = ROOT) -> int:
    """Bytes that this process could have if nobody else had any."""
    return min(_memory(root)[0], *(limit for limit, _ in _limits(root)))


def memory_total(root: Path = ROOT) -> int:
    """Bytes that the system has."""
    return _memory(root)[0]


def _memory(root: Path) -> tuple[int, int]:
    """Bytes that the system has, and that it can still give."""
    figures = dict(re.findall(r"^(\w+): *(\d+) kB$", text(root / "proc/meminfo"), re.MULTILINE))
    if "MemTotal" in figures and "MemAvailable" in figures:
        return int(figures["MemTotal"]) << 10, int(figures["MemAvailable"]) << 10
    try:
        import psutil  # where there is no such file; loading it takes longer than reading one

        memory = psutil.virtual_memory()
        return int(memory.total), int(memory.available)
    except (ImportError, OSError):  # a sandbox without /proc; the system itself counts no cache as available
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, how much of it is used) in bytes, of each limit that this process is under."""
    yield UNLIMITED, 0
    for version, folder in _memory_groups(root, text(root / "proc/self/cgroup")):
        limit = text(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
        if not limit.isdecimal() or int(limit) >= UNLIMITED:
            continue
        used = text(folder / ("memory.current" if version == 2 else "memory.usage_in_bytes"))
        if used.isdecimal():
            # The page cache counts as used, but what is not in use of it is given up on demand.
            name = "inactive_file" if version == 2 else "total_inactive_file"
            cache = re.search(rf"^{name} (\d+)$", text(folder / "memory.stat"), re.MULTILINE)
            yield int(limit), int(used) - (int(cache[1]) if cache else 0)
    yield from _own_limits(root).values()


def address_space_left(root: Path = ROOT) -> int | None:
    """Bytes that `ulimit -v` lets this process map in addition; None where it sets no limit, or nobody tells."""
    limit, used = _own_limits(root).get("RLIMIT_AS", (None, 0))
    return None if limit is None else max(0, limit - used)


def _own_limits(root: Path) -> dict[str, tuple[int, int]]:
    """(limit, how much of it is used) in bytes, by name, of the limits that this process itself has."""
    try:
        import resource
    except ImportError:  # Windows
        return {}
    # Of the numbers of pages, all that is mapped is the first, what is written to the sixth.
    limits = [(name, resource.getrlimit(getattr(resource, name))[0], at) for name, at in OWN_LIMITS]
    limits = [bound for bound in limits if bound[1] != resource.RLIM_INFINITY]
    pages = text(root / "proc/self/statm").split() if limits else []
    return {name: (limit, int(pages[at]) * resource.getpagesize()) for name, limit, at in limits if len(pages) > at}


@functools.lru_cache(maxsize=16)  # runs of large arrays ask every time, and finding the folders takes most of it
def _memory_groups(root: Path, own: str) -> list[tuple[int, Path]]:
    """`groups` for memory; own: what names this process's, so that one that is moved is looked up again."""
    return list(groups(root, "memory"))


def groups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """(version, folder) of this process's control group for a controller, and of each of its ancestors."""
    mounts = _mounts(root)
    for line in text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        version = 2 if number == "0" else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        top, seen_from = mounts.get(controller if version == 1 else "", (None, "/"))
        if top is None:
            top = root / "sys/fs/cgroup" / (controller if version == 1 else "")
        # A container often sees only its own part of the tree, mounted as if it were the root.
        inside = os.path.relpath(path, seen_from)
        folder = top if inside.startswith("..") else top / inside
        while folder != top:
            yield version, folder
            folder = folder.parent
        yield version, top


def _mounts(root: Path) -> dict[str, tuple[Path, str]]:
    """Controller ("" for version 2) -> (where it is mounted, which path of the hierarchy is seen there)."""
    mounts: dict[str, tuple[Path, str]] = {}
    for line in text(root / "proc/self/mountinfo").splitlines():
        place, _, kind = line.partition(" - ")
        fields, (system, _, options) = place.split(), (kind.split() + [""] * 3)[:3]
        if system in ("cgroup", "cgroup2") and len(fields) > 4:
            for name in options.split(",") if system == "cgroup" else [""]:
                mounts.setdefault(name, (root / fields[4].lstrip("/"), fields[3]))
    return mounts


def text(path: Path) -> str:
    """A small file's text without its last newline, or nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
