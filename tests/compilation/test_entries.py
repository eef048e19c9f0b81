"""The compile cache's folder: what is dropped and what stays, and many processes that read and drop at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kernels.compilation import kept_code
from kernels.compilation.compiler import compiled, forget

DAY = 86400


def place(folder: Path, number: int, content: bytes = bytes(10), days: float = 0) -> Path:
    """An entry that was last read so many days ago."""
    path = folder / f"body-{number:032x}.nbc"
    path.write_bytes(kept_code.sealed(path.name, content))
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def test_what_was_not_read_for_a_month_is_dropped(tmp_path):
    place(tmp_path, 1, days=31)
    killed = place(tmp_path, 2, days=31)
    killed.rename(tmp_path / f".x1y2{killed.name}")  # by its writer's death, before it got its name
    place(tmp_path, 5, days=0.1).rename(tmp_path / f".z3{killed.name}")
    young, read = place(tmp_path, 3, days=29), place(tmp_path, 4, days=31)
    assert kept_code.read(read) == bytes(10)
    kept_code.prune(tmp_path)
    assert sorted(tmp_path.iterdir()) == [young, read]


def test_the_longest_unread_give_way_to_what_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_code, "MOST_BYTES", 3 * len(kept_code.sealed("", bytes(30))) + 10)
    for number in range(4):
        place(tmp_path, number, bytes(30), days=4 - number)
    assert kept_code.read(place(tmp_path, 0, bytes(30), days=4)) is not None
    new = tmp_path / f"body-{9:032x}.nbc"
    kept_code.write(new, bytes(30))
    assert {path.name for path in tmp_path.iterdir()} == {f"body-{n:032x}.nbc" for n in (0, 3, 9)}


def test_what_is_no_entry_stays_however_old_and_large(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_code, "MOST_BYTES", 0)
    for name in (".bashrc", "mine.nbc", "body-7.py311.1.nbc", f"body-{1:032x}.nbi"):  # the user's, and numba's own
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (0, 0))
    kept_code.prune(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_an_entry_that_is_not_there_is_a_miss(tmp_path):
    path = place(tmp_path, 1)
    path.unlink()
    assert kept_code.read(path) is None
    assert list(tmp_path.iterdir()) == []  # and reading it leaves none


def test_a_disk_that_refuses_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    kept_code.write(tmp_path / "file" / f"body-{1:032x}.nbc", b"code")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_pipe_in_an_entrys_place_is_not_waited_for(tmp_path):
    path = tmp_path / f"body-{1:032x}.nbc"
    os.mkfifo(path, 0o600)
    assert kept_code.read(path) is None
    kept_code.write(path, b"code")
    assert kept_code.read(path) == b"code"


def test_what_cannot_be_put_in_its_place_leaves_nothing(tmp_path):
    path = tmp_path / f"body-{1:032x}.nbc"
    path.mkdir()
    assert kept_code.read(path) is None
    kept_code.write(path, b"code")
    assert list(tmp_path.iterdir()) == [path]


def test_an_entry_under_the_name_of_another_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("NFOLD_CACHE_DIR", str(tmp_path))

    def made(factor):
        def times(x):
            return x * factor

        return compiled(times)

    assert made(71.0)(2.0) == 142.0
    (one,) = tmp_path.iterdir()
    assert made(73.0)(2.0) == 146.0
    (other,) = set(tmp_path.iterdir()) - {one}
    other.write_bytes(one.read_bytes())
    forget()
    assert made(73.0)(2.0) == 146.0


def test_a_user_without_a_home_keeps_nothing(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("NFOLD_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    path = kept_code.cache_folder() / f"body-{1:032x}.nbc"
    kept_code.write(path, b"code")
    assert kept_code.read(path) is None


@pytest.mark.parametrize("most", [0, 1 << 20])
def test_compiling_prunes_and_needs_no_entry(tmp_path, monkeypatch, most):
    monkeypatch.setenv("NFOLD_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kept_code, "MOST_BYTES", most)
    old = place(tmp_path, 1, days=31)

    def add(x):
        return x + 54321 + 0 * most

    assert compiled(add)(1) == 54322
    assert not old.exists()
    assert len(list(tmp_path.iterdir())) == (1 if most else 0)


def others(path: Path) -> None:
    os.chown(path, 12345, -1)


def for_all(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o002)


def for_the_group(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o020)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


OPEN = [pytest.param(others, marks=pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away"))]


@pytest.fixture
def unwarned():
    kept_code._warn.cache_clear()


@pytest.mark.parametrize("opened", [*OPEN, for_all, for_the_group, linked])
@pytest.mark.parametrize("what", ["folder", "entry"])
def test_what_others_can_write_is_not_read_and_named_once(tmp_path, unwarned, opened, what):
    folder = tmp_path / "cache"
    path = folder / f"body-{1:032x}.nbc"
    kept_code.write(path, b"code")
    assert kept_code.read(path) == b"code"
    opened(folder if what == "folder" else path)
    if what == "folder" or opened is not linked:
        with pytest.warns(RuntimeWarning, match=f"{folder}.*(chmod go-w|NFOLD_CACHE_DIR)"):
            assert kept_code.read(path) is None
    assert kept_code.read(path) is None
    if what == "folder":
        kept_code.write(folder / f"body-{2:032x}.nbc", b"code")
        assert not (folder / f"body-{2:032x}.nbc").exists(), "nor is anything put there"


PLANTED = """
import os, pickle, sys
from kernels.compilation.compiler import CodeOnDisk, compiled
class Payload:
    def __reduce__(self):
        return os.system, (f"touch {sys.argv[1]}",)
def add(x):
    return x + 777
if sys.argv[2] == "plant":
    write = CodeOnDisk.save_overload
    def save(self, sig, data):
        path = self._path(sig, data.target_context)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps(Payload()))
    CodeOnDisk.save_overload = save
assert compiled(add)(1) == 778
"""


def test_an_entry_that_somebody_planted_runs_nothing(warm_python, tmp_path):
    ran, folder = tmp_path / "ran", tmp_path / "cache"
    for what in ("plant", "read"):
        warm_python.run(PLANTED, str(ran), what, NFOLD_CACHE_DIR=str(folder))
    assert not ran.exists()


CHURN = """
import os, random, sys
from pathlib import Path
from kernels.compilation import kept_code
folder, kept_code.MOST_BYTES = Path(sys.argv[1]), 5500
children = []
for seed in range(8):
    if not (pid := os.fork()):
        break
    children.append(pid)
else:
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
    sys.exit()
random.seed(seed)
for _ in range(150):
    number = random.randrange(20)
    path, whole = folder / f"body-{number:032x}.nbc", bytes([number]) * 1000
    assert kept_code.read(path) in (None, whole)
    kept_code.write(path, whole)
"""


def test_eight_processes_read_write_and_drop_at_once(warm_python, tmp_path):
    warm_python.run(CHURN, str(tmp_path))
    left = list(tmp_path.iterdir())
    assert 0 < len(left) <= 5
    assert all(kept_code.read(path) == bytes([int(path.stem[5:], 16)]) * 1000 for path in left)


WARNS_ONCE = """
import warnings
import numpy as np
from compute import Joblib, Processes, Threads, run
from kernels import kernel

@kernel
def body(lo, hi, out, x):
    for i in range(lo, hi):
        out[i] = x[i] * {}

warnings.simplefilter("always")
for on in (Processes(2), Threads(2), Joblib(2)):
    assert run(body, np.ones(5), on=on).value.tolist() == [{}] * 5
"""


@pytest.mark.slow
def test_one_warning_for_a_whole_program(tmp_path, script):
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    done = script(WARNS_ONCE.format("3.0", "3.0"), quiet=False, NFOLD_CACHE_DIR=str(cache))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no compiled code is kept") == 1, done.stderr
    assert "can be written by others" in done.stderr
