"""How far from N-fold a run was, what this machine would have allowed, and what took the rest.

A *work* is a kernel with its arguments. A *trial* is one work on all its pools. A *round* is one run of everything that
is compared, in shuffled order. A *gauge* is a reference kernel that runs in the same rounds and shows what the machine
allows.

Measuring:
rounds.py         scale(), scale_all(): open the pools and gauges, prepare all trials, share the budget among them
measure.py        Trial: one work on all its pools: warm up, check answers, measure rounds, make points
programs.py       scale_command(): the same for any program, which is only seen from outside
workload.py       Work: what is to be measured. Pace: how far the measuring is
configurations.py which backends with how many workers, for how long
verify.py         whether a value is right: the kernel's own check, and the serial value to the bit
calibration.py    how long a run would take, and which size takes that long
ceiling.py        two gauges, and what this machine allowed at that moment
noise.py          what disturbed a round from outside
harness.py        what measuring itself costs: the timer's resolution, an empty run, the first touch of memory
garbage.py        the garbage collector, kept out of what is timed
probe.py          how much of the time the GIL was taken
transfer.py       how much faster runs are whose arrays need not be copied
build_point.py    from a configuration's runs to its point
program_points.py from a program's runs to its points
collecting.py     the evidence of each point, from itself, its neighbours and the rounds

What follows from it, all pure:
ledger.py         where the core-seconds went; the POP efficiencies
kept_timeline.py  what a file keeps of a run's timeline
derive.py         speedup, intervals, efficiency from samples
statistics.py     medians and ratios with intervals; how many rounds would make one narrow
verdict/          from evidence to the cause that took most of the gap, in a sentence
comparing/        two files beside each other, and whether the second is a regression
laws/             Karp-Flatt, Amdahl, Gustafson, USL; projections, and a replay that they are held against
beyond.py         up to how many workers of a cluster a kernel pays, from what was measured of both

Data and sentences. These files load nothing that measures:
dataset.py        Point and Dataset: plain data
schema.py         a results file as a Dataset, or what is wrong with it
agreement.py      whether a results file contradicts itself
tables/           the cells and sentences of every report
results.py        Scaling: a Dataset that shows itself, and goes to JSON and back
imported.py       `read`: a results file of nfold or of pytest-benchmark as a Scaling
files.py          files that are whole or absent
formatting.py     figures as text, with units that suit a reader
"""
