"""loky keeps workers, and a folder for each call in /dev/shm, for as long as the program runs: here they end sooner."""

import os
import shutil
from pathlib import Path

from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.backend import resource_tracker


def end_loky() -> None:
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
    for folder in Path("/dev/shm").glob(f"joblib_memmapping_folder_{os.getpid()}_*"):
        resource_tracker.unregister(str(folder), "folder")
        shutil.rmtree(folder)
