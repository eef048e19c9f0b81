"""Compiled bodies of example_kernels that need a clock or atomics, and so import numba."""

from kernels.atomics import load, monotonic_ns, store


def spin(lo, hi, out, ns):
    until = monotonic_ns() + ns
    while monotonic_ns() < until:
        pass
    out[lo] = lo


def all_here(words):
    for k in range(len(words)):
        if load(words, k) == 0:
            return False
    return True


def meeting(lo, hi, out, words, patience):
    store(words, lo, 1)
    until = monotonic_ns() + patience
    while not all_here(words) and monotonic_ns() < until:
        pass
    out[lo] = all_here(words)
