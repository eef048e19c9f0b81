"""The Mandelbrot set by escape time. README.md beside this file explains the compiled body.

counts.py            mandelbrot: the plan, the definition, the check
iteration.py         points in vector lanes: an iteration, the test, the interior
counts_compiled.py   the compiled body: vectors whose lanes are refilled, with the same counts to the bit
"""
