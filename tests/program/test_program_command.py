"""What is to be run: how a program is told its workers, what it is called, and what is refused before it starts."""

import os
import shlex

import pytest

from compute.program.command import check_program, command


def test_the_number_of_workers_stands_wherever_its_place_is_written():
    of = command(["sort", "--parallel={workers}", "-o", "out-{workers}", "{}", "{other}"])
    assert of.argv(4) == ["sort", "--parallel=4", "-o", "out-4", "{}", "{other}"]
    assert of.told_by == "{workers}"


def test_variables_are_set_beside_those_that_are_there(monkeypatch):
    monkeypatch.setenv("THERE", "as it was")
    of = command(["solve"], ["OMP_NUM_THREADS", "PAIR={workers},1", "FIXED=a=b", "EMPTY="])
    told = of.environment(2)
    assert (told["OMP_NUM_THREADS"], told["PAIR"], told["FIXED"], told["EMPTY"]) == ("2", "2,1", "a=b", "")
    assert told["THERE"] == "as it was"
    assert "OMP_NUM_THREADS" not in os.environ or os.environ["OMP_NUM_THREADS"] != "{workers}"
    assert of.told_by == "OMP_NUM_THREADS+PAIR"


def test_a_line_is_what_a_shell_takes():
    of = command(["sh", "-c", "echo 'a b' $0", "{workers}", "", "*"], ["N={workers} x"])
    assert shlex.split(of.line_at(3)) == ["N=3 x", "sh", "-c", "echo 'a b' $0", "3", "", "*"]
    assert "{workers}" in of.line


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["/usr/bin/sort", "--parallel={workers}", "/data/a"], "sort --parallel={workers} /data/a"),
        (["python", "/a/long/path/to/some/script/that/is/deep/solve.py", "{workers}"], "python solve.py {workers}"),
        (["a", "x" * 100, "{workers}"], f"a {'x' * 53}…ac9b"),  # its digest tells it from others that are cut
    ],
)
def test_a_report_calls_it_by_a_short_name(words, name):
    assert command(words).name == name
    assert len(command(words).name) <= 60


@pytest.mark.parametrize(
    ("words", "env", "told"),
    [
        ([], ["N"], "no program is named"),
        (["", "{workers}"], [], "no program is named"),
        (["sort", "a"], [], r"nothing tells 'sort' how many workers it has; write \{workers\}"),
        (["sort"], ["9X=3"], r"nothing tells 'sort' .*: --env 9X=3 without \{workers\} in it; write --env 9X, which"),
        (["sort"], ["A=3", "B=x y"], r"how many workers it has: --env A=3, --env 'B=x y' without \{workers\} in it"),
        (["sort"], ["=3"], "--env takes NAME or NAME=VALUE, not '=3'"),
        (["sort"], [""], "--env takes NAME or NAME=VALUE, not ''"),
    ],
)
def test_what_tells_it_nothing_is_refused(words, env, told):
    with pytest.raises(ValueError, match=told):
        command(words, env)


def test_a_program_that_cannot_be_run_is_told_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "solve-it").write_text("true")
    for word, told in {
        "nosuchprogram": "no program 'nosuchprogram' on PATH; install it",
        "./nosuch": "no program './nosuch'; correct its path",
        "./solve-it": r"'./solve-it' may not be executed; make it so \(chmod \+x\)",
        "solve-it": "no program 'solve-it' on PATH; install it, or give its path; the file .* is ./solve-it",
        str(tmp_path): "is a folder",
        "sort -n x": "write its words apart: -- sort",
    }.items():
        with pytest.raises(ValueError, match=told):
            check_program(command([word, "{workers}"]), [1, 2])
    with pytest.raises(ValueError, match="no program 'sort1'"):
        check_program(command(["sort{workers}"]), [1, 2])
    check_program(command(["true", "{workers}"]), [1, 2])
