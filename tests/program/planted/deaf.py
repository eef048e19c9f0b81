"""One process does all of the work, whatever it is told."""

from work import STEPS, spin

spin(STEPS)
