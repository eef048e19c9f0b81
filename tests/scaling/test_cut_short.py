"""A Ctrl-C while rounds are measured: what is finished is kept, and says that it was cut short."""

import re
import signal
from dataclasses import dataclass
from typing import ClassVar

import pytest

from compute import CutShort, Serial, scale
from compute.backends.backend import Backend
from compute.backends.threads import Threads
from compute.scaling import measure, rounds
from compute.scaling.results import Scaling
from compute.scaling.rounds import Work, scale_all
from kernels import kernel


@kernel(compiled=False)
def squares(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i] * x[i]


@kernel(compiled=False)
def cubes(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i] ** 3


WORKS = [Work(squares, ([1.0] * 64,), size=64), Work(cubes, ([1.0] * 64,), size=64)]


def interrupt(*_, **__):
    signal.raise_signal(signal.SIGINT)


def ctrl_c_at(label, time):
    """A progress that presses Ctrl-C when a run with this label is announced for the time-th time."""
    seen = []

    def progress(done, total, told):
        seen.append(told)
        if seen.count(label) == time and told == label:
            interrupt()

    return progress


def test_finished_rounds_are_kept_and_the_begun_one_is_not(no_leaks, tmp_path):
    with pytest.raises(CutShort) as stopped:
        scale(
            squares,
            [1.0] * 64,
            on=[Threads(1), Threads(2)],
            rounds=9,
            progress=ctrl_c_at("squares · python · threads 2", 4),
        )
    scaling = stopped.value.scaling
    assert [(p.backend, p.workers, len(p.samples)) for p in scaling.points] == [
        ("serial", 1, 3), ("threads", 1, 3), ("threads", 2, 3)
    ]  # fmt: skip
    assert all(p.speedup and p.ledger and p.verdict for p in scaling.points)
    assert len(scaling.conditions) == 3
    assert scaling.warnings[0] == "cut short by Ctrl-C after 3 rounds, and an interval needs 6"
    assert not any("budget" in warning for warning in scaling.warnings)
    scaling.to_json(tmp_path / "a.json")
    assert Scaling.from_json(tmp_path / "a.json").warnings == scaling.warnings


def test_what_has_no_round_yet_is_named_and_left_out():
    with pytest.raises(CutShort) as stopped:
        scale_all(WORKS, on=[Threads(2)], rounds=9, progress=ctrl_c_at("cubes · python · threads 2", 1))
    scaling = stopped.value.scaling
    assert {p.kernel for p in scaling.points} == {c["kernel"] for c in scaling.conditions} == {"squares"}
    assert re.fullmatch(
        r"cut short by Ctrl-C after [0-9] rounds?(, and an .*)?; nothing of cubes · python was measured",
        scaling.warnings[0],
    )


@pytest.mark.parametrize(
    "label", ["opening Threads(2)", "squares · python · threads 2 · checking", "squares · python · threads 2"]
)
def test_before_the_first_round_is_over_there_is_nothing_to_keep(label, no_leaks):
    with pytest.raises(KeyboardInterrupt) as stopped:
        scale_all(WORKS, on=[Threads(2)], rounds=9, progress=ctrl_c_at(label, 1))
    assert not isinstance(stopped.value, CutShort)


def test_a_ctrl_c_in_the_middle_of_a_run_ends_it(no_leaks):
    presses = iter([False] * 12 + [True])

    @kernel(compiled=False)
    def pressed(lo, hi, out, x):
        if lo == 0 and next(presses, False):
            interrupt()
        for i in range(lo, hi):
            out[i] = x[i]

    with pytest.raises(CutShort) as stopped:
        scale(pressed, [1.0] * 64, on=[Serial()], rounds=50)
    assert 1 <= len(stopped.value.scaling.points[0].samples) < 12


@dataclass(frozen=True)
class Leaving(Backend):
    """Threads whose closing is met by a Ctrl-C."""

    name: ClassVar[str] = "leaving"

    def open(self):
        pool = Threads(self.workers).open()
        close = pool.close
        pool.close = lambda: (close(), interrupt())
        pool.backend = self
        return pool


def test_a_ctrl_c_when_all_is_measured_leaves_it_whole():
    with pytest.raises(CutShort) as stopped:
        scale(squares, [1.0] * 64, on=[Leaving(2)], rounds=6)
    scaling = stopped.value.scaling
    assert [len(p.samples) for p in scaling.points] == [6, 6]
    assert not any("cut short" in warning for warning in scaling.warnings)


def test_a_second_ctrl_c_while_the_first_is_answered_loses_nothing(monkeypatch):
    fit = measure.laws.fit_laws

    def fit_laws(*args, **kw):
        interrupt()
        return fit(*args, **kw)

    monkeypatch.setattr(measure.laws, "fit_laws", fit_laws)
    with pytest.raises(CutShort) as stopped:
        scale(squares, [1.0] * 64, on=[Threads(2)], rounds=9, progress=ctrl_c_at("squares · python · threads 2", 3))
    assert [len(p.samples) for p in stopped.value.scaling.points] == [2, 2]


def test_a_round_is_there_as_a_whole_or_not_at_all(monkeypatch):
    class Log(measure.noise.RoundLog):
        def round_over(self):
            interrupt()
            super().round_over()

    monkeypatch.setattr(measure.noise, "RoundLog", Log)
    with pytest.raises(CutShort) as stopped:
        scale(squares, [1.0] * 64, on=[Threads(2)], rounds=9)
    scaling = stopped.value.scaling
    assert {len(p.samples) for p in scaling.points} == {len(scaling.conditions)} == {1}


def test_the_words_count_rounds_and_name_works():
    class Done:
        def __init__(self, rounds, label):
            self.rounds, self.label = rounds, label

    assert rounds._about_cut([Done(8, "a"), Done(7, "b")]) == "cut short by Ctrl-C after 7–8 rounds"
    assert rounds._about_cut([Done(1, "a"), Done(0, "b"), Done(0, "c")]).endswith("; nothing of b and c was measured")
