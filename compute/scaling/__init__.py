"""How far from N-fold a run was, what this machine would have allowed, and what took the rest.

Measuring:
rounds.py         scale(): pools and controls open, trials one after the other
trial.py          one work on every pool: warm, check, rounds, points
work.py           what is to be measured; how far the measuring is
configurations.py which backends with how many workers, for how long
answers.py        whether a value is the serial one
calibration.py    how long a run would take, and which size takes that long
ceiling.py        two controls, and what this machine allowed at that moment
noise.py          what disturbed a round from outside
harness.py        the timer's resolution, and what a run of nothing takes
probe.py          how much of the time the GIL was taken

What follows from it, all pure:
explain.py        from a configuration's runs to its point
ledger.py         where the core-seconds went; the POP efficiencies
points.py         speedup, intervals, efficiency from samples
statistics.py     medians and ratios with intervals; how many rounds would make one narrow
verdict/          from evidence to one sentence of cause
laws/             Karp-Flatt, Amdahl, Gustafson, USL; projections, and a replay that they are held against

Data and words:
dataset.py        Point and Scaling, and their JSON
imported.py       pytest-benchmark's JSON as the same
files.py          files that are whole or absent
tables/           the cells and sentences of every report
words.py          figures as people say them
"""

from compute.scaling.dataset import Point, Scaling
from compute.scaling.rounds import Work, scale, scale_all
from compute.scaling.verify import WrongAnswer

__all__ = ["Point", "Scaling", "Work", "WrongAnswer", "scale", "scale_all"]
