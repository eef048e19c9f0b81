"""As many threads as it is told take turns at the interpreter's lock: turns.py WORKERS."""

import sys
import threading

from work import STEPS, spin

workers = int(sys.argv[1])
threads = [threading.Thread(target=spin, args=(STEPS // workers,)) for _ in range(workers)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
