"""`nfold command` as its user meets it: what is refused, what is shown and written, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from patience import PATIENCE

from compute.cli import main
from kernels.definition import numba_is_here

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def nfold_command(*words, before=(), **options):
    """`nfold command words` in a process of its own."""
    return subprocess.Popen(
        [*before, sys.executable, "-m", "compute", "command", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **options,
    )


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "Missing argument"),
        (["--", "true"], 2, "nothing tells 'true' how many workers it has; write {workers}"),
        (["--", "nosuchprogram", "{workers}"], 2, "no program 'nosuchprogram' on PATH"),
        (["--workers", "0", "--", "true", "{workers}"], 2, "--workers must be at least 1, not 0"),
        (["--timeout", "soon", "--", "true", "{workers}"], 2, "--timeout must be a time above 0"),
        (["--budget", "-5s", "--", "true", "{workers}"], 2, "--budget must be a time above 0"),
        (["--env", "=1", "--", "true"], 2, "--env takes NAME or NAME=VALUE"),
        (["--json", "no/such/folder.json", "--env", "N", "--", "true"], 2, "cannot write 'no/such/folder.json'"),
        (["--env", "N", "--", "sh", "-c", "echo gone wrong >&2; exit 3"], 1, "ended with exit code 3: gone wrong"),
        (["--timeout", "200ms", "--env", "N", "--", "sleep", "60"], 1, "N=2 sleep 60 had not ended after 0.2 s"),
        (["--same-output", "--", "echo", "{workers}"], 1, "does not print what it prints with 1 worker"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_code(words, code, told, capsys, monkeypatch):
    monkeypatch.setattr("compute.scaling.configurations.machine.usable_cpus", lambda *_: 2)
    assert main(["command", *words]) == code
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["--", "sh", "-c"], ["sh", "-c"]])
def test_the_words_of_the_program_are_its_own(words, tmp_path, capsys):
    line = f'printf "%s\\n" "$@" > {tmp_path}/words'
    assert (
        main(["command", "--workers", "1", "--budget", "100ms", *words, line, "-5", "-1", "--json", "{workers}"]) == 0
    )
    assert (tmp_path / "words").read_text().split("\n") == ["-1", "--json", "1", ""]


@pytest.mark.slow
def test_the_report_in_every_form():
    forms = ["--json", "s.json", "--csv", "s.csv", "--markdown", "s.md", "--html", "s.html", "--png", "s.png"]
    line = ["--workers", "1,2", "--budget", "2s", "--env", "OMP_NUM_THREADS", *forms]
    process = nfold_command(*line, "--", "sh", "-c", "sleep 0.05; echo '<nobody>'")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert "sh -c 'sleep 0.05; echo" in out
    assert "program · OMP_NUM_THREADS" in out
    data = json.loads(Path("s.json").read_text())
    assert data["schema"] == "nfold/1"
    assert [(p["backend"], p["variant"], p["workers"]) for p in data["points"]] == [
        ("program", "OMP_NUM_THREADS", 1),
        ("program", "OMP_NUM_THREADS", 2),
    ]
    for p in data["points"]:
        assert sum(p["ledger"].values()) == pytest.approx(p["workers"] * p["seconds"], rel=0.01)
        assert p["verdict"]
    assert "<nobody>" not in Path("s.html").read_text()
    assert all(Path(name).stat().st_size for name in ("s.csv", "s.md", "s.png"))
    assert main(["report", "s.json"]) == 0


def interrupted(number, count):
    """A long measurement that gets this signal during the run after so many, which would not end by itself."""
    line = f"echo $$ >> pids; test $(wc -l < pids) -le {count} || sleep {PATIENCE}; sleep 0.2; :"
    process = nfold_command("--workers", "1,2", "--json", "cut.json", "--env", "N", "--", "sh", "-c", line)
    end = time.monotonic() + PATIENCE
    while not (Path("pids").exists() and len(Path("pids").read_text().split()) > count):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert not any(map(psutil.pid_exists, map(int, Path("pids").read_text().split())))
    return process.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGINT, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGTERM, signal.SIGHUP))]
)
def test_an_interrupt_shows_and_keeps_what_was_measured(number):
    code, out, err = interrupted(number, 7)  # two checks, two rounds and one run
    assert (code, err) == (130, "nfold: interrupted\n")
    assert "! cut short by Ctrl-C after 2 rounds" in out
    assert len(json.loads(Path("cut.json").read_text())["points"][0]["samples"]) == 2


def test_a_killed_nfold_leaves_no_program_behind():
    process = nfold_command("--env", "N", "--", "sh", "-c", "echo $$ >> pids; sleep 300; :")
    end = time.monotonic() + PATIENCE
    while not (Path("pids").exists() and Path("pids").read_text().strip()):
        assert time.monotonic() < end
        time.sleep(0.02)
    (program,) = map(int, Path("pids").read_text().split())
    # The program's start has woken nfold, which next sleeps when it has told its guard of the program.
    while psutil.Process(process.pid).status() != psutil.STATUS_SLEEPING:
        assert time.monotonic() < end
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=PATIENCE)
    while psutil.pid_exists(program):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_interrupt_before_a_round_is_over_shows_nothing():
    code, out, err = interrupted(signal.SIGINT, 0)
    assert (code, out, err) == (130, "", "nfold: interrupted\n")
    assert not Path("cut.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_on_one_cpu_two_workers_share_it():
    cpu = str(min(os.sched_getaffinity(0)))
    process = nfold_command(
        "--workers", "1,2", "--budget", "2s", "--json", "one.json", "--env", "N", "--",
        sys.executable, "-S", "-E", "-c", "for i in range(3_000_000): pass", before=["taskset", "-c", cpu],
    )  # fmt: skip
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert "2 workers share 1 usable CPU" in out
    one = json.loads(Path("one.json").read_text())
    assert one["machine"]["cpus"] == 1
    assert one["points"][1]["ceiling"] == (1.0 if numba_is_here() else None)


def test_without_a_compiler_a_line_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    process = nfold_command("--workers", "1", "--budget", "100ms", "--env", "N", "--", "true")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    line = " ".join(out.split())
    assert re.search(r"numba's compiler is (not installed|switched off by NUMBA_DISABLE_JIT): what this machine", line)


def test_a_reader_that_leaves_is_no_error():
    process = nfold_command("--workers", "1", "--budget", "100ms", "--env", "N", "--", "true")
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(PATIENCE) in (0, 1)
    process.stderr.close()
    assert err == ""


def test_where_nothing_tells_of_threads_it_is_said(monkeypatch, capsys):
    monkeypatch.setattr("compute.program.run.can_watch", lambda: False)
    monkeypatch.setattr("compute.scaling.programs.can_watch", lambda: False)
    monkeypatch.setattr("compute.program.families.can_see_children", lambda: False)
    monkeypatch.setattr("compute.program.families._libc", lambda: None)
    line = ["command", "--workers", "1,2", "--budget", "100ms", "--env", "N", "--", "sh", "-c", "sleep 0.1; seq 1000"]
    assert main(line) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "how long they waited for a CPU, and how many were at work, is not known" in out
    assert "this system hands no orphans over" in out
