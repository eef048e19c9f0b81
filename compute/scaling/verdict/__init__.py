"""From what is known of a point to its verdict: the cause that took most of the gap to N-fold, and a remedy. All pure.

evidence.py        Evidence: what is known of one configuration, and what follows from it
causes.py          the causes, in order: what each may claim of the ledger's losses, what it says, its remedy
claims.py          what is unclaimed of the ledger yet, and the rules by which a cause claims its part
judgement.py       `judge`: which cause is named; `judge_points`
phrases.py         the sentence of each cause
program_phrases.py the same for whole programs, which are only seen from outside
point_verdict.py   `verdict_of` a point, for whoever shows it; of old files, read from the sentence that they hold
"""
