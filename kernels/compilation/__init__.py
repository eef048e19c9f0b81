"""From a body to machine code, and when machine code may be used again. README.md beside this file explains it.

compiler.py         compiles a body with its helpers, from what they read at this moment
reach.py            walks over all that a function reaches: one key for everything that decides what it computes
reach_snapshot.py   the walk's result: what was reached, where it was found, and whether it is still the same
parts.py            helpers of the walk: the names that code uses, the objects that an object contains
provenance.py       where an object comes from: this library, numba, Python, an installed package, the user
c_functions.py      functions of C that code calls by their names
mathematics.py      which mathematical functions of C this process has, which is a part of every key
our_files.py        a hash of this library's own files, which is a part of every key
digests.py          SHA-256, whose library is loaded when the first digest is made
machine_code.py     a compile result as bytes, for another process or for the disk, and back
kept_code.py        the cache's files
linking.py          machine code laid out as an image that needs neither numba nor LLVM
native_code.py      images loaded and called
emitted.py          machine code that this library writes itself, on disk
ready.py            this library's kernels as images on disk, for processes without numba
jitted_inputs.py    `@njit` functions among a kernel's inputs: compiled again where they are stale
jitted_in_lanes.py  `@njit` functions that a Python body calls: the same, and without threads of their own in a lane
our_values.py       what compiled code has read of this library's modules, in words that another process can compare
importing.py        imports numba whole: one thread at a time, no signal and no fork in between
garbage.py          Python's garbage collector, switched off while something is compiled
signal_guard.py     postpones exceptions of signal handlers while numba compiles
bounded.py          dictionaries with a largest size
"""
