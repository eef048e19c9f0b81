"""Karp-Flatt, Amdahl, Gustafson, the USL, and projections to more workers, each with what it rests on.

summary.py     which points, and the figures of all their laws: what a file keeps
fitting.py     least squares, and intervals from resampled rounds
models.py      figures with intervals, or "not identifiable"
curves.py      a fitted law as a curve
prospects.py   the same in words, made when it is shown
simulation.py  measured chunks replayed on any number of lanes
"""

from compute.scaling.laws.summary import fit_laws, point_key

__all__ = ["fit_laws", "point_key"]
