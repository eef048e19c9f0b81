"""The one screen as data: ways, cells, marks, and the reasons that are told."""

from dataclasses import replace

import pytest
from example_main_job import KERNELS, a_main_job
from example_points import a_point, a_scaling, explained

from compute.scaling.derive import compare_points
from compute.scaling.results import Scaling
from compute.scaling.tables.reasons import MOST, OTHER
from compute.scaling.tables.screen import (
    ALONE,
    AS_FAST,
    BEST,
    CELL,
    FEWER,
    NO_SERIAL,
    NOT_SLOWER,
    TOO_FEW,
    UNKNOWN,
    screen,
)
from compute.scaling.verdict import causes
from compute.scaling.verdict.point_verdict import verdict_of
from compute.traits import PROGRAM


def cell(scaling, kernel, way):
    seen = screen(scaling)
    line = next(line for line in seen.lines if line.title == kernel)
    return line.cells[[w.label for w in seen.ways].index(way)]


def test_a_line_a_kernel_a_column_a_way_python_first():
    seen = screen(a_main_job())
    assert [way.label for way in seen.ways] == [
        "threads·python", "threads", "prange", "processes", "joblib", "coroutines"
    ]  # fmt: skip
    assert [line.title for line in seen.lines] == list(KERNELS)
    assert [sum(c is not None for c in line.cells) for line in seen.lines] == [6, 5, 5, 5]
    assert {line.alone.variant for line in seen.lines} == {"nogil"}


def test_a_cell_is_of_the_most_workers_and_keeps_the_way_there():
    found = cell(a_main_job(counts=(1, 2, 4)), "mandelbrot", "threads")
    assert found.point.workers == 4
    assert [n for n, _ in found.curve] == [1, 2, 4]
    assert found.curve[-1][1] == found.point.speedup
    assert found.share == found.point.attainable
    outran = replace(found, point=replace(found.point, ceiling=1.0, attainable=found.point.speedup))
    assert outran.share == found.point.efficiency
    assert cell(a_scaling(), "mandelbrot", "threads").share == pytest.approx(0.98, abs=0.01)  # of N-fold


@pytest.mark.parametrize(("seconds", "mark"), [(0.6, BEST), (1.1, "")])
def test_a_program_s_one_worker_stands_where_the_serial_run_does(seconds, mark):
    program = {"variant": "{workers}", "size": None, "traits": PROGRAM.names()}
    points = compare_points([a_point("program", n, [s] * 6, **program) for n, s in ((1, 1.0), (2, seconds))])
    (line,) = screen(Scaling(points)).lines
    assert line.alone_in_words == "1.00 s"
    assert [c.mark for c in line.cells] == [mark]


def test_the_only_variant_goes_without_saying_whatever_it_is_called():
    points = compare_points([a_point(variant="blas"), a_point("threads", 2, [0.6] * 6, variant="blas")])
    assert [way.label for way in screen(Scaling(points)).ways] == ["threads"]
    both = compare_points([*points, *(replace(p, variant="fast") for p in points)])
    assert [way.label for way in screen(Scaling(both)).ways] == ["threads·blas", "threads·fast"]


def test_the_fastest_does_most_work_in_a_second_whatever_its_speedup():
    scaling = a_main_job(ways=[("processes", "python"), ("joblib", "nogil")], once=False)
    python, compiled = (cell(scaling, "mandelbrot", way) for way in ("processes·python", "joblib"))
    assert python.point.speedup > compiled.point.speedup
    assert (python.mark, compiled.mark) == ("", BEST)


def test_what_noise_parts_from_the_fastest_is_marked_too():
    for noise, wanted in (0.05, AS_FAST), (0.001, ""):
        marks = {c.mark for c in screen(a_main_job(noise=noise, rounds=8)).lines[1].cells[1:3]}
        assert marks == {BEST, wanted}


def test_nothing_is_the_fastest_where_one_core_is_or_nothing_says_which():
    slow = compare_points([a_point(), a_point("threads", 2, [1.2] * 6)])
    assert [c.mark for c in screen(Scaling(slow)).cells] == [""]
    assert [line.fastest for line in screen(Scaling(slow)).lines] == [ALONE]
    two_sizes = compare_points(
        [a_point(variant=v, size=n) for v, n in (("nogil", 9), ("python", 3))]
        + [a_point("threads", 2, [0.6] * 6, variant=v, size=n) for v, n in (("nogil", 9), ("python", 3))]
    )
    assert [c.mark for c in screen(Scaling(two_sizes)).cells] == ["", ""]
    assert [line.fastest for line in screen(Scaling(two_sizes)).lines] == [UNKNOWN]
    assert BEST in {c.mark for c in screen(Scaling(tuple(replace(p, size=9) for p in two_sizes))).cells}


def around(seconds, rounds=8):
    return [seconds * (1 + 0.001 * k) for k in range(rounds)]


@pytest.mark.parametrize(
    ("runs", "fastest", "fewer"),
    [
        ({("threads", 4): 0.26, ("threads", 16): 0.2, ("threads", 64): 1.3}, FEWER, "threads with 16"),
        ({("threads", 4): 0.26, ("threads", 64): 1.3, ("prange", 64): 1.2}, FEWER, "threads with 4"),
        ({("threads", 4): 0.26, ("threads", 64): 1.3, ("prange", 64): 0.2}, CELL, ""),
        ({("threads", 16): 0.2, ("threads", 64): 0.2001}, CELL, ""),  # no more than noise
        ({("threads", 1): 0.9, ("threads", 64): 1.3}, ALONE, ""),
        ({("threads", 2): 1.1, ("threads", 64): 1.3}, ALONE, ""),
        ({("threads", 2): 1.0, ("processes", 2): 1.1}, NOT_SLOWER, ""),
        ({("threads", 1): 0.999, ("processes", 1): 1.01}, NOT_SLOWER, ""),  # a machine of one CPU
    ],
)
def test_all_worker_counts_say_which_is_the_fastest(runs, fastest, fewer):
    noisy = [0.99, 1.01] * 4
    points = [a_point(samples=noisy, work=10.0)]
    points += [a_point(b, n, [seconds * one for one in around(1.0)], work=10.0) for (b, n), seconds in runs.items()]
    (line,) = screen(Scaling(compare_points(points))).lines
    assert (line.fastest, line.fewer) == (fastest, fewer)
    assert sum(c.mark == BEST for c in line.cells) == (fastest == CELL)


def test_a_fastest_that_the_rounds_do_not_carry_is_not_claimed():
    few = compare_points([a_point(samples=around(1.0, 3)), a_point("threads", 2, around(0.501, 3))])
    assert [line.fastest for line in screen(Scaling(few)).lines] == [TOO_FEW]
    alone = compare_points([a_point("threads", 2), a_point("processes", 2)])
    assert [line.fastest for line in screen(Scaling(alone)).lines] == [NO_SERIAL]
    assert [c.mark for c in screen(Scaling((*few, *alone))).cells] == [""] * 2


def test_the_fastest_must_beat_one_core_of_every_variant():
    """It has 1.9 times the speed of its own serial run, and a tenth of that of the compiled one."""
    about = {"nogil": {"size": 100, "work": 100.0}, "python": {"size": 5, "work": 5.0}}
    points = [a_point(variant=v, samples=around(1.0), **about[v]) for v in about]
    points.append(a_point("processes", 2, around(0.52), variant="python", **about["python"]))
    (line,) = screen(Scaling(compare_points(points))).lines
    assert (line.fastest, [c.mark for c in line.cells]) == (ALONE, [""])


def test_results_that_are_joined_have_each_worker_count_once():
    one = Scaling(compare_points([a_point(), a_point("threads", 2, [0.6] * 6)]))
    (line,) = screen(one + one + one).lines
    assert [c.curve for c in line.cells] == [((2, pytest.approx(1 / 0.6)),)]
    assert line.fastest == CELL


def test_few_rounds_or_a_wide_interval_make_a_figure_uncertain():
    assert not any(c.is_unsure for c in screen(a_main_job()).cells)
    assert all(c.is_unsure for c in screen(a_main_job(rounds=5)).cells)
    assert all(c.words[0].startswith("~") for c in screen(a_main_job(rounds=5)).cells)
    wide = compare_points([a_point(samples=[1.0] * 9), a_point("threads", 2, [0.4, 0.5, 0.6] * 3)])
    assert [c.is_unsure for c in screen(Scaling(wide)).cells] == [True]


def test_a_reason_is_told_once_for_all_cells_that_have_it():
    seen = screen(a_main_job())
    assert [str(reason) for reason in seen.reasons] == [
        "threads, prange and 2 other ways, triad and transpose: memory bandwidth, which allows 1.18× of 2;"
        " compute more with each byte (blocks that fit the caches, smaller types).",
        "threads·python, every kernel: the GIL, 50 % of core-seconds; use a compiled or nogil kernel, or processes.",
        "coroutines, count_primes: all lanes share one thread, 50 % of core-seconds; use threads or processes.",
    ]
    told = {reason.letter for reason in seen.reasons}
    assert [c.letter for c in seen.lines[0].cells] == ["b", "", "", "", "", "c"]
    assert {c.letter for c in seen.cells} == {*told, ""}
    assert all(bool(c.letter) == (c.point.cause != causes.NONE) for c in seen.cells)
    assert seen.judged
    assert seen.untold == 0


def test_at_most_five_reasons_are_told_the_fastest_ones_first():
    names = ["noise", "lock", "imbalance", "start-up", "transfer", "quota", "serial section"]
    points = [a_point(kernel=name) for name in names]
    points += [a_point(b, 2, [t] * 6, kernel=name) for name in names for b, t in (("threads", 0.6), ("joblib", 0.7))]
    made = [
        replace(
            p, cause=p.kernel, verdict=f"{p.kernel} happened; mend it", attainable=0.2 if p.kernel == "quota" else 0.7
        )
        if (p.backend, p.kernel) in {("threads", "quota"), *(("joblib", name) for name in names if name != "quota")}
        else replace(p, cause="none", verdict="98 % of attainable: nothing wrong")
        for p in compare_points(points)
    ]
    seen = screen(Scaling(tuple(made)))
    assert len(seen.reasons) == MOST
    assert seen.untold == 2
    noise, quota = map(str, seen.reasons[:2])
    assert noise == "joblib, noise: disturbed from outside; mend it."  # which makes the others doubtful
    assert quota == "threads, quota: the CPU quota; mend it."
    assert [reason.letter for reason in seen.reasons] == list("abcde")
    assert sum(c.letter == OTHER for c in seen.cells) == 2


def test_more_cells_than_can_be_named_are_counted():
    scaling = a_main_job(kernels=["a", "b", "c", "d", "triad"])
    points = [
        replace(p, cause="lock", verdict="held; let go", evidence=None) if p.backend in held else p
        for p in scaling.points
        for held in [
            {"a": {"joblib", "prange"}, "b": {"joblib"}, "c": {"joblib"}, "d": {"joblib"}}.get(p.kernel, set())
        ]
    ]
    wheres = [reason.where for reason in screen(Scaling(tuple(points))).reasons]
    assert "joblib, a, b and 2 other kernels, and 1 more cell" in wheres


def test_without_verdicts_nothing_is_said_to_be_fine():
    assert not screen(a_scaling()).judged
    seen = screen(explained(a_scaling()))
    assert seen.judged
    assert [str(reason) for reason in seen.reasons] == [
        "threads·python, coroutines·python and coroutines, every kernel: the GIL; use a compiled or nogil kernel."
    ]


def test_sizes_and_files_of_one_kernel_are_lines_of_their_own():
    points = a_main_job(kernels=["triad"], once=False).points
    sizes = [replace(p, size=size) for size in (1000, 2000) for p in points if p.variant == "nogil"]
    assert [line.title for line in screen(Scaling(tuple(sizes))).lines] == ["triad 1,000", "triad 2,000"]
    named = [replace(p, file=name) for name in ("a.json", "b.json") for p in points]
    assert [line.title for line in screen(Scaling(tuple(named))).lines] == ["triad (a.json)", "triad (b.json)"]


def test_nothing_measured_is_an_empty_screen():
    assert screen(Scaling(())).lines == ()
    alone = screen(Scaling(compare_points([a_point()])))
    assert (alone.ways, [line.title for line in alone.lines], alone.judged) == ((), ["mandelbrot"], False)


def test_every_cause_has_a_name_without_figures():
    names = {code: causes.name_of(code) for code in causes.CODES}
    assert names["gil"] == "the GIL"
    assert names["inconclusive"] == "too uncertain to tell"
    assert causes.name_of("a cause of later") == "a cause of later"
    unknown = [record.name for record in causes.CAUSES if record.code == causes.UNKNOWN]
    assert len(set(unknown)) == len(unknown)  # each has a name of its own, without which it could not be told
    assert all(unknown)


@pytest.mark.parametrize(
    ("cause", "sentence", "wanted"),
    [
        ("gil", "blocked 48 %: consistent with the GIL; use processes", ("the GIL", "use processes", None)),
        ("unknown", "CPU inflation 16 % of core-seconds: lanes needed more; the clock may be why",
         ("CPU inflation: lanes needed more", "the clock may be why", 0.16)),
        ("unknown", "88 % of what is possible; no single cause took 5 % of core-seconds (most: imbalance 4 %)",
         ("no single cause", "", None)),
        ("unknown", "50 % of what is possible; without a ledger, nothing says where the rest went; measure again",
         ("without a ledger, nothing says where the rest went", "measure again", None)),
        ("memory bandwidth", "97 % of attainable, limited by memory bandwidth; compute more",
         ("memory bandwidth", "compute more", None)),
        ("a cause of later", "something; do that", ("a cause of later", "do that", None)),
    ],
)  # fmt: skip
def test_a_sentence_of_before_evidence_was_kept_is_read(cause, sentence, wanted):
    verdict = verdict_of(a_point("threads", 2, cause=cause, verdict=sentence))
    assert (verdict.name, verdict.remedy, verdict.share) == wanted
    assert (verdict.sentence, verdict.is_fine) == (sentence, False)


def test_what_is_fine_and_what_has_no_verdict_of_before():
    assert verdict_of(a_point("threads", 2, cause="none", verdict="98 % of attainable: nothing wrong")).is_fine
    assert verdict_of(a_point("threads", 2)) is None


def test_only_what_holds_the_machine_itself_tells_its_ceiling():
    """Others that took CPUs hold the ceiling down, or only the lanes."""
    evidence = {"has_gil": True, "cpus": 2, "others": 0.9, "compiled": True}
    about = {"ledger": {"useful": 1.2, "runqueue": 0.8}, "evidence": evidence, "speedup": 1.2}
    free, held = (verdict_of(a_point("threads", 2, **about, ceiling=c)) for c in (2.0, 1.3))
    for verdict in (free, held):
        assert (verdict.name, verdict.remedy) == ("disturbed from outside", "measure again on a quiet machine")
    assert (free.share, free.ceiling) == (pytest.approx(0.4), None)
    assert (held.share, held.ceiling) == (None, 1.3)


@pytest.mark.parametrize("words", ["lost to it", "40 % of core-seconds; all is well: nothing wrong"])
def test_what_a_cell_is_told_does_not_hang_on_the_words_of_a_phrase(monkeypatch, words):
    evidence = {"has_gil": True, "cpus": 2, "compiled": True}
    point = a_point("threads", 2, ledger={"useful": 1.2, "idle": 0.8}, evidence=evidence, speedup=1.2, ceiling=2.0)
    record = replace(causes.IMBALANCE, phrase=causes.always(words), remedy=causes.always("do; that"))
    monkeypatch.setattr(causes, "CAUSES", (record,))
    verdict = verdict_of(point)
    assert verdict.sentence == f"{words}; do; that"
    assert (verdict.name, verdict.remedy) == ("waiting for the last chunks (imbalance)", "do; that")
    assert (verdict.share, verdict.is_fine) == (pytest.approx(0.4), False)
