"""How far from N-fold a run was: rounds measure it, a dataset holds it, statistics say how sure it is."""
