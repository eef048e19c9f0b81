"""Verdicts on invented evidence: each cause, its neighbours that look alike, and what nobody can tell."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.scaling.ledger import ENTRIES
from compute.scaling.verdict.evidence import Evidence
from compute.scaling.verdict.judgement import Cause, Verdict, headline, judge
from compute.scaling.verdict.losses import losses


def of(workers: int = 2, **known: object) -> Evidence:
    """Evidence from shares of the core-seconds, by entry; what is left of them is useful, and the speedup follows."""
    shares = {entry: float(known.pop(entry, 0.0)) for entry in ENTRIES if entry != "useful"}  # type: ignore[arg-type]
    useful = 1 - sum(shares.values())
    seconds = float(known.pop("seconds", 1.0))  # type: ignore[arg-type]
    about: dict[str, object] = {"speedup": useful * workers, "ceiling": 0.975 * workers, "cpus": 8, "cpus_shared": 8}
    about |= {"ledger": {entry: share * workers * seconds for entry, share in {"useful": useful, **shares}.items()}}
    about |= known
    if about["speedup"] is not None and about["ceiling"] is not None:
        about.setdefault("attainable", about["speedup"] / about["ceiling"])  # type: ignore[operator]
    return Evidence(workers=workers, seconds=seconds, **about)  # type: ignore[arg-type]


def cause(workers: int = 2, **known: object) -> Cause:
    return judge(of(workers, **known)).cause


PYTHON = {"variant": "python", "blocked": 0.48}


def test_the_gil_by_a_control_that_releases_it():
    assert judge(of(**PYTHON, free_blocked=0.01)) == Verdict(
        Cause.GIL,
        "blocked 48 % of core-seconds, the nogil variant 1 %: consistent with the GIL; use a compiled or nogil kernel",
        {"gil": pytest.approx(0.48)},
    )


def test_the_gil_by_a_probe_and_by_processes():
    assert judge(of(**PYTHON, gil=0.99, free_blocked=0.01, elsewhere_blocked=0.02)).sentence == (
        "blocked 48 % of core-seconds, the nogil variant 1 %, the GIL taken 99 % of the time, processes 2 %: "
        "consistent with the GIL; use a compiled or nogil kernel, or processes"
    )
    assert cause(**PYTHON, gil=0.99) == Cause.GIL
    assert judge(of(blocked=0.48, gil=0.99, compiled=True)).sentence == (
        "blocked 48 % of core-seconds, the GIL taken 99 % of the time: consistent with the GIL; let the body release it"
    )


def test_a_compiled_lane_that_comes_late_does_not_wait_for_the_gil():
    assert cause(startup=0.7, blocked=0.002, gil=0.6, compiled=True) == Cause.START_UP
    assert cause(startup=0.7, blocked=0.002, gil=0.6) == Cause.GIL


def test_a_lock_where_the_probe_finds_the_gil_free():
    assert judge(of(**PYTHON, gil=0.02, free_blocked=0.01)).sentence == (
        "blocked 48 % of core-seconds, the GIL taken only 2 % of the time: consistent with a lock or waiting for data; "
        "hold it for less, or give each lane its own"
    )


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"compiled": True}, "by a variant that releases the GIL"),
        ({"processes": 2}, "by lanes that share no GIL"),
        ({"processes": 2, "gil": 0.99}, "by lanes that share no GIL"),
        ({"backend": "interpreters", "free_blocked": 0.0}, "by lanes that share no GIL"),
        ({"has_gil": False, "free_blocked": 0.0}, "without a GIL"),
        ({"free_blocked": 0.45}, "the nogil variant 45 % as well"),
        ({"free_blocked": 0.45, "gil": 0.99}, "the nogil variant 45 % as well"),
        ({"elsewhere_blocked": 0.47, "gil": 0.99}, "processes 47 % as well"),
    ],
)
def test_a_lock_where_lanes_cannot_wait_for_the_gil_or_a_control_blocks_too(known, reason):
    verdict = judge(of(**PYTHON, **known))
    assert verdict.cause == Cause.LOCK
    assert f"core-seconds, {reason}: consistent with a lock" in verdict.sentence


@pytest.mark.parametrize("known", [{}, {"free_blocked": 0.2}, {"elsewhere_blocked": 0.0}])
def test_without_a_probe_or_a_clear_control_blocked_says_neither(known):
    verdict = judge(of(**PYTHON, **known))
    assert verdict.cause == Cause.UNKNOWN
    assert verdict.sentence == (
        "blocked 48 % of core-seconds, by the GIL, a lock or waiting for data: nothing measured tells which; "
        "measure a nogil variant beside it"
    )


def test_lanes_of_one_thread():
    verdict = judge(of(4, backend="coroutines", variant="python", blocked=0.5, idle=0.25, gil=0.99, free_blocked=0.01))
    assert verdict.cause == Cause.ONE_THREAD
    assert verdict.sentence == (
        "all 4 lanes share one thread, which helps only work that waits; use threads or processes"
    )
    assert cause(4, backend="coroutines", inflation=0.4, startup=0.3) == Cause.ONE_THREAD
    assert judge(Evidence(backend="coroutines")).cause == Cause.ONE_THREAD


def test_coroutines_that_wait_well_are_fine():
    assert cause(4, backend="coroutines", speedup=3.9, blocked=0.9) == Cause.NONE
    assert cause(1, backend="coroutines", speedup=0.99, ceiling=None) == Cause.NONE


def test_imbalance():
    assert judge(of(idle=0.4, chunks=6)).sentence == (
        "idle 40 % of core-seconds, waiting for the last chunks (6 chunks on 2 lanes): imbalance; "
        "make the grain smaller, or split the heaviest chunk"
    )
    assert cause(idle=0.4) == Cause.IMBALANCE


def test_small_chunks():
    known = {"chunk_seconds": 2e-7, "ticket_seconds": 1e-7, "compiled": True}
    assert judge(of(inflation=0.35, **known)) == Verdict(
        Cause.SMALL_CHUNKS,
        "too little work for each chunk: 200 ns, and taking one costs 100 ns, CPU inflation 35 % of core-seconds; "
        "make the grain 10 times larger",
        {"small chunks": pytest.approx(0.35 - 0.025)},  # of which the ceiling itself lacks 2.5 %
    )
    assert cause(inflation=0.1, unexplained=0.2, **known) == Cause.SMALL_CHUNKS
    assert cause(inflation=0.35, **known | {"chunk_seconds": 2e-6}) == Cause.UNKNOWN
    assert cause(inflation=0.35, **known | {"chunk_seconds": None}) == Cause.UNKNOWN


def test_start_up():
    assert judge(of(startup=0.5, seconds=0.002, chunk_seconds=1e-7, ticket_seconds=1e-7)).sentence == (
        "start-up 50 % of core-seconds, in a run of 2.00 ms: too little work; give each run more, or use fewer workers"
    )


def test_transfer():
    assert judge(of(transfer=0.55, processes=2)).sentence == (
        "transfer 55 % of core-seconds, in a run of 1.00 s: messages are sent and arrays copied; "
        "pass less, give each run more, or use threads"
    )
    assert "use threads" in judge(of(1, transfer=0.55, backend="processes")).sentence
    assert judge(of(transfer=0.55, seconds=2e-5)).sentence == (
        "transfer 55 % of core-seconds, in a run of 20.0 µs: arrays are made ready; give each run more"
    )


def test_a_serial_section_costs_what_the_others_wait():
    verdict = judge(of(4, serial=0.4))
    assert verdict.sentence == (
        "serial section 40 % of core-seconds, 3 of 4 workers wait while the caller plans or finishes; "
        "move that into the body"
    )
    assert verdict.losses == {"serial section": pytest.approx(0.3)}


def test_memory_bandwidth_as_a_loss_and_as_the_ceiling():
    streams = {"memory_share": 0.9, "ceiling_compute": 3.9, "ceiling_memory": 2.0, "ceiling": 2.0}
    assert judge(of(4, inflation=0.6, **streams)).sentence == (
        "80 % of attainable, but memory bandwidth allows 2.00× of 4; "
        "compute more with each byte (blocks that fit the caches, smaller types)"
    )
    assert judge(of(4, inflation=0.8, **streams)).sentence == (
        "memory bandwidth allows 2.00× of 4, CPU inflation 80 % of core-seconds; "
        "compute more with each byte (blocks that fit the caches, smaller types)"
    )
    verdict = judge(of(4, inflation=0.51, **streams))
    assert verdict.cause == Cause.MEMORY
    assert verdict.sentence == (
        "98 % of attainable, but memory bandwidth allows 2.00× of 4; "
        "compute more with each byte (blocks that fit the caches, smaller types)"
    )


@pytest.mark.parametrize(
    "other", [{"memory_share": 0.2}, {"memory_share": None}, {"ceiling_memory": 3.8}, {"ceiling_memory": None}]
)
def test_inflation_alone_is_not_memory(other):
    streams = {"memory_share": 0.9, "ceiling_compute": 3.9, "ceiling_memory": 2.0, "ceiling": 3.9}
    verdict = judge(of(4, inflation=0.6, **streams | other))
    assert verdict.cause == Cause.UNKNOWN
    assert verdict.sentence.startswith("CPU inflation 60 % of core-seconds: lanes needed more CPU than serial did")


def test_a_disturbed_triad_is_not_memory():
    disturbed = {"ceiling_compute": 1.4, "ceiling_memory": 1.35, "memory_share": 0.9, "ceiling": 1.35, "others": 0.7}
    assert cause(runqueue=0.34, **disturbed) == Cause.NOISE


def test_oversubscription_as_a_loss_and_as_the_ceiling():
    two = {"cpus": 2, "cpus_shared": 2}
    assert judge(of(4, runqueue=0.5, ceiling=3.9, **two)).sentence == (
        "4 workers share 2 CPUs, queued for a CPU 50 % of core-seconds; use 2 workers"
    )
    verdict = judge(of(4, runqueue=0.52, ceiling=1.95, **two))
    assert verdict.cause == Cause.OVERSUBSCRIPTION
    assert verdict.sentence == "98 % of attainable, but 4 workers share 2 CPUs, good for 1.95× of 4; use 2 workers"


def test_a_mask_of_one_cpu():
    masked = {"cpus": 2, "cpus_shared": 1, "ceiling": 1.0}
    assert judge(of(2, runqueue=0.52, **masked)).sentence == (
        "96 % of attainable, but 2 workers share 1 CPU, good for 1.00× of 2; "
        "use 1 worker or allow it more CPUs (affinity mask)"
    )
    assert cause(2, runqueue=0.6, others=0.9, **masked) == Cause.OVERSUBSCRIPTION


def test_the_gil_outweighs_too_many_workers():
    known = {"cpus": 2, "cpus_shared": 2, "variant": "python", "free_blocked": 0.01}
    assert cause(4, blocked=0.68, runqueue=0.06, **known) == Cause.GIL


def test_noise_as_a_loss_and_as_the_ceiling():
    verdict = judge(of(runqueue=0.25, others=0.6, steal=0.03, contaminated=5, rounds=12))
    assert verdict.cause == Cause.NOISE
    assert verdict.sentence == (
        "other processes used 0.60 CPUs, the hypervisor took 3 % of the CPU time and 5 of 12 rounds were disturbed, "
        "queued for a CPU 25 % of core-seconds; measure again on a quiet machine"
    )
    assert judge(of(runqueue=0.3, ceiling=1.42, others=0.6)).sentence == (
        "99 % of attainable, but other processes used 0.60 CPUs, which left 1.42× of 2; "
        "measure again on a quiet machine"
    )


def test_lanes_that_never_slept_were_not_blocked():
    verdict = judge(of(blocked=0.3, compiled=True, voluntary=0, steal=0.02))
    assert verdict.cause == Cause.NOISE
    assert verdict.sentence == (
        "the hypervisor took 2 % of the CPU time, off the CPU 30 % of core-seconds without ever having slept; "
        "measure again on a quiet machine"
    )
    assert judge(of(blocked=0.3, voluntary=0)).sentence.startswith("the machine was disturbed, off the CPU 30 %")
    assert cause(**PYTHON, gil=0.99, free_blocked=0.01, voluntary=0) == Cause.NOISE
    assert cause(**PYTHON, gil=0.99, free_blocked=0.01, voluntary=40) == Cause.GIL
    assert cause(blocked=0.3, compiled=True, voluntary=0, unknown=("runqueue",)) == Cause.LOCK  # not counted, it may be
    assert cause(4, blocked=0.3, runqueue=0.3, cpus=2, cpus_shared=2, voluntary=0) == Cause.OVERSUBSCRIPTION


def test_what_nothing_explains_gives_way_too():
    assert cause(runqueue=0.35, blocked=0.33, gil=0.98) == Cause.GIL
    assert cause(unexplained=0.4, idle=0.21) == Cause.IMBALANCE
    assert cause(unexplained=0.4, idle=0.19) == Cause.UNKNOWN


def test_noise_gives_way_to_what_would_also_be_there_without_it():
    noisy = {"runqueue": 0.33, "others": 1.5, "variant": "python"}
    assert cause(blocked=0.3, gil=0.98, **noisy) == Cause.GIL
    assert cause(blocked=0.3, gil=0.02, **noisy) == Cause.LOCK
    assert cause(blocked=0.3, **noisy) == Cause.NOISE  # whatever blocked them
    assert cause(blocked=0.15, gil=0.98, **noisy) == Cause.NOISE
    assert cause(blocked=0.22, gil=0.98, **noisy | {"runqueue": 0.5}) == Cause.NOISE


def test_stolen_time_is_noise_wherever_it_shows():
    assert cause(inflation=0.2, steal=0.2) == Cause.NOISE
    assert cause(unexplained=0.2, steal=0.2) == Cause.NOISE
    assert cause(blocked=0.2, steal=0.2, compiled=True) == Cause.NOISE


def test_lanes_that_waited_at_the_end_for_one_that_queued_are_not_unbalanced():
    assert judge(of(runqueue=0.1, idle=0.12, others=0.4)).losses == {
        "noise": pytest.approx(0.2),
        "imbalance": pytest.approx(0.02),
    }
    assert cause(runqueue=0.03, idle=0.3, others=0.4) == Cause.IMBALANCE


def test_a_start_up_behind_other_processes_is_noise_as_far_as_they_ran():
    assert cause(startup=0.4, runqueue=0.05, others=0.9) == Cause.NOISE
    assert judge(of(startup=0.3, others=0.4)).losses == {
        "noise": pytest.approx(0.2),
        "start-up": pytest.approx(0.1),
    }
    assert cause(startup=0.3, others=0.05) == Cause.START_UP


@pytest.mark.parametrize("known", [{}, {"others": 0.05}, {"steal": 0.0, "others": 0.0}])
def test_a_queue_behind_nobody_known_is_of_unknown_cause(known):
    verdict = judge(of(runqueue=0.3, **known))
    assert verdict.cause == Cause.UNKNOWN
    assert verdict.sentence == (
        "queued for a CPU 30 % of core-seconds, and nothing measured says behind whom; see what else runs"
    )


def test_a_queue_that_cannot_be_told_from_a_lock_is_explained_by_what_else_is_known():
    folded = {"unknown": ("runqueue",), "blocked": 0.5}
    assert cause(4, **folded, cpus=2, cpus_shared=2, compiled=True) == Cause.OVERSUBSCRIPTION
    assert cause(2, **folded, others=0.9, compiled=True) == Cause.NOISE
    assert cause(4, **folded, cpus=2, cpus_shared=2, gil=0.99) == Cause.GIL
    verdict = judge(of(2, **folded, compiled=True))
    assert verdict.cause == Cause.LOCK
    assert verdict.sentence.startswith("blocked 50 % of core-seconds (waits for a CPU included), by a variant that")


def test_a_quota_as_a_loss_and_as_the_ceiling():
    verdict = judge(of(runqueue=0.3, others=0.9, throttled=0.5, quota=1.5))
    assert verdict.cause == Cause.QUOTA
    assert verdict.sentence == (
        "a quota of 1.5 CPUs stopped the lanes for 25 % of core-seconds; raise it, or use 1 worker"
    )
    assert cause(blocked=0.3, compiled=True, throttled=0.6) == Cause.QUOTA
    assert judge(of(4, runqueue=0.51, ceiling=2.0, quota=2.0)).sentence == (
        "98 % of attainable, but a quota of 2 CPUs allows 2.00× of 4; raise it, or use 2 workers"
    )
    assert judge(of(4, runqueue=0.51, ceiling=2.0, throttled=2.0)).sentence == (
        "98 % of attainable, but the CPU quota allows 2.00× of 4; raise it"
    )
    assert cause(runqueue=0.3, others=0.9, throttled=0.01) == Cause.NOISE


@pytest.mark.parametrize("entry", ["runqueue", "inflation", "blocked"])
def test_nested_threads(entry):
    verdict = judge(of(**{entry: 0.4}, nested=0.9, others=0.9, compiled=True))
    assert verdict.cause == Cause.NESTED
    assert "threads inside the lanes used 900 ms of CPU beside the lanes' " in verdict.sentence
    assert verdict.sentence.endswith(
        "limit them to one a lane (threadpoolctl, or OMP_NUM_THREADS=1), or use fewer workers"
    )


def test_a_little_cpu_beside_the_lanes_is_no_nesting():
    assert cause(runqueue=0.4, nested=0.05, others=0.9) == Cause.NOISE
    assert cause(**PYTHON, nested=0.9, free_blocked=0.01) == Cause.GIL


def test_nothing_wrong():
    assert judge(of(inflation=0.03, idle=0.015)) == Verdict(
        Cause.NONE,
        "98 % of attainable: nothing wrong",
        {"imbalance": pytest.approx(0.015), "unknown": pytest.approx(0.005)},
    )
    assert judge(of(idle=0.05, ceiling=None)).sentence == "95 % of 2-fold: nothing wrong"
    assert judge(of(idle=0.05, speedup=None)).sentence == "95 % of core-seconds useful: nothing wrong"
    assert cause(speedup=2.4, inflation=-0.2) == Cause.NONE


def test_a_low_ceiling_that_nothing_explains():
    verdict = judge(of(inflation=0.31, ceiling=1.4))
    assert verdict.cause == Cause.NONE
    assert verdict.sentence == (
        "99 % of attainable: nothing wrong, but this machine allows only 1.40× of 2; "
        "cores that share hardware, or a lower clock, may be why"
    )


def test_a_ceiling_that_the_kernel_itself_refutes_says_nothing():
    assert judge(of(speedup=1.95, ceiling=1.2)).sentence == "98 % of 2-fold: nothing wrong"
    assert cause(4, backend="coroutines", speedup=1.0, ceiling=0.8, blocked=0.75) == Cause.ONE_THREAD
    assert judge(of(speedup=1.3, idle=0.1, inflation=0.25, ceiling=1.1)).losses["unknown"] == pytest.approx(0.25)


def test_what_the_machine_denied_everybody_is_not_held_against_the_kernel():
    verdict = judge(of(inflation=0.35, idle=0.12, ceiling=1.4))
    assert verdict.cause == Cause.IMBALANCE
    assert verdict.losses == {"imbalance": pytest.approx(0.12), "unknown": pytest.approx(0.05)}


def test_one_worker_is_held_against_serial():
    assert judge(of(1, idle=0.01, ceiling=None)).sentence == "99 % of serial's speed: nothing wrong"
    assert cause(1, transfer=0.3) == Cause.TRANSFER
    assert cause(1, serial=0.2, startup=0.15) == Cause.START_UP  # serial had that section too
    assert cause(1, blocked=0.3, gil=0.99) == Cause.LOCK
    assert judge(of(1, backend="serial", speedup=1.0)).sentence == "serial: what the others are compared with"


def test_the_largest_loss_wins():
    assert cause(idle=0.2, startup=0.21) == Cause.START_UP
    assert cause(idle=0.21, startup=0.2) == Cause.IMBALANCE


def test_where_no_loss_stands_out_none_is_blamed():
    verdict = judge(of(idle=0.04, startup=0.045, transfer=0.04, inflation=0.02))
    assert verdict.cause == Cause.UNKNOWN
    assert verdict.sentence == (
        "88 % of what is possible; no single cause took 5 % of core-seconds (most: start-up 4 % and imbalance 4 %)"
    )
    verdict = judge(of(unexplained=0.3))
    assert (verdict.cause, verdict.sentence) == (
        Cause.UNKNOWN,
        "unexplained 30 % of core-seconds; measure longer runs",
    )


def test_without_a_ledger_or_without_anything():
    assert judge(Evidence(speedup=1.0)).sentence == (
        "50 % of what is possible; without a ledger, nothing says where the rest went; measure again with one"
    )
    assert judge(Evidence()).cause == Cause.UNKNOWN


def test_an_interval_that_holds_good_and_bad_is_inconclusive():
    wide = {"speedup_ci": (1.3, 1.9), "rounds": 6}
    verdict = judge(of(idle=0.15, speedup=1.6, others=0.4, contaminated=2, **wide))
    assert verdict.cause == Cause.INCONCLUSIVE
    assert verdict.sentence == (
        "the speedup is between 1.30 and 1.90, too wide to say whether anything is wrong "
        "(other processes used 0.40 CPUs and 2 of 6 rounds were disturbed); "
        "a budget 15 times as long, about 90 rounds, would narrow it to 10 %"
    )
    more = judge(of(idle=0.15, speedup=1.6, **wide | {"rounds": 12}))  # than the rounds that any budget gives
    assert more.sentence.endswith("; give each run more to do, or measure on a quieter machine")
    assert cause(idle=0.01, **wide) == Cause.INCONCLUSIVE  # the median is fine, the interval is not


def test_a_loss_that_stands_out_and_noise_are_told_whatever_the_interval():
    wide = {"speedup_ci": (1.0, 1.9)}
    assert cause(**PYTHON, free_blocked=0.01, **wide) == Cause.GIL
    assert cause(runqueue=0.15, others=0.5, **wide) == Cause.NOISE


@pytest.mark.parametrize("interval", [(1.1, 1.3), (1.65, 1.9), None])
def test_an_interval_that_is_narrow_or_all_bad_keeps_the_verdict(interval):
    assert cause(idle=0.15, speedup_ci=interval) == Cause.IMBALANCE


def test_the_headline():
    assert headline(Evidence(speedup=1.91, ceiling=1.95, attainable=0.98)) == (
        "1.91× of 2; this machine allows 1.95× → 98 % of attainable"
    )
    assert headline(Evidence(speedup=1.91, ceiling=1.95)).endswith("→ 98 % of attainable")
    assert headline(Evidence(speedup=1.91)) == "1.91× of 2 → 96 %"
    assert headline(Evidence(workers=1)) == "1 worker, and no serial run to compare with"


NUMBERS = st.none() | st.just(0.0) | st.floats(1e-9, 1e3)
ANY = {
    "seconds": st.just(0.0) | st.floats(1e-9, 1e3),
    "workers": st.integers(1, 64),
    "backend": st.sampled_from(["serial", "threads", "processes", "coroutines", "interpreters"]),
    "ledger": st.dictionaries(st.sampled_from(ENTRIES), st.floats(-1e3, 1e3)),
    "unknown": st.sampled_from([(), ("runqueue",)]),
    "compiled": st.booleans(),
    "has_gil": st.booleans(),
    "processes": st.integers(0, 8),
    "speedup_ci": st.none() | st.tuples(st.floats(0, 2), st.floats(2, 100)),
    **{name: st.none() | st.integers(0, 64) for name in ("chunks", "cpus", "cpus_shared", "rounds", "contaminated")},
}


@settings(max_examples=80, deadline=None)
@given(
    st.fixed_dictionaries(
        {f.name: ANY.get(f.name, NUMBERS) for f in fields(Evidence) if f.name not in ("kernel", "variant")}
    )
)
def test_any_evidence_gives_a_sentence_and_no_core_second_is_lost_twice(known):
    evidence = Evidence(**known)
    verdict = judge(evidence)
    assert verdict.cause in Cause
    assert verdict.sentence
    assert "nan" not in verdict.sentence
    lost = sum(evidence.share(entry) for entry in evidence.ledger if entry != "useful")
    assert sum(verdict.losses.values()) <= lost * (1 + 1e-9)
    assert all(share > 0 for share in verdict.losses.values())


@settings(max_examples=50, deadline=None)
@given(st.fixed_dictionaries({entry: st.floats(0, 0.1) for entry in ENTRIES if entry != "useful"}), st.integers(2, 16))
def test_every_lost_core_second_is_some_causes(shares, workers):
    evidence = of(workers, **shares, ceiling=None)
    lost = sum(shares.values()) - shares["serial"] / workers
    assert sum(loss.share for loss in losses(evidence)) == pytest.approx(lost, abs=1e-9)
    assert judge(replace(evidence, speedup=0.95 * workers)).cause == Cause.NONE
