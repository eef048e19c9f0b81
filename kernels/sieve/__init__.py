"""Primes: count_primes counts them, primes lists them."""
