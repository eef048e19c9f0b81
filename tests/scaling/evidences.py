"""Evidence that is invented, from shares of the core-seconds."""

from __future__ import annotations

from compute.scaling.ledger import ENTRIES
from compute.scaling.verdict.evidence import Evidence
from compute.scaling.verdict.judgement import Verdict, judge


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


def cause(workers: int = 2, **known: object) -> str:
    return judge(of(workers, **known)).cause


def told(verdict: Verdict) -> tuple[str, str, object]:
    """The cause, the sentence, and what each cause took."""
    return verdict.cause, verdict.sentence, verdict.losses


PYTHON = {"variant": "python", "blocked": 0.48}
