"""nfold compare and nfold check: exit codes, refusals in a line before anything is written, files."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE

sys.path.insert(0, str(Path(__file__).parent.parent / "scaling"))

from example_points import MACHINE, a_point

from compute.cli.commands import main
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling

ELSEWHERE = {**MACHINE, "model": "Other 1"}


def results(factor=1.0, seed=0, rounds=12, machine=MACHINE, **other):
    rng = np.random.default_rng(seed)
    noise = np.exp(0.01 * rng.standard_normal((2, rounds)))
    points = [a_point("serial", 1, noise[0], **other), a_point("threads", 2, 0.52 * factor * noise[1], **other)]
    return Scaling(compare_points(points), machine)


def benchmarks(factor=1.0, seed=0, data=True, rounds=12):
    rng = np.random.default_rng(seed)
    made = []
    for name in ("test_a[1,2]", "test_b"):
        samples = list(factor * np.exp(0.01 * rng.standard_normal(rounds)))
        stats = {"median": float(np.median(samples)), **({"data": samples} if data else {})}
        made.append({"name": name, "fullname": f"t/test_x.py::{name}", "extra_info": {}, "stats": stats})
    return {"machine_info": {"cpu": {"count": 2, "brand_raw": "Invented 9000"}}, "benchmarks": made}


@pytest.fixture(autouse=True)
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results().to_json("a.json")
    results(seed=1).to_json("same.json")
    results(1.2, seed=2).to_json("slow.json")
    results(rounds=2, seed=3).to_json("few.json")
    results(seed=4, machine=ELSEWHERE).to_json("elsewhere.json")


@pytest.mark.parametrize(
    ("words", "code", "begins"),
    [
        (["same.json"], 0, "Fine: 2 of 2 tests"),
        (["slow.json"], 1, "Regression: 1 of 2 tests beyond doubt"),
        (["slow.json", "--max-slowdown", "30%"], 0, "Fine"),
        (["slow.json", "--max-slowdown", "0.3"], 0, "Fine"),
        (["few.json"], 3, "Inconclusive: 2 of 2 undecided"),
        (["same.json", "--min-efficiency", "0.99"], 1, "Regression"),
        (
            ["same.json", "--min-efficiency", "90%"],
            0,
            "Fine: 2 of 2 tests, at most 5 % slower; 1 of 1 at 0.9 efficiency or more",
        ),
        (["same.json", "--min-attainable", "0.9"], 3, "Inconclusive"),
        (["slow.json", "--kernel", "mandelbrot"], 1, "Regression"),
    ],
)
def test_the_exit_code_is_the_verdict(words, code, begins, capsys):
    assert main(["check", "a.json", *words]) == code
    out, err = capsys.readouterr()
    assert out.startswith(begins)
    assert err == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a.json"], "Missing argument"),
        (["a.json", "same.json", "slow.json"], "unexpected extra argument"),
        (["a.json", "a.json"], "are the same measurement; measure again, into another file"),
        (["a.json", "none.json"], "there is no file 'none.json'"),
        (
            ["a.json", "elsewhere.json"],
            "different machines (CPU Invented 9000 → Other 1); measure both on one, or give",
        ),
        (["a.json", "elsewhere.json", "--scale-by-controls"], "do not both hold controls to scale by; measure again"),
        (["a.json", "same.json", "--max-slowdown", "5"], "not '5'; did you mean 5%?"),
        (["a.json", "same.json", "--max-slowdown", "-5%"], "--max-slowdown must be a share from 0 on"),
        (["a.json", "same.json", "--max-slowdown", "nan"], "--max-slowdown must be a share"),
        (["a.json", "same.json", "--max-slowdown", "five"], "--max-slowdown must be a share"),
        (["a.json", "same.json", "--max-slowdown", ""], "--max-slowdown must be a share"),
        (["a.json", "same.json", "--min-efficiency", "90"], "not '90'; did you mean 90%?"),
        (["a.json", "same.json", "--min-efficiency", "0"], "--min-efficiency must be a share above 0"),
        (["a.json", "same.json", "--min-attainable", "inf"], "--min-attainable must be a share above 0"),
        (
            ["a.json", "same.json", "--kernel", "mandelbrod"],
            "in none of the files, which hold mandelbrot; did you mean",
        ),
        (["a.json", "same.json", "--markdown", "none/x.md"], "there is no folder"),
        (["a.json", "same.json", "-o", "x.png"], "'x.png' says no format that this is written in; end it in .txt"),
        (["a.json", "same.json", "-o", "x.md", "--markdown", "x.md"], "'x.md' is to be written twice"),
    ],
)
def test_bad_use_is_refused_in_a_line(words, told, capsys):
    before = sorted(os.listdir())
    assert main(["check", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["points"].clear(),
        lambda data: data.update(schema="nfold/2"),
        lambda data: data.pop("schema"),
        lambda data: data["points"][1]["samples"].__setitem__(0, float("nan")),
        lambda data: data["points"][1]["samples"].__setitem__(0, float("inf")),
        lambda data: data["points"][1]["samples"].__setitem__(0, 0.0),
        lambda data: data["points"][1]["samples"].__setitem__(0, -1.0),
        lambda data: data["points"][1]["samples"].__setitem__(0, "1.0"),
        lambda data: data["points"][1]["samples"].__setitem__(0, True),
        lambda data: data["points"][1]["samples"].clear(),
        lambda data: data["points"].append(data["points"][1]),
        lambda data: data["points"].__setitem__(0, None),
        lambda data: data["points"][1].update(controls={"compute": 0.0}),
    ],
)
def test_a_file_with_other_than_times_is_refused(change, capsys):
    data = json.loads(Path("same.json").read_text())
    change(data)
    Path("b.json").write_text(json.dumps(data))
    for words in (["a.json", "b.json"], ["b.json", "a.json"]):
        assert main(["check", *words]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)


def test_a_size_that_differs_everywhere_is_inconclusive_and_named(capsys):
    results(seed=5, size=513).to_json("size.json")
    assert main(["check", "a.json", "size.json"]) == 3
    assert "the sizes differ: 512 and 513" in capsys.readouterr().out


def test_files_without_anything_in_common_are_refused(capsys):
    results(seed=5, kernel="triad").to_json("other.json")
    assert main(["check", "a.json", "other.json"]) == 2
    assert "have no point in common" in capsys.readouterr().err
    assert main(["compare", "a.json", "same.json", "other.json"]) == 2


def test_a_kernel_that_one_file_lacks_is_not_passed(capsys):
    both = results(seed=5)
    replace(both, points=both.points + results(seed=6, kernel="triad").points).to_json("more.json")
    assert main(["check", "more.json", "a.json"]) == 3
    assert main(["check", "a.json", "more.json"]) == 3
    capsys.readouterr()
    assert main(["check", "a.json", "more.json", "--allow-new"]) == 0
    assert capsys.readouterr().out.startswith("Fine: 2 of 2 tests, at most 5 % slower; 2 new, and not compared")
    assert main(["check", "more.json", "a.json", "--allow-new"]) == 3
    assert main(["check", "more.json", "a.json", "--kernel", "mandelbrot"]) == 0
    assert main(["check", "more.json", "a.json", "--kernel", "triad"]) == 2  # nothing is left to compare


@pytest.mark.parametrize("option", ["--min-efficiency", "--min-attainable"])
def test_what_no_point_could_be_held_against_is_not_passed(option, capsys):
    for name, seed in (("one.json", 7), ("other.json", 8)):
        made = results(seed=seed)
        replace(made, points=made.points[:1]).to_json(name)
        Path(f"b_{name}").write_text(json.dumps(benchmarks(seed=seed)))
        alone = [a_point("threads", 1, np.exp(0.01 * np.random.default_rng(seed).standard_normal(12)))]
        Scaling(compare_points(alone), MACHINE).to_json(f"t_{name}")
    for before, after in (("one", "other"), ("b_one", "b_other"), ("t_one", "t_other")):
        assert main(["check", f"{before}.json", f"{after}.json"]) == 0
        capsys.readouterr()
        assert main(["check", f"{before}.json", f"{after}.json", option, "0.9"]) == 3
        told = " ".join(capsys.readouterr().out.split())
        assert "no point of the second file can have an efficiency; measure with 2 workers or more" in told
        assert re.search(r"0\.9 (efficiency|of what was attainable) is asked for", told)


def test_a_machine_that_nobody_knows_is_refused(capsys):
    for name, seed in (("b.json", 0), ("b_same.json", 1)):
        data = benchmarks(seed=seed)
        Path(name).write_text(json.dumps(data))
        data.pop("machine_info")
        Path(f"nowhere_{name}").write_text(json.dumps(data))
    results(seed=6, machine={"python": "3.14.0"}).to_json("nowhere.json")
    for before, after, told in (
        ("nowhere_b.json", "nowhere_b_same.json", "A and B do not say on which machine"),
        ("b.json", "nowhere_b_same.json", "B does not say on which machine"),
        ("nowhere.json", "a.json", "A does not say on which machine"),
    ):
        assert main(["check", before, after]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert told in err
        assert main(["check", before, after, "--same-machine"]) == 0
        capsys.readouterr()
    assert main(["check", "a.json", "elsewhere.json", "--same-machine"]) == 2  # these say that it was not


@pytest.mark.parametrize("lacking", [("model",), ("cpus",), ("cpus", "cpus_present", "cores", "model")])
def test_a_machine_known_in_part_is_refused_on_either_side(lacking, capsys):
    known = {**MACHINE, "cpus_present": 2, "cores": 2}
    part = {name: value for name, value in known.items() if name not in lacking}
    for name, seed, machine in (("k.json", 0, known), ("p.json", 1, part), ("p2.json", 2, part)):
        results(seed=seed, machine=machine).to_json(name)
    for before, after in (("k.json", "p.json"), ("p.json", "k.json"), ("p.json", "p2.json")):
        assert main(["check", before, after]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "not say on which machine it was measured (" in err
        assert main(["check", before, after, "--same-machine"]) == 0
        assert "nobody knows whether it is the same" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"memory": 2**30}, "memory 25.8 GB → 1.07 GB"),
        ({"caches": {"L2": 2**20, "L3": 2**24}}, "L3 cache 33.6 MB → 16.8 MB"),
    ],
)
def test_other_memory_and_caches_are_another_machine(fields, told, capsys):
    known = {**MACHINE, "memory": 24 * 2**30, "caches": {"L1d": 2**15, "L2": 2**20, "L3": 2**25}}
    results(machine=known).to_json("k.json")
    results(seed=1, machine={**known, **fields}).to_json("other.json")
    results(seed=1, machine={**known, "memory": 23 * 2**30}).to_json("kept.json")  # a system that keeps more of it
    assert main(["check", "k.json", "other.json"]) == 2
    assert told in capsys.readouterr().err
    assert main(["check", "k.json", "kept.json"]) == 0


def test_what_pytest_benchmark_wrote_is_read_on_either_side(capsys):
    for name, data in {
        "b.json": benchmarks(),
        "b_same.json": benchmarks(seed=1),
        "b_slow.json": benchmarks(1.2, 2),
        "b_bare.json": benchmarks(seed=3, data=False),
    }.items():
        Path(name).write_text(json.dumps(data))
    assert main(["check", "b.json", "b_same.json"]) == 0
    assert main(["check", "b.json", "b_slow.json"]) == 1
    assert "t/test_x.py::test_a[1,2] · serial" in capsys.readouterr().out
    assert main(["check", "b.json", "b_bare.json"]) == 3  # saved without its data: one number a benchmark
    assert main(["check", "b.json", "b_slow.json", "--kernel", "t/test_x.py::test_a[1,2]"]) == 1
    assert main(["check", "a.json", "b.json"]) == 2  # nothing in common


def test_a_benchmark_of_a_kernel_is_compared_with_nfolds_own_file(capsys):
    results(machine={**MACHINE, "cpus_present": 2}).to_json("a.json")
    data = benchmarks()
    info = {"kernel": "mandelbrot", "size": 512, "variant": "nogil", "backend": "threads", "workers": 2}
    samples = list(np.asarray(results(1.2, seed=9).points[1].samples))
    data["benchmarks"] = [{"name": "test_k", "extra_info": info, "stats": {"data": samples}}]
    Path("k.json").write_text(json.dumps(data))
    assert main(["check", "a.json", "k.json"]) == 1
    assert "it is in the first file only" in capsys.readouterr().out


def test_compare_shows_several_files_and_writes_what_is_asked_for(capsys):
    words = ["compare", "a.json", "same.json", "slow.json", "elsewhere.json"]
    assert main([*words, "--markdown", "c.md", "--html", "c.html", "-o", "c.txt"]) == 0
    told = capsys.readouterr().out
    assert "D was measured on another machine" in told
    assert "C against A, of 2 points: 1 slower" in told
    assert Path("c.txt").read_text().startswith("B against A")
    assert Path("c.md").read_text().startswith("### B against A")
    assert Path("c.html").read_text().startswith("<!doctype html>")
    assert main(["compare", "a.json"]) == 2
    assert "compare takes two files or more, not 1; nfold report FILE shows one" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_never_looks_like_a_verdict(monkeypatch, capsys):
    from compute.scaling import files

    def full(path, content):
        raise files.Unwritten(os.fspath(path), OSError(28, "No space left on device"), 9)

    monkeypatch.setattr(files, "write", full)
    assert main(["check", "a.json", "same.json", "--markdown", "c.md"]) == 2
    assert "No space left" in capsys.readouterr().err
    assert main(["check", "a.json", "slow.json", "--markdown", "c.md"]) == 1
    assert main(["check", "a.json", "few.json", "--markdown", "c.md"]) == 3


def test_a_fault_of_ours_never_looks_like_a_verdict(monkeypatch, capsys):
    from compute.scaling.comparing import gate

    monkeypatch.setattr(gate, "judge_pairs", lambda *_: 1 / 0)
    assert main(["check", "a.json", "slow.json"]) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["compute.report.comparison", "compute.scaling.comparing.gate"])
def test_a_part_of_ours_that_cannot_be_imported_never_looks_like_a_verdict(module, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delattr("compute.report.comparison", raising=False)
    assert main(["check", "a.json", "slow.json"]) == 2
    assert "ModuleNotFoundError" in capsys.readouterr().err


@pytest.mark.parametrize(("other", "code"), [("same.json", 2), ("slow.json", 1), ("few.json", 3)])
def test_a_reader_who_left_changes_no_verdict_to_fine(other, code):
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m compute check a.json {other} > >(exec 0<&-; sleep 0.1)"],
        capture_output=True,
        timeout=PATIENCE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode in (code, 0) if other == "same.json" else done.returncode == code
