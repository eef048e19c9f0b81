"""A Ctrl-C wherever the interpreter looks for one: as a function begins, after a call, and at a loop's turn."""

from __future__ import annotations

import dis
import signal
import sys
from types import FrameType
from typing import Any

PLACES = ("CALL", "JUMP_BACKWARD")


class CtrlC:
    """Interrupts a block at the k-th of these places, counted from 1; not in the script itself.

    came: whether the block has so many.
    """

    def __init__(self, k: int, number: int = signal.SIGINT) -> None:
        self._left, self._number = k, number
        self._latest: dict[FrameType, str] = {}

    @property
    def came(self) -> bool:
        return self._left <= 0

    def __enter__(self) -> CtrlC:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        self._latest.clear()

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename in ("script", __file__):
            return None
        latest = ""
        begins = event == "call" and _hears_as_it_begins(frame)
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            latest = self._latest.get(frame, "")
            self._latest[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        # Without a line: the interpreter's own clearing up after an exception, where it does not look.
        if frame.f_lineno is not None and (begins or latest.startswith(PLACES)):
            self._left -= 1
            if self._left == 0:
                signal.raise_signal(self._number)
        return self._trace


def _hears_as_it_begins(frame: FrameType) -> bool:
    """Whether a function begins or a generator goes on, where the interpreter looks for signals.

    It does not where a generator is closed or thrown into. A trace function is called there all the same, and what it
    raises as `any(... for ...)` closes its generator is lost, which no handler's error is.
    """
    caller = frame.f_back
    if caller and dis.opname[caller.f_code.co_code[caller.f_lasti]] == "POP_ITER":
        return False  # 3.14's way of leaving a generator early
    code, at = frame.f_code.co_code, frame.f_lasti
    return dis.opname[code[at]] == "RESUME" and code[at + 1] & 3 < 2
