"""Words for results: units, intervals, titles, and what is said of lanes that wait."""

from dataclasses import replace

import pytest
from example_points import FINE, TROUBLED, a_point, a_scaling, explained
from hypothesis import given
from hypothesis import strategies as st

from compute.scaling import formatting
from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling
from compute.scaling.tables import breakdown, notes, table
from compute.scaling.tables.screen import screen


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (1.5e-9, "1.50 ns"), (2.5e-5, "25.0 µs"), (0.00099996, "1.00 ms"), (0.0521, "52.1 ms"), (0.9994, "999 ms"),
        (0.9996, "1.00 s"), (1.234, "1.23 s"), (99.96, "100 s"), (1234.5, "1234 s"), (1e-12, "0.00 ns"),
    ],
)  # fmt: skip
def test_seconds_are_told_in_the_unit_that_reads_best(seconds, told):
    assert formatting.seconds(seconds) == told


@given(st.floats(1e-9, 999))
def test_a_time_as_told_is_within_half_a_percent(seconds):
    number, unit = formatting.seconds(seconds).split()
    factor = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
    assert float(number) * factor == pytest.approx(seconds, rel=0.006)
    assert len(number) <= 4


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (1.92e9, "iterations", "1.92 G iterations"),
        (39e9, "FLOP", "39.0 GFLOP"),
        (512, "B", "512 B"),
        (999.9e3, "B", "1.00 MB"),
    ],
)
def test_rates_have_a_prefix(value, unit, told):
    assert formatting.amount(value, unit) == told


@pytest.mark.parametrize(
    ("value", "told"), [(1.934, "1.93"), (12.34, "12.3"), (128.2, "128"), (0.0421, "0.04"), (0.0021, "<0.01")]
)
def test_ratios(value, told):
    assert formatting.ratio(value) == told


def test_a_group_a_kernel_serial_first_and_fastest_variant_first():
    primes, mandelbrot = table.groups(a_scaling())
    assert primes.title == "count_primes · size 1,000,000 · median of 12 rounds"
    assert mandelbrot.title.startswith("mandelbrot")
    assert [row.cells[:3] for row in primes.rows[:3]] == [
        ("serial", "nogil", "1"), ("threads", "nogil", "1"), ("threads", "nogil", "2"),
    ]  # fmt: skip
    assert [row.cells[1] for row in primes.rows if row.starts] == ["python"]
    assert primes.notes[0] == "On one core: nogil 200 M numbers/s, python 2.50 M numbers/s."


def test_variants_of_different_sizes_stand_together_and_sizes_of_one_variant_apart():
    small = a_point(variant="python", size=10)
    together = table.groups(Scaling((a_point(), small)))
    assert [group.title.split(" · ")[1] for group in together] == ["size 512 (nogil), 10 (python)"]
    apart = table.groups(Scaling((a_point(), a_point(size=1024), small)))
    assert [group.title.split(" · ")[1] for group in apart] == ["size 512", "size 1,024", "size 10"]


def lanes(variant, cpu_per_wall, workers=2, processes=1, backend="threads"):
    return a_point(backend, workers, variant=variant, cpu_per_wall=cpu_per_wall, processes=processes)


def told(*points):
    (group,) = table.groups(Scaling(compare_points(points)))
    return "\n".join(note for note in group.notes if "CPU" in note)


def test_turns_at_the_gil_are_named_with_their_control():
    text = told(lanes("python", 0.51), lanes("nogil", 0.99))
    assert text == (
        "threads · python: a lane was on a CPU 51 % of the time, about 1/2: they take turns, consistent with the GIL"
        " (nogil, which releases it: 99 %)."
    )


def test_without_a_control_none_is_claimed():
    assert told(lanes("python", 0.49)).endswith("take turns, consistent with the GIL.")
    assert told(lanes("python", 0.49), lanes("nogil", 0.5)).count("consistent with the GIL.") == 1


def test_the_gil_is_not_blamed_for_what_it_cannot_do():
    assert "GIL" not in told(lanes("nogil", 0.5))
    assert "GIL" not in told(lanes("python", 0.5, processes=2, backend="processes"))
    assert "GIL" not in told(lanes("python", 0.7))
    assert told(lanes("nogil", 0.5)) == (
        "Lanes waited, for a CPU that other programs used or for a lock; on a CPU: threads · nogil 50 %."
    )
    assert told(lanes("python", 0.5, backend="coroutines")).endswith("both lanes share one thread.")


def test_on_a_machine_where_even_serial_waits_nothing_is_blamed_on_the_gil():
    text = told(lanes("python", 0.5), lanes("python", 0.6, workers=1, backend="serial"))
    assert text.endswith("on a CPU: threads · python 50 %, serial · python 60 %.") or "GIL" not in text
    assert "GIL" not in text


def test_busy_lanes_need_no_words():
    assert told(lanes("python", 0.99), lanes("nogil", 0.81)) == ""


def test_too_few_rounds_show_no_interval_and_say_why():
    (group,) = table.groups(Scaling(compare_points([a_point(samples=[2.0] * 3), a_point("threads", 2, [1.0] * 3)])))
    assert [row.cells[4] for row in group.rows] == ["1", "2.00"]
    assert group.notes == ("No interval where there are fewer than 6 rounds.",)


def test_no_baseline_shows_as_a_dash():
    (group,) = table.groups(Scaling(compare_points([a_point("threads", 2)])))
    assert group.rows[0].cells[4:6] == ("–", "–")


def test_a_point_tells_what_it_met():
    point = replace(a_point("processes", 2), notes=("the worker of lane 1 died",))
    (group,) = table.groups(Scaling((point,)))
    assert "processes · nogil · 2 workers: the worker of lane 1 died" in group.notes


@pytest.mark.parametrize("machine", [{}, {"cpus": 1}, {"model": "M", "python": "3.14"}])
def test_any_machine_has_a_heading(machine):
    heading = table.heading(Scaling((a_point(),), machine))
    assert heading == {0: "unknown machine", 1: "1 usable CPU", 2: "M, Python 3.14"}[len(machine)]


def test_str_is_the_table_in_80_columns():
    lines = str(a_scaling()).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "Invented 9000, 2 usable CPUs, Python 3.14.0, numpy 2.4.0, numba 0.68.0"
    assert lines[4] == "backend     variant  workers     time            speedup  efficiency  CPU/wall"
    assert lines[6] == "serial      nogil          1  49.9 ms                  1       100 %      0.99"
    assert lines[8] == "threads     nogil          2  25.4 ms  1.97 [1.95, 1.99]        98 %      0.98"
    assert lines[-2].startswith("! one thing")


def of_two(backend, speedup, cause, variant="nogil", **other):
    sentence = {None: None, "none": "98 % of attainable: nothing wrong"}.get(cause, f"took it: {cause}")
    point = a_point(backend, 2, variant=variant, speedup=speedup, cause=cause, verdict=sentence)
    return replace(point, **{"ceiling": 1.95, "attainable": speedup / 1.95, **other})


def remarks(points, every=False):
    return [str(remark) for remark in notes.verdicts(points, every)]


def test_what_is_fine_is_summed_up_and_trouble_gets_its_sentence():
    points = [
        of_two("serial", 1.0, None),
        of_two("threads", 1.91, "none"),
        of_two("prange", 1.93, "none"),
        of_two("coroutines", 0.98, "gil"),
        of_two("processes", 1.9, "none", "python"),
    ]
    trouble = "coroutines · nogil: 0.98× of 2; this machine allows 1.95× → 50 % of attainable. Took it: gil."
    assert remarks(points) == [
        "prange · nogil: 1.93× of 2; this machine allows 1.95× → 99 % of attainable.",
        "coroutines · nogil: took it: gil.",
        "Nothing wrong: threads, prange · nogil; processes · python.",
    ]
    assert [remark.trouble for remark in notes.verdicts(points, False)] == [False, True, False]
    assert remarks(points, every=True)[2] == trouble
    assert len(remarks(points, every=True)) == 5
    assert remarks(points[3:4]) == [trouble]
    assert remarks([of_two("threads", 1.91, None)]) == []


def test_the_same_trouble_is_told_once():
    points = [
        of_two("threads", 1.93, "none"),
        of_two("prange", 1.1, "lock"),
        of_two("joblib", 1.2, "lock"),
        of_two("joblib", 1.0, "lock", "python"),
        of_two("threads", 1.0, "gil", "python"),
    ]
    assert remarks(points)[1:3] == [
        "prange, joblib · nogil; joblib · python: took it: lock.",
        "threads · python: took it: gil.",
    ]


def test_a_fine_one_of_which_there_is_more_to_say_says_it():
    more = "97 % of attainable: nothing wrong, but the machine allows only 1.44× of 2"
    points = [
        of_two("prange", 1.93, "none"),
        of_two("threads", 1.4, "none", verdict=more, ceiling=1.44, attainable=1.4 / 1.44),
    ]
    assert remarks(points)[1] == f"threads · nogil: {more}."
    assert remarks(points, every=True)[1] == (
        "threads · nogil: 1.40× of 2; this machine allows 1.44× → 97 % of attainable: nothing wrong,"
        " but the machine allows only 1.44× of 2."
    )


def test_without_a_ceiling_nothing_is_said_of_what_was_attainable():
    point = of_two("threads", 1.91, "inconclusive", ceiling=None, attainable=None)
    assert remarks([point]) == ["threads · nogil: 1.91× of 2 → 96 %. Took it: inconclusive."]


def test_only_the_most_workers_of_each_are_spoken_of():
    points = explained(a_scaling((1, 2, 4), ["primes"])).points
    told = remarks(points, every=True)
    assert len(told) == 10
    assert all(" of 4; this machine allows 3.90×" in remark for remark in told[:-1])


def test_where_there_is_a_verdict_the_waiting_needs_no_words():
    (group,) = table.groups(explained(a_scaling(kernels=["primes"])))
    assert not any("on a CPU" in note for note in group.notes)
    assert sum(TROUBLED[1:] in remark.text for remark in group.verdicts) == 3
    assert not any(FINE in remark.text for remark in group.verdicts)


def test_columns_for_the_ceiling_are_there_where_it_is_known():
    (before,) = table.groups(a_scaling(kernels=["primes"]))
    (group,) = table.groups(explained(a_scaling(kernels=["primes"])))
    assert set(group.sheet.columns) - set(before.sheet.columns) == {"allowed", "attainable"}
    assert [row.cells[6:8] for row in group.rows[:3]] == [("", ""), ("1.00", "100 %"), ("1.95", "101 %")]
    assert group.rows[0].point.backend == "serial"
    flagged = {(row.point.backend, row.point.variant) for row in group.rows if "attainable" in row.flagged}
    assert flagged == {("coroutines", "nogil"), ("threads", "python"), ("coroutines", "python")}


def a_round(n, marked=None, **what):
    quiet = {"kernel": "mandelbrot", "variant": "nogil", "steal": 0.0, "others": 0.0, "throttled": 0, "load": 1.0}
    return quiet | {"round": n, "marked": marked} | what


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        ([], []),
        ([a_round(0)], []),
        ([a_round(0), a_round(1, "others used 0.8", others=0.8), a_round(2, "others used 0.3", others=0.3)],
         ["2 of 3 rounds were disturbed (the worst: others used 0.8)."]),
        ([a_round(0, "stolen", steal=0.1, others=None), a_round(1)], ["1 of 2 rounds was disturbed (stolen)."]),
        ([a_round(0, "x", kernel="another")], []),
        ([a_round(0, "x", variant="python")], []),
        ([a_round(0, "x", variant=None)], ["The only round was disturbed (x)."]),
        ([a_round(0, True)], ["The only round was disturbed."]),
    ],
)  # fmt: skip
def test_disturbed_rounds_are_counted_with_what_disturbed_them(conditions, told):
    assert [note for note in notes.other_lines([a_point()], conditions) if "disturbed" in note] == told


def with_two_arguments():
    points = [
        a_point(backend, n, [seconds] * 6, arguments=words, mode="strong")
        for words, factor in (("s=1", 1.0), ("s=2", 1.5))
        for backend, n, seconds in (("serial", 1, factor), ("threads", 2, 0.5 * factor))
    ]
    trial = {"kernel": "mandelbrot", "size": 512, "mode": "strong", "variants": ["nogil"]}
    rounds = [trial | {"arguments": "s=1", "round": 1, "marked": None}]
    rounds += [trial | {"arguments": "s=2", "round": 1, "marked": "others used 0.8"}]
    law = {"kernel": "mandelbrot", "size": 512, "variant": "nogil", "backend": "threads", "mode": "strong"}
    sentences = [law | {"arguments": words, "sentences": [f"of {words}"]} for words in ("s=1", "s=2")]
    return Scaling(compare_points(points), laws=tuple(sentences), conditions=tuple(rounds))


def test_several_arguments_of_one_size_are_tables_of_their_own_with_their_own_rounds_and_laws():
    groups = table.groups(with_two_arguments())
    assert [group.title for group in groups] == [f"mandelbrot · size 512 · s={n} · median of 6 rounds" for n in (1, 2)]
    assert [[note for note in group.notes if "disturbed" in note] for group in groups] == [
        [], ["The only round was disturbed (others used 0.8)."]
    ]  # fmt: skip
    assert [[remark.text for remark in group.laws] for group in groups] == [["of s=1"], ["of s=2"]]
    lines = screen(with_two_arguments()).lines
    assert [line.title for line in lines] == ["mandelbrot 512 (s=1)", "mandelbrot 512 (s=2)"]
    assert [line.alone.seconds for line in lines] == [1.0, 1.5]


def test_what_measuring_costs_is_said_once():
    lines = str(explained()).splitlines()
    assert lines.count("The timer tells 70.0 ns apart and measuring adds 31.0 µs to a run.") == 1
    assert "timer" not in str(a_scaling())


@pytest.mark.parametrize(
    ("costs", "told"),
    [
        ({}, []),
        ({"overhead of joblib 2": 1e-3}, []),
        ({"first_touch of heap": 6.2e-5}, ["62.0 µs in the heap"]),
        (
            {"first_touch of shared": 4.1e-4, "first_touch of heap": 6.2e-5},
            ["62.0 µs in the heap and 410 µs in shared memory"],
        ),
        ({"first_touch of heap": 0.0, "first_touch of mapped": 1e-3}, ["1.00 ms in a mapped file"]),
    ],
)
def test_what_the_first_touch_costs_is_a_line_of_its_own(costs, told):
    begin = "No run is the first to touch its memory; the first touch of a megabyte takes "
    assert list(notes.harness(Scaling((a_point(),), harness=costs))) == [f"{begin}{places}." for places in told]


def test_shares_are_of_the_whole_and_what_is_unknown_is_not_nothing():
    point = a_point("threads", 2, ledger={"useful": 1.5, "idle": 0.6, "inflation": -0.1}, unknown=("blocked",))
    known = breakdown.shares(point)
    assert known == pytest.approx(
        {name: 0.0 for name in breakdown.ENTRIES if name != "blocked"}
        | {"useful": 0.75, "idle": 0.3, "inflation": -0.05}
    )
    (sheet,) = breakdown.sheets([point])
    assert sheet.rows[0].cells == ("threads", "nogil", "2", "75", "-5.0", "unknown", "0", "30", *["0"] * 4)
    assert sheet.note.endswith(breakdown.UNKNOWN_NOTE)


def test_the_lines_of_a_cluster_are_shown_where_there_is_one():
    former = {"useful": 1.5, "idle": 0.5}  # of a file from before there were such lines
    on_a_cluster = former | {"serialisation": 0.0, "network": 1.0, "scheduler": 1.0}
    (sheet,) = breakdown.sheets([a_point("threads", 2, ledger=former), a_point("dask", 2, ledger=on_a_cluster)])
    columns = sheet.columns.index("serialisation"), sheet.columns.index("scheduler") + 1
    assert sheet.columns[slice(*columns)] == ("serialisation", "network", "scheduler")
    assert [row.cells[slice(*columns)] for row in sheet.rows] == [("0", "0", "0"), ("0", "25", "25")]
    assert sheet.note.endswith(breakdown.NOTES["scheduler"])
    (sheet,) = breakdown.sheets([a_point("threads", 2, ledger=former)])
    assert not {"serialisation", "network", "scheduler", "waiting"}.intersection(sheet.columns)


def test_no_ledger_no_sheet_and_a_ledger_of_nothing_is_no_division_by_it():
    assert list(breakdown.sheets([a_point()])) == []
    assert breakdown.shares(a_point(ledger={"useful": 0.0})) == {}


def test_laws_stand_with_what_they_are_of_and_what_holds_for_all_is_said_once():
    points = [a_point("threads", 2), a_point("prange", 2)]
    law = {"kernel": "mandelbrot", "size": 512, "variant": "nogil"}
    found = [
        law | {"backend": "threads", "sentences": ["A.", "Never."]},
        law | {"backend": "prange", "sentences": ["B.", "Never."]},
        law | {"backend": "prange", "kernel": "another", "sentences": ["C."]},
    ]
    assert [str(one) for one in breakdown.laws(points, found)] == [
        "All: Never.",
        "threads · nogil: A.",
        "prange · nogil: B.",
    ]
    assert [str(one) for one in breakdown.laws(points, found[:1])] == ["threads · nogil: A. Never."]
    assert list(breakdown.laws(points, [])) == []


def test_what_all_projections_assume_is_said_once_and_laws_are_in_the_tables_order():
    law = {"kernel": "mandelbrot", "size": 512, "variant": "nogil", "assumption": "Assumed: much. Or not."}
    found = [
        law | {"backend": backend, "sentences": [f"Projected: {far}. Assumed: much. Or not.", "More."]}
        for backend, far in (("prange", 3), ("threads", 4))
    ]
    points = [a_point("threads", 2), a_point("prange", 2)]
    assert [str(one) for one in breakdown.laws(points, found)] == [
        "All: More.",
        "threads · nogil: Projected: 4.",
        "prange · nogil: Projected: 3.",
        "Assumed: much. Or not.",
    ]
    none = [one | {"assumption": "Not projected: no law is identifiable.", "sentences": ["More."]} for one in found]
    assert [str(one) for one in breakdown.laws(points, none)] == ["All: More."]
    another = [found[0], found[1] | {"assumption": "Assumed: else."}]
    assert [str(one) for one in breakdown.laws(points, another)][1].endswith("Assumed: much. Or not.")
    assert (
        str(next(iter(breakdown.laws(points, found[:1]))))
        == "prange · nogil: Projected: 3. Assumed: much. Or not. More."
    )


def test_no_law_is_told_of_points_that_were_disturbed():
    points = [a_point("threads", n, contaminated=disturbed) for n, disturbed in ((1, 0), (2, 3))]
    others = [a_point("prange", n, contaminated=2) for n in (1, 2)]
    about = {"kernel": points[0].kernel, "variant": "nogil", "sentences": ["Amdahl: 1 %."]}
    told = breakdown.laws([*points, *others], [{**about, "backend": "threads"}, {**about, "backend": "prange"}])
    disturbed, law = map(str, told)
    assert disturbed.startswith("threads · nogil: No law is told: half of the rounds or more were disturbed")
    assert law == "prange · nogil: Amdahl: 1 %."
