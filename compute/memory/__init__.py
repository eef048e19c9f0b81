"""Arrays that every lane can see: arenas, the segments they lie in, and which process these belong to.

arena.py         lends arrays that every lane sees, and keeps their memory for the next run
copying.py       copies of large arrays, by several threads
copies.py        one copy of each large array that jobs refer to, until the array changes
segments.py      shared memory and memory-mapped files that cannot leak; where they are made, mapped and unlinked
named.py         shared memory under names of ours, for where a descriptor is not enough
spool.py         files in memory into which workers write results of any size
regions.py       the parts of a spool's file that a worker keeps mapped, because it writes to them repeatedly
descriptors.py   whether a descriptor number still refers to its file; how many files may be open
address_space.py whether the address space that `ulimit -v` allows holds more threads
ends.py          which of the objects that somebody watches have ended
ownership.py     which process owns pools and arrays, because a fork copies them
"""
