"""Kernels worth scaling: each an ordinary function on one core, and the same loop on any backend of `compute`."""

from kernels.definition import Kernel, Plan, find, kernel
from kernels.escape_time import mandelbrot

__all__ = ["Kernel", "Plan", "find", "kernel", "mandelbrot"]
