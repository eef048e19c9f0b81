"""The cells and sentences of every report, as plain data. compute.report lays them out.

screen.py     the overview: a line for each kernel, a column for each way to run it, a mark at the fastest
reasons.py    the sentences under the overview: the reasons that matter most why cells are not N-fold
table.py      the details: for each kernel a Group of a title, a table and what stands under it
sheet.py      Sheet: a table as rows and columns, and how it fits a width
breakdown.py  further tables of a group: the ledger and the efficiencies; and the sentences of its laws
notes.py      the sentences under a group's table: verdicts, rates, disturbed rounds
"""
