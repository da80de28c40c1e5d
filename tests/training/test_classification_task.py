"""Lesions of whole photographs: image labels, Dice on them, and Table 5's scores."""

import csv
import json

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.base import WithAttention
from retinalesion.networks.checkpoint import read_checkpoint
from retinalesion.networks.tables import LESION_CLASSIFIERS
from retinalesion.reading.reader import Reader
from retinalesion.report.prediction import ReadingWriter
from retinalesion.training.classification import LesionClassificationTask, image_labels
from retinalesion.training.tasks import task_from

ENCODER = "test_efficientnet"


def task_of(network="lesions-plain", **settings):
    torch.manual_seed(0)
    task = LesionClassificationTask(network, ENCODER, None, **settings)
    task.log = lambda *_, **__: None
    return task


def trainer_in(folder, steps=-1, **others):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return Trainer(
        default_root_dir=folder, max_steps=steps, accelerator="cpu", **{"logger": False, **quiet, **others}
    )


def data(store):
    return FundusDataModule(str(store.path), side=64, batch_size=2, batches=2, workers=0)


def batch_of(present, annotated=None, side=4):
    """Photographs whose lesions fill one pixel; annotated everywhere unless said otherwise."""
    present = torch.tensor(present, dtype=torch.bool)
    planes = torch.zeros(*present.shape, side, side, dtype=torch.bool)
    planes[..., 1, 2] = present
    valid = torch.ones_like(planes)
    if annotated is not None:
        valid &= torch.tensor(annotated, dtype=torch.bool)[..., None, None]
    count = len(present)
    ids = [f"{n}" for n in range(count)]
    image = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    grade = torch.full((count,), -1)
    return {"image": image, "planes": planes, "valid": valid, "grade": grade, "id": ids}


class Fixed(torch.nn.Module):
    """Says the same of every photograph that it said before."""

    def __init__(self, logits, branches=1):
        super().__init__()
        self.branches = torch.nn.ParameterList([logits.clone() for _ in range(branches)])
        self.register_buffer("learned", torch.ones(8, dtype=torch.bool))

    def forward(self, image):
        if len(self.branches) == 1:
            return self.branches[0]
        return WithAttention(*self.branches, torch.ones(len(image), 1, 2, 2))


TRUTH = [[1, 0, 1, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, 1, 0, 0]]
KNOWN = [[1, 1, 1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 0, 1, 1]]  # pHE marked in the second, and yet not known


def saying(logits, branches=1):
    task = task_of()
    task.network = Fixed(logits, branches)
    return task


def test_labels_are_any_valid_pixel_and_known_where_one_is():
    batch = batch_of(TRUTH, KNOWN)
    batch["valid"][0, 0, 1, 2] = False  # MA's only pixel is ignored
    labels = image_labels(batch)
    assert labels["valid"].flatten(1).int().tolist() == KNOWN
    assert labels["planes"].flatten(1).int().tolist() == [
        [0, 0, 1, 0, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("branches", [1, 2])
def test_the_loss_is_dice_over_known_labels_summed_over_branches(branches):
    logits = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    value = saying(logits, branches).training_step(batch_of(TRUTH, KNOWN), 0)
    known = torch.tensor(KNOWN).bool()
    p, t = logits.sigmoid()[known], torch.tensor(TRUTH)[known].float()
    expected = 1 - 2 * (p * t).sum() / (p.square().sum() + t.square().sum())
    torch.testing.assert_close(value.detach(), branches * expected)


def test_what_was_not_annotated_teaches_nothing():
    task = saying(torch.zeros(2, 8), branches=2)
    task.training_step(batch_of(TRUTH, KNOWN), 0).backward()
    known = torch.tensor(KNOWN).bool()
    for logits in task.network.branches:
        assert (logits.grad[~known] == 0).all()
        assert (logits.grad[known] != 0).all()


def test_what_was_not_annotated_enters_no_score():
    everything_yes = torch.full((2, 8), 5.0)
    logged = {}
    task = saying(everything_yes)
    task.log_score = lambda name, value, prog_bar=False: logged.update({name: value})
    task.validation_step(batch_of(TRUTH, KNOWN), 0)
    task.on_validation_epoch_end()
    f1 = {code: logged.get(f"val/image_f1/{code}") for code in CODES}
    expected = {"MA": 1, "iHE": 2 / 3, "HaEx": 2 / 3, "CWS": 0, "vHE": 0, "pHE": None, "NV": 2 / 3, "FiP": 0}
    assert f1 == pytest.approx(expected)
    assert logged["val/image_f1"] == pytest.approx(sum(v for v in expected.values() if v is not None) / 7)


@pytest.mark.parametrize("network", LESION_CLASSIFIERS)
def test_the_loss_can_be_learned(network):
    task = task_of(network).train()
    batch = batch_of(TRUTH + TRUTH[::-1])
    optimizer = torch.optim.AdamW(task.parameters(), 0.01)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        losses.append(task.training_step(batch, 0))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2


@pytest.fixture(scope="module", params=LESION_CLASSIFIERS)
def fitted(request, drawn_store, tmp_path_factory):
    """A classifier after four steps, its run and its trainer."""
    run = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    task = LesionClassificationTask(request.param, ENCODER, None)
    trainer = trainer_in(run, 4)
    trainer.fit(task, datamodule=data(drawn_store))
    return run, trainer, task


def learned_in(store):
    train = [row for row in store.rows if row.split == "train"]
    return [code for code in CODES if any(row.pixels.get(code) for row in train)]


def test_a_checkpoint_stands_alone_and_knows_what_was_learned(fitted, drawn_store):
    run, trainer, task = fitted
    assert "val/image_f1" in trainer.callback_metrics
    assert (run / "checkpoints/best.ckpt").is_file()
    again = LesionClassificationTask.load_from_checkpoint(run / "checkpoints/last.ckpt", weights_only=True)
    by_name = task_from(read_checkpoint(run / "checkpoints/last.ckpt"))
    assert list(again.network.learned_codes) == learned_in(drawn_store)
    image = torch.rand(2, 3, 64, 64)
    said = [one.eval().cpu()(image) for one in (task, again, by_name)]
    assert type(by_name) is LesionClassificationTask
    torch.testing.assert_close(said[0], said[1])
    torch.testing.assert_close(said[0], said[2])


def read(file):
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_test_leaves_table_5s_row_and_a_row_per_photograph(fitted, drawn_store, tmp_path, capsys):
    _, _, task = fitted
    logger = CSVLogger(tmp_path, name="", version="")
    trainer_in(tmp_path, logger=logger).test(task, datamodule=data(drawn_store), verbose=False)
    tested = {row.id: row for row in drawn_store.split("test")}
    photographs = {line["id"]: line for line in read(tmp_path / "test/photographs.csv")}
    *lesions, mean = read(tmp_path / "test/lesions.csv")
    assert photographs.keys() == tested.keys()
    assert [line["lesion"] for line in lesions] == list(CODES)
    known = [line for line in lesions if line["learned"] == "True"]
    for line in known:
        code = line["lesion"]
        truth = [bool(tested[id].pixels.get(code)) for id in photographs]
        assert [bool(int(cells[f"{code}_present"])) for cells in photographs.values()] == truth
        said = [float(cells[f"{code}_probability"]) > 0.5 for cells in photographs.values()]
        hits = sum(t and s for t, s in zip(truth, said, strict=True))
        wrong = sum(t != s for t, s in zip(truth, said, strict=True))
        assert int(line["present"]) == sum(truth)
        if hits or wrong:
            assert float(line["image F1"]) == pytest.approx(2 * hits / (2 * hits + wrong), abs=1e-4)
        if any(truth):
            share = sum(truth) / len(truth)
            assert float(line["always yes"]) == pytest.approx(2 * share / (1 + share), abs=1e-4)
    scores = [float(line["image F1"]) for line in known if line["image F1"]]
    assert float(mean["image F1"]) == pytest.approx(sum(scores) / len(scores), abs=1e-3)
    assert not {"pixel F1", "IoU", "AUPR", "F1 from"} & mean.keys()
    assert not [name for line in photographs.values() for name in line if name.endswith(("_hits", "_alarms"))]

    summary = json.loads((tmp_path / "test/summary.json").read_text("utf-8"))
    assert summary["photographs"] == len(tested)
    assert summary["trained on store"] == drawn_store.fingerprint
    (logged,) = read(tmp_path / "metrics.csv")
    assert float(logged["test/image F1/mean"]) == pytest.approx(float(mean["image F1"]))
    printed = capsys.readouterr().out
    assert "Table 5" in printed
    assert "always" in printed


def test_predictions_are_probabilities_and_abns_map(fitted, drawn_store, tmp_path):
    _, _, task = fitted
    predicted = trainer_in(tmp_path).predict(task, datamodule=data(drawn_store))
    assert len(predicted) == len(list(drawn_store.split("test")))
    for one in predicted:
        assert one["present"].shape == (1, 8)
        assert (one["present"][:, ~task.learned] < 1e-12).all()
        if task.hparams["network"] == "lesions-abn":
            assert one["attention"].shape == (1, 1, 4, 4)
        else:
            assert one["attention"] is None


def test_no_reading_is_made_of_it(fitted, drawn_store, tmp_path):
    run, _, task = fitted
    with pytest.raises(UserError, match="not where"):
        Reader.from_checkpoint(run / "checkpoints/last.ckpt")
    with pytest.raises(UserError, match="not where"):
        trainer_in(tmp_path, callbacks=[ReadingWriter()]).predict(task, datamodule=data(drawn_store))
    assert not (tmp_path / "predict").exists()
