"""Numbers as words, chosen for reading. The one place that turns seconds into "ms"."""

from __future__ import annotations

import math

from kernels.vectors.memory import in_bytes as in_bytes

STEPS = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))
PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
LEAST = 0.01  # of a speedup: below it digits say nothing more


def seconds(value: float) -> str:
    """`52.1 ms`: three digits and the unit that keeps the number between 1 and 1000."""
    factor, unit = next((step for step in reversed(STEPS) if value >= step[0] * 0.9995), STEPS[0])
    return f"{three_digits(value / factor)} {unit}"


def amount(value: float, unit: str) -> str:
    """`1.93 G iterations`"""
    factor, prefix = next((step for step in PREFIXES if value >= step[0] * 0.9995), (1.0, ""))
    return f"{three_digits(value / factor)} {prefix}{' ' if prefix and len(unit) > 4 else ''}{unit}".replace("  ", " ")


def ratio(value: float) -> str:
    """`1.93`, `12.3`, `128`, `0.04`: what a speedup of a few rounds carries."""
    return three_digits(value) if value >= LEAST else f"<{LEAST}"


def percent(value: float | None) -> str:
    """`96 %`"""
    return "–" if value is None else f"{value * 100:.0f} %" if value >= 0.01 else f"{value * 100:.1g} %"


def share(value: float) -> str:
    """`96`, `2.1`, `0`: hundredths of a whole, where the head of the column says "%"."""
    hundredths = value * 100
    if abs(hundredths) < 0.05:
        return "0"
    return f"{hundredths:.1f}" if abs(hundredths) < 9.95 else f"{hundredths:.0f}"


def three_digits(value: float) -> str:
    """`1.23`, `12.3`, `123`, `1235`"""
    rounded = float(f"{value:.2e}")
    return f"{value:.{2 - min(max(math.floor(math.log10(rounded)), 0), 2) if rounded else 2}f}"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`"""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
