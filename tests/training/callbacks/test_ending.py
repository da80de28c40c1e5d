"""How fits end, from a plain Trainer: validated, by a signal, and with a word on what was not done."""

import signal

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.errors import UserError
from retinalesion.training.callbacks.ending import end_of
from retinalesion.training.segmentation import SegmentationTask

NETWORK = {"network": "lnet-32s", "encoder": "test_efficientnet", "weights": None}


def trainer(folder, *callbacks, **others):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    plan = {"accelerator": "cpu", "num_sanity_val_steps": 0}
    return Trainer(default_root_dir=folder, callbacks=list(callbacks), **{**quiet, **plan, **others})


def fit(store, trainer, resume=None, **settings):
    torch.manual_seed(0)
    task = SegmentationTask(**NETWORK, **settings)
    data = FundusDataModule(str(store.path), side=64, batch_size=2, batches=3, workers=0)
    trainer.fit(task, data, ckpt_path=resume)
    return task


def last(folder):
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)


class Raising(Callback):
    """Sends this process a signal in the middle of a batch, or of a validation."""

    def __init__(self, number, at):
        self.number, self.at = number, at

    def on_before_backward(self, trainer, pl_module, loss):
        if self.at == trainer.global_step:
            signal.raise_signal(self.number)

    def on_validation_batch_start(self, trainer, *_):
        if self.at == "validation":
            signal.raise_signal(self.number)


@pytest.mark.parametrize(
    ("number", "at", "steps"),
    [(signal.SIGINT, 1, 2), (signal.SIGTERM, 4, 5), (signal.SIGINT, 2, 3), (signal.SIGTERM, "validation", 3)],
)
def test_a_signal_ends_a_fit_after_its_batch_with_a_checkpoint_and_its_status(
    drawn_store, tmp_path, number, at, steps
):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        fit(drawn_store, trainer(tmp_path / "stopped", Raising(number, at), max_steps=6), optimizer="adamw")
    assert stop.value.code == 128 + number
    assert last(tmp_path / "stopped")["global_step"] == steps
    assert signal.getsignal(number) == before
    resumed = trainer(tmp_path / "stopped", max_steps=6)
    fit(drawn_store, resumed, tmp_path / "stopped/checkpoints/last.ckpt", optimizer="adamw")
    fit(drawn_store, trainer(tmp_path / "unbroken", max_steps=6), optimizer="adamw")
    ends = [last(tmp_path / name)["state_dict"] for name in ("stopped", "unbroken")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_second_ctrl_c_ends_at_once(drawn_store, tmp_path):
    twice = Raising(signal.SIGINT, 1), Raising(signal.SIGINT, 1)
    with pytest.raises(SystemExit):
        fit(drawn_store, trainer(tmp_path, *twice, max_steps=6))
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    "intervals",
    [{"check_val_every_n_epoch": 5}, {"val_check_interval": 100, "check_val_every_n_epoch": None}, {}],
    ids=["epochs", "batches", "usual"],
)
@pytest.mark.parametrize("length", [{"max_steps": 4}, {"max_epochs": 1}], ids=["steps", "epochs"])
def test_a_run_is_validated_and_saved_at_its_end(drawn_store, tmp_path, intervals, length):
    fitted = trainer(tmp_path, **length, **intervals)
    fit(drawn_store, fitted)
    assert "val/pixel_f1" in fitted.callback_metrics
    assert last(tmp_path)["global_step"] == fitted.global_step


@pytest.mark.parametrize(
    ("optimizer", "plan", "others", "cause", "planned"),
    [
        ("adamw", {"max_steps": 4}, [], "max_steps 4", True),
        ("adamw", {"max_steps": 9, "max_epochs": 1}, [], "max_epochs 1", False),
        ("sgd", {"max_epochs": 1}, [], "max_epochs 1", True),
        ("adamw", {"max_steps": 9, "max_time": {"seconds": 0.001}}, [], "max_time", True),
        ("sgd", {"max_epochs": 9}, [("val/pixel_f1", 2.0)], "EarlyStopping", True),
    ],
)
def test_what_ended_a_fit_and_what_was_not_done_is_said(
    drawn_store, tmp_path, caplog, optimizer, plan, others, cause, planned
):
    stops = [EarlyStopping(name, stopping_threshold=top, mode="min") for name, top in others]
    fitted = trainer(tmp_path, *stops, **plan)
    task = fit(drawn_store, fitted, optimizer=optimizer, calibrate=optimizer == "adamw")
    end = end_of(fitted, task)
    assert (end.cause, end.planned) == (cause, planned)
    said = [message for message in caplog.messages if message.startswith("Ended by")]
    if cause == "max_steps 4":
        assert not said
        return
    (message,) = said
    assert cause in message
    assert "The dual loss never came" in message
    assert ("Nothing was calibrated" in message) == (optimizer == "adamw")
    assert not any("kept improving" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("setting", "says"),
    [({"precision": "bf16-true"}, "bf16-mixed"), ({"overfit_batches": 1}, r"data\.batches")],
)
def test_settings_under_which_a_task_cannot_work_are_refused(drawn_store, tmp_path, setting, says):
    with pytest.raises(UserError, match=says):
        fit(drawn_store, trainer(tmp_path, max_steps=1, **setting))
