"""From a body to machine code, and when machine code may be used again. README.md beside this file explains it.

compiler.py       compiles a body with its helpers, as all that it reaches is now
reach.py          walks over all that a function reaches: one key for everything that decides what it computes
reached.py        what was reached at one moment, and whether it is still so
parts.py          what code speaks of, and what an object holds
provenance.py     where an object comes from: this library, numba, Python, an installed package, the user
machine_code.py   machine code as bytes, on its way to another process or to disk
kept_code.py      the cache's files
given.py          compiled functions among a kernel's inputs
serially.py       compiled functions that Python calls in a lane
entirely.py       what no signal may cut off half-way
bounded.py        tables that do not grow for ever
"""
