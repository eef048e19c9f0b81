"""What advise says: an invented advice as a line, as tables and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from example_candidates import candidate

from compute import Joblib, Prange, Processes, Serial, Threads
from compute.advice import Advice, remarks, text
from compute.advice.decision import BreakEven, Crossing


def example_advice(**changes) -> Advice:
    serial, threads = candidate(Serial(), 0.023, loading=0.6), candidate(Threads(2), 0.0121, loading=0.6)
    processes = candidate(Processes(2), 0.0135, opening=0.9, loading=0.3)
    found = {
        "kernel": "mandelbrot",
        "size": 1000,
        "measured": 1000,
        "use": threads,
        "equals": (),
        "serial": serial,
        "candidates": (threads, processes, serial),
        "break_evens": (
            BreakEven("threads", Crossing(34, "measured"), Crossing(30, "always")),
            BreakEven("processes", Crossing(120, "measured"), Crossing(34_000, "projected")),
            BreakEven("joblib", Crossing(1000, "never"), Crossing(1000, "never")),
        ),
        "by_size": {30: (candidate(Serial(), 2e-5, size=30), candidate(Threads(2), 5e-5, size=30))},
        "notes": ("something to know",),
        "machine": {"cpus": 2},
    }
    return Advice(**(found | changes))


def test_the_advice_is_the_first_line():
    assert str(example_advice()).splitlines()[0] == (
        "use Threads(2) with the nogil variant: 12.1 ms against 23.0 ms serial (1.90×)"
    )


def test_the_text_fits_its_width_and_shows_the_measurements_and_the_break_evens():
    told = text.render(example_advice(), 80)
    lines = [line.rstrip() for line in told.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "mandelbrot · size 1,000" in lines
    rows = [line.split() for line in lines]
    assert ["Threads(2)", "nogil", "12.1", "ms", "12.0–12.2", "ms", "1.90", "600", "ms", "612", "ms"] in rows
    assert ["Processes(2)", "nogil", "13.5", "ms", "13.4–13.6", "ms", "1.70", "1.20", "s", "1.21", "s"] in rows
    assert ["threads", "34", "30", "or", "less"] in rows
    assert ["processes", "120", "34,000", "(projected)"] in rows
    assert ["joblib", "not", "up", "to", "1,000", "not", "up", "to", "1,000"] in rows
    assert ["30", "20.0", "µs", "50.0", "µs", "–", "–"] in rows
    assert "something to know" in lines


def test_an_interval_is_told_in_one_unit():
    serial = candidate(Serial(), 0.002, width=0.9)
    told = text.render(example_advice(use=serial, serial=serial, candidates=(serial,)))
    assert "0.20–3.80 ms" in told


def test_equals_are_named_and_the_simplest_preferred():
    threads, prange = candidate(Threads(2), 0.0122), candidate(Prange(2), 0.0121)
    blas = candidate(Processes(2), 0.0122, "blas")
    told = list(text.sentences(example_advice(use=threads, equals=(prange, blas))))
    assert told[1] == "Threads(2) or Prange(2) or Processes(2) · blas: within noise; Threads(2) is the simplest"


def test_serial_is_advised_in_words_of_its_own():
    serial, threads = candidate(Serial(), 31e-6), candidate(Threads(2), 58e-6)
    advice = example_advice(use=serial, serial=serial, candidates=(serial, threads))
    assert list(text.sentences(advice)) == [
        "use Serial() with the nogil variant: 31.0 µs on one core, and nothing here is faster; the next, Threads(2),"
        " takes 58.0 µs"
    ]
    alone = example_advice(use=serial, serial=serial, candidates=(serial,))
    assert list(text.sentences(alone)) == [
        "use Serial() with the nogil variant: 31.0 µs on one core, and nothing here is faster"
    ]


def test_a_smaller_size_and_another_serial_variant_are_told():
    told = list(text.sentences(example_advice(size=10**9, serial=candidate(Serial(), 0.023, "blas"))))
    assert "against 23.0 ms serial (blas)" in told[0]
    assert told[1] == "measured at size 1,000: 1,000,000,000 takes longer than the budget"


def test_json_holds_all_of_it(tmp_path):
    example_advice().to_json(tmp_path / "a.json")
    kept = json.loads((tmp_path / "a.json").read_text())
    assert kept["schema"] == "nfold-advice/1"
    assert (kept["use"]["on"], kept["use"]["workers"], kept["use"]["variant"]) == ("Threads(2)", 2, "nogil")
    assert eval(kept["use"]["on"]) == Threads(2)
    assert kept["speedup"] == pytest.approx(0.023 / 0.0121)
    assert kept["break_evens"][1]["cold"] == {"size": 34_000, "how": "projected"}
    assert len(kept["candidates"]) == 3


def test_names_and_notes_are_shown_as_they_are(tmp_path):
    evil = "\x1b[31m\u202e\n[red]k[/nothing]"
    threads = candidate(Threads(2), 0.0121, variant=evil)
    breaks = (BreakEven(evil, Crossing(34, "measured"), Crossing(30, "always")),)
    advice = example_advice(
        kernel=evil, use=threads, candidates=(threads,), break_evens=breaks, notes=(evil,), machine={"model": evil}
    )
    told = text.render(advice, 200)
    assert {c for c in told if not c.isprintable()} == {"\n"}
    assert told.count(r"\x1b[31m\u202e\n[red]k[/nothing]") == 6  # first line, title, candidate, two tables, note
    assert json.loads(advice.as_json())["notes"] == [evil]
    assert {c for c in advice.as_json() if not c.isprintable()} == {"\n"}


def test_too_little_to_choose_by_is_said_first():
    told = str(example_advice(caution="too little to choose by: one round fitted")).splitlines()
    assert told[0] == "too little to choose by: one round fitted"
    assert told[1].startswith("use Threads(2)")


def test_a_speedup_that_cannot_be_is_called_noise_and_never_shown(tmp_path):
    serial, threads = candidate(Serial(), 0.023), candidate(Threads(2), 0.001)
    advice = example_advice(use=threads, serial=serial, candidates=(threads, serial), doubtful=(threads,))
    told = text.render(advice)
    assert "(23.0×)" not in told
    assert "noise" in next(line for line in told.splitlines() if line.startswith("Threads(2)  ")).split()
    assert list(text.sentences(advice))[1].startswith("Threads(2): faster than so many workers can be")
    assert advice.speedup is None
    assert json.loads(advice.as_json())["speedup"] is None


def test_the_simplest_of_those_that_clearly_beat_one_core_is_called_that():
    threads, joblib = candidate(Threads(2), 0.0122, width=0.9), candidate(Joblib(2), 0.0121)
    told = list(text.sentences(example_advice(use=joblib, equals=(threads,))))
    assert told[1] == (
        "Joblib(2) or Threads(2): within noise; Joblib(2) is the simplest that is clearly faster than one core"
    )


def test_what_was_measured_too_little_is_said_with_the_budget_that_would_do():
    serial, threads = candidate(Serial(), 1.0), replace(candidate(Threads(2), 0.5), runs=1)
    once = remarks.caution([serial, threads], threads, True, 20.0, 60)
    assert once == "too little to choose by: one round fitted in the budget of 20 s; give it about 60 s"
    alone = remarks.caution([serial], serial, True, 20.0, 60)
    assert alone == "too little to choose by: one core alone was measured in the budget of 20 s; give it about 60 s"
    assert remarks.caution([serial], serial, False, 20.0, 60) == ""  # nothing else was asked for
    assert remarks.caution([serial, replace(threads, runs=6)], replace(threads, runs=6), True, 20.0, 60) == ""


def test_the_budget_s_use_is_told():
    assert list(remarks.about_the_budget(20, 1.0, -3.0, 20.0)) == []
    few, ready, over = remarks.about_the_budget(3, 12.0, 8.0, 20.0)
    assert few.startswith("3 rounds fitted into the budget of 20 s")
    assert ready == "importing, compiling, estimating and opening pools took 12.0 s of the budget of 20 s"
    assert over.startswith("the budget was exceeded by 8.00 s")


def test_a_short_run_that_came_too_late_is_not_called_too_long():
    long = remarks.too_long("Threads(2) with nogil", 2000, 4.0, 1.0, 5.0)
    assert long.endswith("at size 2,000: a run of about 4.00 s does not fit into the budget")
    late = remarks.too_long("Threads(2) with nogil", 200, 159e-6, -0.5, 5.0)
    assert late.endswith("at size 200: importing, compiling and opening pools left 0 s of the budget of 5 s")


def test_a_notebook_shows_a_picture_and_tables():
    told = example_advice(kernel="<b>mine</b>", notes=("<i>\x1b[31m",))._repr_html_()
    assert told.startswith(
        "<p><b>use Threads(2) with the nogil variant: 12.1 ms against 23.0 ms serial (1.90×)</b></p>"
    )
    assert told.count('src="data:image/png;base64,') == 1
    for cell in ("Threads(2)", "12.0–12.2 ms", "34,000 (projected)", "&lt;b&gt;mine&lt;/b&gt;", "&lt;i&gt;\\x1b[31m"):
        assert cell in told
    assert "<b>mine" not in told
    assert "<script" not in told
    assert "beats serial" not in example_advice(break_evens=())._repr_html_()
