"""`analyze` on several processes, in parts, on a cluster; killed or stopped, it ends with the same files."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from retinalesion.cli import main
from retinalesion.reading.stream import Readings
from retinalesion.reading.workers import cores
from retinalesion.report.job import Job

COUNT = 12


@pytest.fixture
def eyes(drawn_store, tmp_path, monkeypatch):
    """A folder of photographs, in an empty folder where the user works."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "eyes").mkdir()
    for file in sorted((drawn_store.path / "photographs").iterdir())[: COUNT - 1]:
        shutil.copy(file, "eyes")
    Path("eyes/zz.jpg").write_text("not a picture")
    return tmp_path / "eyes"


@pytest.fixture
def command(run):
    return ["analyze", "eyes", "--checkpoint", str(run / "checkpoints/best.ckpt"), "--out"]


@pytest.fixture
def whole(eyes, command):
    """The files of an unbroken analysis in one process."""
    assert main([*command, "whole"]) == 0
    return everything_in("whole")


def everything_in(out):
    files = (file for file in Path(out).rglob("*") if file.is_file())
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def process(command, *more):
    words = [sys.executable, "-m", "retinalesion.cli", *command, *more]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


@pytest.mark.skipif(cores() < 2, reason="one core")
def test_two_workers_leave_what_one_process_leaves(whole, command):
    assert main([*command, "out", "--workers", "2"]) == 0
    assert everything_in("out") == whole


@pytest.mark.parametrize("count", [0, 10**4])
def test_more_workers_than_cores_are_refused(eyes, command, refused, count):
    assert "cores" in refused(*command, "out", "--workers", str(count))
    assert not Path("out").exists()


def test_parts_in_any_order_make_the_whole(whole, command, capsys):
    for part in ("2/3", "3/3"):
        assert main([*command, "out", "--part", part]) == 0
        assert f"4 photographs: part {part} is read" in capsys.readouterr().out
        assert not Path("out/readings.csv").exists()
    assert main([*command, "out", "--part", "1/3"]) == 0
    assert "12 photographs:" in capsys.readouterr().out
    assert everything_in("out") == whole
    assert main([*command, "out", "--part", "1/3"]) == 0, "requeued after the end"


def test_the_command_without_a_part_reads_what_parts_have_not(whole, command, monkeypatch, refused):
    read, asked = Job.read, []

    def noted(self, item, spots=()):
        asked.append(item.id)
        if len(asked) == 6:
            raise KeyboardInterrupt
        return read(self, item, spots)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "read", noted)
        assert main([*command, "out", "--part", "2/3"]) == 0
        with pytest.raises(SystemExit):
            main([*command, "out", "--part", "3/3"])
        assert "was begun in 3 parts" in refused(*command, "out", "--part", "1/2")
        assert "--fresh would take away" in refused(*command, "out", "--part", "1/3", "--fresh")
        for _ in range(2):
            assert main([*command, "out"]) == 0
    assert len(asked) == COUNT + 1, "each once, and again the one in which it was stopped"
    assert everything_in("out") == whole


@pytest.mark.parametrize("part", ["0/3", "4/3", "2", "a/b", "1/0"])
def test_what_is_no_part_is_refused(eyes, command, refused, part):
    assert f"--part {part}: type it as 2/8" in refused(*command, "out", "--part", part)


def test_a_cluster_that_is_not_there_is_named(eyes, command, refused, monkeypatch):
    monkeypatch.setattr("retinalesion.reading.workers._CONNECT", 0.5)
    said = refused(*command, "out", "--cluster", "tcp://127.0.0.1:9")
    assert "--cluster tcp://127.0.0.1:9: no scheduler" in said
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install 'retinalesion[cluster]'" in refused(*command, "out", "--cluster", "tcp://127.0.0.1:9")


@pytest.mark.slow
def test_on_a_cluster_one_worker_killed_midway_the_files_are_the_same(whole, command):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        workers = [worker.pid for worker in cluster.workers.values()]

        def kill():
            wait_for(lambda: len(Readings("out/readings.jsonl")) >= 2)
            os.kill(workers[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        assert main([*command, "out", "--cluster", cluster.scheduler_address]) == 0
        killer.join()
    assert everything_in("out") == whole


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_at_ten_random_moments_nothing_that_was_read_is_lost(whole, command, number):
    draw, ended = random.Random(0), 0
    for moment in range(10):
        shutil.rmtree("out", ignore_errors=True)
        first = process(command, "out")
        wanted = draw.randrange(COUNT)
        wait_for(
            lambda wanted=wanted, first=first: (
                len(Readings("out/readings.jsonl")) >= wanted or first.poll() is not None
            )
        )
        time.sleep(draw.random() * 0.2)
        first.send_signal(number)
        said = first.communicate()[1]
        kept = Path("out/readings.jsonl").read_bytes() if Path("out/readings.jsonl").exists() else b""
        if first.returncode:
            ended += 1
            assert first.returncode == (143 if number == signal.SIGTERM else -9)
        if first.returncode == 143 and kept:
            assert "Go on with: retinalesion analyze eyes" in said
            assert Path("out/readings.csv").read_text("utf-8-sig").count("\n") == kept.count(b"\n") + 1
            assert {file.stem for file in Path("out/planes").iterdir()} <= {
                r.id for r in Readings("out/readings.jsonl")
            }
        assert main([*command, "out"]) == 0
        assert Path("out/readings.jsonl").read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
        assert everything_in("out") == whole, moment
    assert ended >= 5


@pytest.mark.slow
@pytest.mark.skipif(cores() < 2, reason="one core")
def test_killed_with_workers_none_of_them_stays(whole, command):
    first = process(command, "out", "--workers", "2")
    wait_for(lambda: len(Readings("out/readings.jsonl")) >= 2 or first.poll() is not None)
    workers = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    first.kill()
    first.communicate()
    wait_for(lambda: not any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers), 10)
    assert main([*command, "out"]) == 0
    assert everything_in("out") == whole


@pytest.mark.slow
@pytest.mark.skipif(cores() < 2, reason="one core")
def test_a_worker_killed_ends_in_a_message_and_the_same_command_goes_on(whole, command):
    first = process(command, "out", "--workers", "2")
    wait_for(lambda: len(Readings("out/readings.jsonl")) >= 2 or first.poll() is not None)
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    said = first.communicate()[1]
    assert first.returncode == 2
    assert "a worker was ended from outside" in said
    assert main([*command, "out", "--workers", "2"]) == 0
    assert everything_in("out") == whole


@pytest.mark.slow
def test_of_two_at_once_one_is_refused_and_the_other_whole(whole, command):
    both = [process(command, "out") for _ in range(2)]
    said = [one.communicate()[1] for one in both]
    assert sorted(one.returncode for one in both) in (
        [0, 2],
        [0, 0],
    )  # one may have ended before the other began
    assert all("in use by process" in said[place] for place, one in enumerate(both) if one.returncode)
    assert everything_in("out") == whole
