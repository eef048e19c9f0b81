"""The cells and sentences of every report, before any form is given to them.

table.py      the groups of a Scaling: title, table, notes
sheet.py      rows and columns, and how they fit a width
breakdown.py  the ledger, the efficiencies and the laws as tables
notes.py      what a reader ought to be told of them
"""
