"""Compiled bodies of example_kernels that need a clock or atomics, and so import numba."""

from kernels.vectors.atomics import load, monotonic_ns, store


def spin(lo, hi, out, ns):
    until = monotonic_ns() + ns
    while monotonic_ns() < until:
        pass
    out[lo] = lo


def all_here(words):
    arrived = 0
    for k in range(len(words)):
        arrived += load(words, k)
    return arrived == len(words)


def meeting(lo, hi, out, words, patience):
    store(words, lo, 1)
    until = monotonic_ns() + patience
    while not all_here(words) and monotonic_ns() < until:
        pass
    out[lo] = all_here(words)


def gated(lo, hi, out, gate, word, patience):
    until = monotonic_ns() + patience
    while lo == gate and load(word, 0) == 0 and monotonic_ns() < until:
        pass
    out[lo] = lo
