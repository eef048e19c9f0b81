"""The GIL, shown to a class: one loop, as Python and compiled, on one thread, two threads and two processes.

Two threads take turns at Python code, so each is on a CPU for about half of the time and nothing gets faster. The same
loop compiled holds no GIL, and two processes have one each: there both workers compute all the time.
"""

from compute import Processes, Serial, Threads
from kernels import kernel


@kernel(dtype=int)
def collatz(lo, hi, out, n):
    """How many steps each number from 1 to n takes down to 1: n / 2 where it is even, else 3n + 1."""
    for i in range(lo, hi):
        number, steps = i + 1, 0
        while number != 1:
            number = number // 2 if number % 2 == 0 else 3 * number + 1
            steps += 1
        out[i] = steps


SIZES = {"python": 20_000, "nogil": 2_000_000}  # compiled code needs more of it to take as long

print("variant  backend          time  speedup  on a CPU")
for variant, size in SIZES.items():
    alone = None
    for backend in (Serial(), Threads(2), Processes(2)):
        with backend.open() as pool:
            pool.warm(collatz, size, variant=variant)  # compiled and loaded: nothing that is timed is cold
            best = min((pool.run(collatz, size, variant=variant) for _ in range(3)), key=lambda run: run.seconds)
        alone = alone or best.seconds
        lanes = best.timeline.lanes
        busy = sum(lane.cpu for lane in lanes) / sum(lane.wall for lane in lanes)
        time = f"{best.seconds * 1000:.0f} ms"
        print(f"{variant:8} {backend!r:13} {time:>7} {alone / best.seconds:7.2f}× {busy:8.0%}")
    print(f"the longest way down from {size:,} or less begins at {best.value.argmax() + 1:,}")
