"""Files that are whole or absent."""

import os
import stat
import tracemalloc

import pytest

from compute.scaling import files


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "path is empty; give the file a name"),
        ("nowhere/deep/a.json", "there is no folder .*create it first"),
        (".", "it is a folder; add a file name"),
        ("x" * 300, "File name too long|name is too long"),
        ("nul\0.json", "null; choose|null byte; choose|null character in path; choose"),
        ("a-file/b.json", "there is no folder|Not a directory"),
    ],
)
def test_a_path_that_cannot_be_written_is_told_in_one_line(tmp_path, monkeypatch, path, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("here")
    with pytest.raises(ValueError, match=told) as caught:
        files.check_output_path(path)
    assert str(caught.value).startswith("cannot write ")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["a-file"]


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="needs a file system that nobody can write to")
def test_trying_finds_what_permission_bits_do_not_tell():
    with pytest.raises(ValueError, match=r"cannot write '/proc/self/fdinfo/a\.json'"):
        files.check_output_path("/proc/self/fdinfo/a.json")


def test_checking_leaves_nothing_and_changes_nothing(tmp_path):
    old = tmp_path / "old.json"
    old.write_text("old")
    files.check_output_path(old)
    files.check_output_path(tmp_path / "new.json")
    assert os.listdir(tmp_path) == ["old.json"]
    assert old.read_text() == "old"


def test_written_whole_with_the_permissions_of_any_new_file(tmp_path):
    path = tmp_path / "a.txt"
    files.write(path, "häßlich")
    (tmp_path / "b.txt").write_text("")
    assert path.read_bytes() == "häßlich".encode()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "b.txt").stat().st_mode)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    files.write(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write(path, "new")
    assert os.listdir(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_a_symbolic_link_stays_one(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    files.write(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_is_written_to_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.check_output_path(pipe)
        files.write(pipe, "through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_reading_takes_as_much_memory_as_there_is_to_read(tmp_path):
    (tmp_path / "small").write_bytes(b"x" * 10)
    tracemalloc.start()
    try:
        assert files.read(tmp_path / "small", 2**27) == b"x" * 10
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()
