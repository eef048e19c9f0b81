"""From what is known of a point to one sentence of cause, with its evidence and a remedy. All of it is pure.

judgement.py  which cause is named, and the verdicts of whole points
causes.py     the causes: what each may claim of what was lost, and when
phrases.py    how each is told
program_phrases.py  what can be told of a whole program that was watched from outside, and how
evidence.py   what a judge is given
point_verdict.py  the verdict of a point, for whoever shows it; of old files, from the sentence that they hold
"""
