"""A fork, and the end of the program, while pools of subinterpreters are open, used, being opened or being ended."""

import pytest

from compute.backends.interpreters.subinterpreter import unavailable

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))


def test_a_fork_has_none_of_the_pool_and_ends_well(script):
    done = script(
        "import os, warnings\n"
        "from compute import Interpreters\n"
        "pool = Interpreters(2).open()\n"
        "def f(x):\n    return x + 1\n"
        "print(pool.map(f, range(3)), flush=True)\n"
        "with warnings.catch_warnings(action='ignore'):\n"
        "    child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n        pool.map(f, range(3))\n"
        "    except RuntimeError as error:\n        print('belongs to process' in str(error), flush=True)\n"
        "    pool.close()\n"
        "    with Interpreters(1).open() as own:\n        print(own.map(f, range(2)), flush=True)\n"
        "else:\n"
        "    print('child', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), pool.map(f, range(3)), flush=True)\n"
    )
    assert done.stdout.splitlines() == ["[1, 2, 3]", "True", "[1, 2]", "child 0 [1, 2, 3]"]


DROPPED = """
import os, sys, time, warnings
from compute import Interpreters
from compute.backends.interpreters.subinterpreter import Subinterpreter

end = Subinterpreter._end
def slowly(self):
    time.sleep(0.3)
    end(self)
Subinterpreter._end = slowly
with Interpreters(1).open() as kept:
    print(Interpreters(2).open().map(abs, [-1]), flush=True)  # and nobody closes it
    if sys.argv[1] == "fork":
        with warnings.catch_warnings(action="ignore"):
            child = os.fork()
        if child:
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), kept.map(abs, [-2]))
"""


@pytest.mark.parametrize(("then", "said"), [("exit", "[1]\n"), ("fork", "[1]\n0 [2]\n")])
def test_interpreters_of_a_pool_that_nobody_closed_are_ended_before_an_end_or_a_fork(script, then, said):
    assert script(DROPPED, then).stdout == said


WAITING = """
import os, threading, warnings
from compute import Interpreters
from compute.lanes import spin
from kernels.compilation import importing

reached = threading.Event()

def needs_the_compiler(*_):
    reached.set()
    with importing.in_turn:
        pass

spin.until_rung = needs_the_compiler
with importing.in_turn, warnings.catch_warnings(action="ignore"):  # as every fork holds it
    print(Interpreters(1).open().map(abs, [-1]), flush=True)  # and nobody closes it
    reached.wait()
    child = os.fork()
if child:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_does_not_wait_for_a_lane_that_waits_for_what_the_fork_holds(script):
    assert script(WAITING).stdout == "[1]\n0\n"


OPENING = """
import os, sys, threading, warnings

reached, forks, opened = threading.Event(), threading.Event(), []

def comes_last():
    if sys.argv[1] == "begun within the fork":
        opening.start()
        reached.wait(0.5)  # in vain: nobody opens one before the fork is over

os.register_at_fork(before=comes_last)  # a fork begins with what was registered last
from compute import Interpreters
from compute.backends.interpreters import subinterpreter

def begins():
    reached.set()
    if sys.argv[1] == "begun before":
        forks.wait()
    return beginning()

beginning, subinterpreter._beginning = subinterpreter._beginning, begins
opening = threading.Thread(target=lambda: opened.append(Interpreters(1).open()))
os.register_at_fork(before=forks.set)
if sys.argv[1] == "begun before":
    opening.start()
    reached.wait()
with warnings.catch_warnings(action="ignore"):
    child = os.fork()
if child:
    opening.join()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), opened[0].map(abs, [-1]))
"""


@pytest.mark.parametrize("opening", ["begun before", "begun within the fork"])
def test_a_fork_while_another_thread_opens_a_pool_ends_well(script, opening):
    assert script(OPENING, opening).stdout == "0 [1]\n"


UNSTARTED = """
from compute import Interpreters
from compute.backends.interpreters import subinterpreter
from compute.backends.lane_thread import LaneThreads

def refuses(*_, **__):
    raise RuntimeError("can't start new thread")

LaneThreads.add = refuses
try:
    Interpreters(1).open()
except RuntimeError as error:
    print(error, len(subinterpreter._library().list_all()))
"""


def test_one_whose_thread_does_not_start_is_ended(script):
    assert script(UNSTARTED).stdout == "can't start new thread 1\n"


WITHIN = """
import os, warnings
from compute import Interpreters

pools = [Interpreters(1).open() for _ in range(2)]
codes = []

def forks_as_well():  # as a signal's handler may, within the hooks of another fork
    if not codes:
        codes.append(None)
        codes[0] = os.waitstatus_to_exitcode(os.waitpid(os.fork() or os._exit(0), 0)[1])

os.register_at_fork(before=forks_as_well)
from compute.backends.interpreters import subinterpreter
os.register_at_fork(before=lambda: None)
with warnings.catch_warnings(action="ignore"):
    child = os.fork()
if child:
    print(codes, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), [pool.map(abs, [-1]) for pool in pools])
"""


def test_a_fork_within_a_forks_hooks_lets_go_what_it_held_alone(script):
    assert script(WITHIN).stdout == "[0] 0 [[1], [1]]\n"
