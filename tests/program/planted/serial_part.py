"""30 % of the work is done by one process, the rest by as many as it is told: serial_part.py WORKERS."""

import os
import sys

from work import STEPS, spin

workers = int(sys.argv[1])
spin(STEPS * 3 // 10)
children = []
for _ in range(workers):
    if not (child := os.fork()):
        spin(STEPS * 7 // 10 // workers)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
