"""Which of the causes is said, on invented evidence."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from evidences import PYTHON, cause, of, told
from hypothesis import given
from hypothesis import strategies as st

from compute.scaling.ledger import ENTRIES
from compute.scaling.verdict.causes import CODES, losses
from compute.scaling.verdict.evidence import Evidence
from compute.scaling.verdict.judgement import headline, judge
from compute.traits import Traits


def test_nothing_wrong():
    assert told(judge(of(inflation=0.03, idle=0.015))) == (
        "none",
        "98 % of attainable: nothing wrong",
        {"imbalance": pytest.approx(0.015), "unknown": pytest.approx(0.005)},
    )
    assert judge(of(idle=0.05, ceiling=None)).sentence == "95 % of 2-fold: nothing wrong"
    assert judge(of(idle=0.05, speedup=None)).sentence == "95 % of core-seconds useful: nothing wrong"
    assert cause(speedup=2.4, inflation=-0.2) == "none"


def test_a_low_ceiling_that_nothing_explains():
    verdict = judge(of(inflation=0.31, ceiling=1.4))
    assert verdict.cause == "none"
    assert verdict.sentence == (
        "99 % of attainable: nothing wrong, but this machine allows only 1.40× of 2; "
        "cores that share hardware, or a lower clock, may be why"
    )


def test_a_ceiling_that_the_kernel_itself_refutes_says_nothing():
    assert judge(of(speedup=1.95, ceiling=1.2)).sentence == "98 % of 2-fold: nothing wrong"
    assert cause(4, backend="coroutines", speedup=1.0, ceiling=0.8, blocked=0.75) == "one thread"
    assert judge(of(speedup=1.3, idle=0.1, inflation=0.25, ceiling=1.1)).losses["unknown"] == pytest.approx(0.25)


def test_what_the_machine_denied_everybody_is_not_held_against_the_kernel():
    verdict = judge(of(inflation=0.35, idle=0.12, ceiling=1.4))
    assert verdict.cause == "imbalance"
    assert verdict.losses == {"imbalance": pytest.approx(0.12), "unknown": pytest.approx(0.05)}


def test_one_worker_is_held_against_serial():
    assert judge(of(1, idle=0.01, ceiling=None)).sentence == "99 % of serial's speed: nothing wrong"
    assert cause(1, transfer=0.3) == "transfer"
    assert cause(1, serial=0.2, startup=0.15) == "start-up"  # serial had that section too
    assert cause(1, blocked=0.3, gil=0.99) == "lock"
    assert judge(of(1, backend="serial", speedup=1.0)).sentence == "serial: what the others are compared with"


def test_the_largest_loss_wins():
    assert cause(idle=0.2, startup=0.21) == "start-up"
    assert cause(idle=0.21, startup=0.2) == "imbalance"


def test_where_no_loss_stands_out_none_is_blamed():
    verdict = judge(of(idle=0.04, startup=0.045, transfer=0.04, inflation=0.02))
    assert verdict.cause == "unknown"
    assert verdict.sentence == (
        "88 % of what is possible; no single cause took 5 % of core-seconds (most: start-up 4 % and imbalance 4 %)"
    )
    verdict = judge(of(unexplained=0.3))
    assert (verdict.cause, verdict.sentence) == (
        "unknown",
        "unexplained 30 % of core-seconds; measure longer runs",
    )


def test_without_a_ledger_or_without_anything():
    assert judge(Evidence(speedup=1.0)).sentence == (
        "50 % of what is possible; without a ledger, nothing says where the rest went; measure again with one"
    )
    assert judge(Evidence()).cause == "unknown"


def test_an_interval_that_holds_good_and_bad_is_inconclusive():
    wide = {"speedup_ci": (1.3, 1.9), "rounds": 6}
    verdict = judge(of(idle=0.15, speedup=1.6, others=0.4, contaminated=2, **wide))
    assert verdict.cause == "inconclusive"
    assert verdict.sentence == (
        "the speedup is between 1.30 and 1.90, too wide to say whether anything is wrong "
        "(other processes used 0.40 CPUs and 2 of 6 rounds were disturbed); "
        "a budget 15 times as long, about 90 rounds, would narrow it to 10 %"
    )
    more = judge(of(idle=0.15, speedup=1.6, **wide | {"rounds": 12}))  # than the rounds that any budget gives
    assert more.sentence.endswith("; give each run more to do, or measure on a quieter machine")
    assert cause(idle=0.01, **wide) == "inconclusive"  # the median is fine, the interval is not


def test_a_loss_that_stands_out_and_noise_are_told_whatever_the_interval():
    wide = {"speedup_ci": (1.0, 1.9)}
    assert cause(**PYTHON, free_blocked=0.01, **wide) == "gil"
    assert cause(runqueue=0.15, others=0.5, **wide) == "noise"


@pytest.mark.parametrize("interval", [(1.1, 1.3), (1.65, 1.9), None])
def test_an_interval_that_is_narrow_or_all_bad_keeps_the_verdict(interval):
    assert cause(idle=0.15, speedup_ci=interval) == "imbalance"


def test_the_headline():
    assert headline(Evidence(speedup=1.91, ceiling=1.95, attainable=0.98)) == (
        "1.91× of 2; this machine allows 1.95× → 98 % of attainable"
    )
    assert headline(Evidence(speedup=1.91, ceiling=1.95)).endswith("→ 98 % of attainable")
    assert headline(Evidence(speedup=1.91)) == "1.91× of 2 → 96 %"
    assert headline(Evidence(speedup=1.91, ceiling=1.26)) == (
        "1.91× of 2; this machine allowed 1.26×, asked at a worse moment → 96 % of 2-fold"
    )
    assert headline(Evidence(workers=1)) == "1 worker, and no serial run to compare with"


SEEN = (  # of a whole program
    "user", "in_the_system", "system", "used", "used_alone", "threads", "threads_alone", "wanted", "one", "nobody",
    "first", "last", "late", "seconds_alone", "beside_memory",
)  # fmt: skip
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
    "traits": st.none() | st.builds(Traits, *[st.booleans()] * len(fields(Traits))),
    "speedup_ci": st.none() | st.tuples(st.floats(0, 2), st.floats(2, 100)),
    "details": st.dictionaries(st.sampled_from(SEEN), st.just(0.0) | st.floats(1e-9, 1e3)),
    **{name: st.none() | st.integers(0, 64) for name in ("chunks", "cpus", "cpus_shared", "rounds", "contaminated")},
}


@given(
    st.fixed_dictionaries(
        {f.name: ANY.get(f.name, NUMBERS) for f in fields(Evidence) if f.name not in ("kernel", "variant")}
    )
)
def test_any_evidence_gives_a_sentence_and_no_core_second_is_lost_twice(known):
    evidence = Evidence(**known)
    verdict = judge(evidence)
    assert verdict.cause in CODES
    assert verdict.sentence
    assert "nan" not in verdict.sentence
    lost = sum(evidence.share(entry) for entry in evidence.ledger if entry not in ("useful", "waiting"))
    assert sum(verdict.losses.values()) <= lost * (1 + 1e-9)
    assert all(share > 0 for share in verdict.losses.values())


@given(
    st.fixed_dictionaries({entry: st.floats(0, 0.1) for entry in ENTRIES if entry not in ("useful", "waiting")}),
    st.integers(2, 16),
)
def test_every_lost_core_second_is_some_causes(shares, workers):
    evidence = of(workers, **shares, ceiling=None)
    lost = sum(shares.values()) - shares["serial"] / workers
    assert sum(loss.share for loss in losses(evidence)) == pytest.approx(lost, abs=1e-9)
    assert judge(replace(evidence, speedup=0.95 * workers)).cause == "none"
