"""What the command line found is shown and kept, whatever happens to the terminal, a file or the disk."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from patience import PATIENCE

from compute.cli import main_job
from compute.cli.commands import main
from compute.scaling import files
from compute.scaling.dataset import Point
from compute.scaling.results import Scaling

ROOT = Path(__file__).parents[2]
FORMS = "json", "csv", "markdown", "png"
RED = "\x1b[31mred\u202e\x9b\udcff\n"
EVIL = f"{RED}[red]k[/nothing]"
POINT = Point("triad", 1, "nogil", "serial", 1, 1.0, (1.0,), speedup=1.0, baseline="serial")

full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")


@pytest.fixture(scope="session", autouse=True)
def fonts():
    """matplotlib keeps the files of its fonts open: opened before any test, they are no leak of one."""
    from compute.report import plots

    plots.render(Scaling((POINT,)))


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    """a.json, whose report is small, and evil.json, whose texts a terminal would obey."""
    monkeypatch.chdir(tmp_path)
    points = POINT, replace(POINT, backend="threads", workers=2, speedup=1.9)
    Scaling(points, {"model": "Invented 9000"}).to_json("a.json")
    evil = replace(points[1], kernel=EVIL, variant=EVIL, backend=EVIL, verdict=EVIL, cause=EVIL, notes=(EVIL,))
    law = {"kernel": EVIL, "size": 1, "variant": EVIL, "backend": EVIL, "sentences": [EVIL]}
    Scaling((evil,), {"model": EVIL, "python": EVIL}, (EVIL,), (law,)).to_json("evil.json")


def nfold(*argv: str | bytes, stdout=subprocess.PIPE, env=(), **options) -> subprocess.CompletedProcess:
    """`python -m compute argv` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "compute", *argv],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(env),
        timeout=PATIENCE,
        **options,
    )


def told(error: str, *words: str) -> None:
    """Exactly one line for each word, that names it."""
    lines = error.splitlines()
    assert len(lines) == len(words), error
    for line, word in zip(lines, words, strict=True):
        assert line.startswith("nfold: ")
        assert word in line


@full
@pytest.mark.parametrize("form", [FORMS[0], *(pytest.param(form, marks=pytest.mark.slow) for form in FORMS[1:])])
def test_a_full_disk_costs_one_file_and_one_line(form):
    others = [f"--{other}={other}.out" for other in FORMS if other != form]
    done = nfold("report", "a.json", f"--{form}", "/dev/full", *others)
    assert done.returncode == 1
    assert "threads" in done.stdout
    told(done.stderr, "cannot write '/dev/full': No space left on device; it needs ")
    assert re.search(r"needs [0-9.]+ (bytes|kB|MB): make room", done.stderr)
    assert all(os.path.getsize(f"{other}.out") > 50 for other in FORMS if other != form)


@full
def test_every_file_that_could_not_be_written_is_a_line(capsys):
    os.symlink("/dev/full", "full")
    assert main(["report", "a.json", "--json", "/dev/full", "--csv", "full", "--markdown", "m.md"]) == 2  # one place
    capsys.readouterr()
    os.mknod("other", 0o600 | stat.S_IFIFO)
    reader = os.open("other", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open("other", os.O_WRONLY)
    os.set_blocking(writer, False)
    os.close(reader)
    try:
        assert main(["report", "a.json", "--json", f"/dev/fd/{writer}", "--csv", "full", "--markdown", "m.md"]) == 1
    finally:
        os.close(writer)
    out, err = capsys.readouterr()
    assert "threads" in out
    told(err, f"cannot write '/dev/fd/{writer}': Broken pipe", "cannot write 'full': No space")
    assert "threads" in Path("m.md").read_text()


@full
@pytest.mark.parametrize(
    "line",
    [
        "scale triad 16 --variant python --on serial --workers 1 --budget 100ms --json /dev/full",
        "run mandelbrot 8 --variant python --on serial --png /dev/full",
        "advise triad 16 --on serial --budget 100ms --json /dev/full",
        "doctor --json /dev/full",
        "run mandelbrot 8 --variant python --on serial --trace /dev/full",
        "command --workers 1 --budget 1ms --html /dev/full -- true {workers}",
        "compare a.json b.json --markdown /dev/full",
        "report a.json b.json -o full.txt",
    ],
)
def test_every_command_shows_before_it_keeps(line, capsys):
    points = Scaling.from_json("a.json").points
    Scaling((*points, replace(points[1], workers=3, speedup=2.9))).to_json("b.json")
    os.symlink("/dev/full", "full.txt")
    assert main(line.split()) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) > 3
    told(err, f"cannot write '{'full.txt' if 'txt' in line else '/dev/full'}': No space left on device; it needs ")


@full
def test_a_check_shows_before_it_keeps_and_its_code_is_its_own(capsys):
    points = Scaling.from_json("a.json").points
    Scaling((*points, replace(points[1], workers=3, speedup=2.9))).to_json("b.json")
    assert main(["check", "a.json", "b.json", "--same-machine", "--html", "/dev/full"]) == 3  # a point is new
    out, err = capsys.readouterr()
    assert "Inconclusive" in out
    told(err, "cannot write '/dev/full': No space left on device; it needs ")


@full
@pytest.mark.slow
def test_lessons_are_shown_before_they_are_kept(capsys):
    assert main(["lessons", "1", "--budget", "100ms", "--json", "/dev/full", "--png", "a.png"]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) > 3
    told(err, "cannot write '/dev/full': No space left on device; it needs ")
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_that_may_not_grow_keeps_the_old_one_and_leaves_no_other():
    Path("b.json").write_text("old")
    before = sorted(os.listdir())
    limit = 200
    done = nfold(
        "report", "a.json", "--json", "b.json", "--markdown", "c.md",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "threads" in done.stdout
    told(done.stderr, "cannot write 'b.json': File too large; it needs ", "cannot write 'c.md': File too large")
    assert Path("b.json").read_text() == "old"
    assert sorted(os.listdir()) == before


def test_a_disk_that_is_full_keeps_the_old_file(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", disk], stderr=-3).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        (disk / "b.json").write_text("old")
        done = nfold("report", "a.json", "--json", str(disk / "b.json"), "--csv", str(disk / "c.csv"))
        told(done.stderr, f"cannot write '{disk / 'b.json'}': No space left on device; it needs ", "c.csv': No space")
        assert (done.returncode, "threads" in done.stdout) == (1, True)
        assert sorted(os.listdir(disk)) == ["b.json"]
        assert (disk / "b.json").read_text() == "old"
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        (lambda: os.rmdir("there"), "No such file or directory"),
        (lambda: os.makedirs("there/a.csv"), "Is a directory|neither"),
    ],
)
def test_what_comes_in_the_way_while_measuring_costs_that_file_alone(meanwhile, reason, capsys, monkeypatch):
    os.mkdir("there")

    def together(_):
        meanwhile()
        return Scaling((POINT,))

    monkeypatch.setattr("compute.report.together.together", together)
    monkeypatch.setattr("compute.report.ready", lambda _: None)
    assert main(["report", "a.json", "--csv", "there/a.csv", "--json", "b.json"]) == 1
    out, err = capsys.readouterr()
    assert "serial" in out
    told(err, "cannot write 'there/a.csv': ")
    assert re.search(reason, err)
    assert Scaling.from_json("b.json").points == (POINT,)
    assert not [name for name in os.listdir() if name.startswith(".nfold")]


def test_the_main_job_prints_before_it_keeps(capsys, monkeypatch):
    def measure(*_):
        os.mkdir("nfold-report.json")  # in the way of what comes
        return Scaling((POINT,))

    monkeypatch.setattr(main_job, "survey", measure)
    assert main([]) == 1
    out, err = capsys.readouterr()
    assert "serial" in out
    told(err, "cannot write 'nfold-report.json'")
    assert Path("nfold-report.png").read_bytes().startswith(b"\x89PNG")
    os.rmdir("nfold-report.json")
    assert "nfold-report.json" not in out
    assert out.endswith("\nPage:    nfold-report.html\nPicture: nfold-report.png\n")
    assert Path("nfold-report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("form", [*FORMS, "html"])
@pytest.mark.parametrize("obstacle", ["no/such/folder", "folder", "read-only"])
def test_what_is_known_before_is_refused_before(form, obstacle, capsys, monkeypatch):
    os.mkdir("folder")
    Path("read-only").write_text("old")
    os.chmod("read-only", 0o444)
    monkeypatch.setattr("compute.scaling.rounds.scale_all", lambda *_, **__: pytest.fail("measured"))
    assert main(["scale", "triad", "16", f"--{form}", obstacle]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    told(err, f"cannot write '{obstacle}': ")
    assert Path("read-only").read_text() == "old"
    assert sorted(os.listdir()) == ["a.json", "evil.json", "folder", "read-only"]


def test_a_disk_is_not_a_file(monkeypatch):
    Path("sda").touch()
    monkeypatch.setattr(files, "_mode", lambda _: stat.S_IFBLK | 0o600)
    with pytest.raises(ValueError, match="neither a file nor a pipe"):
        files.check_output_path("sda")


def test_a_file_stays_as_open_to_others_as_it_was():
    Path("b.json").write_text("old")
    os.chmod("b.json", 0o640)
    assert main(["report", "a.json", "--json", "b.json"]) == 0
    assert stat.S_IMODE(os.stat("b.json").st_mode) == 0o640


def test_a_reader_that_leaves_gets_the_files_all_the_same():
    read, write = os.pipe()
    os.close(read)
    try:
        done = nfold("report", "a.json", "--json", "b.json", "--csv", "c.csv", stdout=write)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
    assert Path("b.json").read_bytes() == Path("a.json").read_bytes()
    assert Path("c.csv").read_text().count("\n") == 3


@full
@pytest.mark.parametrize(
    "line",
    [
        "report a.json --csv c.csv",
        "--version",
        *(pytest.param(line, marks=pytest.mark.slow) for line in ("list", "--help", "doctor --json c.csv")),
    ],
)
def test_a_full_disk_behind_the_output_is_one_line(line):
    with open("/dev/full", "w") as nowhere:
        done = nfold(*line.split(), stdout=nowhere)
    assert done.returncode == 1
    told(done.stderr, "cannot print: No space left on device")
    assert os.path.exists("c.csv") == ("c.csv" in line)


@pytest.mark.parametrize("name", ["/dev/stdout", pytest.param("/dev/fd/1", marks=pytest.mark.slow), "out.txt"])
def test_a_file_that_the_output_goes_to_keeps_both(name):
    with open("out.txt", "w") as out:
        done = nfold("report", "a.json", "--json", name, stdout=out)
    assert (done.returncode, done.stderr) == (0, "")
    table, brace, rest = Path("out.txt").read_text().partition("{")
    assert "threads" in table
    assert brace + rest == Path("a.json").read_text()


def on_a_terminal(*argv: str) -> str:
    """What a terminal is sent by `python -m compute argv`."""
    ours, theirs = pty.openpty()
    job = subprocess.Popen(
        [sys.executable, "-m", "compute", *argv],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "200"},
    )  # fmt: skip
    os.close(theirs)
    sent = b""
    try:
        while piece := os.read(ours, 65536):
            sent += piece
    except OSError:  # how Linux says that nobody holds the other end any more
        pass
    os.close(ours)
    job.wait(timeout=PATIENCE)
    return sent.decode()


def unseen(sent: str) -> set[str]:
    return {c for c in sent if not c.isprintable() and c != "\n"}


def test_a_terminal_obeys_nothing_of_a_file():
    sent = on_a_terminal("report", "evil.json").replace("\r\n", "\n")
    assert "\x1b[1m" in sent  # our own
    sent = re.sub(r"\x1b\[[0-9;]*m", "", sent)
    assert unseen(sent) == set()
    assert r"\x1b[31mred\u202e\x9b\udcff\n[red]k[/nothing]" in sent


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_nor_does_what_a_pipe_leads_to(encoding):
    done = nfold("report", "evil.json", env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    assert unseen(done.stdout) == set()
    assert r"\x1b[31mred\u202e\x9b\udcff\n[red]k[/nothing]" in done.stdout


@pytest.mark.parametrize(
    "argv",
    [
        ("report", f"{EVIL}.json"),
        ("report", f"{EVIL}.txt"),
        ("scale", f"{EVIL}:k"),
        ("run", "triad", "16", f"--{RED}"),
        (EVIL,),
        ("scale", EVIL),
        ("scale", "triad", EVIL),
        ("scale", "triad", "--on", EVIL),
        ("scale", "triad", "--workers", EVIL),
        ("scale", "triad", "--variant", EVIL),
        ("scale", "triad", "--budget", EVIL),
        ("scale", "triad", "--mode", EVIL),
        ("scale", "triad", "--json", f"{EVIL}/x"),
    ],
)
def test_an_error_shows_what_the_user_wrote_in_one_line(argv, capsys):
    if argv[1:] == (f"{EVIL}.txt",):
        os.makedirs(EVIL[: EVIL.rindex("/")])
        Path(argv[1]).write_text("{}")
    assert main([*argv]) == 2
    out, err = capsys.readouterr()
    told(err, r"\x1b[31mred")
    assert unseen(err) == set()
    assert out == ""


def test_so_does_a_process_of_its_own():
    done = nfold("report", os.fsencode(f"{EVIL}.json"))
    assert (done.returncode, done.stdout) == (2, "")
    told(done.stderr, r"\x1b[31mred")
    assert unseen(done.stderr) == set()


@pytest.mark.parametrize(
    "kind",
    ["BrokenPipeError(32, ", *(pytest.param(k, marks=pytest.mark.slow) for k in ("OSError(28, ", "ValueError("))],
)
def test_an_error_of_a_kernel_is_no_error_of_printing_and_shown_as_it_is(kind):
    body = f"    raise {kind}'of mine ' + chr(27) + '[31m')"
    Path("mine.py").write_text(
        f"from kernels import kernel\n@kernel(compiled=False)\ndef bad(lo, hi, out, x):\n{body}\n"
    )
    done = nfold("run", "mine:bad", "8", "--on", "serial")
    assert (done.returncode, done.stdout) == (1, "")
    assert r"of mine \x1b[31m" in done.stderr.splitlines()[-2]
    assert unseen(done.stderr) == set()
    assert "mine.py" in done.stderr


def test_names_of_files_that_are_no_text_are_written_read_and_told(capsys):
    odd = os.fsdecode(b"caf\xe9 \x1b[31m\n.json")
    assert main(["report", "a.json", "--json", odd]) == 0
    assert Path(odd).read_bytes() == Path("a.json").read_bytes()
    os.mkdir("b")
    assert main(["report", "a.json", "--json", f"b/{odd}"]) == 0
    assert main(["report", odd, "evil.json", "--markdown", "c.md"]) == 0
    out = capsys.readouterr().out
    assert unseen(out) == set()
    Path(odd).write_text("[1]")
    assert main(["report", odd]) == 2
    told(capsys.readouterr().err, r"caf\udce9 \x1b[31m\n.json holds a JSON list")


def test_names_of_pytest_benchmark_are_shown_as_they_are(capsys):
    info = {"kernel": EVIL, "size": 1, "variant": EVIL, "backend": "threads", "workers": 2}
    one = {"name": EVIL, "extra_info": info, "stats": {"data": [1.0]}}
    of = {"cpu": {"brand_raw": EVIL, "count": 2}, "python_version": EVIL, "system": EVIL}
    for number, benchmarks in enumerate([[one, {"name": EVIL}], [{**one, "extra_info": {"kernel": EVIL}}]]):
        Path("bench.json").write_text(json.dumps({"benchmarks": benchmarks, "machine_info": of, "version": EVIL}))
        assert main(["report", "bench.json"]) == 2 * number
        out, err = capsys.readouterr()
        assert unseen(out + err) == set()
        assert r"\x1b[31mred\u202e\x9b\udcff" in (err if number else out)


def test_the_list_shows_names_and_docstrings_as_they_are(capsys, monkeypatch):
    import kernels

    def evil(lo, hi, out, x):
        pass

    evil.__doc__ = "Nothing \x1b[2J [bold]"
    monkeypatch.setattr(kernels, "REGISTRY", {"\x1b[31m[red]": kernels.kernel(compiled=False)(evil)})
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert unseen(out) == set()
    assert r"\x1b[31m[red]" in out
    assert r"Nothing \x1b[2J [bold]" in out
