"""Each cause on invented evidence, its neighbours that look alike, and what nobody can tell."""

from __future__ import annotations

import pytest
from evidences import PYTHON, cause, of, told

from compute.scaling.verdict.evidence import Evidence
from compute.scaling.verdict.judgement import judge
from compute.traits import Traits


def test_the_gil_by_a_control_that_releases_it():
    assert told(judge(of(**PYTHON, free_blocked=0.01))) == (
        "gil",
        "blocked 48 % of core-seconds, the nogil variant 1 %: consistent with the GIL; use a compiled or nogil kernel",
        {"gil": pytest.approx(0.48)},
    )


def test_the_gil_by_a_probe_and_by_processes():
    assert judge(of(**PYTHON, gil=0.99, free_blocked=0.01, elsewhere_blocked=0.02)).sentence == (
        "blocked 48 % of core-seconds, the nogil variant 1 %, the GIL taken 99 % of the time, processes 2 %: "
        "consistent with the GIL; use a compiled or nogil kernel, or processes"
    )
    assert cause(**PYTHON, gil=0.99) == "gil"
    assert judge(of(blocked=0.48, gil=0.99, compiled=True)).sentence == (
        "blocked 48 % of core-seconds, the GIL taken 99 % of the time: consistent with the GIL; let the body release it"
    )


def test_a_compiled_lane_that_comes_late_does_not_wait_for_the_gil():
    assert cause(startup=0.7, blocked=0.002, gil=0.6, compiled=True) == "start-up"
    assert cause(startup=0.7, blocked=0.002, gil=0.6) == "gil"


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
    assert verdict.cause == "lock"
    assert f"core-seconds, {reason}: consistent with a lock" in verdict.sentence


@pytest.mark.parametrize(
    ("known", "remedy"),
    [
        ({}, "measure a nogil variant beside it"),
        ({"elsewhere_blocked": 0.0}, "measure a nogil variant beside it"),
        ({"free_blocked": 0.2}, "measure processes beside it"),
        ({"free_blocked": 0.2, "elsewhere_blocked": 0.0}, "measure longer runs"),
    ],
)
def test_without_a_probe_or_a_clear_control_blocked_asks_for_what_is_missing(known, remedy):
    verdict = judge(of(**PYTHON, **known))
    assert verdict.cause == "unknown"
    assert verdict.sentence == (
        f"blocked 48 % of core-seconds, by the GIL, a lock or waiting for data: nothing measured tells which; {remedy}"
    )


def test_lanes_of_one_thread():
    verdict = judge(of(4, backend="coroutines", variant="python", blocked=0.5, idle=0.25, gil=0.99, free_blocked=0.01))
    assert verdict.cause == "one thread"
    assert verdict.sentence == (
        "all 4 lanes share one thread, which helps only work that waits; use threads or processes"
    )
    assert cause(4, backend="coroutines", inflation=0.4, startup=0.3) == "one thread"
    assert judge(Evidence(backend="coroutines")).cause == "one thread"
    # What another distribution's backend says of itself, and not its name.
    assert judge(Evidence(backend="in-turn", traits=Traits(shares_thread=True))).cause == "one thread"
    assert judge(Evidence(backend="coroutines", traits=Traits())).cause != "one thread"


def test_coroutines_that_wait_well_are_fine():
    assert cause(4, backend="coroutines", speedup=3.9, blocked=0.9) == "none"
    assert cause(1, backend="coroutines", speedup=0.99, ceiling=None) == "none"


def test_imbalance():
    assert judge(of(idle=0.4, chunks=6)).sentence == (
        "idle 40 % of core-seconds, waiting for the last chunks (6 chunks on 2 lanes): imbalance; "
        "make the grain smaller, or split the heaviest chunk"
    )
    assert cause(idle=0.4) == "imbalance"


def test_small_chunks():
    known = {"chunk_seconds": 2e-7, "ticket_seconds": 1e-7, "compiled": True}
    assert told(judge(of(inflation=0.35, **known))) == (
        "small chunks",
        "too little work for each chunk: 200 ns, and taking one costs 100 ns, CPU inflation 35 % of core-seconds; "
        "make the grain 10 times larger",
        {"small chunks": pytest.approx(0.35 - 0.025)},  # of which the ceiling itself lacks 2.5 %
    )
    assert cause(inflation=0.1, unexplained=0.2, **known) == "small chunks"
    assert cause(inflation=0.35, **known | {"chunk_seconds": 2e-6}) == "unknown"
    assert cause(inflation=0.35, **known | {"chunk_seconds": None}) == "unknown"


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
    copying = {"transfer": 0.81, "processes": 2, "copied": "A, B"}
    assert judge(of(**copying, without_copies=3.1)).sentence == (
        "transfer 81 % of core-seconds, in a run of 1.00 s: messages are sent and arrays copied; "
        "allocate A, B with shared.empty, measured here 3.10× faster"
    )
    assert judge(of(**copying)).sentence.endswith("; allocate A, B with shared.empty")
    assert judge(of(**copying, without_copies=1.04)).sentence.endswith(
        "; pass less, give each run more, or use threads"
    )
    assert judge(of(transfer=0.55, seconds=2e-5)).sentence == (
        "transfer 55 % of core-seconds, in a run of 20.0 µs: arrays are made ready; give each run more"
    )


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            "serialisation",
            "in a run of 1.00 s: messages are packed and unpacked; "
            "pass arrays, which are sent as they are, in place of other objects, or give each run more",
        ),
        (
            "network",
            "in a run of 1.00 s: workers wait for data, or the caller for results; compute more with each byte, "
            "return less (reduce=), use fewer workers, or some that share this memory",
        ),
        (
            "scheduler",
            "in a run of 1.00 s: chunks are on their way through it; give each run more, or use fewer workers",
        ),
    ],
)
def test_what_a_cluster_s_messages_took(entry, sentence):
    others = dict.fromkeys(("serialisation", "network", "scheduler", "transfer", "startup"), 0.05)
    assert told(judge(of(4, backend="dask", **others | {entry: 0.4}))) == (
        entry,
        f"{entry} 40 % of core-seconds, {sentence}",
        {
            {"startup": "start-up"}.get(name, name): pytest.approx(share)
            for name, share in (others | {entry: 0.4}).items()
        },
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
        "80 % of attainable, limited by memory bandwidth: this machine gives 4 lanes 2.00× of one's, "
        "good for 2.00× of 4; compute more with each byte (blocks that fit the caches, smaller types)"
    )
    assert judge(of(4, inflation=0.8, **streams)).sentence == (
        "memory bandwidth: this machine gives 4 lanes 2.00× of one's, CPU inflation 80 % of core-seconds; "
        "compute more with each byte (blocks that fit the caches, smaller types)"
    )
    verdict = judge(of(4, inflation=0.51, **streams))
    assert verdict.cause == "memory bandwidth"
    assert verdict.sentence == (
        "98 % of attainable, limited by memory bandwidth: this machine gives 4 lanes 2.00× of one's, "
        "good for 2.00× of 4; compute more with each byte (blocks that fit the caches, smaller types)"
    )


def test_memory_that_keeps_the_ceiling_down_is_named_however_little_of_it_the_kernel_is_known_to_use():
    some = {"memory_share": 0.4, "ceiling_compute": 1.98, "ceiling_memory": 1.1, "ceiling": 1.5}
    verdict = judge(of(inflation=0.29, **some))
    assert verdict.cause == "memory bandwidth"
    assert verdict.sentence == (
        "95 % of attainable, limited by memory bandwidth: this machine gives 2 lanes 1.10× of one's, "
        "good for 1.50× of 2; compute more with each byte (blocks that fit the caches, smaller types)"
    )
    assert cause(inflation=0.35, **some) == "memory bandwidth"  # 87 %: more is denied than there is to be won
    assert cause(inflation=0.5, **some) == "unknown"  # half of it is not the ceiling's, nor known to be memory's
    near = {"ceiling_compute": 1.92, "ceiling": 1.77}  # 0.15 of it memory's, 0.08 of whatever holds registers too
    assert cause(inflation=0.115, **some | near) == "memory bandwidth"
    assert cause(inflation=0.115, **some | near | {"ceiling_compute": 1.88}) == "none"
    assert cause(inflation=0.29, **some | {"ceiling_compute": 1.55}) == "none"
    crowded = {"ceiling_memory": 1.85, "ceiling": 1.9, "cpus": 2, "cpus_shared": 2}
    assert cause(4, runqueue=0.52, **some | crowded) == "oversubscription"


def test_where_two_lanes_get_nearly_twice_the_memory_nothing_is_wrong():
    streams = {"memory_share": 0.7, "ceiling_compute": 1.98, "ceiling_memory": 1.75, "ceiling": 1.81}
    assert judge(of(inflation=0.14, **streams)).sentence == "95 % of attainable: nothing wrong"


@pytest.mark.parametrize(
    "other", [{"memory_share": 0.2}, {"memory_share": None}, {"ceiling_memory": 3.8}, {"ceiling_memory": None}]
)
def test_inflation_alone_is_not_memory(other):
    streams = {"memory_share": 0.9, "ceiling_compute": 3.9, "ceiling_memory": 2.0, "ceiling": 3.9}
    verdict = judge(of(4, inflation=0.6, **streams | other))
    assert verdict.cause == "unknown"
    assert verdict.sentence.startswith("CPU inflation 60 % of core-seconds: lanes needed more CPU than serial did")


def test_a_disturbed_triad_is_not_memory():
    disturbed = {"ceiling_compute": 1.4, "ceiling_memory": 1.35, "memory_share": 0.9, "ceiling": 1.35, "others": 0.7}
    assert cause(runqueue=0.34, **disturbed) == "noise"


def test_oversubscription_as_a_loss_and_as_the_ceiling():
    two = {"cpus": 2, "cpus_shared": 2}
    assert judge(of(4, runqueue=0.5, ceiling=3.9, **two)).sentence == (
        "4 workers share 2 CPUs, queued for a CPU 50 % of core-seconds; use 2 workers"
    )
    verdict = judge(of(4, runqueue=0.52, ceiling=1.95, **two))
    assert verdict.cause == "oversubscription"
    assert verdict.sentence == "98 % of attainable, but 4 workers share 2 CPUs, good for 1.95× of 4; use 2 workers"


def test_a_mask_of_one_cpu():
    masked = {"cpus": 2, "cpus_shared": 1, "ceiling": 1.0}
    assert judge(of(2, runqueue=0.52, **masked)).sentence == (
        "96 % of attainable, but 2 workers share 1 CPU, good for 1.00× of 2; "
        "use 1 worker or allow it more CPUs (affinity mask)"
    )
    assert cause(2, runqueue=0.6, others=0.9, **masked) == "oversubscription"


def test_the_gil_outweighs_too_many_workers():
    known = {"cpus": 2, "cpus_shared": 2, "variant": "python", "free_blocked": 0.01}
    assert cause(4, blocked=0.68, runqueue=0.06, **known) == "gil"


def test_noise_as_a_loss_and_as_the_ceiling():
    verdict = judge(of(runqueue=0.25, others=0.6, steal=0.03, contaminated=5, rounds=12))
    assert verdict.cause == "noise"
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
    assert verdict.cause == "noise"
    assert verdict.sentence == (
        "the hypervisor took 2 % of the CPU time, off the CPU 30 % of core-seconds without ever having slept; "
        "measure again on a quiet machine"
    )
    assert judge(of(blocked=0.3, voluntary=0)).sentence.startswith("the machine was disturbed, off the CPU 30 %")
    assert cause(**PYTHON, gil=0.99, free_blocked=0.01, voluntary=0) == "noise"
    assert cause(**PYTHON, gil=0.99, free_blocked=0.01, voluntary=40) == "gil"
    assert cause(blocked=0.3, compiled=True, voluntary=0, unknown=("runqueue",)) == "lock"  # not counted, it may be
    assert cause(4, blocked=0.3, runqueue=0.3, cpus=2, cpus_shared=2, voluntary=0) == "oversubscription"


def test_what_nothing_explains_gives_way_too():
    assert cause(runqueue=0.35, blocked=0.33, gil=0.98) == "gil"
    assert cause(unexplained=0.4, idle=0.21) == "imbalance"
    assert cause(unexplained=0.4, idle=0.19) == "unknown"


def test_noise_gives_way_to_what_would_also_be_there_without_it():
    noisy = {"runqueue": 0.33, "others": 1.5, "variant": "python"}
    assert cause(blocked=0.3, gil=0.98, **noisy) == "gil"
    assert cause(blocked=0.3, gil=0.02, **noisy) == "lock"
    assert cause(blocked=0.3, **noisy) == "noise"  # whatever blocked them
    assert cause(blocked=0.15, gil=0.98, **noisy) == "noise"
    assert cause(blocked=0.22, gil=0.98, **noisy | {"runqueue": 0.5}) == "noise"


def test_stolen_time_is_noise_wherever_it_shows():
    assert cause(inflation=0.2, steal=0.2) == "noise"
    assert cause(unexplained=0.2, steal=0.2) == "noise"
    assert cause(blocked=0.2, steal=0.2, compiled=True) == "noise"


def test_lanes_that_waited_at_the_end_for_one_that_queued_are_not_unbalanced():
    assert judge(of(runqueue=0.1, idle=0.12, others=0.4)).losses == {
        "noise": pytest.approx(0.2),
        "imbalance": pytest.approx(0.02),
    }
    assert cause(runqueue=0.03, idle=0.3, others=0.4) == "imbalance"


def test_a_start_up_behind_other_processes_is_noise_as_far_as_they_ran():
    assert cause(startup=0.4, runqueue=0.05, others=0.9) == "noise"
    assert judge(of(startup=0.3, others=0.4)).losses == {
        "noise": pytest.approx(0.2),
        "start-up": pytest.approx(0.1),
    }
    assert cause(startup=0.3, others=0.05) == "start-up"


def test_a_run_too_short_to_start_for_is_not_told_as_disturbed():
    verdict = judge(of(startup=0.38, others=0.9, seconds=593e-6))
    assert verdict.cause == "start-up"
    assert verdict.sentence.endswith("in a run of 593 µs: too little work; give each run more, or use fewer workers")
    assert cause(startup=0.38, runqueue=0.05, others=0.9, seconds=593e-6) == "noise"
    assert cause(startup=0.38, others=0.9, seconds=593e-6, unknown=("runqueue",)) == "noise"


@pytest.mark.parametrize("known", [{}, {"others": 0.05}, {"steal": 0.0, "others": 0.0}])
def test_a_queue_behind_nobody_known_is_of_unknown_cause(known):
    verdict = judge(of(runqueue=0.3, **known))
    assert verdict.cause == "unknown"
    assert verdict.sentence == (
        "queued for a CPU 30 % of core-seconds, and nothing measured says behind whom; see what else runs"
    )


def test_a_queue_that_cannot_be_told_from_a_lock_is_explained_by_what_else_is_known():
    folded = {"unknown": ("runqueue",), "blocked": 0.5}
    assert cause(4, **folded, cpus=2, cpus_shared=2, compiled=True) == "oversubscription"
    assert cause(2, **folded, others=0.9, compiled=True) == "noise"
    assert cause(4, **folded, cpus=2, cpus_shared=2, gil=0.99) == "gil"
    verdict = judge(of(2, **folded, compiled=True))
    assert verdict.cause == "lock"
    assert verdict.sentence.startswith("blocked 50 % of core-seconds (waits for a CPU included), by a variant that")


def test_a_quota_as_a_loss_and_as_the_ceiling():
    verdict = judge(of(runqueue=0.3, others=0.9, throttled=0.5, quota=1.5))
    assert verdict.cause == "quota"
    assert verdict.sentence == (
        "a quota of 1.5 CPUs stopped the lanes for 25 % of core-seconds; raise it, or use 1 worker"
    )
    assert cause(blocked=0.3, compiled=True, throttled=0.6) == "quota"
    assert judge(of(4, runqueue=0.51, ceiling=2.0, quota=2.0)).sentence == (
        "98 % of attainable, but a quota of 2 CPUs allows 2.00× of 4; raise it, or use 2 workers"
    )
    assert judge(of(4, runqueue=0.51, ceiling=2.0, throttled=2.0)).sentence == (
        "98 % of attainable, but the CPU quota allows 2.00× of 4; raise it"
    )
    assert cause(runqueue=0.3, others=0.9, throttled=0.01) == "noise"


TOUCHED = {"compiled": True, "faults": 800.0, "system": 0.6}  # of two core-seconds


def test_the_first_touch_of_fresh_memory_by_what_the_system_took_for_page_faults():
    verdict = judge(of(inflation=0.4, **TOUCHED))
    assert told(verdict) == (
        "first touch",
        "800 page faults took 600 ms more of the system's CPU than the serial run's, CPU inflation 40 % of "
        "core-seconds: the first touch of fresh memory; fill an array that was filled before (out=)",
        {"first touch": pytest.approx(0.3), "unknown": pytest.approx(0.075)},
    )


@pytest.mark.parametrize(
    "other",
    [
        {"system": None},
        {"system": 0.039},  # within what ticks tell
        {"system": -0.6},
        {"faults": None},
        {"faults": 0.0},
        {"faults": 100.0},  # of 6 ms each: that is something else
        {"compiled": False},  # Python calls the system itself
    ],
)
def test_system_time_that_page_faults_cannot_carry_is_not_the_first_touch(other):
    assert cause(inflation=0.4, **TOUCHED | other) == "unknown"


def test_more_rounds_tell_less_of_the_first_touch():
    little = TOUCHED | {"system": 0.021}
    slight = {"seconds": 0.04, "inflation": 0.4}
    assert [cause(**slight, **little, rounds=rounds) for rounds in (3, 4)] == ["unknown", "first touch"]


def test_more_than_n_fold_because_the_serial_run_touched_fresh_memory_is_not_nothing():
    known = {"inflation": -0.25, **TOUCHED, "system": -0.5}
    verdict = judge(of(**known))
    assert verdict.cause == "first touch"
    assert verdict.sentence == (
        "125 % of 2-fold: page faults took 500 ms more of the system's CPU in the serial run: "
        "the first touch of fresh memory; fill an array that was filled before (out=)"
    )
    assert cause(**known | {"system": -0.01}) == "none"
    assert cause(**known | {"compiled": False}) == "none"
    assert cause(**known | {"inflation": -0.05}) == "none"


def test_the_first_touch_takes_no_more_than_the_system_did():
    assert cause(inflation=0.4, **TOUCHED | {"system": 0.1}) == "unknown"
    short_of_memory = {"memory_share": 0.9, "ceiling_compute": 3.9, "ceiling_memory": 2.0}
    assert cause(4, inflation=0.6, **TOUCHED | {"system": 0.4}, **short_of_memory) == "memory bandwidth"
    assert cause(inflation=0.03, **TOUCHED) == "none"


@pytest.mark.parametrize("entry", ["runqueue", "inflation", "blocked"])
def test_nested_threads(entry):
    verdict = judge(of(**{entry: 0.4}, nested=0.9, others=0.9, compiled=True))
    assert verdict.cause == "nested threads"
    assert "threads inside the lanes used 900 ms of CPU beside the lanes' " in verdict.sentence
    assert verdict.sentence.endswith(
        "limit them to one a lane (threadpoolctl, or OMP_NUM_THREADS=1), or use fewer workers"
    )


def test_a_little_cpu_beside_the_lanes_is_no_nesting():
    assert cause(runqueue=0.4, nested=0.05, others=0.9) == "noise"
    assert cause(**PYTHON, nested=0.9, free_blocked=0.01) == "gil"
    # Lanes that wait for something else hardly compute, and the interpreter's own threads use as much.
    waiting = of(16, blocked=0.7, idle=0.28, nested=0.1, compiled=True)
    assert waiting.nested > 0.2 * waiting.lanes_cpu
    assert judge(waiting).losses.get("nested threads", 0.0) <= 0.1
    assert judge(waiting).cause != "nested threads"
