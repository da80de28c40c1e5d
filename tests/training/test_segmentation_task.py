"""Fits, resumes and tests as a notebook makes them: a plain Trainer, and nothing else but task and data."""

import logging
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import timm
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.prepare import prepare
from retinalesion.data.synthetic import SyntheticSource
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.tables import lesion_model_from, segmenter
from retinalesion.training.callbacks.checkpoints import WholeFiles
from retinalesion.training.segmentation import SegmentationTask

TINY = {"network": "lnet-32s", "encoder": "test_efficientnet", "weights": None}


class Diary(Callback):
    """What each training step saw and did."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.steps.append((tuple(batch["id"]), rate, task.stage, float(outputs["loss"])))


class EveryStep(ModelCheckpoint):
    """A checkpoint after each step, beside those of the task."""

    def __init__(self, folder):
        super().__init__(folder, "{step}", every_n_train_steps=1, save_top_k=-1)


def trainer_in(folder, steps, *callbacks, **others):
    usual = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return Trainer(default_root_dir=folder, max_steps=steps, callbacks=list(callbacks), **{**usual, **others})


def data(store, batches, workers=0):
    return FundusDataModule(str(store.path), side=64, batch_size=2, batches=batches, workers=workers)


def fit(folder, store, steps, batches, *callbacks, resume=None, workers=0, seed=0, trainer=None, **settings):
    torch.manual_seed(seed)
    task = SegmentationTask(**{**TINY, **settings})
    fitting = trainer or trainer_in(folder, steps, *callbacks)
    fitting.fit(task, datamodule=data(store, batches, workers), ckpt_path=resume)
    return fitting, task


@contextmanager
def listening():
    """The lines that Lightning's logger, which keeps its lines to itself, gets in the meantime."""
    lines, listener, logger = [], logging.Handler(), logging.getLogger("lightning.pytorch")
    listener.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(listener)
    yield lines
    logger.removeHandler(listener)


def mean_f1(folder, task, store):
    (scores,) = trainer_in(folder, -1).test(task, FundusDataModule(str(store.path), workers=0), verbose=False)
    return scores["test/pixel F1/mean"]


def load(file):
    return torch.load(file, weights_only=True)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def switched(drawn_store, tmp_path_factory):
    """A fit too slow to find anything, so that its score stands still, and what it told."""
    run = tmp_path_factory.mktemp("switched")
    diary = Diary()
    with listening() as told:
        fit(run, drawn_store, 14, 2, diary, EveryStep(run / "steps"), rate=1e-6)
    return run, told, diary.steps


def test_rate_falls_and_the_dual_loss_comes_when_the_score_stands_still(switched):
    _, told, steps = switched
    assert "Batch 10: learning rate falls to 1e-07." in told
    assert "Batch 10: Dice gives way to the dual loss." in told
    assert [stage for _, _, stage, _ in steps] == 10 * ["dice"] + 4 * ["dual"]
    assert [rate for _, rate, _, _ in steps] == pytest.approx(10 * [1e-6] + 4 * [1e-7])


def test_the_best_checkpoint_comes_from_after_the_switch(switched):
    run, _, _ = switched
    best = load(run / "checkpoints/best.ckpt")
    assert best["global_step"] == 12
    assert best["retinalesion"]["stage"] == "dual"


def test_a_run_that_never_switches_keeps_its_dice_best_and_says_so(drawn_store, tmp_path):
    with listening() as told:
        fit(tmp_path, drawn_store, 2, 1)
    assert any("these are weights of the Dice stage" in line for line in told)
    assert load(tmp_path / "checkpoints/best.ckpt")["retinalesion"]["stage"] == "dice"


@pytest.mark.parametrize("after", [3, 9, 13])
def test_sgd_resumed_goes_on_as_an_unbroken_run(switched, drawn_store, tmp_path, after):
    """From within the Dice stage, the last batch of it, and the dual stage."""
    run, _, steps = switched
    diary = Diary()
    fit(tmp_path, drawn_store, 14, 2, diary, resume=run / f"steps/step={after}.ckpt", seed=1, rate=1e-6)
    assert diary.steps == steps[after:]
    require_same_end(run, tmp_path)


def require_same_end(run, resumed):
    unbroken, again = (load(folder / "checkpoints/last.ckpt") for folder in (run, resumed))
    assert equal(unbroken["state_dict"], again["state_dict"])
    assert unbroken["global_step"] == again["global_step"]
    assert unbroken["epoch"] == again["epoch"]
    assert unbroken["lr_schedulers"] == again["lr_schedulers"]
    assert unbroken["retinalesion"] == again["retinalesion"]
    (kept,) = (
        state for key, state in unbroken["callbacks"].items() if "TwoStage" in key or "Averaged" in key
    )
    assert kept in again["callbacks"].values()
    if "current_model_state" in unbroken:
        assert equal(unbroken["current_model_state"], again["current_model_state"])


@pytest.fixture(scope="module")
def averaged(drawn_store, tmp_path_factory):
    """A run of fixed length with AdamW, whose loader fetches ahead."""
    run, diary = tmp_path_factory.mktemp("averaged"), Diary()
    fit(run, drawn_store, 9, 4, diary, EveryStep(run / "steps"), workers=1, optimizer="adamw")
    return run, diary.steps


@pytest.mark.parametrize("after", [3, 7])
def test_adamw_resumed_goes_on_as_an_unbroken_run(averaged, drawn_store, tmp_path, after):
    """From either stage; the batch that a loader fetches ahead and a limit of epochs make no difference."""
    run, steps = averaged
    diary = Diary()
    trainer = trainer_in(tmp_path, 9, diary, max_epochs=50)
    resume = run / f"steps/step={after}.ckpt"
    fit(tmp_path, drawn_store, 9, 4, resume=resume, seed=1, workers=1, trainer=trainer, optimizer="adamw")
    assert diary.steps == steps[after:]
    require_same_end(run, tmp_path)


def test_checkpoints_hold_averaged_weights_for_use_and_current_ones_to_go_on(averaged):
    run, _ = averaged
    last = load(run / "checkpoints/last.ckpt")
    assert not equal(last["state_dict"], last["current_model_state"])
    task = SegmentationTask.load_from_checkpoint(run / "checkpoints/last.ckpt", weights_only=True)
    assert equal(task.state_dict(), last["state_dict"])


def test_a_finished_run_of_fixed_length_can_be_made_longer(averaged, drawn_store, tmp_path):
    run, steps = averaged
    diary = Diary()
    fit(tmp_path, drawn_store, 12, 4, diary, resume=run / "checkpoints/last.ckpt", optimizer="adamw")
    assert len(diary.steps) == 3
    assert diary.steps[0][1] > steps[-1][1]
    assert all(rate > later for (_, rate, _, _), (_, later, _, _) in pairwise(diary.steps))


def test_a_run_of_fixed_length_needs_one(drawn_store, tmp_path):
    with pytest.raises(UserError, match=r"trainer\.max_steps"):
        fit(tmp_path, drawn_store, -1, 4, optimizer="adamw")


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(7)
    file = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_efficientnet").state_dict(), file)
    return file


def test_weights_begin_a_fresh_fit_and_are_never_asked_for_again(drawn_store, tmp_path, weights):
    run = tmp_path / "run"
    _, task = fit(run, drawn_store, 2, 2, weights=str(weights), rate=1e-9)
    began = load(weights)
    for name, value in task.network.encoder.body.named_parameters():
        assert torch.allclose(value, began[name], atol=1e-6)
    weights.unlink()
    last = run / "checkpoints/last.ckpt"

    trainer, again = fit(run, drawn_store, 3, 2, resume=last, weights=str(weights))
    assert trainer.global_step == 3
    loaded = SegmentationTask.load_from_checkpoint(last, weights_only=True)
    assert equal(loaded.state_dict(), again.state_dict())
    evaluating = trainer_in(run, -1)
    evaluating.test(loaded, data(drawn_store, 2), ckpt_path=last, weights_only=True, verbose=False)
    predicted = evaluating.predict(loaded, data(drawn_store, 2), ckpt_path=last, weights_only=True)
    assert len(predicted) == 4


def test_weights_are_read_again_for_a_fresh_fit_with_a_trainer_used_before(drawn_store, tmp_path, weights):
    """A trainer remembers the checkpoint of its last command."""
    trainer, task = fit(tmp_path, drawn_store, 1, 1, weights=str(weights))
    trainer.test(task, data(drawn_store, 1), ckpt_path=tmp_path / "checkpoints/last.ckpt", verbose=False)
    weights.unlink()
    with pytest.raises(UserError, match=weights.name):
        fit(tmp_path, drawn_store, 1, 1, weights=str(weights), trainer=trainer)


def test_a_checkpoint_knows_what_was_learned_and_on_which_store(switched, drawn_store):
    run, _, _ = switched
    task = SegmentationTask.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True)
    train = [row for row in drawn_store.rows if row.split == "train"]
    present = [code for code in CODES if any(row.pixels.get(code) for row in train)]
    assert task.network.learned_codes == tuple(present)
    assert task.store_fingerprint == drawn_store.fingerprint
    assert task.stage == "dual"


def test_a_moved_run_keeps_its_best(drawn_store, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    fit(old, drawn_store, 2, 1, rate=1e-6)
    best = load(old / "checkpoints/best.ckpt")
    old.rename(new)
    fit(new, drawn_store, 4, 1, resume=new / "checkpoints/last.ckpt", rate=1e-6)
    assert load(new / "checkpoints/last.ckpt")["global_step"] == 4
    assert load(new / "checkpoints/best.ckpt")["global_step"] == best["global_step"] == 1
    assert not old.exists()


def test_checkpoints_can_be_switched_off(drawn_store, tmp_path):
    fit(tmp_path, drawn_store, 1, 1, trainer=trainer_in(tmp_path, 1, enable_checkpointing=False))
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    "foreign", [{}, {"retinalesion": {"format": 99}}], ids=["of another program", "newer"]
)
def test_a_checkpoint_that_does_not_fit_is_refused(switched, tmp_path, foreign):
    contents = load(switched[0] / "checkpoints/best.ckpt")
    del contents["retinalesion"]
    torch.save({**contents, **foreign}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"not a checkpoint of retinalesion|format 99"):
        SegmentationTask.load_from_checkpoint(tmp_path / "other.ckpt", weights_only=True)


@pytest.mark.parametrize(
    "error", [RuntimeError("file write failed\nC++ frames"), OSError(28, "No space left")]
)
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, error):
    file = tmp_path / "last.ckpt"
    WholeFiles().save_checkpoint({"step": 1}, file)

    def fill(contents, opened):
        opened.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(
        UserError, match=r"last\.ckpt: cannot be written \((file write failed|No space left)\)"
    ):
        WholeFiles().save_checkpoint({"step": 2}, file)
    assert load(file) == {"step": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_an_untrained_network_finds_nothing_and_a_short_fit_finds_lesions_of_other_eyes(tmp_path):
    store = prepare(SyntheticSource(count=48, side=128), tmp_path / "store", side=96, jobs=1).store
    torch.manual_seed(0)
    task = SegmentationTask(
        "lnet-4s", "test_efficientnet", None, optimizer="adamw", rate=0.01, per_lesion=True
    )
    assert mean_f1(tmp_path / "before", task, store) < 0.02
    fitting = trainer_in(tmp_path / "run", 200)
    fitting.fit(task, datamodule=FundusDataModule(str(store.path), batch_size=4, batches=200, workers=0))
    assert mean_f1(tmp_path / "after", task, store) > 0.12


@pytest.mark.parametrize("loss", ["dice", "weighted_cross_entropy", "focal"])
def test_other_losses_teach_and_stay(drawn_store, tmp_path, loss):
    trainer, task = fit(tmp_path, drawn_store, 2, 1, loss=loss)
    assert task.stage == "only"
    assert trainer.callback_metrics["train/loss"] > 0


def test_weights_of_cross_entropy_are_counted_once_and_kept(drawn_store, tmp_path):
    """Pixels not marked to pixels marked, in training photographs in which the lesion was looked for."""
    _, task = fit(tmp_path, drawn_store, 1, 1, loss="weighted_cross_entropy")
    rows = drawn_store.split("train")
    for code, weight in zip(CODES, task.imbalance.tolist(), strict=True):
        marked = sum(np.count_nonzero(drawn_store.planes(row.id) & 1 << CODES.index(code)) for row in rows)
        everything = drawn_store.side**2 * len(rows)
        assert weight == pytest.approx(min((everything - marked) / marked, 100) if marked else 1)
    assert task.imbalance.max() == 100
    again = SegmentationTask.load_from_checkpoint(tmp_path / "checkpoints/last.ckpt")
    assert torch.equal(again.imbalance, task.imbalance)
    last = str(
        tmp_path / "checkpoints/last.ckpt"
    )  # and does not get in the way of those who want the network
    assert lesion_model_from(last).learned_codes == task.network.learned_codes
    segmenter(task.hparams["network"], task.hparams["encoder"]).load_weights(last)


def test_every_supervised_output_is_taught():
    task = SegmentationTask(**TINY | {"network": "danet", "loss": "dice"})
    task.log = lambda *_, **__: None
    planes = torch.rand(2, len(CODES), 64, 64) < 0.1
    batch = {"image": torch.rand(2, 3, 64, 64), "planes": planes, "valid": torch.ones_like(planes)}
    task.training_step(batch, 0).backward()
    assert all(head.weight.grad.any() for head in task.network.heads)
