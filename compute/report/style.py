"""The colours of all pictures and pages: a backend, or an entry of the ledger, has the same one everywhere."""

from __future__ import annotations

INK, FAINT, RULE = "#222222", "#767676", "#e3e3e3"
# Okabe & Ito's colours, which colour-blind readers can tell apart, without their yellow, which is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
KNOWN = (
    "threads",
    "processes",
    "prange",
    "joblib",
    "coroutines",
    "interpreters",
    "dask",
)  # each has its own colour
# Useful work is green, waiting is warm, start-up, transfer and messages are cool, what is not known is pale.
ENTRY_COLOURS = {
    "useful": "#9db4c6", "inflation": "#7a5195", "waiting": "#b7d7a8", "blocked": "#c1272d", "runqueue": "#f28e2b",
    "idle": "#f7d774", "startup": "#2a7f8e", "transfer": "#86c7b5", "serialisation": "#32b375", "network": "#bdc8fe",
    "scheduler": "#a450fc", "serial": "#4d4d4d", "unexplained": "#d9d9d9",
}  # fmt: skip
DARK = {"inflation", "blocked", "startup", "serial"}  # words on these are white


def colour(backend: str) -> str:
    """The colour of a backend; one that is not ours gets a colour by its name."""
    return COLOURS[place(backend)]


def place(backend: str) -> int:
    """The index of a backend's colour in COLOURS."""
    return (KNOWN.index(backend) if backend in KNOWN else sum(map(ord, backend))) % len(COLOURS)


# From the best to the worst share of what was possible: its least value, and a background for black letters. Blue is
# told from yellow, orange and red, and these get darker: colour-blind readers see the order. Two lanes that take turns
# reach about half, which is the last of them.
SHARES = ((0.9, "#56B4E9"), (0.8, "#F0E442"), (0.6, "#E69F00"), (0.0, "#D55E00"))


def share_colour(share: float) -> str:
    """The background of a cell with this share of what was possible."""
    return next(colour for least, colour in SHARES if share >= least or least == 0.0)
