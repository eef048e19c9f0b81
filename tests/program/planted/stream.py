"""Each worker adds arrays that no cache holds, and only reads and writes memory: stream.py WORKERS."""

import os
import sys

import numpy as np
from work import TIMES

workers, rows = int(sys.argv[1]), 64 * TIMES
a, b = np.ones(1 << 23), np.ones(1 << 23)
children = []
for _ in range(workers):
    if not (child := os.fork()):
        out = np.empty_like(a)
        for _row in range(rows // workers):
            np.add(a, b, out=out)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
