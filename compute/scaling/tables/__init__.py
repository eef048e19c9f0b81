"""The cells and sentences of every report, before any form is given to them.

screen.py     all kernels on one screen: a line each, a column a way, a mark at the fastest
reasons.py    why they are not N-fold: the reasons that matter most, each told once
table.py      the groups of a Scaling: title, table, notes
sheet.py      rows and columns, and how they fit a width
breakdown.py  the ledger, the efficiencies and the laws as tables
notes.py      what a reader ought to be told of them
"""
