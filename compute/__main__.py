"""python -m compute: the same as nfold."""

import os
import sys
import threading

# Bytes of address space that importing numpy takes: in all, and for each thread of its BLAS.
SPACE, SPACE_PER_THREAD = 70_000_000, 36_000_000
STACK = 8 << 20  # of which as much for its stack; `ulimit -s` can be more, and all of it is mapped
# ... and for each heap: a free-threaded Python gives one to every thread, and a thread that finds no room for it hangs.
SPACE_PER_HEAP = 100_000_000
PYTHON = 50_000_000  # of which the interpreter alone, as it starts


def main() -> int:
    """The command line, told by sys.argv; its exit code. A Ctrl-C while it is being imported is one of its own."""
    if "numpy" not in sys.modules and (lacking := _lacking()):
        print(f"nfold: {lacking}", file=sys.stderr)
        return 2
    try:
        from compute.cli import main as command_line
        from compute.cli.terminal import warn_in_lines
    except KeyboardInterrupt:
        print("nfold: interrupted", file=sys.stderr)
        return 130
    warn_in_lines()
    return command_line()


def _lacking() -> str:
    """What importing numpy would lack, in a line with the remedy: it says so at length, and ends the program."""
    try:
        import resource
    except ImportError:  # Windows
        return ""
    asked = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    threads = min(int(asked), cpus) if asked.isdecimal() and int(asked) else cpus
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    is_free_threaded = "t" in getattr(sys, "abiflags", "")
    needed = SPACE + (SPACE_PER_THREAD + SPACE_PER_HEAP * is_free_threaded) * threads
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    has_large_stacks = threads > 1 and stack != resource.RLIM_INFINITY and stack > STACK
    needed += (stack - STACK) * (threads - 1) * has_large_stacks
    if is_free_threaded:  # it has mapped 1 GB at once where that is allowed, and what it needs else comes on top
        needed += max(0, _mapped() - PYTHON)
    if space != resource.RLIM_INFINITY and space < needed:
        who = "numpy in a free-threaded Python needs" if is_free_threaded else "numpy needs"
        return (
            f"{who} about {needed // 10**6} MB of address space with {threads} threads, and `ulimit -v` allows"
            f" {space // 10**6} MB; raise `ulimit -v`,{' lower `ulimit -s`,' * has_large_stacks} or set"
            " OPENBLAS_NUM_THREADS=1"
        )
    if not _threads_can_start(threads - 1):
        return (
            "no more threads can be started, and numpy needs some as it is imported; raise `ulimit -u` or the"
            " container's limit of processes, or set OPENBLAS_NUM_THREADS=1"
        )
    return ""


def _mapped() -> int:
    """Bytes of address space that this process has taken; 0 where nobody tells."""
    try:
        with open("/proc/self/statm") as pages:
            return int(pages.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _threads_can_start(count: int) -> bool:
    """Whether so many threads can be beside each other."""
    ended, started = threading.Event(), list[threading.Thread]()
    try:
        for _ in range(count):
            thread = threading.Thread(target=ended.wait)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        ended.set()
        for thread in started:
            thread.join()
    return True


if __name__ == "__main__":  # a spawned worker imports this module too, under another name
    sys.exit(main())
