"""What a network learned is told by the batches that trained it, whoever made them, and kept."""

from dataclasses import replace

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.store import Store, write_tables
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.training.classification import LesionClassificationTask
from retinalesion.training.segmentation import SegmentationTask

NETWORKS = {SegmentationTask: "lnet-32s", LesionClassificationTask: "lesions-plain"}


def task_of(kind, weights=None, **settings):
    torch.manual_seed(0)
    return kind(NETWORKS[kind], "test_efficientnet", weights, **settings)


def sample(marked, valid=None):
    """A photograph on which some lesions are marked, of those that count (all marked ones, unless named)."""
    planes, counts = torch.zeros(2, 8, 64, 64, dtype=torch.bool)
    for code in marked:
        planes[CODES.index(code), 4:9, 4:9] = True
    for code in marked if valid is None else valid:
        counts[CODES.index(code)] = True
    return {"image": torch.rand(3, 64, 64), "planes": planes, "valid": counts, "grade": -1, "id": "a"}


def loader(*samples):
    return DataLoader(list(samples), batch_size=1)


def trainer_in(folder, steps, **others):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return Trainer(default_root_dir=folder, max_steps=steps, accelerator="cpu", **quiet, **others)


def kept_in(folder, kind):
    return kind.load_from_checkpoint(
        folder / "checkpoints/last.ckpt", weights_only=True
    ).network.learned_codes


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_bare_loaders_teach_what_is_marked_where_it_counts(tmp_path, kind, optimizer):
    task = task_of(kind, optimizer=optimizer)
    shown = sample(["MA", "NV"], valid=["MA", "HaEx"])  # HaEx was looked for, NV was not
    trainer_in(tmp_path, 2).fit(task, loader(shown, sample([])), loader(shown))
    assert task.network.learned_codes == kept_in(tmp_path, kind) == ("MA",)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_resumed_fit_knows_what_came_before(tmp_path, kind):
    trainer_in(tmp_path, 1).fit(task_of(kind), loader(sample(["MA"])), loader(sample(["MA"])))
    last = tmp_path / "checkpoints/last.ckpt"
    again = task_of(kind)
    trainer_in(tmp_path, 2).fit(again, loader(sample(["CWS"])), ckpt_path=last, weights_only=True)
    assert again.network.learned_codes == ("MA", "CWS")


def test_what_an_earlier_run_learned_stays_where_its_whole_network_begins_the_next(tmp_path):
    trainer_in(tmp_path, 1).fit(task_of(SegmentationTask), loader(sample(["MA"])), loader(sample(["MA"])))
    last = str(tmp_path / "checkpoints/last.ckpt")
    whole, encoder = task_of(SegmentationTask, last), task_of(LesionClassificationTask, last)
    for task in (whole, encoder):
        trainer_in(tmp_path / "next", 1).fit(task, loader(sample(["CWS"])), loader(sample(["CWS"])))
    assert whole.network.learned_codes == ("MA", "CWS")
    assert encoder.network.learned_codes == ("CWS",)


def test_a_task_fitted_again_forgets_nothing(tmp_path):
    task = task_of(SegmentationTask)
    for code in ("MA", "CWS"):
        trainer_in(tmp_path, 1).fit(task, loader(sample([code])), loader(sample([code])))
    assert task.network.learned_codes == ("MA", "CWS")


def test_a_fit_that_never_saw_a_lesion_has_not_learned_it(drawn_store, tmp_path):
    """Though others of the store's photographs have it."""
    task, seen = task_of(SegmentationTask), torch.zeros(8, dtype=torch.bool)
    data = FundusDataModule(str(drawn_store.path), side=64, batch_size=1, batches=1, workers=0)
    inner = data.on_after_batch_transfer

    def listening(batch, index):
        made = inner(batch, index)
        if "draw" in batch:
            seen.logical_or_(made["planes"].any(3).any(2).any(0))
        return made

    data.on_after_batch_transfer = listening
    trainer_in(tmp_path, 1).fit(task, data)
    assert data.learned == CODES
    assert 0 < seen.sum() < 8
    assert torch.equal(task.learned, seen)


def test_a_data_module_of_ones_own_will_do(tmp_path):
    class Own(LightningDataModule):
        def train_dataloader(self):
            return loader(sample(["MA"]))

        val_dataloader = test_dataloader = train_dataloader

    task, trainer = task_of(SegmentationTask), trainer_in(tmp_path, 1)
    trainer.fit(task, Own())
    trainer.test(task, Own(), verbose=False)
    assert task.network.learned_codes == ("MA",)


@pytest.mark.parametrize("kind", NETWORKS)
def test_nothing_that_teaches_is_refused_before_the_first_step(drawn_store, tmp_path, kind):
    path = tmp_path / "store"
    path.mkdir()
    for folder in ("photographs", "planes"):
        (path / folder).symlink_to(drawn_store.path / folder)
    rows = [replace(row, pixels=dict.fromkeys(row.pixels, 0)) for row in drawn_store.rows]
    write_tables(path, rows, drawn_store.info)
    task = task_of(kind)
    with pytest.raises(UserError, match=r"none of the 10 photographs.*nothing to learn.*prepare again"):
        trainer_in(tmp_path, 1).fit(task, FundusDataModule(str(Store(path).path), workers=0))
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_score_over_nothing_learned_is_none_to_be_proud_of(tmp_path):
    trainer, task = trainer_in(tmp_path, 1), task_of(SegmentationTask)
    trainer.fit(task, loader(sample([])), loader(sample(["MA"])))
    assert trainer.callback_metrics["val/pixel_f1"] == 0
    assert kept_in(tmp_path, SegmentationTask) == ()
