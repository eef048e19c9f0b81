"""Karp-Flatt, Amdahl, Gustafson, the USL, and projections to more workers, each with what it rests on.

summary.py     which points, and all that is said of them
fitting.py     least squares, and intervals from resampled rounds
models.py      figures with intervals, or "not identifiable"
prospects.py   the same in words
simulation.py  measured chunks replayed on any number of lanes
"""

from compute.scaling.laws.summary import configuration, of

__all__ = ["configuration", "of"]
