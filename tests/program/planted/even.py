"""All of the work is shared out evenly: even.py WORKERS."""

import os
import sys

from work import STEPS, spin

workers = int(sys.argv[1])
children = []
for _ in range(workers):
    if not (child := os.fork()):
        spin(STEPS // workers)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
