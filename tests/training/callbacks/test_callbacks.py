"""A user's own callbacks beside the task's, and what is not finite: from a plain Trainer."""

import math

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from torch.utils.data import DataLoader

from retinalesion.errors import UserError
from retinalesion.training.callbacks.checkpoints import RunCheckpoint
from retinalesion.training.callbacks.finite import MOST_SKIPPED, Finite
from retinalesion.training.schedule import AveragedWeights, SwitchAtShare, TwoStageSchedule
from retinalesion.training.segmentation import SegmentationTask


@pytest.fixture
def loader():
    """Four small photographs, one a batch."""
    torch.manual_seed(0)
    photographs = [
        {
            "image": torch.rand(3, 64, 64),
            "planes": torch.rand(8, 64, 64) > 0.5,
            "valid": torch.ones(8, 64, 64, dtype=torch.bool),
            "grade": 0,
            "id": f"p{number}",
        }
        for number in range(4)
    ]
    return DataLoader(photographs, batch_size=1)


def trainer(folder, *callbacks, epochs=2, **others):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    plan = {"max_epochs": epochs, "accelerator": "cpu", "num_sanity_val_steps": 0}
    return Trainer(default_root_dir=folder, callbacks=list(callbacks), **{**quiet, **plan, **others})


def task(**settings):
    return SegmentationTask(
        **{"network": "lnet-32s", "encoder": "test_efficientnet", "weights": None, **settings}
    )


def kinds(fitted):
    return [type(callback) for callback in fitted.callbacks]


def test_a_checkpoint_callback_of_ones_own_saves_beside_best_and_last(tmp_path, loader):
    mine = ModelCheckpoint(tmp_path / "mine", "{epoch}", save_top_k=-1)
    fitted = trainer(tmp_path, mine)
    fitted.fit(task(), loader, loader)
    assert {file.name for file in (tmp_path / "mine").iterdir()} == {"epoch=0.ckpt", "epoch=1.ckpt"}
    assert {file.name for file in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_nobodys_checkpoint_callback_leaves_no_third_checkpoint(tmp_path, loader):
    fitted = trainer(tmp_path)
    fitted.fit(task(), loader, loader)
    assert kinds(fitted).count(RunCheckpoint) == 2
    assert ModelCheckpoint not in kinds(fitted)


def test_checkpoints_switched_off_stay_off(tmp_path, loader):
    trainer(tmp_path, enable_checkpointing=False).fit(task(), loader, loader)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_schedule_of_ones_own_replaces_ours_and_knows_the_tasks_score(tmp_path, loader):
    mine = TwoStageSchedule(patience=1, stop_patience=2)
    fitted = trainer(tmp_path, mine, epochs=9)
    fitted.fit(task(rate=1e-12), loader, loader)
    assert kinds(fitted).count(TwoStageSchedule) == 1
    # a first score, one worse: dual; then there a first, and two worse
    assert fitted.current_epoch < 9
    assert mine.since_best == 2


@pytest.mark.parametrize(
    ("mine", "gone"),
    [(SwitchAtShare(0.2), None), (WeightAveraging(**AveragedWeights()._kwargs), AveragedWeights)],
    ids=["switch", "mean"],
)
def test_callbacks_of_a_run_of_fixed_length_give_way_too(tmp_path, loader, mine, gone):
    fitted = trainer(tmp_path, mine, epochs=-1, max_steps=2)
    fitted.fit(task(optimizer="adamw"), loader, loader)
    assert mine in fitted.callbacks
    assert kinds(fitted).count(type(mine)) == 1
    assert gone not in kinds(fitted)


class Astray(SegmentationTask):
    """Its loss or a weight is not finite from the third step on."""

    def __init__(self, where):
        super().__init__("lnet-32s", "test_efficientnet", None)
        self.where = where

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if self.global_step < 2:
            return loss
        if self.where == "loss":
            return loss * math.inf
        return loss + (loss - loss.detach()).sqrt()  # finite, with a gradient that is infinite


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_fit_stops_at_what_is_not_finite_with_step_ids_and_remedy(tmp_path, loader, where):
    fitted = trainer(tmp_path, val_check_interval=2)
    with pytest.raises(UserError, match=rf"Step 3 \(photographs p2\): the {where} is not.*model\.rate"):
        fitted.fit(Astray(where), loader, loader)
    last = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 2
    assert all(value.isfinite().all() for value in last["state_dict"].values())


def test_the_last_step_is_looked_at_too(tmp_path, loader):
    with pytest.raises(UserError, match="Step 3"):
        trainer(tmp_path, epochs=-1, max_steps=3).fit(Astray("loss"), loader, loader)


def test_weights_that_are_not_finite_are_not_saved(tmp_path, loader):
    fitted, one = trainer(tmp_path), task()
    fitted.fit(one, loader, loader)
    one.network.head.bias.data[0] = math.nan
    with pytest.raises(UserError, match=r"network\.head\.bias"):
        fitted.save_checkpoint(tmp_path / "mine.ckpt")
    assert not (tmp_path / "mine.ckpt").exists()


def test_float16s_scaler_may_skip_nine_steps_in_a_row(tmp_path):
    looker, scaled = Finite(), trainer(tmp_path)
    scaled.precision_plugin.scaler = object()
    gradients = [math.inf] * (MOST_SKIPPED - 1) + [1.0] + [math.inf] * (MOST_SKIPPED - 1)
    for gradient in gradients:
        looker.gradient = torch.tensor(gradient)
        looker.look(scaled, task())
    looker.gradient = torch.tensor(math.nan)
    with pytest.raises(UserError, match="10 steps in a row"):
        looker.look(scaled, task())
