"""Files that change all at once or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cas import files

from .stores import program


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_what_dead_processes_of_this_host_left_is_swept_at_once(tmp_path):
    name = f".cas-{files.host()}-{dead_pid()}-00"
    (tmp_path / name).mkdir()
    (tmp_path / name / "f").write_text("x")
    (tmp_path / name).chmod(0o555)
    assert files.sweep(tmp_path) == 1
    assert not list(tmp_path.iterdir())


def test_what_a_living_process_made_is_left_however_old_it_looks(tmp_path):
    mine = tmp_path / files.temporary_name()
    mine.mkdir()
    os.utime(mine, (0, 0))
    assert files.sweep(tmp_path) == 0
    assert mine.exists()


def test_what_another_host_left_goes_after_a_day(tmp_path):
    young, old = tmp_path / ".cas-other.1-1-aa", tmp_path / ".cas-other.1-1-bb"
    young.write_text("")
    old.write_text("")
    os.utime(old, (time.time() - 90000,) * 2)
    files.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [young.name]


@pytest.mark.parametrize("pid", ["x", "", "99999999999999999999", "٣", "-1"])
def test_a_name_that_proves_nothing_is_nobodys(pid):
    name = f".cas-{files.host()}-{pid}-00"
    assert not files.writer_is_dead(name)
    assert not files.writer_is_alive(name)


def test_write_new_keeps_what_is_there(tmp_path):
    place = tmp_path / "a"
    files.write_new(place, b"one")
    with pytest.raises(FileExistsError):
        files.write_new(place, b"two")
    assert place.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["a"]


def test_replace_keeps_permissions_and_leaves_nothing_beside(tmp_path):
    place = tmp_path / "a"
    place.write_text("one")
    place.chmod(0o640)
    files.replace(place, b"two")
    assert place.read_bytes() == b"two"
    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["fsync", "write", "rename", "fchmod"])
def test_a_replace_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, call):
    (tmp_path / "a").write_text("one")
    done = program(
        "replace(sys.argv[1] + '/a', b'two')",
        tmp_path,
        strace=[f"trace={call}", f"inject={call}:error=EIO:when=1"],
        check=False,
    )
    assert done.returncode == 1
    assert "Input/output error" in done.stderr
    assert (tmp_path / "a").read_text() == "one"
    assert os.listdir(tmp_path) == ["a"]


def test_a_replace_goes_on_after_interrupted_calls(tmp_path):
    program(
        "replace(sys.argv[1] + '/a', b'two')",
        tmp_path,
        strace=["trace=write", "inject=write:error=EINTR:when=1..3"],
    )
    assert (tmp_path / "a").read_text() == "two"


def test_sync_all_raises_the_first_error_and_syncs_no_path_twice(tmp_path):
    for n in range(10):
        (tmp_path / str(n)).write_text("x")
    log = tmp_path / "log"
    code = "sync_all([f'{sys.argv[1]}/{n}' for n in range(10)], on=sys.argv[1])"
    from .stores import HEAD

    done = subprocess.run(
        ["strace", "-f", "-qq", "-y", "-o", log, "-e", "trace=fsync", "-e",
         "inject=fsync:error=EIO:when=1", sys.executable, "-c", HEAD + code, tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Input/output error" in done.stderr
    synced = [line.split("<")[1].split(">")[0] for line in log.read_text().splitlines()
              if "fsync(" in line]  # fmt: skip
    assert len(synced) == len(set(synced))


def test_many_are_synced_by_one_syncfs_whose_error_is_raised(tmp_path):
    for n in range(60):
        (tmp_path / str(n)).write_text("x")
    code = "sync_all([f'{sys.argv[1]}/{n}' for n in range(60)], on=sys.argv[1])"
    done = program(code, tmp_path, strace=["trace=syncfs", "inject=syncfs:error=EIO"], check=False)
    assert "Input/output error" in done.stderr


def test_exchange_never_leaves_a_name_without_anything(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    (one).mkdir()
    other.symlink_to("nowhere")
    missing = []
    stop = threading.Event()

    def look():
        while not stop.is_set():
            if not os.path.lexists(other):
                missing.append(1)

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(2001):
        files.exchange(one, other)
    stop.set()
    thread.join()
    assert not missing
    assert other.is_dir()
    assert one.is_symlink()


def test_exchange_has_a_way_where_the_system_has_none(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("x")
    program(
        "exchange(sys.argv[1] + '/a', sys.argv[1] + '/b')",
        tmp_path,
        strace=["trace=renameat2", "inject=renameat2:error=EINVAL"],
    )
    assert (tmp_path / "b").is_dir()
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_mutex_is_held_by_one_and_ends_with_its_process(tmp_path):
    place = tmp_path / "mutex"
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys,time;sys.path.insert(0,sys.argv[2])\n"
         "from cas.files import hold\n"
         "with hold(sys.argv[1]): print('held', flush=True); time.sleep(60)",
         place, Path(__file__).parents[1]], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout.readline() == "held\n"
    with files.hold(place, wait=False) as held:
        assert not held
    child.kill()
    child.wait()
    with files.hold(place, wait=False) as held:
        assert held


def test_a_mutex_that_was_removed_under_its_waiter_is_no_mutex(tmp_path):
    place = tmp_path / "mutex"
    seen = []
    with files.hold(place):
        waiter = threading.Thread(target=lambda: seen.append(_inode_held(place)))
        waiter.start()
        time.sleep(0.1)
        place.unlink()
        place.write_text("")
        new = place.stat().st_ino
    waiter.join()
    assert seen == [new]


def _inode_held(place):
    with files.hold(place):
        return place.stat().st_ino


def test_make_dirs_obeys_the_umask(tmp_path):
    for umask, mode in ((0o077, 0o700), (0o022, 0o755), (0, 0o755)):
        place = tmp_path / f"{umask:o}"
        program("make_dirs(sys.argv[1] + '/a/b', mode=0o755)", place, umask=umask)
        assert stat.S_IMODE((place / "a/b").stat().st_mode) == mode


@pytest.mark.parametrize("size", [0, 1, 8 << 20, (8 << 20) + 1])
def test_copies_are_the_same_bytes(tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    files.copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data


def test_a_copy_goes_on_where_the_kernel_copies_nothing(tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "a").write_bytes(data)
    program(
        "copy_file(sys.argv[1] + '/a', sys.argv[1] + '/b')",
        tmp_path,
        strace=["trace=copy_file_range", "inject=copy_file_range:error=EXDEV"],
    )
    assert (tmp_path / "b").read_bytes() == data


def test_a_copy_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100)
    done = program(
        "copy_file(sys.argv[1] + '/a', sys.argv[1] + '/b')",
        tmp_path,
        strace=["trace=copy_file_range", "inject=copy_file_range:error=ENOSPC"],
        check=False,
    )
    assert "No space left" in done.stderr
    assert os.listdir(tmp_path) == ["a"]
