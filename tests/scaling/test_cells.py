"""Words for results: units, intervals, titles, and what is said of lanes that wait."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import a_point, a_scaling

from compute.scaling import table
from compute.scaling.dataset import Scaling
from compute.scaling.points import compared


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (1.5e-9, "1.50 ns"), (2.5e-5, "25.0 µs"), (0.00099996, "1.00 ms"), (0.0521, "52.1 ms"), (0.9994, "999 ms"),
        (0.9996, "1.00 s"), (1.234, "1.23 s"), (99.96, "100 s"), (1234.5, "1234 s"), (1e-12, "0.00 ns"),
    ],
)  # fmt: skip
def test_seconds_are_told_in_the_unit_that_reads_best(seconds, told):
    assert table.seconds(seconds) == told


@settings(max_examples=100)
@given(st.floats(1e-9, 999))
def test_a_time_as_told_is_within_half_a_percent(seconds):
    number, unit = table.seconds(seconds).split()
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
    assert table.amount(value, unit) == told


@pytest.mark.parametrize(
    ("value", "told"), [(1.934, "1.93"), (12.34, "12.3"), (128.2, "128"), (0.0421, "0.04"), (0.0021, "<0.01")]
)
def test_ratios(value, told):
    assert table.ratio(value) == told


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
    (group,) = table.groups(Scaling(compared(points)))
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
    assert told(lanes("python", 0.5, backend="coroutines")).endswith("all 2 share one thread.")


def test_on_a_machine_where_even_serial_waits_nothing_is_blamed_on_the_gil():
    text = told(lanes("python", 0.5), lanes("python", 0.6, workers=1, backend="serial"))
    assert text.endswith("on a CPU: threads · python 50 %, serial · python 60 %.") or "GIL" not in text
    assert "GIL" not in text


def test_busy_lanes_need_no_words():
    assert told(lanes("python", 0.99), lanes("nogil", 0.81)) == ""


def test_too_few_rounds_show_no_interval_and_say_why():
    (group,) = table.groups(Scaling(compared([a_point(samples=[2.0] * 3), a_point("threads", 2, [1.0] * 3)])))
    assert [row.cells[4] for row in group.rows] == ["1", "2.00"]
    assert group.notes == ("No interval where there are fewer than 6 rounds.",)


def test_no_baseline_shows_as_a_dash():
    (group,) = table.groups(Scaling(compared([a_point("threads", 2)])))
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
