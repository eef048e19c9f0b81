"""The command line as its user meets it: what it prints, what it leaves, and its exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from compiler import needs_compiler
from patience import PATIENCE

import kernels
from compute.cli import commands, main_job
from compute.cli.commands import main
from compute.dispatch import WorkerDied
from compute.program.run import ProgramFailed
from compute.scaling.configurations import Unavailable
from compute.scaling.dataset import Point
from compute.scaling.results import Scaling
from compute.scaling.verify import WrongAnswer
from kernels.definition import numba_is_here

ROOT = Path(__file__).parents[2]
SMALL = ["--variant", "python", "--on", "threads", "--workers", "1,2", "--budget", "100ms"]

words = str.split

USER_MODULE = """
import numpy as np
from kernels import kernel

@kernel
def twice(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = 2 * x[i]

@kernel
def broken(lo, hi, out, x):
    raise ZeroDivisionError("as planned")

@kernel
def seeded(lo, hi, out, seed):  # which has no example, so the seed is an array
    np.random.seed(seed + lo)
    out[lo:hi] = 1.0
"""


@pytest.fixture(scope="session", autouse=True)
def fonts():
    """matplotlib keeps the files of its fonts open: opened before any test, they are no leak of one."""
    from compute.report import plots

    plots.render(Scaling((Point("triad", 1, "nogil", "serial", 1, 1.0, (1.0,)),)))


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def nfold(*argv: str, **options) -> subprocess.Popen:
    """`python -m compute argv` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "compute", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **options,
    )


def measured(backend: str, out: str) -> list[str]:
    """The rows of a backend in the tables of times, those of what explains them aside."""
    return re.findall(rf"^{backend} +[a-z]+ +[0-9]+ +[0-9.]+ (?:n|µ|m|)s .*$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("scale matmul -3", "SIZE must be at least 1, not -3"),
        ("scale matmul 1.5", "SIZE must be a whole number"),
        ("scale matmul nan", "SIZE must be a whole number"),
        ("run matmul 1e7", "matmul of size 10000000 needs 2.4 PB and"),
        ("scale mandelbrot 1e12", "use a smaller size"),
        ("scale matmull", "did you mean 'matmul'"),
        ("scale nowhere.at_all:kernel", "cannot import 'nowhere.at_all'"),
        ("scale matmul --on thread", "did you mean 'threads'"),
        ("scale matmul --workers 0", "--workers must be at least 1, not 0"),
        ("scale matmul --workers -1", "--workers must be at least 1, not -1"),
        ("scale matmul --variant nogill", "did you mean 'nogil'"),
        ("scale matmul --budget nan", "--budget must be a time"),
        ("--budget nan", "--budget must be a time"),
        ("scale matmul --png nowhere/x.png", "cannot write 'nowhere/x.png'"),
        ("scale matmul --json .", "cannot write '.'"),
        ("scale matmul --json same --csv same", "'same'"),
        ("run matmul 10 --on prange --variant python", "prange"),
        ("run count_primes 100 --png x.png", "--png draws a matrix"),
        ("run mandelbrot 0 --png x.png", "--png draws a matrix"),
        ("run matmul 10 --dtype float16", "--dtype must be float64, float32, complex128 or int64, not 'float16'"),
        ("run matmul 10 --dtype complex128", "matmul does not take complex128: A must hold real numbers"),
        ("run matmul 10 --dtype int64", "matmul does not compute in int64 (its result is float64)"),
        ("run count_primes 100 --dtype int64", "count_primes does not compute in int64"),
        ("run matmul 1e7 --dtype float32", "matmul of size 10000000 needs"),
        ("run matmul", "Missing argument 'SIZE'"),
        ("scale", "Missing argument 'KERNEL'"),
        ("sclae matmul", "No such command 'sclae'"),
        ("--no-such-option", "No such option: --no-such-option"),
        ("report nothing.json", "there is no file 'nothing.json'"),
        ("report", "Missing argument"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_with_exit_code_2(line, told, capsys, tmp_path):
    assert main(words(line)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("word", "told"), [("a\0b", "holds a NUL character"), ("\ud800", "holds half a character")])
def test_words_that_only_a_program_can_give_are_refused(word, told, capsys):
    assert main(["check", word, "b.json"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("not JSON", "is not JSON"),
        ('{"schema": "nfold/1", "machine": {}, "points": [{"kernel"', "is cut off"),
        ('{"schema": "other/7", "machine": {}, "points": []}', "'other/7'"),
        ('{"benchmarks": []}', "no benchmark in"),
        ("[1, 2]", "a JSON list"),
    ],
)
def test_results_that_cannot_be_read_are_refused(content, told, capsys, tmp_path):
    (tmp_path / "bad.json").write_text(content)
    assert main(["report", "bad.json"]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert "bad.json" in err
    assert err.count("\n") == 1


def test_an_output_path_is_tried_before_anything_is_measured(capsys, monkeypatch):
    monkeypatch.setattr("compute.scaling.rounds.scale_all", lambda *_, **__: pytest.fail("measured"))
    assert main(["scale", "matmul", "16", "--csv", "no/such/folder.csv"]) == 2
    assert "no/such" in capsys.readouterr().err


@needs_compiler
def test_what_numba_cannot_compile_is_told_in_a_line(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(USER_MODULE)
    for line in ("run mine:seeded 10", "scale mine:seeded 10 --budget 2s --workers 1"):
        assert main(line.split()) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(
            r"nfold: seeded has no example=, so it was given random arrays for seed; where it takes something else, say"
            r" @kernel\(example=lambda size: \(seed,\)\)\. It failed: seeded is not compiled: .*"
            r"seed\(array\(float64, 1d, C\)\); where Python can, say .* \(at .*mine.py:\d+\)\n",
            err,
        )


def test_scale_prints_the_table_and_writes_what_was_asked_for(capsys, tmp_path):
    outputs = [f"--{form}={form}.out" for form in ("json", "csv", "markdown", "png")]
    assert main(["scale", "mandelbrot", "16", *SMALL, *outputs]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # no progress bar where there is no terminal
    assert "mandelbrot" in out
    assert "CPU/wall" in out
    points = Scaling.from_json(tmp_path / "json.out").points
    assert [(p.kernel, p.size, p.variant, p.backend, p.workers) for p in points] == [
        ("mandelbrot", 16, "python", backend, workers)
        for backend, workers in [("serial", 1), ("threads", 1), ("threads", 2)]
    ]
    assert (tmp_path / "csv.out").read_text().count("\n") == 4
    assert "| threads | python | 2 |" in (tmp_path / "markdown.out").read_text()
    assert (tmp_path / "png.out").read_bytes().startswith(b"\x89PNG")


def test_report_shows_results_again_and_in_other_forms(capsys, tmp_path):
    assert main(["scale", "triad", "32", *SMALL, "--json", "a.json"]) == 0
    assert main(["scale", "matvec", "32", *SMALL, "--json", "b.json"]) == 0
    first = capsys.readouterr().out
    assert main(["report", "a.json", "b.json", "--csv", "both.csv"]) == 0
    screen = capsys.readouterr().out
    assert measured("threads", screen) == []
    assert screen.endswith("\nTables:  nfold report a.json b.json --details\n")
    assert main(["report", "a.json", "b.json", "--details"]) == 0
    again = capsys.readouterr().out
    assert len(measured("threads", first)) == 4
    assert measured("threads", again) == measured("threads", first)
    assert (tmp_path / "both.csv").read_text().count("\n") == 7


def test_sizes_budgets_and_lists_are_taken_as_people_write_them(capsys):
    twice = "scale triad 1_6 --variant python,python --on threads,threads --workers 2,2 --budget 0.1s"
    assert main(words(twice)) == 0
    assert main(words("scale triad 1.6e1 --variant python --on serial --workers 1 --budget 100ms")) == 0
    out = capsys.readouterr().out
    assert out.count("size 16") == 2
    assert len(measured("threads", out)) == 1


def test_a_size_is_found_where_none_is_given(capsys):
    assert main(["scale", "matvec", *SMALL]) == 0
    assert "matvec · size" in capsys.readouterr().out


@pytest.mark.parametrize("on", ["threads", "serial", "coroutines"])
def test_run_tells_the_value_the_time_and_each_lane(on, capsys):
    assert main(["run", "count_primes", "1e5", "--variant", "python", "--on", on, "--workers", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["value", "9592"]
    assert out[1].split()[0] == "time"
    assert out[2].startswith("lane 0")
    assert "CPU/wall" in out[2]


def test_run_shortens_a_large_array(capsys):
    assert main(["run", "triad", "1000", "--on", "threads", "--workers", "2", "--variant", "python"]) == 0
    out = capsys.readouterr().out
    assert "float64 array of shape (1000" in out
    assert len(out.splitlines()) < 20


@pytest.mark.parametrize("dtype", ["float32", "complex128", "int64", "float64"])
def test_run_in_a_dtype(dtype, capsys):
    line = ["run", "transpose", "20", "--on", "threads", "--workers", "2", "--variant", "python", "--dtype", dtype]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert f"{dtype} array of shape (20, 20)" in out
    assert re.search(r"[1-9]", out.partition("\n")[2]), "all of them are zero"


def test_run_draws_the_mandelbrot_set(tmp_path, capsys):
    assert main(words("run mandelbrot 24 --variant python --workers 2 --png set.png")) == 0
    assert "value" in capsys.readouterr().out
    from matplotlib.image import imread

    picture = imread(tmp_path / "set.png")
    assert picture.shape == (24, 24, 4)
    assert picture[12, 12, :3].sum() == 0  # the point -0.69 - 0.06i belongs to the set
    assert 0 < picture[0, 0, :3].sum() < picture[12, 3, :3].sum()  # far away is darker than close by


def test_list_shows_every_kernel_and_backend(capsys):
    from compute.backends import BACKENDS

    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in [*kernels.REGISTRY, *BACKENDS])
    assert " …\n" not in out
    told = " ".join(out.split())
    assert "0 where that is empty prim" in told
    assert "each product and sum rounded as numpy rounds them" in told


def test_a_long_name_moves_the_columns_of_all(capsys, monkeypatch):
    monkeypatch.setitem(kernels.REGISTRY, "sum_of_squares_of_rows", kernels.count_primes)
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if words(line)[:1] in (["triad"], ["sum_of_squares_of_rows"])]
    assert len({line.index("python, nogil") for line in lines}) == 1 < len(lines)


@pytest.mark.parametrize("word", ["table", "table.py"])
def test_a_file_of_that_name_is_what_was_meant(word, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.py").write_text("")
    assert main(["run", word, "20"]) == 2
    assert "did you mean 'table:table', the kernel table of table.py?" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("line", ["--help", "scale --help", "run -h", "report -h", "list -h"])
def test_help_has_examples_and_needs_no_terminal(line, capsys):
    assert main(words(line)) == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: nfold")
    assert line == "list -h" or "nfold " in out.partition("Examples:")[2]


def test_the_main_job_measures_every_kernel_where_asked_to_and_keeps_its_files(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "REGISTRY", {name: kernels.REGISTRY[name] for name in ("mandelbrot", "triad")})
    assert main(["--all", "--budget", "400ms"]) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "nfold-report.png").read_bytes().startswith(b"\x89PNG")
    data = json.loads((tmp_path / "nfold-report.json").read_text())
    assert data["schema"] == "nfold/1"
    assert data["command"] == "nfold --all --budget 400ms"
    page = (tmp_path / "nfold-report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "nfold --all --budget 400ms" in page
    assert len(page.encode()) < 1_000_000
    found = [(p["kernel"], p["size"], p["variant"], p["backend"], p["workers"]) for p in data["points"]]
    assert len(set(found)) == len(found)
    nogil, python = ({f[3] for f in found if (f[0], f[2]) == ("triad", v)} for v in ("nogil", "python"))
    assert nogil == ({"threads", "prange", "processes", "joblib", "serial"} if numba_is_here() else set())
    assert python == {"threads", "processes", "serial"}
    assert ("coroutines" in {f[3] for f in found if f[0] == "mandelbrot"}) == numba_is_here()
    assert ("numba's compiler is not installed" in " ".join(out.split())) != numba_is_here()
    assert "triad" in out


def test_the_main_job_tries_its_files_first(capsys, tmp_path, monkeypatch):
    (tmp_path / "nfold-report.json").mkdir()
    monkeypatch.setattr(main_job, "survey", lambda *_: pytest.fail("measured"))
    assert main([]) == 2
    assert "nfold-report.json" in capsys.readouterr().err


def test_a_kernel_in_the_current_folder_runs_in_workers_too(tmp_path, no_leaks):
    (tmp_path / "mine.py").write_text(USER_MODULE)
    done = nfold(
        "run", "mine:twice", "1000", "--on", "processes", "--workers", "2", "--variant", "python", cwd=tmp_path
    )
    out, err = done.communicate(timeout=PATIENCE)
    assert (done.returncode, err) == (0, "")
    assert "float64 array of shape (1000,)" in out


def test_an_error_in_a_body_keeps_its_traceback_and_names_the_chunk(tmp_path):
    (tmp_path / "mine.py").write_text(USER_MODULE)
    done = nfold("run", "mine:broken", "10", "--variant", "python", "--on", "threads", cwd=tmp_path)
    out, err = done.communicate(timeout=PATIENCE)
    assert done.returncode == 1
    assert out == ""
    assert "ZeroDivisionError: as planned" in err
    assert "mine.py" in err
    assert "chunk" in err


@pytest.mark.parametrize(
    ("error", "code"), [(Unavailable("no"), 2), (WorkerDied("no"), 1), (ProgramFailed("no"), 1), (WrongAnswer("no"), 1)]
)
def test_errors_that_say_it_all_are_a_line(error, code, capsys):
    assert commands._failed(error, []) == code
    assert capsys.readouterr().err == "nfold: no\n"


def test_where_memory_is_missing_nothing_is_imported_to_say_so(capsys, monkeypatch):
    monkeypatch.setattr("builtins.__import__", lambda *_: pytest.fail("imported"))
    code = commands._failed(MemoryError("no room"), [])
    monkeypatch.undo()
    assert code == 2
    assert capsys.readouterr().err == "nfold: no room\n"


def test_ctrl_c_ends_with_130_and_one_line(tmp_path, no_leaks):
    (tmp_path / "slow.py").write_text(
        "import time\nfrom kernels import kernel\n"
        "@kernel(compiled=False)\ndef slow(lo, hi, out, x):\n    print('begun', flush=True)\n    time.sleep(0.2)\n"
    )
    job = nfold("scale", "slow:slow", "100", "--on", "threads", "--budget", "60s", cwd=tmp_path)
    for _ in range(3):  # one chunk at least has ended
        assert job.stdout.readline() == "begun\n"
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=PATIENCE)
    assert (job.returncode, err) == (130, "nfold: interrupted\n")


def test_a_reader_that_leaves_hears_no_complaint():
    job = nfold("list")
    job.stdout.close()
    assert job.stderr.read() == ""
    job.stderr.close()
    assert job.wait(timeout=PATIENCE) == 1


def test_a_bar_shows_a_name_as_it_is(monkeypatch):
    from rich.progress import Progress

    from compute import drawing

    sent = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(Progress, "update", lambda self, task, **told: sent.append(told["description"]))
    with drawing.stages(True) as tell:
        tell(0, 1, "\x1b[31m[/nothing]")
    assert sent[0].strip() == r"\x1b[31m[/nothing]"


def test_version_and_list_need_neither_numba_nor_matplotlib(script):
    script(
        "import sys\nfrom compute.cli.commands import main\n"
        "assert main(['list']) == 0\nassert main(['--version']) == 0\n"
        "assert not {'numba', 'matplotlib', 'joblib', 'rich'} & set(sys.modules), sorted(sys.modules)\n"
    )


def test_files_are_written_in_the_format_of_their_suffix(capsys, tmp_path):
    line = ["scale", "count_primes", "1000", *SMALL]
    assert main([*line, "-o", "all.json", "-o", "table.MD", "-o", "plain.txt"]) == 0
    shown = capsys.readouterr().out
    assert Scaling.from_json("all.json").points
    assert "### count_primes" in Path("table.MD").read_text()
    assert "count_primes · size 1,000" in Path("plain.txt").read_text()
    assert "count_primes · size 1,000" in shown
    assert main(["report", "all.json", "-o", "again.json", "--csv", "rows.csv"]) == 0
    assert Scaling.from_json("again.json") == Scaling.from_json("all.json")
    assert Path("rows.csv").read_text().startswith("kernel,")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["-o", "page.pdf"], "'page.pdf' ends in '.pdf', which says no format; end it in one of .txt, .json"),
        (["-o", "page"], "'page' has no suffix"),
        (["-o", "a.json", "-o", "b.json"], "'a.json' and 'b.json' are both to be json"),
        (["--json", "a.json", "-o", "b.json"], "'a.json' and 'b.json' are both to be json"),
    ],
)
def test_a_file_whose_format_nobody_knows_is_refused(more, told, capsys, tmp_path):
    assert main(["scale", "triad", "1000", *SMALL, *more]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.glob("*.json")) == []


@needs_compiler
def test_without_a_size_each_variant_is_measured_at_its_own(tmp_path, capsys):
    kept = tmp_path / "scaling.json"
    line = f"scale mandelbrot --variant python,nogil --on threads --workers 1 --budget 300ms --json {kept}"
    assert main(words(line)) == 0
    sizes = {point["variant"]: point["size"] for point in json.loads(kept.read_text())["points"]}
    assert sizes["nogil"] > 4 * sizes["python"]


@pytest.mark.parametrize(
    "option", ["--mode=weekly", "--budget=0", "--on=thread", "--workers=0", "--variant=c", "--csv=no/x"]
)
def test_scale_refuses_before_it_looks_for_a_size(option, monkeypatch, capsys):
    monkeypatch.setattr("compute.scaling.calibration.calibrate", lambda *_: pytest.fail("it measured"))
    assert main(["scale", "triad", option]) == 2
    assert capsys.readouterr().err.count("\n") == 1
