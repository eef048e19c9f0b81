"""Real programs with known behaviours, measured: what the verdict names, and how the measurement goes and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from compiler import needs_compiler

from compute import machine
from compute.program.command import command
from compute.program.families import keeping
from compute.program.run import ProgramFailed
from compute.scaling import programs
from compute.scaling.ceiling import Gauge
from compute.scaling.programs import scale_command
from compute.scaling.results import CutShort
from compute.scaling.verify import WrongAnswer

PLANTED = Path(__file__).parents[1] / "program/planted"
UNSURE = "noise", "unknown", "inconclusive"  # what a verdict may be where others took CPUs: never another cause
two_cpus = pytest.mark.skipif(machine.usable_cpus() < 2, reason="nothing scales on one CPU")
linux = pytest.mark.skipif(sys.platform != "linux", reason="threads are told of by /proc alone")
with_a_gil = pytest.mark.skipif(not machine.has_gil(), reason="threads of this Python take no turns")
slow = pytest.mark.slow
pytestmark = pytest.mark.usefixtures("no_leaks")


def measured(name):
    """A planted program with two workers."""
    isolated = () if name == "stream" else ("-S", "-E")  # it needs numpy, which is among the site's packages
    words = [sys.executable, *isolated, str(PLANTED / f"{name}.py"), "{workers}"]
    return scale_command(words, workers=[1, 2], rounds=6, budget=60).points[-1]


@linux
@two_cpus
@pytest.mark.parametrize(
    ("name", "cause", "told"),
    [
        pytest.param("serial_part", "serial fraction", "a serial fraction of", marks=slow),
        pytest.param("turns", "lock", "threads take turns", marks=[with_a_gil, slow]),
        pytest.param("even", "none", "nothing wrong", marks=slow),
        # Twelve runs of half a second each; `make proof-programs` plants all of them as well.
        pytest.param("deaf", "workers ignored", "at work with 1 worker and with 2, in the same time", marks=slow),
        pytest.param("crowd", "oversubscription", "at work with 1 worker already", marks=slow),
        pytest.param("stream", "memory bandwidth", "limited by memory bandwidth", marks=slow),
    ],
)
def test_the_verdict_names_what_was_planted(name, cause, told):
    p = measured(name)
    if name == "stream":  # two CPUs may have the bandwidth: then what holds it, if anything, is its start, or unknown
        assert p.cause in (cause, "none", "imbalance", "serial fraction", "cpu inflation", *UNSURE), p.verdict
        return
    if p.contaminated:  # then its CPU time is all that is sure
        assert p.cause in (cause, *UNSURE), p.verdict
        return
    # Halves that are alike end apart where the CPUs are not equally fast meanwhile.
    assert p.cause in ((cause, "imbalance") if name == "even" else (cause,)), p.verdict
    assert told in p.verdict or cause == "none"
    if name == "serial_part":
        assert 0.2 < p.details["one"] / p.details["seconds_alone"] < 0.45  # 0.3, and Python's own start


def test_one_worker_is_always_measured_and_every_round_has_every_count():
    scaling = scale_command(["sleep", "0.0{workers}"], workers=[3, 2], rounds=4, budget=60)
    assert [p.workers for p in scaling.points] == [1, 2, 3]
    assert [len(p.samples) for p in scaling.points] == [4, 4, 4]
    one, two, three = scaling.points
    assert one.speedup == 1.0
    assert two.seconds > 0.02
    assert three.seconds > 0.03
    assert three.speedup < 1
    assert scaling.harness["overhead"] > 0
    assert len(scaling.conditions) == 4


def test_a_program_that_is_too_short_is_said_to_be():
    scaling = scale_command(["true"], env=["N"], workers=[1], rounds=6)
    assert any(
        text.startswith("start-up dominates: starting a program that does nothing takes") for text in scaling.warnings
    )


def test_a_budget_that_ends_the_rounds_is_told():
    scaling = scale_command(["sleep", "0.1"], env=["N"], workers=[1], budget=0.3)
    assert scaling.points[0].rounds < 6
    assert any("stopped at the budget of 0.3 s after" in text for text in scaling.warnings)


def test_a_failure_with_some_count_ends_it_before_anything_is_timed(tmp_path):
    runs = tmp_path / "runs"
    line = f"echo $0 >> {runs}; test $0 -lt 2 || {{ echo 'two are too many' >&2; exit 9; }}"
    with pytest.raises(ProgramFailed, match=r"sh -c .* 2 ended with exit code 9: two are too many"):
        scale_command(["sh", "-c", line, "{workers}"], workers=[1, 2], rounds=3)
    assert runs.read_text().split() == ["2"]


def test_a_failure_in_a_later_round_ends_it_too(tmp_path):
    line = f"echo x >> {tmp_path}/runs; test $(wc -l < {tmp_path}/runs) -lt 6"
    with pytest.raises(ProgramFailed, match="exit code 1"):
        scale_command(["sh", "-c", line], env=["N"], workers=[1, 2], rounds=10)
    assert len((tmp_path / "runs").read_text().split()) == 6


def test_output_that_differs_is_refused_and_the_same_is_not():
    with pytest.raises(
        WrongAnswer, match="echo 2 does not print what it prints with 1 worker: 2 bytes both times, with other"
    ):
        scale_command(["echo", "{workers}"], workers=[1, 2], rounds=1, same_output=True)
    with pytest.raises(WrongAnswer, match="12 bytes, not 2"):
        scale_command(
            ["sh", "-c", "test $0 = 1 && echo 1 || echo hello world", "{workers}"],
            workers=[1, 2],
            rounds=1,
            same_output=True,
        )
    assert scale_command(["echo", "same"], env=["N"], workers=[1, 2], rounds=1, same_output=True).points
    nothing = scale_command(["true"], env=["N"], workers=[1, 2], rounds=1, same_output=True)
    assert "it printed nothing, so that --same-output had nothing to compare" in nothing.warnings


def test_a_run_that_takes_too_long_ends_it():
    with pytest.raises(ProgramFailed, match=r"sleep 2 had not ended after 0.3 s"):
        scale_command(["sleep", "{workers}"], workers=[1, 2], timeout=0.3)


@pytest.mark.parametrize("options", [{"workers": [0]}, {"workers": [True]}, {"budget": 0}, {"rounds": 0}])
def test_what_cannot_be_is_refused_before_anything_is_started(options, tmp_path):
    with pytest.raises(ValueError, match=r"workers must be|budget must be|rounds must be"):
        scale_command(["touch", str(tmp_path / "made")], env=["N"], **options)
    assert not (tmp_path / "made").exists()


def test_ctrl_c_keeps_the_finished_rounds():
    started = []

    def progress(done, total, label):
        if " · checking" not in label and "echo" in label:
            started.append(label)
        if len(started) == 5:  # two full rounds of two counts, and one run more
            started.append("")
            threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()

    with pytest.raises(CutShort) as cut:
        scale_command(["sh", "-c", "sleep 0.2; echo"], env=["N"], workers=[1, 2], rounds=50, progress=progress)
    scaling = cut.value.scaling
    assert [p.rounds for p in scaling.points] == [2, 2]
    assert "cut short by Ctrl-C after 2 rounds" in scaling.warnings
    assert len(scaling.conditions) == 2


def test_ctrl_c_before_the_first_round_is_over_is_raised():
    def progress(done, total, label):
        if "checking" in label:
            threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt) as raised:
        scale_command(["sleep", "30"], env=["N"], workers=[1], progress=progress)
    assert not isinstance(raised.value, CutShort)


class Neighbours:
    """A trial that got as far as asking what neighbours cost it, with invented gauges beside two real CPUs."""

    def __init__(self, monkeypatch, line, *, budget=60.0, timeout=None, fails=False):
        monkeypatch.setattr(programs.ceiling, "gauges", self.opened)
        self.fails, self.runs = fails, 0
        self.flag = line[-1]
        self.trial = programs._ProgramTrial(
            command(line, ["N"]), [1, 2], programs.Pace(budget, 2, lambda *_: None), self.both((1, 2)), None, timeout
        )

    def both(self, counts):
        return [self.gauge(bound, n) for bound in ("compute", "memory") for n in counts]

    def gauge(self, bound, n):
        return Gauge(bound, None, SimpleNamespace(workers=n, run=self.run), (), {})

    @contextlib.contextmanager
    def opened(self, counts):
        Path(self.flag).touch()
        yield self.both(counts)

    def run(self, *_args, **_kw):
        time.sleep(0.001)
        if self.fails and threading.current_thread() is not threading.main_thread():
            raise MemoryError("no pages")
        lane = SimpleNamespace(chunks=1, wall=1.0)
        return SimpleNamespace(timeline=SimpleNamespace(lanes=[lane]))

    def tried(self):
        with keeping() as self.trial.keeper:
            self.trial.check(False)
            self.trial._log = programs.noise.RoundLog()
            self.trial._more_rounds(1, 0.0)
            self.trial._try_neighbours(2)
        return self.trial


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"line": 'test ! -e "$0" || sleep 9', "timeout": 1.0}, "had not ended after 1 s"),
        ({"line": 'test ! -e "$0" || exit 4'}, "exit code 4"),
        ({"line": "true", "fails": True}, "beside it failed: MemoryError('no pages')"),
        ({"line": "sleep 0.02", "budget": 0.001}, "no time was left for that"),
    ],
)
def test_neighbours_that_come_to_nothing_cost_no_round(options, told, tmp_path, monkeypatch):
    line = ["sh", "-c", options.pop("line"), str(tmp_path / "flag")]
    trial = Neighbours(monkeypatch, line, **options).tried()
    assert len(trial.rounds) == 1
    assert (trial.beside, trial.share) == (None, None)
    (warning,) = trial.warnings
    assert warning.startswith("whether memory traffic slows it, beside lanes that stream memory, is not known: ")
    assert told in warning
    assert "\n" not in warning


@needs_compiler
def test_a_gauge_is_awake_before_it_is_timed(monkeypatch):
    """The CPUs were idle while the program ran, and what they do first says nothing of what they can do."""
    ran = []

    def logged(gauge, seconds=0.0):
        ran.append((gauge.key, seconds))
        return 1.0

    monkeypatch.setattr(programs.ceiling.Gauge, "run", logged)
    scale_command([sys.executable, "-c", "import sys; sys.argv[1]", "{workers}"], workers=[1], rounds=2)
    of_rounds = ran[-8:] if len(ran) >= 8 else ran
    pairs = list(zip(of_rounds[::2], of_rounds[1::2], strict=True))
    assert pairs
    assert all(first[0] == second[0] and first[1] == programs.AWAKE > second[1] for first, second in pairs)


def test_the_variables_of_this_process_are_as_before():
    before = dict(os.environ)
    scale_command(["sh", "-c", 'test "$N" = 1'], env=["N"], workers=[1], rounds=1)
    assert dict(os.environ) == before
