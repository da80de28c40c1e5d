"""Runs that end early, twice or beside each other, as a user types them."""

import csv
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from retinalesion.cli import main
from retinalesion.commands import runs
from retinalesion.commands.runs import Run
from retinalesion.errors import UserError
from retinalesion.training.segmentation import SegmentationTask


def load(run, name="last"):
    return torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)


def validated(run):
    with (run / "metrics.csv").open(newline="") as lines:
        return [int(row["step"]) for row in csv.DictReader(lines) if row["val/pixel_f1"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny):
    """Where the user works: not where others look for the newest run."""
    path = tmp_path_factory.mktemp("ends")
    (path / "tiny.yaml").write_text(tiny())
    return path


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def fit(drawn_store):
    """Fit by the tiny config, at a side that is quick."""

    def fit(*words):
        return main(["fit", "--config", "tiny.yaml", "--data.store", str(drawn_store.path), *words])

    return fit


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the finished run."""
    path = tmp_path / "copy"
    return Path(shutil.copytree(run, path, copy_function=shutil.copy2))


def test_a_finished_run_resumed_stays_as_it_is(copy, caplog):
    before = {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in copy.rglob("*")}
    assert main(["fit", "--resume", str(copy)]) == 0
    assert before == {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in copy.rglob("*")}
    assert "finished already" in caplog.text


def test_resumed_three_times_there_is_one_row_a_validation_and_no_step_beyond(fit, here):
    run = here / "runs/thrice"
    assert fit("--run", "thrice", "--data.batches", "4", "--trainer.max_steps", "6") == 0
    for steps in ("12", "18", "24"):
        assert main(["fit", "--resume", "thrice", "--trainer.max_steps", steps]) == 0
    assert load(run)["global_step"] == 24
    assert validated(run) == [3, 5, 7, 11, 15, 17, 19, 23]


def test_max_epochs_cuts_a_run_of_fixed_length_off_and_it_goes_on(fit, here, caplog):
    settings = ("--model.optimizer", "adamw", "--trainer.max_epochs", "1", "--run", "cut")
    assert fit(*settings) == 0
    assert not (here / "runs/cut/finished").exists()
    assert "The dual loss never came" in caplog.text
    assert caplog.messages[-1].split()[1:] == ["fit", "--resume", "runs/cut", "--trainer.max_epochs", "-1"]
    assert main(caplog.messages[-1].split()[1:]) == 0
    assert (here / "runs/cut/finished").read_text().startswith("last counts; finished after 4 steps")


@pytest.fixture
def ended(monkeypatch, fit):
    """A fit that is sent a signal in its second step; the status with which it ends."""
    original = SegmentationTask.training_step

    def ended(number, *words):
        def step(task, *batch):
            if task.global_step == 1:
                signal.raise_signal(number)
            return original(task, *batch)

        with monkeypatch.context() as patch:
            patch.setattr(SegmentationTask, "training_step", step)
            with pytest.raises(SystemExit) as stop:
                fit(*words)
        return stop.value.code

    return ended


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_validation_leaves_a_run_to_go_on_with(ended, here, caplog, number):
    name = f"signal-{int(number)}"
    words = ("--run", name, "--data.batches", "4", "--trainer.max_steps", "4")
    assert ended(number, *words) == 128 + number
    assert load(here / "runs" / name)["global_step"] == 2
    assert not (here / "runs" / name / "finished").exists()
    assert f"retinalesion fit --resume runs/{name}" in caplog.messages[-1]
    assert main(["fit", "--resume", name]) == 0
    assert load(here / "runs" / name)["global_step"] == 4


def test_a_run_that_died_before_its_first_validation_begins_anew_by_its_name(fit, here, refused, caplog):
    died = here / "runs/died"
    died.mkdir()
    (died / "config.yaml").write_text("died: early")
    (died / "checkpoints").mkdir()
    (died / "checkpoints/.last.ckpt.1.part.ckpt").write_text("half")
    (died / ".in.particular").write_text("the user's")
    assert "with --run" in refused("fit", "--resume", "died")
    assert fit("--run", "died", "--trainer.max_steps", "1") == 0
    assert "begins anew" in caplog.text
    assert {file.name for file in (died / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert (died / ".in.particular").read_text() == "the user's"


def test_what_is_made_of_a_file_from_elsewhere_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Run.of(Path("runs/first/checkpoints/best.ckpt")).path == tmp_path / "runs/first"
    assert Run.of(Path("given/box.safetensors")).path == tmp_path / "given"  # not beside the user's folder


def test_what_diverged_is_told_and_not_finished(fit, here, capsys):
    rate = ("--model.rate", "1e30", "--run", "astray")
    assert fit(*rate, "--data.batches", "4", "--trainer.max_steps", "8") == 2
    assert "model.rate is 1e+30" in capsys.readouterr().err
    assert not (here / "runs/astray/finished").exists()


def test_two_at_once_are_one_and_a_refusal(fit, here, capsys):
    held = "import sys, time; from pathlib import Path; from retinalesion.files import locked\n"
    held += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", held, str(here / "runs/twin")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert fit("--run", "twin") == 2
        assert f"in use by process {other.pid}" in capsys.readouterr().err
        other.kill()
    assert fit("--run", "twin", "--trainer.max_steps", "1") == 0


def test_runs_without_a_name_begun_in_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RUNS", tmp_path)
    monkeypatch.setattr(runs.time, "strftime", lambda _: "now")
    assert [Run.new().path.name for _ in range(3)] == ["now", "now-2", "now-3"]


def test_a_folder_that_stays_empty_is_no_run(tmp_path):
    with pytest.raises(UserError, match="astray"), Run(tmp_path / "run").held():
        raise UserError("astray")
    assert not (tmp_path / "run").exists()


def test_queued_again_by_slurm_it_goes_on(ended, fit, here, monkeypatch, caplog):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # Lightning: an interactive job, one process
    assert ended(signal.SIGTERM) == 143
    run = here / "runs/slurm-77"
    before = load(run)["global_step"]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert fit() == 0
    assert (before, load(run)["global_step"]) == (2, 4)
    assert validated(run) == [1, 3]
    assert fit() == 0
    assert "finished already" in caplog.text


def test_the_best_checkpoint_can_be_gone_on_from(copy, capsys):
    best = load(copy, "best")["global_step"]
    at = str(copy / "checkpoints/best.ckpt")
    assert main(["fit", "--resume", at, "--trainer.max_steps", str(best + 2)]) == 0
    assert load(copy)["global_step"] == best + 2


def test_a_run_whose_config_is_lost_goes_on_with_its_own_network(copy, drawn_store):
    (copy / "config.yaml").unlink()
    steps, settings = (load(copy)[key] for key in ("global_step", "hyper_parameters"))
    words = ["--data.store", str(drawn_store.path), "--data.side", "64", "--data.batches", "2"]
    assert main(["fit", "--resume", str(copy), *words, "--trainer.max_steps", str(steps + 2)]) == 0
    assert load(copy)["global_step"] == steps + 2
    assert load(copy)["hyper_parameters"] == settings


def test_what_is_typed_wins_wherever_it_stands(drawn_store, here):
    words = ["--model.rate", "0.123", "--config", "tiny.yaml", "--data.store", str(drawn_store.path)]
    (here / "rate.yaml").write_text((here / "tiny.yaml").read_text().replace("weights", "rate: 0.5, weights"))
    words[words.index("tiny.yaml")] = "rate.yaml"
    assert main(["fit", *words, "--run", "typed", "--trainer.max_steps", "1"]) == 0
    assert yaml.safe_load((here / "runs/typed/config.yaml").read_text())["model"]["rate"] == 0.123


def test_a_config_beside_a_checkpoint_from_elsewhere_is_not_obeyed(copy, drawn_store, capsys):
    (copy / "config.yaml").write_text(
        "trainer: {callbacks: [{class_path: somebody.Elses}]}\nmodel: {rate: 9}\n"
    )
    at = ["--ckpt_path", str(copy / "checkpoints/best.ckpt")]
    assert main(["test", *at, "--data.store", str(drawn_store.path), "--data.workers", "0"]) == 0
    assert (copy / "test/lesions.csv").is_file()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("overfit_batches=1", "data.batches"),
        ("precision=16-true", "bf16-mixed"),
        ("strategy=nonesuch", "nonesuch"),
        ("val_check_interval=9", "val_check_interval"),
        pytest.param(
            "accelerator=gpu",
            "gpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_settings_that_do_not_go_together_are_told(fit, here, capsys, setting, says):
    assert fit("--run", "settings", f"--trainer.{setting}") == 2
    assert says in capsys.readouterr().err
    shutil.rmtree(here / "runs/settings", ignore_errors=True)


def test_a_run_in_a_folder_with_brackets(fit, here):
    assert fit("--run", "runs/[/b]x[red]", "--trainer.max_steps", "1") == 0
    assert main(["test", "--run", "runs/[/b]x[red]"]) == 0
