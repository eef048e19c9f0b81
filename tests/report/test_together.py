"""Results of several files beside each other: the same one once, and rows that say whose they are."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from example_points import MACHINE, a_scaling, explained

from compute import report
from compute.cli.commands import main
from compute.report.together import together
from compute.scaling.dataset import SEVERAL
from compute.scaling.results import Scaling
from compute.scaling.tables.table import groups

A, B = Path("a.json"), Path("b.json")
ONE = explained(a_scaling(kernels=["triad"]))
ANOTHER = explained(a_scaling(kernels=["triad"], rounds=20))
OTHER_KERNEL = a_scaling(kernels=["matmul"])


def titles(scaling):
    return [group.title.partition(" · ")[0] for group in groups(scaling)]


def test_the_same_results_are_one_whatever_their_files_are_called():
    assert together({A: ONE, B: replace(ONE)}) == ONE
    assert titles(together({A: ONE, B: replace(ONE), Path("c.json"): ANOTHER})) == ["triad (a.json)", "triad (c.json)"]


def test_a_kernel_that_two_files_hold_has_a_table_for_each():
    both = together({A: ONE, B: ANOTHER})
    assert titles(both) == ["triad (a.json)", "triad (b.json)"]
    for found, alone in zip(groups(both), (ONE, ANOTHER), strict=True):
        (expected,) = groups(alone)
        assert [row.cells for row in found.rows] == [row.cells for row in expected.rows]
        assert (found.laws, found.notes) == (expected.laws, expected.notes)
        assert found.laws
        assert any("rounds were disturbed" in note for note in found.notes)  # this file's own


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_every_form_tells_the_files_apart(form):
    content = report.render(together({A: ONE, B: ANOTHER}), form)
    assert "triad (a.json)" in content
    assert "triad (b.json)" in content


def test_in_data_a_kernel_keeps_its_name_and_the_file_stands_beside_it():
    both = together({A: ONE, B: ANOTHER})
    data = json.loads(report.render(both, "json"))
    for several in (data["points"], data["laws"], data["conditions"]):
        assert {(one["kernel"], one["file"]) for one in several} == {("triad", "a.json"), ("triad", "b.json")}
    rows = csv.DictReader(io.StringIO(report.render(both, "csv")))
    assert {(row["kernel"], row["file"]) for row in rows} == {("triad", "a.json"), ("triad", "b.json")}


def test_a_file_of_several_files_tells_them_apart_still():
    again = together({Path("both.json"): together({A: ONE, B: ANOTHER}), Path("c.json"): OTHER_KERNEL, A: ONE})
    names = ["triad (both.json: a.json)", "triad (both.json: b.json)", "triad (a.json)", "matmul"]
    assert titles(again) == names


def test_files_of_one_machine_with_kernels_of_their_own_are_one_report():
    both = together({A: ONE, B: OTHER_KERNEL})
    assert both.points == ONE.points + OTHER_KERNEL.points
    assert titles(both) == ["triad", "matmul"]


def test_the_tables_of_a_kernel_follow_each_other():
    both = together({A: a_scaling(kernels=["triad", "matmul"]), B: a_scaling(kernels=["primes", "triad"])})
    assert titles(both) == ["triad (a.json)", "triad (b.json)", "matmul", "primes"]


def test_what_a_file_warns_of_is_headed_by_its_name():
    (warning,) = ONE.warnings
    quiet = replace(OTHER_KERNEL, warnings=())
    assert together({A: ONE, B: quiet}).warnings == (f"a.json: {warning}",)


def test_files_of_two_machines_say_which_is_whose():
    elsewhere = replace(OTHER_KERNEL, machine={**MACHINE, "cpus": 8, "platform": "Linux"}, warnings=())
    both = together({A: replace(ONE, warnings=()), B: elsewhere})
    assert titles(both) == ["triad (a.json)", "matmul (b.json)"]
    about = "Python 3.14.0, numpy 2.4.0, numba 0.68.0"
    assert set(both.warnings) == {
        f"a.json: measured on Invented 9000, 2 usable CPUs, {about}",
        f"b.json: measured on Invented 9000, 8 usable CPUs, {about}, Linux",
        SEVERAL,
    }


def test_files_of_the_same_name_are_told_by_their_folders():
    both = together({Path("old/a.json"): ONE, Path("new/a.json"): ANOTHER})
    assert titles(both) == [f"triad ({Path('old/a.json')})", f"triad ({Path('new/a.json')})"]


def test_the_command_shows_the_same_file_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ONE.to_json("a.json")
    ONE.to_json("copy.json")
    ANOTHER.to_json("b.json")
    assert main(["report", "a.json"]) == 0
    once = capsys.readouterr().out
    assert main(["report", "a.json", "./a.json", "copy.json"]) == 0
    assert capsys.readouterr().out == once
    assert main(["report", "a.json", "b.json", "--json", "both.json"]) == 0
    assert titles(Scaling.from_json("both.json")) == ["triad (a.json)", "triad (b.json)"]
    assert "triad (b.json)" in capsys.readouterr().out
