"""Programs that behave in known ways, in planted/; and how one is run."""

import sys
from pathlib import Path

import pytest

from compute.program.command import command
from compute.program.families import keeping
from compute.program.run import run

PLANTED = Path(__file__).parent / "planted"


@pytest.fixture
def run_once():
    """run_once(*words, workers=2, …): run them once, told by a variable N beside whatever words say."""

    def run_words(*words, workers=2, **options):
        with keeping() as keeper:
            return run(command(words, ["N"]), workers, keeper=keeper, **options)

    return run_words


@pytest.fixture
def python_once(run_once):
    """The same for a script in Python."""
    return lambda text, *args, **options: run_once(sys.executable, "-S", "-E", "-c", text, *args, **options)
