"""The comparison with peers: rounds, ratios, shares of the budget, the table and the roofline, on invented runs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCH = Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import kept  # noqa: E402
import peer_groups  # noqa: E402
import peer_rounds  # noqa: E402
import peer_table  # noqa: E402
import peer_tools  # noqa: E402
import peers  # noqa: E402
import roofline  # noqa: E402
from peer_rounds import Agreement, Comparison, Group, Run, WrongAnswer, row_of, shares  # noqa: E402

sys.path.remove(str(BENCH))

TOLD = {
    "model": "A CPU", "cpus": 2, "caches": {"L2": 1 << 20}, "platform": "Linux", "python": "3.11", "numpy": "2.4",
    "numba": "0.68", "date": "2026-11-23T01:00:00+00:00", "load": [0.25, 0, 0],
}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def fonts():
    """matplotlib keeps the files of its fonts open: opened before any test, they are no leak of one."""
    spot = roofline.Spot("matmul", 1, roofline.Work(1, 1), 1.0, 1.0, None, "peak")
    roofline.picture([roofline.Roof(1, 1e9, 1e9, "triad")], [spot], "A CPU")


def group_with(ours, theirs, by="time", goal=1.0, work=(1e9, 1e9)):
    """A group whose rounds took these seconds."""
    rounds = [{"nfold": Run(a, work[0]), "peer": Run(b, work[1])} for a, b in zip(ours, theirs, strict=True)]
    return Group("primes", 1, "numbers", {}, [Comparison("a row", "nfold", "peer", by, goal)], rounds)


def test_a_ratio_is_the_median_of_the_rounds_own():
    # The machine halves its clock after two rounds: medians of each side apart would say 2.
    row = row_of(group := group_with([1, 1, 2, 2, 2], [1.0, 1.0, 2.0, 2.0, 4.0]), group.comparisons[0])
    assert row.ratio == 1.0
    assert row.interval is None
    assert (row.ours.seconds, row.theirs.seconds, row.rounds) == (2, 2, 5)


def test_a_ratio_of_rates_counts_each_side_s_own_work():
    group = group_with([2.0] * 6, [1.0] * 6, "rate", 0.95, work=(8e9, 2e9))
    assert row_of(group, group.comparisons[0]).ratio == 2.0


@pytest.mark.parametrize(
    ("by", "ratio", "interval", "met"),
    [
        ("time", 0.9, (0.8, 0.95), "yes"),
        ("time", 0.9, (0.8, 1.1), "likely yes"),
        ("time", 1.1, (0.9, 1.2), "likely no"),
        ("time", 1.1, (1.05, 1.2), "no"),
        ("time", 1.0, None, "yes"),
        ("rate", 1.1, (1.05, 1.2), "yes"),
        ("rate", 0.9, (0.8, 1.1), "likely no"),
        ("rate", 0.9, None, "no"),
    ],
)
def test_whether_a_goal_is_met_and_how_sure_that_is(by, ratio, interval, met):
    row = row_of(group := group_with([1.0], [1.0], by), group.comparisons[0])
    assert replace(row, ratio=ratio, interval=interval).met == met
    assert replace(row, ratio=ratio, interval=interval, goal=None).met == ""


def test_each_round_runs_every_contender_once(monkeypatch):
    calls = []

    def contender(name):
        return lambda: calls.append(name) or Run(1.0, 1.0)

    group = Group("primes", 1, "numbers", {name: contender(name) for name in "abc"}, [])
    group.measure(60, most=20)
    assert len(group.rounds) == 20
    orders = {"".join(calls[k : k + 3]) for k in range(0, 60, 3)}
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(orders) > 1  # of 20 rounds in six orders


def test_one_round_is_measured_however_little_time_there_is(monkeypatch):
    group = Group("primes", 1, "numbers", {"a": lambda: Run(1.0, 1.0)}, [])
    group.measure(-1)
    assert len(group.rounds) == 1


@given(st.just(0.0) | st.floats(1e-6, 1e4), st.lists(st.floats(0.01, 100), min_size=1, max_size=8))
def test_shares_give_all_as_many_rounds_and_no_more_than_there_is(seconds, once):
    given_seconds = shares(seconds, once)
    assert sum(given_seconds) <= seconds * (1 + 1e-9)
    rounds = [share / each for share, each in zip(given_seconds, once, strict=True)]
    assert max(rounds) <= peer_rounds.MOST_ROUNDS * (1 + 1e-9)
    assert max(rounds) == pytest.approx(min(rounds))


def test_answers_that_differ_stop_the_comparison():
    agreement = Agreement("primes to 10")
    agreement.hold(4, "primesieve")
    agreement.hold(4, "nfold")
    with pytest.raises(WrongAnswer, match="primes to 10: nfold says 5, and the others 4"):
        agreement.hold(5, "nfold")


def test_the_signature_tells_order_and_wraps_as_the_peer_does():
    assert peer_tools.signature(np.array([2, 3, 5])) == (3, 10, 2 + 6 + 15)
    assert peer_tools.signature(np.array([3, 2, 5])) != peer_tools.signature(np.array([2, 3, 5]))
    big = np.full(3, 2**62, np.int64)
    assert peer_tools.signature(big) == (3, 3 * 2**62 % 2**64, 6 * 2**62 % 2**64)
    long = np.arange(peer_tools.CHUNK + 7)
    assert peer_tools.signature(long)[2] == sum(k * (k + 1) for k in range(len(long))) % 2**64


def test_a_missing_peer_is_a_reason_not_an_error(tmp_path, monkeypatch):
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(peer_tools.shutil, "which", lambda name: None)
    with pytest.raises(peer_tools.Missing, match="no compiler"):
        peer_tools.build("streams.c", tmp_path)
    monkeypatch.setattr(peer_tools.ctypes.util, "find_library", lambda name: None)
    bench = peer_groups.Bench(tmp_path, {}, None)
    assert peers.gather(bench, ["primes", "streams"]) == []
    assert [reason.partition(":")[0] for reason in bench.skipped] == ["primes", "streams"]
    assert list(tmp_path.iterdir()) == []


def test_tables_say_what_was_measured_and_what_was_not():
    rows = [*group_with([0.05] * 6, [1.0] * 6, goal=0.125).rows(), *group_with([1.0] * 6, [0.5] * 6).rows()]
    assert peer_table.cells(rows[0])[2:7] == ("0.050", "–", "0.050 – 0.050", "≤ 0.125", "yes")
    assert peer_table.cells(rows[0])[7] == "50.0 ms, 20.0"
    assert peer_table.summary(rows) == "1 of 2 goals met; not: a row on 1 (2.00)."
    page = peer_table.markdown(rows, TOLD, ["streams: no compiler"], {("a row", "1", "peer"): "0.075"})
    assert "A CPU, 2 usable CPUs (L2 1024 KB)" in page
    assert "| a row | 1 | 0.050 | 0.075 | 0.050 – 0.050 | ≤ 0.125 | yes | 50.0 ms, 20.0 | 1.00 s," in page
    assert "- streams: no compiler" in page
    assert "G numbers/s" in page


def test_an_unknown_part_is_named(capsys):
    with pytest.raises(SystemExit):
        peers.arguments(["--only", "prime"])
    assert "no part 'prime'; choose from primes, mandelbrot" in capsys.readouterr().err


def test_the_roof_is_the_slower_of_arithmetic_and_traffic():
    assert roofline.least_seconds(roofline.Work(100, 10), 50, 1000) == 2
    assert roofline.least_seconds(roofline.Work(0, 10), 50, 5) == 2
    rounds = [
        {"peak": Run(1, 100.0), "triad": Run(1, 10.0), "STREAM": Run(1, 5.0), "copy": Run(k, 10), "matmul": Run(4, 1)}
        for k in (2, 2, 2, 2, 2, 4)
    ]
    works = {"copy": roofline.Work(0, 10), "matmul": roofline.Work(200, 1)}
    roof, (copy, matmul) = roofline.judge(rounds, works, ["STREAM", "triad"], 1)
    assert roof == roofline.Roof(1, 100, 10, "triad")
    assert (copy.fraction, copy.limited_by) == (0.5, "bandwidth")
    assert copy.interval is not None
    assert 0.25 <= copy.interval[0] < copy.interval[1] == 0.5
    assert (matmul.fraction, matmul.limited_by) == (0.5, "peak")
    assert "reading alone" not in roofline.told_roof(roof)
    assert roofline.told_roof(replace(roof, reads=3e9)).endswith("(triad); reading alone, in C, 3.0 GB/s.")
    assert roofline.picture([roof], [copy, matmul], "A CPU").startswith(b"\x89PNG")
    page = roofline.markdown([roof], [copy, matmul], TOLD, "roofline.png")
    assert "| matmul | 1 | 200 |" in page
    assert "50 %" in page


def test_the_ratios_of_a_page_are_those_it_was_made_of():
    rows = [*group_with([0.05] * 6, [1.0] * 6).rows(), *group_with([1.0] * 6, [0.5] * 6).rows()]
    rows = [replace(row, title="a | b", peer=peer) for row, peer in zip(rows, ("<c>", "C (d|e)"), strict=True)]
    page = peer_table.markdown(rows, TOLD, ["a | b"], {})
    found = peer_table.ratios(page)
    assert sorted(found.values()) == ["0.050", "2.00"]
    assert [peer_table.cells(row, found)[3] for row in rows] == ["0.050", "2.00"]
    assert peer_table.ratios("") == {}


def test_the_page_before_is_the_latest_of_this_kind_of_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "RESULTS", tmp_path)
    assert kept.before("peers", TOLD) is None
    here = kept.place("peers", TOLD).name
    older, others = here.replace("11-23", "10-30"), ("peers-another-2026-11-29.md", "peers-2026-11-30.md")
    for name in (here, older, f"more-{here}", *others):
        (tmp_path / name).touch()
    assert kept.before("peers", TOLD) == tmp_path / here


def test_kinds_of_cpus_with_one_name_are_told_apart(tmp_path):
    for model in (1, 17):
        (tmp_path / f"{model}").write_text(f"cpu family\t: 25\nmodel\t\t: {model}\nmodel name\t: AMD EPYC\n" * 2)
    names = [kept.kind_of_cpu({"model": "AMD EPYC"}, tmp_path / name) for name in ("1", "17", "none")]
    assert names == ["amd-epyc-25-1", "amd-epyc-25-17", "amd-epyc"]
    assert kept.kind_of_cpu({"model": "../a\n/b"}, tmp_path / "none") == "a-b"


def test_what_is_kept_is_named_by_its_cpu_and_day_and_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kept, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(kept, "kind_of_cpu", lambda told: "a-cpu")
    kept.keep("peers", ["# Peers", "", "a – b", ""], TOLD)
    path = tmp_path / "results/peers-a-cpu-2026-11-23.md"
    assert path.read_text() == "# Peers\n\na – b\n"
    kept.write(picture := tmp_path / "mine/roof.png", b"\x89PNG")
    assert picture.read_bytes() == b"\x89PNG"
    assert capsys.readouterr().out == f"kept in {path}\nkept in {picture}\n"


@pytest.mark.parametrize("name", ["taken", "file/a.md"])
def test_what_cannot_be_kept_is_a_line(name, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"^[^\n]*taken|file[^\n]*$"):
        kept.write(tmp_path / name, "lines")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]


def test_the_machine_of_a_bench_is_named_and_not_obeyed():
    assert peer_table.about({**TOLD, "model": "[red]\x1b[31m"}).startswith(r"[red]\x1b[31m, ")
