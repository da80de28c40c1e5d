"""Whole runs: killed and resumed from the command line, and in two processes."""

import csv
import json
import os
import runpy
import shutil
import subprocess
import sys
import time

import pytest
import timm
import torch

from retinalesion.cli import main
from retinalesion.data.prepare import prepare
from retinalesion.data.synthetic import SyntheticSource

pytestmark = pytest.mark.timeout(900)  # three processes start, which takes long on a busy machine


def load(file):
    return torch.load(file, weights_only=True)


def read(file):
    with file.open(encoding="utf-8", newline="") as lines:
        return [{key: cell for key, cell in line.items() if cell} for line in csv.DictReader(lines)]


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def runs(drawn_store, tmp_path_factory):
    """Two runs from one command: ``unbroken`` to its end, ``killed`` in the dual stage.

    The rate is so low that nothing is ever found: the stage changes at the fifth validation, and the run
    stops at the sixteenth, after 32 steps. The encoder's weights are gone in the end.
    """
    folder = tmp_path_factory.mktemp("work")
    weights = folder / "encoder.pth"
    torch.save(timm.create_model("test_efficientnet").state_dict(), weights)
    command = ["fit", "--data.store", str(drawn_store.path), "--data.side", "64", "--data.workers", "1"]
    command += ["--data.batch_size", "2", "--data.batches", "2", "--model.network", "lnet-32s"]
    command += [
        "--model.encoder",
        "test_efficientnet",
        "--model.weights",
        str(weights),
        "--model.rate",
        "1e-5",
    ]
    command += ["--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", "1"]
    command += ["--trainer.enable_progress_bar", "false"]
    killed = folder / "killed"
    python = [sys.executable, "-m", "retinalesion.cli"]
    process = subprocess.Popen([*python, *command, "--run", str(killed)], stdout=subprocess.DEVNULL)
    log, last = killed / "log", killed / "checkpoints/last.ckpt"
    wait_for(lambda: log.exists() and "Dice gives way" in log.read_text("utf-8"), process)
    before = last.stat().st_mtime_ns
    wait_for(lambda: last.stat().st_mtime_ns != before, process)
    process.kill()
    process.wait()
    assert main([*command, "--run", str(folder / "unbroken")]) == 0
    weights.unlink()
    return folder


@pytest.fixture(scope="module")
def resumed(runs):
    """The killed run, resumed to its end; and the checkpoint that it went on from."""
    run = runs / "killed"
    assert not (run / "finished").exists()
    left = load(run / "checkpoints/last.ckpt")
    assert main(["fit", "--resume", str(run)]) == 0
    return run, left


def test_a_killed_run_goes_on_as_an_unbroken_one(runs, resumed):
    run, left = resumed
    assert left["retinalesion"]["stage"] == "dual"
    assert left["global_step"] < 32
    ends = [load(folder / "checkpoints/last.ckpt") for folder in (runs / "unbroken", run)]
    for part in ("global_step", "epoch", "retinalesion"):
        assert ends[0][part] == ends[1][part]
    assert ends[0]["global_step"] == 32
    weights = [end["state_dict"] for end in ends]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    rates = [end["optimizer_states"][0]["param_groups"][0]["lr"] for end in ends]
    assert rates[0] == rates[1] == pytest.approx(1e-8)
    counts = [[state for key, state in end["callbacks"].items() if "TwoStage" in key] for end in ends]
    assert counts[0] == counts[1]


def test_curves_of_a_resumed_run_have_neither_gaps_nor_doubles(runs, resumed):
    """Losses equal step by step: the same photographs, augmented alike, in the same order."""
    run, _ = resumed
    assert read(run / "metrics.csv") == read(runs / "unbroken" / "metrics.csv")


def test_the_log_tells_of_the_switch_and_the_best_comes_after_it(runs):
    told = (runs / "unbroken/log").read_text("utf-8")
    assert "Batch 10: learning rate falls to 1e-06." in told
    assert "Batch 10: Dice gives way to the dual loss." in told
    assert "Stopping: 10 validations without improvement" in told
    best = load(runs / "unbroken/checkpoints/best.ckpt")
    assert (best["global_step"], best["retinalesion"]["stage"]) == (12, "dual")


def test_a_resumed_run_is_tested_without_the_encoders_weights(resumed, drawn_store, capsys):
    run, _ = resumed
    assert main(["test", "--run", str(run), "--trainer.accelerator", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "Table 3" in shown
    assert "Table 5" in shown
    tested = [line["id"] for line in read(run / "test/photographs.csv")]
    assert tested == [row.id for row in drawn_store.rows if row.split == "test"]


SCRIPT = """
import json, sys
from pathlib import Path
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
import torch
from torch.utils.data import DataLoader
from retinalesion.data.datamodule import FundusDataModule
from retinalesion.training.segmentation import SegmentationTask

store, run, processes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
seed_everything(0, verbose=False)
data = FundusDataModule(store, batch_size=2, batches=2, evaluate="all", workers=0)
trainer = Trainer(
    default_root_dir=run, accelerator="cpu", devices=processes, max_steps=4,
    strategy="ddp" if processes > 1 else "auto", logger=CSVLogger(run, name="", version=""),
    enable_progress_bar=False, enable_model_summary=False,
)
if processes > 1:
    trainer.fit(SegmentationTask("lnet-32s", "test_efficientnet", weights=None), data)
last = run / "checkpoints/last.ckpt"
task = SegmentationTask.load_from_checkpoint(last, map_location="cpu", weights_only=True)
trainer.validate(task, data, verbose=False)
told = {name: float(value) for name, value in trainer.callback_metrics.items()}
trainer.test(task, data, verbose=False)
told["predicted"] = [id for batch in trainer.predict(task, data) for id in batch["id"]]
if processes > 1:
    planes = torch.zeros(8, 64, 64, dtype=torch.bool)
    planes[3 * trainer.global_rank, 5:20, 5:20] = True  # each process sees another lesion
    batch = {"image": torch.rand(3, 64, 64), "planes": planes, "valid": planes, "grade": -1, "id": "a"}
    own = Trainer(
        default_root_dir=run / "own", accelerator="cpu", devices=processes, strategy="ddp", max_steps=1,
        logger=False, enable_progress_bar=False, enable_model_summary=False,
    )
    task = SegmentationTask("lnet-32s", "test_efficientnet", weights=None)
    own.fit(task, DataLoader([batch] * 4, batch_size=2))
    told["learned"] = task.network.learned_codes
(run / f"rank{trainer.global_rank}.json").write_text(json.dumps(told))
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Fitted, tested and predicted in two processes, on nine photographs; tested and predicted in one."""
    folder = tmp_path_factory.mktemp("shared")
    store = prepare(SyntheticSource(count=9, side=64, seed=1), folder / "store", side=64, jobs=1).store
    script = folder / "script.py"
    script.write_text(SCRIPT)
    two = [sys.executable, str(script), str(store.path), str(folder / "two"), "2"]
    subprocess.run(two, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    shutil.copytree(folder / "two/checkpoints", folder / "one/checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(script), str(store.path), str(folder / "one"), "1"])
        runpy.run_path(str(script))
    return folder, [row.id for row in store.rows]


def told(folder):
    return [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("rank*.json"))]


def test_two_processes_see_each_photograph_once(shared):
    folder, ids = shared
    shares = [[id for id in rank["predicted"] if id] for rank in told(folder / "two")]
    assert sorted(shares[0] + shares[1]) == ids
    assert sorted(map(len, shares)) == [4, 5]
    assert [line["id"] for line in read(folder / "two/test/photographs.csv")] == ids


@pytest.mark.parametrize("table", ["photographs.csv", "lesions.csv"])
def test_two_processes_score_as_one_does(shared, table):
    folder, _ = shared
    assert read(folder / "two/test" / table) == read(folder / "one/test" / table)


def test_processes_agree_on_the_scores_of_a_validation(shared):
    folder, _ = shared
    (one,), (first, second) = told(folder / "one"), told(folder / "two")
    assert 0 < one["val/aupr"] < 1
    for name in ("val/aupr", "val/pixel_f1_ranking"):
        assert first[name] == second[name] == one[name]


def test_what_any_process_sees_all_of_them_learn(shared):
    assert [rank["learned"] for rank in told(shared[0] / "two")] == [["MA", "CWS"]] * 2


def test_processes_write_each_checkpoint_once(shared):
    folder, _ = shared
    assert {file.name for file in (folder / "two/checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert load(folder / "two/checkpoints/last.ckpt")["global_step"] == 4
