"""Calibration at the end of a fit: what it changes, when, and that it does what it is for."""

import pytest
import torch
from lightning.pytorch import Trainer

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.training.callbacks.calibration import calibrate
from retinalesion.training.segmentation import SegmentationTask

HEAD = "network.head.bias"


def trainer(folder, steps=6, **others):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(default_root_dir=folder, accelerator="cpu", max_steps=steps, **{**quiet, **others})


def data(store, split="train"):
    return FundusDataModule(
        str(store.path), crop=32, lesion_crops=0.5, batch_size=2, batches=4, workers=0, evaluate=split
    )


def fit(folder, store, fitting=None, resume=None, **settings):
    torch.manual_seed(0)
    usual = {"network": "lnet-16s", "encoder": "test_efficientnet", "weights": None, "optimizer": "adamw"}
    task = SegmentationTask(**{**usual, "rate": 0.01, "calibrate": True, **settings})
    (fitting or trainer(folder)).fit(task, datamodule=data(store), ckpt_path=resume)
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)


def scores_of(folder, store):
    task = SegmentationTask.load_from_checkpoint(folder / "checkpoints/last.ckpt", weights_only=True)
    (scores,) = trainer(folder / "test").test(task, data(store), verbose=False)
    return {code: scores[f"test/pixel F1/{code}"] for code in CODES if f"test/pixel F1/{code}" in scores}


@pytest.fixture(scope="module")
def both(drawn_store, tmp_path_factory):
    """The same fit with calibration and without: folder and last checkpoint of each."""
    folder = tmp_path_factory.mktemp("calibration")
    names = {"calibrated": True, "plain": False}
    return {
        name: (folder / name, fit(folder / name, drawn_store, calibrate=on)) for name, on in names.items()
    }


def test_nothing_but_the_bias_of_the_last_convolution_changes(both):
    calibrated, plain = (both[name][1]["state_dict"] for name in ("calibrated", "plain"))
    assert [key for key, value in plain.items() if not torch.equal(value, calibrated[key])] == [HEAD]


def test_training_goes_on_from_weights_that_it_leaves_alone(both):
    calibrated, plain = (both[name][1]["current_model_state"] for name in ("calibrated", "plain"))
    assert all(torch.equal(value, calibrated[key]) for key, value in plain.items())


def test_lesions_of_the_training_photographs_are_found_better_at_a_half(both, drawn_store):
    calibrated, plain = (scores_of(both[name][0], drawn_store) for name in ("calibrated", "plain"))
    assert all(calibrated[code] >= plain[code] - 1e-3 for code in plain)
    assert sum(calibrated.values()) > sum(plain.values())


def test_photographs_held_back_play_no_part(both, drawn_store, monkeypatch):
    asked, original = [], FundusDataModule.rows

    def rows(self, split, **how):
        asked.append(split)
        return original(self, split, **how)

    folder, _ = both["plain"]
    task = SegmentationTask.load_from_checkpoint(folder / "checkpoints/last.ckpt", weights_only=True).eval()
    monkeypatch.setattr(FundusDataModule, "rows", rows)
    calibrate(task.network, data(drawn_store))
    assert set(asked) == {"train"}


def test_a_run_without_a_length_is_refused():
    with pytest.raises(UserError, match=r"model\.optimizer to adamw"):
        SegmentationTask(calibrate=True)


def test_loaders_alone_are_refused(drawn_store, tmp_path):
    task = SegmentationTask("lnet-32s", "test_efficientnet", None, optimizer="adamw", calibrate=True)
    loader = data(drawn_store).train_dataloader()
    with pytest.raises(UserError, match="FundusDataModule"):
        trainer(tmp_path).fit(task, loader, loader)
