"""A folder in use is in use for one; who died lets go."""

import errno
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from retinalesion.errors import UserError
from retinalesion.files import LOCK, locked

HOLDS = """
import os, sys, time
from pathlib import Path
from retinalesion.files import locked
with locked(Path(sys.argv[1])):
    if not os.fork():
        print(os.getpid(), flush=True)  # by then it has let go
    time.sleep(60)
"""


def test_a_second_is_refused_and_told_who_and_since_when(tmp_path):
    folder = tmp_path / "new" / "folder"
    with locked(folder):
        told = f"process {os.getpid()} on {socket.gethostname()}, since 20"
        with pytest.raises(UserError, match=told), locked(folder):
            pytest.fail("both have it")
        assert (folder / LOCK).exists(), "who was refused took nothing away"
    assert not list(folder.iterdir())
    with locked(folder):
        pass


def test_killed_with_a_forked_worker_alive_it_lets_go_at_once(tmp_path):
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    worker = int(process.stdout.readline())
    try:
        with pytest.raises(UserError, match=f"process {process.pid} on"), locked(tmp_path):
            pytest.fail("both have it")
        process.kill()
        process.wait()
        with locked(tmp_path):
            assert f"process {os.getpid()}" in (tmp_path / LOCK).read_text()
    finally:
        os.kill(worker, signal.SIGKILL)


def try_often(folder, shared):
    for _ in range(200):
        try:
            with locked(folder):
                shared.value += 1
                if shared.value != 1:
                    os._exit(1)
                time.sleep(0)
                shared.value -= 1
        except UserError:
            pass


def test_of_many_who_take_and_leave_never_two_have_it(tmp_path):
    context = multiprocessing.get_context("fork")
    shared = context.Value("i", 0, lock=False)
    processes = [context.Process(target=try_often, args=(tmp_path, shared)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_where_nothing_may_be_written_it_says_so(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"), locked(tmp_path):
        pytest.fail("not ours")


def test_a_link_in_the_lock_s_place_is_not_followed(tmp_path):
    letters = tmp_path / "letters"
    letters.write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / LOCK).symlink_to(letters)
    with pytest.raises(UserError, match="cannot be written"), locked(folder):
        pytest.fail("a stranger's file")
    assert letters.read_text() == "mine"


def test_on_a_disk_without_locks_work_goes_on(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()
