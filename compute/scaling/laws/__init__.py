"""Karp-Flatt, Amdahl, Gustafson, the USL, and projections to more workers, each with what it rests on.

summary.py     `fit_laws`, the entry: points in, one dict of figures for each configuration out, which a file keeps
models.py      each law fitted to one configuration: figures with intervals, or "not identifiable"
fitting.py     the arithmetic below it: least squares, and intervals from resampled rounds
simulation.py  measured chunks replayed on any number of lanes
prospects.py   the figures in sentences, made when they are shown
curves.py      the figures as a curve
"""

from compute.scaling.laws.summary import fit_laws, point_key

__all__ = ["fit_laws", "point_key"]
