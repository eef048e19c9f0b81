"""Kernels that move memory: what limits them is its bandwidth.

transposition.py            transpose: the plan and the plain body
transposition_compiled.py   the compiled body: whole lines, past the caches where arrays are large
scaled_sum.py               triad, a + s·b: the plan and the plain body
scaled_sum_compiled.py      the compiled body: whole vectors, past the caches where arrays are large
"""
