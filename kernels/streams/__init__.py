"""Kernels that move memory: transpose and triad."""
