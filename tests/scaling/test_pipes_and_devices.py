"""Pipes, devices and files without end, to be read and to be written: none makes a command wait for ever."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from patience import PATIENCE

from compute.cli.commands import main
from compute.scaling import files, schema
from compute.scaling.dataset import Point
from compute.scaling.results import Scaling

POINT = Point("triad", 1, "nogil", "serial", 1, 1.0, (1.0,), speedup=1.0, baseline="serial")


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    """a.json, a pipe, and no patience."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "READER", 0.2)
    Scaling((POINT,)).to_json("a.json")
    os.mkfifo("pipe")


def test_a_pipe_that_nobody_reads_costs_that_file_alone(capsys):
    assert main(["report", "a.json", "--json", "pipe", "--csv", "c.csv"]) == 1
    out, err = capsys.readouterr()
    assert "serial" in out
    assert err == "nfold: cannot write 'pipe': nobody reads this pipe; choose another path\n"
    assert Path("c.csv").read_text().count("\n") == 2


def test_a_reader_that_comes_late_gets_all(monkeypatch):
    monkeypatch.setattr(files, "READER", PATIENCE)
    got = []

    def read():
        time.sleep(0.3)  # it is tried at once, in vain, and again
        got.append(Path("pipe").read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    files.write("pipe", "x" * 10**6)
    reader.join()
    assert got == [b"x" * 10**6]


def test_a_pipe_that_nobody_writes_to_is_a_line(capsys):
    assert main(["report", "pipe"]) == 2
    assert capsys.readouterr() == (
        "",
        "nfold: cannot read 'pipe': nobody writes to this pipe; give a JSON file of results\n",
    )


def test_results_come_through_a_pipe(capsys, monkeypatch):
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(Path("a.json").read_bytes()))
    monkeypatch.setattr(files, "READER", PATIENCE)
    writer.start()
    assert main(["report", "pipe"]) == 0
    writer.join()
    assert "serial" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["/dev/zero", "large.json"])
def test_a_file_without_an_end_is_a_line(path, capsys, monkeypatch):
    monkeypatch.setattr(schema, "LARGEST", 10**5)
    Path("large.json").write_text(" " * 10**5 + "{}")
    if not os.path.exists(path):
        pytest.skip("there is no such device here")
    assert main(["report", path]) == 2
    assert capsys.readouterr() == (
        "",
        f"nfold: cannot read '{path}': it has more than 100 kB; give a JSON file of results\n",
    )


def test_one_file_that_cannot_be_made_costs_no_other():
    def fail():
        raise ValueError("a format's own fault")

    with pytest.raises(ExceptionGroup) as caught:
        files.write_all(("a", fail), ("b", lambda: "here"), (None, fail))
    assert [str(error) for error in caught.value.exceptions] == ["a format's own fault"]
    assert Path("b").read_text() == "here"


@pytest.mark.parametrize(
    "data",
    [
        {"k" * 10**6: [0] * 10**5 + [1e300]},  # whose place was worked out for each of its parts
        {"schema": "nfold/1", "points": [{"kernel": "k" * 10**7}]},
    ],
    ids=["long", "huge"],
)
def test_a_file_with_much_in_it_is_refused_in_a_line(data, capsys):
    Path("b.json").write_text(json.dumps(data))
    assert main(["report", "b.json"]) == 2
    assert len(capsys.readouterr().err) < 3000


def test_what_is_there_twice_among_many_is_named(capsys):
    Path("b.json").write_text("{" + ",".join(f'"k{n % (10**5 - 1)}": 1' for n in range(10**5)) + "}")
    assert main(["report", "b.json"]) == 2
    assert "an object in it has 'k0' twice" in capsys.readouterr().err


def test_a_writer_that_stops_in_the_middle_is_a_line(capsys, monkeypatch):
    monkeypatch.setattr(files, "READER", 0.3)
    begun = threading.Event()

    def write():
        with open("pipe", "wb", buffering=0) as pipe:
            pipe.write(b'{"schema":')
            begun.wait(PATIENCE)

    writer = threading.Thread(target=write)
    writer.start()
    assert main(["report", "pipe"]) == 2
    begun.set()
    writer.join()
    assert capsys.readouterr().err.startswith("nfold: cannot read 'pipe': nobody writes to this pipe")
