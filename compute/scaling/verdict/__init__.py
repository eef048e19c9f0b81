"""From what is known of a point to one sentence of cause, with its evidence and a remedy.

evidence.py   what a judge is told
losses.py     what each cause took, as far as the evidence carries it
judgement.py  which of them is said
phrases.py    how
"""
