"""Kernels worth scaling: each an ordinary function on one core, and the same loop on any backend of `compute`."""

from kernels.definition import Kernel, Plan, find, kernel

__all__ = ["Kernel", "Plan", "find", "kernel"]
