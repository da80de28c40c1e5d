"""`prepare` and `export` on a full disk, killed, and two at once: what is left is whole, or goes on."""

import random
import re
import shutil
import signal
import subprocess
import sys
import time

import cv2
import pytest

from retinalesion.data.store import Store
from retinalesion.networks.checkpoint import read_checkpoint
from retinalesion.report.analyze import box

SHARES = (0.0, 0.2, 0.4, 0.6, 0.9)  # of the room that the whole takes
KILLS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the time that the whole takes
PAIRS = 14
SET = ("prepare", "synthetic", "--count", "6", "--side", "160", "--jobs")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def started(*words):
    command = [sys.executable, "-m", "retinalesion.cli", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(*words):
    """Status and all that was said."""
    process = started(*words)
    said = process.communicate()[0]
    return process.returncode, said


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def disk_is_full(status, said):
    assert "Traceback" not in said
    assert status == 2, said
    assert re.search("disk is full|No space left", said)


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, by a function that sets its size."""
    path = tmp_path / "disk"
    path.mkdir()

    def of(kilobytes):
        options = f"{'remount,' if path.is_mount() else ''}size={max(kilobytes, 4)}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("making a small disk takes the rights of root")
        return path

    yield of
    if path.is_mount():
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store made undisturbed, and the seconds that it took."""
    path, begin = tmp_path_factory.mktemp("whole") / "store", time.monotonic()
    assert run(*SET, 1, path)[0] == 0
    return path, time.monotonic() - begin


def is_whole_or_goes_on(path, whole):
    """What a stopped `prepare` left: no picture is half of one, and the same command ends it."""
    for file in path.rglob("*.png"):
        assert file.name.startswith(".") or cv2.imread(str(file)) is not None, file
    status, said = run(*SET, 1, path)
    assert status == 0, said
    assert contents(path) == contents(whole)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("share", SHARES)
def test_prepare_on_a_disk_too_small_goes_on_where_there_is_room(share, jobs, disk, whole):
    room = sum(-(-len(data) // 4096) * 4 for data in contents(whole[0]).values())
    path = disk(int(room * share)) / "store"
    disk_is_full(*run(*SET, jobs, path))
    assert not (path / "store.json").exists()
    disk(100_000)
    is_whole_or_goes_on(path, whole[0])


@pytest.mark.parametrize("share", KILLS)
def test_prepare_killed_goes_on(share, whole, tmp_path):
    process = started(*SET, 1, tmp_path / "store")
    time.sleep(share * whole[1])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    is_whole_or_goes_on(tmp_path / "store", whole[0])


@pytest.mark.parametrize("share", SHARES)
def test_export_on_a_disk_too_small_leaves_what_was_there(share, disk):
    size = box().stat().st_size // 1024
    file = disk(int(size * share) + 8) / "given.safetensors"
    file.write_text("an earlier one")
    disk_is_full(*run("export", box(), file))
    assert contents(file.parent) == {file.name: b"an earlier one"}
    disk(100_000)
    assert run("export", box(), file)[0] == 0
    assert read_checkpoint(file).network == read_checkpoint(box()).network


@pytest.mark.parametrize("number", range(PAIRS))
def test_of_two_prepares_at_once_one_has_the_folder(number, whole, tmp_path):
    others = number % 2  # in every second pair the two ask for different stores
    path, delay = tmp_path / "store", random.Random(number).uniform(0, whole[1])
    first = started(*SET, 1, path)
    time.sleep(delay)
    second = started(*SET, 1, path, "--seed", others)
    said = [process.communicate()[0] for process in (first, second)]
    ends = [process.returncode for process in (first, second)]
    assert "Traceback" not in "".join(said)
    assert 0 in ends, said
    assert set(ends) <= {0, 2}, said
    for end, words in zip(ends, said, strict=True):
        assert end == 0 or re.search("in use by process|other arguments", words), words
    seed = Store(path).info["seed"]
    assert ends[seed] == 0
    if others:
        assert sorted(ends) == [0, 2]
    if seed == 0:
        assert contents(path) == contents(whole[0])
