"""How a measurement ends: shown, kept, told where; whole or cut short, whatever comes in between."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from patience import PATIENCE
from sampling import quick_first

sys.path.insert(0, str(Path(__file__).parents[1] / "scaling"))

from example_main_job import a_main_job

from compute.cli import ending, main_job, terminal
from compute.cli.commands import main
from compute.report import plots
from compute.scaling.results import CutShort, Scaling

ROOT = Path(__file__).parents[2]
JSON, PNG = Path("nfold-report.json"), Path("nfold-report.png")
FOUND = a_main_job(kernels=["count_primes", "triad"])
full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def fonts():
    """matplotlib keeps the files of its fonts open: opened before any test, they are no leak of one."""
    plots.render(FOUND)


@pytest.fixture
def found(monkeypatch):
    """A main job that finds FOUND at once."""
    monkeypatch.setattr(main_job, "survey", lambda *_: FOUND)


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


def test_the_main_job_ends_with_one_screen_and_where_the_rest_is(found, capsys):
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    assert "Speedup with 2 workers" in out
    assert "CPU/wall" not in out
    told = out.rpartition("\n\n")[2].splitlines()  # a line for each file, whichever there are
    assert told[0] == "Tables:  nfold report nfold-report.json --details"
    assert {"Results: nfold-report.json", "Picture: nfold-report.png"} <= set(told[1:])
    assert {line.split()[1] for line in told[1:]} == set(os.listdir())
    assert Scaling.from_json(JSON).points == FOUND.points


def test_details_prints_the_tables_behind_it(found, capsys):
    assert main(["--details"]) == 0
    first = capsys.readouterr().out
    assert first.index("Speedup with 2 workers") < first.index("CPU/wall")
    assert "Tables:" not in first
    assert "Results: nfold-report.json" in first
    assert main(["report", str(JSON), "--details"]) == 0
    again = capsys.readouterr().out
    assert first.startswith(again)
    assert main(["report", str(JSON)]) == 0
    screen = capsys.readouterr().out
    assert screen.partition("Tables:")[0].strip() == again.partition("\ncount_primes ·")[0].strip()


@pytest.mark.parametrize(
    ("kept", "results", "wanted"),
    [
        ({}, [], ""),
        ({"png": "a.png"}, [], "Picture: a.png"),
        ({}, ["a.json", "my results.json"], "Tables:  nfold report a.json 'my results.json' --details"),
        (
            {"html": "a.html", "csv": "a.csv"},
            ["-"],
            "Tables:  nfold report - --details\nPage:    a.html\ncsv:     a.csv",
        ),
    ],
)
def test_where_the_rest_is(kept, results, wanted):
    assert ending.where(kept, results) == wanted


def test_what_was_cut_short_is_shown_kept_and_ends_with_130(monkeypatch, capsys):
    cut = Scaling(FOUND.points, FOUND.machine, ("cut short by Ctrl-C after 3 rounds",))

    def survey(*_):
        raise CutShort(cut)

    monkeypatch.setattr(main_job, "survey", survey)
    assert main([]) == 130
    out, err = capsys.readouterr()
    assert "! cut short by Ctrl-C after 3 rounds\n" in out
    assert "Results: nfold-report.json" in out
    assert err == "nfold: interrupted\n"
    assert PNG.read_bytes().startswith(b"\x89PNG")
    assert main(["report", str(JSON)]) == 0  # the mark stays with the results
    assert "! cut short by Ctrl-C after 3 rounds\n" in capsys.readouterr().out


def test_cut_short_with_nothing_measured_leaves_nothing(monkeypatch, capsys):
    monkeypatch.setattr(main_job, "survey", lambda *_: press_ctrl_c())
    assert main([]) == 130
    assert capsys.readouterr() == ("", "nfold: interrupted\n")
    assert os.listdir() == []


@pytest.mark.parametrize(
    "where", quick_first(1, ["compute.report.render", "compute.report.text.show", "compute.cli.terminal.flush"])
)
def test_a_ctrl_c_while_it_is_shown_or_kept_waits(where, found, monkeypatch, capfd):
    room, _, name = where.rpartition(".")
    module = sys.modules[room]
    call, pressed = getattr(module, name), []

    def meanwhile(*args, **kw):
        if not pressed:
            pressed.append(True)
            press_ctrl_c()
        return call(*args, **kw)

    monkeypatch.setattr(module, name, meanwhile)
    handler = signal.getsignal(signal.SIGINT)
    assert main([]) == 130
    out, err = capfd.readouterr()
    assert "Speedup with 2 workers" in out
    assert "Picture: nfold-report.png" in out
    assert err == "nfold: ending as soon as all is written; a second Ctrl-C ends it now\nnfold: interrupted\n"
    assert Scaling.from_json(JSON).points == FOUND.points
    assert PNG.read_bytes().startswith(b"\x89PNG")
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_ctrl_c_does_not_wait(found, monkeypatch, capfd):
    def stuck(*_):
        press_ctrl_c()
        press_ctrl_c()
        pytest.fail("the second one was put off")

    monkeypatch.setattr(plots, "render", stuck)
    handler = signal.getsignal(signal.SIGINT)
    assert main([]) == 130
    assert "Speedup with 2 workers" in capfd.readouterr().out
    assert JSON.exists()
    assert not PNG.exists()
    assert not [name for name in os.listdir() if name.startswith(".")]
    assert signal.getsignal(signal.SIGINT) is handler


def test_elsewhere_than_on_the_main_thread_or_without_a_handler_nothing_is_put_off(capsys):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(terminal.deliver(lambda: print("shown"))))
    thread.start()
    thread.join()
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        codes.append(terminal.deliver(press_ctrl_c))
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, former)
    assert codes == [0, 0]


@full
def test_a_full_disk_leaves_the_screen_and_names_the_file(found, capsys):
    JSON.symlink_to("/dev/full")
    assert main([]) == 1
    out, err = capsys.readouterr()
    assert "Speedup with 2 workers" in out
    assert out.endswith("\nPicture: nfold-report.png\n")
    assert "Results" not in out  # what could not be written is not said to be there
    assert err.startswith("nfold: cannot write 'nfold-report.json': No space left on device; it needs ")
    assert err.count("\n") == 1


@pytest.mark.slow
@full
def test_a_full_disk_after_a_ctrl_c_still_ends_with_130(monkeypatch, capsys):
    def survey(*_):
        raise CutShort(FOUND)

    monkeypatch.setattr(main_job, "survey", survey)
    JSON.symlink_to("/dev/full")
    assert main([]) == 130
    out, err = capsys.readouterr()
    assert "Speedup with 2 workers" in out
    assert [line.partition("'")[0] for line in err.splitlines()] == ["nfold: cannot write ", "nfold: interrupted"]


def test_a_disk_that_fills_up_meanwhile(tmp_path, monkeypatch, found, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", disk], stderr=-3).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        monkeypatch.chdir(disk)
        assert main([]) == 1
        out, err = capsys.readouterr()
        assert "Speedup with 2 workers" in out
        unwritten = [line.split("'")[1] for line in err.splitlines()]
        assert {str(JSON), str(PNG)} <= set(unwritten)
        assert len(set(unwritten)) == len(unwritten)
        assert "it needs" in err
        assert os.listdir(disk) == []
        assert "Tables" not in out
    finally:
        monkeypatch.chdir(tmp_path)
        subprocess.run(["umount", disk], check=True)


MODULE = """
import time
from kernels import kernel

@kernel(compiled=False)
def slow(lo, hi, out, x):
    with open("runs", "a") as runs:
        runs.write(".")
    time.sleep(0.002)
    out[lo:hi] = x[lo:hi]
"""


def begun(*argv: str, **options) -> subprocess.Popen:
    """`python -m compute argv` in a process and a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "compute", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where files may not grow, CPython would leave cut bytecode to whoever comes next, who could not load it.
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        start_new_session=True,
        **options,
    )


@pytest.mark.parametrize("whole_group", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_real_ctrl_c_keeps_what_a_real_job_has_measured(whole_group, no_leaks):
    Path("mine.py").write_text(MODULE)
    line = "scale mine:slow 16 --on threads,processes --workers 1,2 --budget 10m --json a.json --csv a.csv"
    job = begun(*line.split())
    until = time.monotonic() + PATIENCE
    while not (os.path.exists("runs") and os.path.getsize("runs") > 16 * 5 * 8):  # several rounds of five
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(job.pid, signal.SIGINT) if whole_group else job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=PATIENCE)
    assert (job.returncode, err) == (130, "nfold: interrupted\n")
    scaling = Scaling.from_json("a.json")
    assert scaling.warnings[0].startswith("cut short by Ctrl-C after ")
    assert len(scaling.points) == 5
    assert {len(p.samples) for p in scaling.points} == {len(scaling.conditions)}
    assert Path("a.csv").read_text().count("\n") == 6
    assert "! cut short by Ctrl-C after " in out


def test_a_file_that_may_not_grow_costs_that_file_alone():
    FOUND.to_json("a.json")
    limit = 4000
    job = begun(
        "report", "a.json", "--json", "b.json", "--csv", "c.csv",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    out, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 1
    assert "Speedup with 2 workers" in out
    assert [line.split("'")[1] for line in err.splitlines()] == ["b.json", "c.csv"]


def test_an_end_of_file_that_a_kernel_meets_is_no_ctrl_c():
    Path("ends.py").write_text(MODULE.replace("    time.sleep(0.002)", "    raise EOFError('of mine')"))
    out, err = (job := begun("run", "ends:slow", "8", "--on", "serial")).communicate(timeout=PATIENCE)
    assert (job.returncode, out) == (1, "")
    assert "EOFError: of mine" in err
    assert "interrupted" not in err


def test_a_limit_among_what_could_not_be_written_is_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    FOUND.to_json("a.json")

    def unloadable(*_):
        raise ImportError("libfreetype.so: failed to map segment from shared object")

    monkeypatch.setattr(plots, "render", unloadable)
    assert main(["report", "a.json", "-o", "o.csv", "-o", "o.png"]) == 2
    assert Path("o.csv").exists()
    said = capsys.readouterr().err
    assert said.startswith("nfold: memory is too small for what is to be loaded: libfreetype.so")
    assert said.count("\n") == 1
