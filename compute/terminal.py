"""Where the command line prints: tables, what a run gave, a progress bar where there is somebody to see it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PAGE = 100  # characters, where there is no terminal


def show(scaling: Any) -> None:
    """Print the tables: with colours on a terminal, plain words in a pipe."""
    from compute.report import text

    text.show(scaling, console())


def console() -> Any:
    """Where tables go: as wide as the terminal, or as a page where there is none."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PAGE)


def width() -> int:
    """The console's, for lines that need no rich, which takes a while to import."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PAGE


def tell(result: Any) -> None:
    """Print what a run gave, and what each lane did."""
    import numpy as np

    from compute.scaling import words as worded

    value = result.value
    if isinstance(value, np.ndarray):
        print(f"value    {value.dtype} array of shape {value.shape}")
        print(np.array2string(value, threshold=100, edgeitems=3))
    else:
        print(f"value    {value}")
    print(f"time     {worded.seconds(result.seconds)}")
    for lane in result.timeline.lanes:
        share = lane.cpu / lane.wall if lane.wall > 0 else 0.0
        many = f"{lane.chunks} chunk{'' if lane.chunks == 1 else 's'}"
        print(f"lane {lane.lane:<3} {many}, {worded.seconds(lane.wall)}, CPU/wall {share:.2f}")
    for event in result.timeline.events:
        print(f"! {event}")


@contextmanager
def progress() -> Iterator[Callable[[float, float, str], None]]:
    """tell(done, total, label), shown as a bar where stderr is a terminal that can draw one."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":  # which cannot take back what it drew
        yield lambda done, total, label: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    # Drawn between the runs alone: a thread that redraws would run beside what is timed.
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
    ) as bar:
        task = bar.add_task("starting")

        def tell(done: float, total: float, label: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{label:50.50}", refresh=True)

        yield tell
