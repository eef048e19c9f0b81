"""The places where tests raise a signal are places where the interpreter would hear one."""

from __future__ import annotations

import sys

from ctrl_c import CtrlC


def left_early():
    return any(x for x in (0, 1, 2))


def test_what_is_raised_at_each_place_is_heard(monkeypatch):
    """As `any` closes a generator, no signal is heard; what a trace function raises there is lost."""
    lost = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    k, came = 1, True
    while came:
        heard = False
        try:
            with CtrlC(k) as at:
                left_early()
        except KeyboardInterrupt:
            heard = True
        came = at.came
        assert (heard, lost) == (came, []), k
        k += 1
    assert k > 3
