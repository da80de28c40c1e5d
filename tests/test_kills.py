"""Runs killed at random moments, on disks that fill, and two at once: each ends as it should."""

import csv
import random
import resource
import subprocess
import sys
import time
from functools import partial

import pytest
import torch

from retinalesion.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CLI = [sys.executable, "-m", "retinalesion.cli"]
KINDS = {
    "lesions": ["--model.optimizer", "adamw", "--model.calibrate", "true"],
    "sian": ["--model.optimizer", "adamw"],
    "sgd": ["--model.rate", "1e-5"],
}


def command(store, kind, lesion_net=None, steps=60):
    words = ["fit", "--data.store", str(store.path), "--data.side", "64", "--data.batch_size", "2"]
    words += ["--data.batches", "3", "--data.workers", "1", "--trainer.max_steps", str(steps)]
    words += ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    words += [
        "--trainer.log_every_n_steps",
        "1",
        "--model.encoder",
        "test_efficientnet",
        "--model.weights",
        "null",
    ]
    network = ["--model.network", "sian" if kind == "sian" else "lnet-32s"]
    beside = ["--model.lesion_net", str(lesion_net), "--data.truth", "grade"] if kind == "sian" else []
    return [*words, *network, *beside, *KINDS[kind]]


def load(run, name="last"):
    return torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)


def read(file):
    with file.open(encoding="utf-8", newline="") as lines:
        return [{key: cell for key, cell in line.items() if cell} for line in csv.DictReader(lines)]


def begun(run, times):
    log = run / "log"
    return log.is_file() and log.read_text("utf-8").count("on store") > times


@pytest.fixture(scope="module")
def lesion_net(drawn_store, tmp_path_factory):
    run = tmp_path_factory.mktemp("lesions") / "run"
    assert main([*command(drawn_store, "lesions", steps=3), "--run", str(run)]) == 0
    return run / "checkpoints/last.ckpt"


@pytest.mark.parametrize("kind", KINDS)
def test_killed_ten_times_a_run_ends_as_an_unbroken_one(drawn_store, lesion_net, tmp_path, kind):
    moments, words = random.Random(kind), command(drawn_store, kind, lesion_net)
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    assert main([*words, "--run", str(unbroken)]) == 0
    kills = 0
    for _ in range(10):
        if (killed / "finished").is_file():
            break
        times = (killed / "log").read_text("utf-8").count("on store") if (killed / "log").is_file() else 0
        there = (killed / "checkpoints/last.ckpt").is_file()
        how = ["fit", "--resume", str(killed)] if there else [*words, "--run", str(killed)]
        process = subprocess.Popen([*CLI, *how], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not begun(killed, times) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 2.5))
        process.kill()
        kills += process.wait() != 0
    print(f"{kind}: killed {kills} times")
    assert kills >= 5
    there = (killed / "checkpoints/last.ckpt").is_file()
    assert main(["fit", "--resume", str(killed)] if there else [*words, "--run", str(killed)]) == 0
    ends = [load(run) for run in (killed, unbroken)]
    assert ends[0]["global_step"] == ends[1]["global_step"]
    for part in ("state_dict", "current_model_state"):
        mine, theirs = (end.get(part, {}) for end in ends)
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert read(killed / "metrics.csv") == read(unbroken / "metrics.csv")
    assert not list(killed.rglob("*.part*"))


def limited(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_full_disk_is_told_and_the_same_command_works_later(drawn_store, lesion_net, tmp_path, share):
    run, words = tmp_path / "run", command(drawn_store, "lesions", steps=3)
    size = int(share * lesion_net.stat().st_size)
    how = [*CLI, *words, "--run", str(run)]
    full = subprocess.run(how, preexec_fn=partial(limited, size), capture_output=True, text=True)
    assert full.returncode == 2, full.stderr
    assert "File too large" in full.stderr
    assert not list(run.rglob("*.part*"))
    assert not list(run.rglob("*.ckpt"))
    assert main([*words, "--run", str(run)]) == 0


@pytest.mark.parametrize("pair", range(5))
def test_of_two_fits_at_once_one_is_refused(drawn_store, tmp_path, pair):
    run = tmp_path / "twin"
    words = [*CLI, *command(drawn_store, "sgd", steps=6), "--run", str(run), "--seed_everything"]
    both = [subprocess.Popen([*words, seed], stderr=subprocess.PIPE, text=True) for seed in ("1", "2")]
    said = [process.communicate()[1] for process in both]
    status = [process.returncode for process in both]
    assert sorted(status) == [0, 2]
    assert f"seed_everything: {1 + status.index(0)}" in (run / "config.yaml").read_text("utf-8")
    refused = said[status.index(2)]
    assert "in use by process" in refused or "holds a run" in refused
