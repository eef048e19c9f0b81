"""How far from N-fold a run was: rounds measure it, a dataset holds it, statistics say how sure it is.

rounds.py         scale(): every configuration once a round, answers checked first
trial.py          one work on every pool: warm, check, rounds, points
configurations.py which backends with how many workers, for how long
answers.py        whether a value is the serial one
calibration.py    how long a run would take, and which size takes that long
dataset.py        Point and Scaling, and their JSON
imported.py       pytest-benchmark's JSON as the same
points.py         what follows from samples: speedup, intervals, efficiency
statistics.py     medians and ratios with intervals; how many rounds would make one narrow
noise.py          what disturbed a round from outside
harness.py        the timer's resolution, and what a run of nothing takes
table.py          the cells of every table, in words
files.py          files that are whole or absent
"""

from compute.scaling.answers import WrongAnswer
from compute.scaling.dataset import Point, Scaling
from compute.scaling.rounds import Work, scale, scale_all

__all__ = ["Point", "Scaling", "Work", "WrongAnswer", "scale", "scale_all"]
