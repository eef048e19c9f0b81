"""Primes in a window, by a segmented sieve on the wheel of 30.

windows.py            count_primes counts them, primes lists them: plans, and the definition that every interpreter runs
segments.py           the compiled body: one chunk, segment by segment
small_primes.py       its small primes
buckets.py            its large primes
wheel.py              which numbers a byte stands for, and the tables that follow from it
bounds_and_checks.py  bounds on how many primes there are, and checks of the answers
"""
