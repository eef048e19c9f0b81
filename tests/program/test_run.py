"""One run of a program: what it is given, what of it is counted, how it ends, and that nothing of it is left."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from ctrl_c import CtrlC
from patience import PATIENCE

from compute.program.command import command
from compute.program.families import keeping
from compute.program.run import ProgramFailed, run
from compute.program.watching import SHARE, Watch

pytestmark = pytest.mark.usefixtures("no_leaks")
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans over, and tells of threads")
SPIN = "x = 0\nfor i in range(3_000_000): x += i\n"


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("exit 3", "ended with exit code 3, and wrote nothing to stderr"),
        ("echo one >&2; echo 'two: broken' >&2; echo >&2; exit 1", "ended with exit code 1: two: broken"),
        ("kill -9 $$", "was ended by SIGKILL, and wrote"),
        ("kill -40 $$", "was ended by signal 40|was ended by SIG"),
    ],
)
def test_a_program_that_fails_is_named_with_its_last_words(run_once, line, told):
    with pytest.raises(ProgramFailed, match=told) as failed:
        run_once("sh", "-c", line)
    assert str(failed.value).startswith("N=2 sh -c ")
    assert "\n" not in str(failed.value)


def test_what_is_no_program_after_all_is_told(run_once, tmp_path):
    script = tmp_path / "script"
    script.write_text("echo no first line\n")
    script.chmod(0o755)
    with pytest.raises(ProgramFailed, match=r"cannot start N=2 .*script: Exec format error; put its interpreter"):
        run_once(str(script))


def test_it_has_nothing_to_read_and_no_terminal(run_once):
    run_once("cat")  # would wait for ever on an open stdin
    with pytest.raises(ProgramFailed, match="/dev/tty"):
        run_once("sh", "-c", "read x < /dev/tty")


def test_much_output_is_thrown_away_or_counted_and_takes_no_memory(run_once):
    before = psutil.Process().memory_info().rss
    assert run_once("head", "-c", "300000000", "/dev/zero").printed is None
    size, digest = run_once("head", "-c", "150000000", "/dev/zero", keep_output=True).printed
    assert size == 150_000_000
    assert run_once("head", "-c", "150000001", "/dev/zero", keep_output=True).printed[1] != digest
    with pytest.raises(ProgramFailed, match="exit code 4: the end"):
        run_once("sh", "-c", "head -c 300000000 /dev/zero >&2; echo >&2; echo the end >&2; exit 4")
    assert psutil.Process().memory_info().rss < before + 100_000_000


def test_cpu_faults_and_switches_are_of_all_its_processes(python_once):
    alone = python_once(SPIN)
    three = python_once(f"import os\nfor _ in range(3):\n if not os.fork():\n  exec({SPIN!r}); os._exit(0)\n"
                        "for _ in range(3): os.wait()")  # fmt: skip
    assert three.cpu > 1.5 * alone.cpu
    assert three.faults > alone.faults
    assert three.cpu <= os.cpu_count() * three.seconds * 1.1


@pytest.mark.slow
@linux
def test_waits_for_a_cpu_are_seen_and_how_much_was_seen_is_known(python_once):
    crowd = python_once(
        f"import os\nos.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
        f"child = os.fork()\nexec({SPIN * 3!r})\nif child: os.wait()"
    )
    assert crowd.watched.cpu == pytest.approx(crowd.cpu, rel=0.15)
    assert crowd.watched.queued > 0.5 * crowd.cpu  # either had to wait while the other was at work
    assert crowd.watched.threads == 2
    assert crowd.watched.cost < 0.05 * crowd.seconds


@linux
def test_phases_with_one_thread_at_work_are_seen(python_once):
    phases = python_once(f"import time\n{SPIN * 2}\ntime.sleep(0.3)")
    watched = phases.watched
    assert watched.threads == 1
    assert watched.one == pytest.approx(phases.seconds, rel=0.05)
    assert 0.15 < watched.nobody < 0.8 * phases.seconds


@pytest.mark.slow
@linux
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="workers are beside each other on two CPUs")
def test_a_worker_that_ends_after_the_others_is_seen(python_once):
    workers = f"for times in (4, 12):\n if not os.fork():\n  for _ in range(times): exec({SPIN!r})\n  os._exit(0)\n"
    watched = python_once(f"import os\n{workers}os.wait(); os.wait()").watched
    assert watched.last / 2 < watched.late <= watched.last


def _look_at(monkeypatch, shares):
    """What is seen of a run in which each process's threads were at work so: a row a look, of 30 ms each."""
    used, clock = {}, [100.0]
    watch = Watch(clock[0])
    monkeypatch.setattr("compute.program.watching._threads_of", lambda pid: used[pid].items())
    for row in shares:
        clock[0] += 0.03
        for pid, threads in row.items():
            for thread, share in threads.items():
                of = used.setdefault(pid, {})
                of[thread] = (of.get(thread, (0, 0))[0] + int(share * 0.03e9), 0)
        watch.look(lambda: list(used), clock[0])
    return watch.result()


BESIDE = {1: {1: 1.0, 2: 1.0}}


@pytest.mark.parametrize(
    ("shares", "late"),
    [
        ([BESIDE, BESIDE, {1: {1: 0.0, 2: 1.0}}], 0.03),  # a thread that ends later
        ([BESIDE, BESIDE, {1: {1: 1.0, 2: 0.0}}], 0.0),  # the main thread of several: a step of the program's
        ([{1: {1: 1.0}, 5: {5: 1.0}}, {1: {1: 1.0}, 5: {5: 1.0}}, {1: {1: 0.0}, 5: {5: 1.0}}], 0.03),  # processes
        ([{1: {1: 0.0, 2: 1.0, 3: 1.0}}, {1: {1: 0.0, 2: 1.0, 3: 1.0}}, {1: {4: 1.0}}], 0.0),  # one that begins then
        ([{1: {1: 0.0, 2: 1.0}}] * 4, 0.0),  # it has never been beside another
        ([BESIDE, {1: {1: 0.0, 2: 1.0}}, BESIDE, BESIDE], 0.0),  # not at the end
    ],
)
def test_who_is_late(monkeypatch, shares, late):
    assert _look_at(monkeypatch, shares).late == pytest.approx(late, abs=1e-6)


def test_a_program_that_hangs_is_ended_with_all_that_it_started(run_once, tmp_path):
    pids = tmp_path / "pids"
    script = f"echo $$ >> {pids}; trap '' TERM; sh -c 'echo $$ >> {pids}; trap \"\" TERM; sleep 300 & sleep 300'; true"
    with pytest.raises(ProgramFailed, match=r"had not ended after 0.3 s, and was ended; .*--timeout"):
        run_once("sh", "-c", script, timeout=0.3)
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    assert not any(map(alive, started))


def test_a_stopped_program_is_ended_too(run_once):
    with pytest.raises(ProgramFailed, match="had not ended"):
        run_once("sh", "-c", "kill -STOP $$", timeout=0.2)


@linux
def test_daemons_that_it_leaves_behind_are_named_and_ended(run_once, tmp_path):
    pids = tmp_path / "pids"
    line = f"(setsid sh -c 'echo $$ > {pids}; exec sleep 300' > /dev/null 2>&1 &); while ! test -s {pids}; do :; done"
    finished = run_once("sh", "-c", line)
    assert finished.left == ("sleep",)
    assert not alive(int(pids.read_text()))


def test_where_no_orphans_are_handed_over_its_group_is_ended_all_the_same(run_once, tmp_path, monkeypatch):
    monkeypatch.setattr("compute.program.families._libc", lambda: None)
    pids = tmp_path / "pids"
    run_once("sh", "-c", f"(sleep 300 & echo $! > {pids}); exit 0")
    orphan = int(pids.read_text())
    end = time.monotonic() + PATIENCE
    while alive(orphan) and time.monotonic() < end:
        time.sleep(0.01)
    assert not alive(orphan)


@linux
def test_a_daemon_that_holds_its_output_open_does_not_hold_the_run(run_once):
    finished = run_once("sh", "-c", "(sleep 300 &); echo done", keep_output=True)
    assert finished.seconds < 100
    assert finished.printed[0] == 5


@linux
def test_a_daemon_that_prints_for_ever_is_not_read_for_ever(run_once):
    assert run_once("sh", "-c", "yes & sleep 0.05", keep_output=True).left == ("yes",)


@linux
def test_an_orphan_that_has_ended_is_counted(python_once):
    lost = python_once(
        "import os, time\nr, w = os.pipe()\nif not os.fork():\n if not os.fork():\n"
        f"  exec({SPIN * 3!r})\n os._exit(0)\n"
        "os.wait()\nos.close(w)\nos.read(r, 1)"  # until the grandchild has ended too
    )
    own = python_once("pass")
    assert lost.cpu > own.cpu + 0.1
    assert lost.left == ()


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_all_of_it(run_once, tmp_path, times):
    pids = tmp_path / "pids"

    def interrupt():
        end = time.monotonic() + PATIENCE
        while not (pids.exists() and len(pids.read_text().split()) == 2) and time.monotonic() < end:
            time.sleep(0.01)
        for _ in range(times):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.2)

    other = threading.Thread(target=interrupt)
    other.start()
    line = f"trap '' TERM INT; echo $$ >> {pids}; sh -c 'echo $$ >> {pids}; sleep 300'; sleep 300"
    try:
        with pytest.raises(KeyboardInterrupt):
            run_once("sh", "-c", line)
    except KeyboardInterrupt:  # the second one, after the first had ended all
        assert times == 2
    other.join()
    assert not any(alive(int(pid)) for pid in pids.read_text().split())


@pytest.mark.parametrize("step", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_ctrl_c_anywhere_leaves_nothing(step):
    """At every place, or every seventh, at which the interpreter looks for one; each run starts two processes."""
    of = command(["sh", "-c", "sleep 300 & sleep 0.02"], ["N"])
    place = 0
    with keeping() as keeper:
        for place in range(1, 60) if step == 1 else range(60, 1000, step):
            try:
                with CtrlC(place) as interrupt:
                    run(of, 2, keeper=keeper)
            except KeyboardInterrupt:
                assert interrupt.came
            if not interrupt.came:
                break
    assert place > 30


def test_children_whose_ends_are_ignored_are_waited_for_all_the_same(run_once):
    former = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(ProgramFailed, match="exit code 5"):
            run_once("sh", "-c", "exit 5")
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, former)


@pytest.mark.slow
@linux
def test_what_children_used_whose_ends_it_ignores_is_not_lost(python_once):
    work = (
        "import os, signal\nsignal.signal(signal.SIGCHLD, signal.{})\nif not os.fork():\n"
        f" exec({SPIN * 4!r})\n os._exit(0)\ntry: os.wait()\nexcept ChildProcessError: pass"
    )
    known, ignored = (python_once(work.format(how)) for how in ("SIG_DFL", "SIG_IGN"))
    assert known.uncharged == 0
    assert ignored.uncharged > 0.5 * known.cpu
    assert ignored.cpu == pytest.approx(ignored.watched.cpu, rel=0.01)
    assert ignored.cpu > 0.6 * known.cpu


@linux
def test_finding_the_processes_is_in_what_a_look_takes():
    """A look after which the next one comes too soon takes more than its share of a CPU."""

    def members():
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass
        return [os.getpid()]

    watch = Watch(time.perf_counter())
    watch.look(members)
    assert watch.pause >= 0.02 / SHARE
    assert watch.result().cost >= 0.02


@linux
def test_adopting_ends_with_its_block(python_once, run_once):
    with keeping() as keeper:
        assert keeper.adopts
    done = subprocess.run(
        ["sh", "-c", "(sleep 0.3; ps -o ppid= -p $$ > /dev/null; exit) > /dev/null 2>&1 & echo $!"],
        capture_output=True,
        text=True,
        check=True,
    )
    orphan = psutil.Process(int(done.stdout))
    assert orphan.ppid() != os.getpid()
    orphan.wait(PATIENCE)
