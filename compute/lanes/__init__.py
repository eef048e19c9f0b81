"""What every worker does: take tickets and run chunks. README.md beside this file explains what is hard in it.

loop.py           the lane loop that every worker runs, and Job, what a lane needs for a run
native_loop.py    that loop in machine code
native_lane.py    lanes of compiled bodies, which call it
translation.py    translates its source for that
control.py        the control array: the words in which lanes and caller exchange everything, each with who writes it
awaiting.py       the lane loop for bodies that wait (coroutine functions)
ordering.py       tickets without numba, and in which order others see what a lane stores
objects.py        copies of Python objects for each lane, where there is no GIL
spin.py           waiting without sleeping, for a moment
shared_words.py   atomic adds, loads and stores, and waits, as functions that Python calls
native_words.py   their machine code
interrupts.py     postpones or recovers exceptions of signal handlers, such as Ctrl-C's
usage.py          a thread's figures from the operating system, and its pinning to a CPU
native_usage.py   the same for compiled lanes, without the GIL
errors.py         sends an exception to another process or interpreter
"""
