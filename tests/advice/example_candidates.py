"""What advise might have measured of a configuration, invented."""

from __future__ import annotations

from compute.advice.decision import Candidate


def candidate(on, seconds, variant="nogil", width=0.01, size=1000, opening=0.0, loading=0.0) -> Candidate:
    """width: of the interval, on either side, as a share of the seconds."""
    interval = seconds * (1 - width), seconds * (1 + width)
    return Candidate(on, variant, size, seconds, interval, 20, opening, loading)
