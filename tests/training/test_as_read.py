"""Scores are of maps as readings have them: nothing outside the lit field, nothing that is not finite."""

import csv
import json

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.field import lit_field
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.reading.reader import Reader
from retinalesion.report.prediction import ReadingWriter
from retinalesion.training.callbacks.calibration import calibrate
from retinalesion.training.classification import LesionClassificationTask
from retinalesion.training.counts import LesionCounts, as_read, count_photographs, within_field
from retinalesion.training.grading import GradingTask
from retinalesion.training.segmentation import SegmentationTask

ENCODER = "test_efficientnet"


def trainer_in(folder, **others):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return Trainer(default_root_dir=folder, accelerator="cpu", **quiet, **others)


def data(store, **options):
    return FundusDataModule(str(store.path), **{"workers": 0, **options})


def finding_everything():
    task = SegmentationTask("lnet-32s", ENCODER, None)
    torch.nn.init.zeros_(task.network.head.weight)
    torch.nn.init.constant_(task.network.head.bias, 4.0)
    return task


def rows_of(folder):
    with (folder / "photographs.csv").open(encoding="utf-8", newline="") as lines:
        return {row["id"]: row for row in csv.DictReader(lines)}


def test_a_test_scores_what_a_reading_shows(drawn_store, tmp_path):
    """A network that finds every lesion everywhere finds none in the black corners, in either."""
    task = finding_everything()
    trainer_in(tmp_path / "test").test(task, data(drawn_store), verbose=False)
    rows, side = rows_of(tmp_path / "test/test"), drawn_store.side
    reader = Reader(task, side=side)
    for id, row in rows.items():
        square = drawn_store.image(id)
        lit = lit_field(square, (side, side))
        assert 0.5 * lit.size < lit.sum() < 0.95 * lit.size
        for code in CODES:
            assert int(row[f"{code}_hits"]) + int(row[f"{code}_alarms"]) == lit.sum()
        seen = reader.see(square, id, id)
        if seen.reading.box == (0, 0, side):  # at its own size: pixel for pixel
            assert np.count_nonzero(seen.planes & 1) == lit.sum()


def test_a_prediction_agrees_with_the_test(drawn_store, tmp_path):
    torch.manual_seed(1)
    task = SegmentationTask("lnet-4s", ENCODER, None)
    torch.nn.init.zeros_(task.network.head.bias)
    trainer_in(tmp_path).test(task, data(drawn_store), verbose=False)
    writer = trainer_in(tmp_path, callbacks=[ReadingWriter()])
    writer.predict(task, data(drawn_store), return_predictions=False)
    rows = rows_of(tmp_path / "test")
    lines = (tmp_path / "predict/readings.jsonl").read_text("utf-8").splitlines()
    for reading in map(json.loads, lines):
        for code, probability in reading["probability"].items():
            # enlarging may lower a peak, and never raises one
            assert probability <= float(rows[reading["id"]][f"{code}_probability"]) + 1e-6


@pytest.fixture
def says(drawn_store):
    """A network that says logits by where it looks: at marked pixels, elsewhere in the field, and outside."""
    images = {row.id: torch.from_numpy(drawn_store.image(row.id)) for row in drawn_store.rows}

    def made(marked, elsewhere, outside):
        def forward(image):
            logits = []
            for one in (image * 255).round().byte().permute(0, 2, 3, 1):
                id = next(id for id, known in images.items() if torch.equal(known, one))
                lit = lit_field(one.numpy(), one.shape[:2])
                truth = (drawn_store.planes(id) >> np.arange(8, dtype=np.uint8)[:, None, None]) & 1
                logits.append(np.where(truth, marked, np.where(lit, elsewhere, outside)))
            return torch.from_numpy(np.stack(logits)).float()

        task = SegmentationTask("lnet-32s", ENCODER, None)
        task.network.forward = forward
        return task.eval()

    return made


def test_a_validation_looks_at_the_field_alone(says, drawn_store, tmp_path):
    """A network that is right within the field, and finds everything outside, is right."""
    task = says(marked=4.0, elsewhere=-4.0, outside=4.0)
    (scores,) = trainer_in(tmp_path).validate(task, data(drawn_store), verbose=False)
    assert scores["val/pixel_f1"] == scores["val/aupr"] == 1


def test_a_calibration_looks_at_the_field_alone(says, drawn_store):
    """Half of what is marked is found at 2, half at 0; what is said outside, at 1, asks for no cut above."""
    task = says(np.where(np.arange(96) % 2, 0.0, 2.0), -4.0, outside=1.0)
    head = task.network.head.bias
    before = head.detach().clone()
    calibrate(task.network, data(drawn_store))
    assert (head - before)[CODES.index("iHE")].item() == pytest.approx(0, abs=0.01)


def test_maps_are_a_copy_and_lesions_not_learned_stay_so(drawn_store):
    image = torch.from_numpy(drawn_store.image(drawn_store.rows[0].id)).permute(2, 0, 1)[None] / 255
    logits = torch.full((1, 8, 96, 96), 2.0)
    logits[:, 7] = -30.0
    seen = within_field(logits, image)
    assert (logits[:, :7] == 2).all()
    assert (seen[:, 7] == -30).all()
    assert seen[0, 0, 0, 0] < -10
    assert seen[0, 0, 48, 48] == 2


def spoilt(kind):
    torch.manual_seed(0)
    task = {
        "grader": lambda: GradingTask("plain", ENCODER, None),
        "lesion network": lambda: SegmentationTask("lnet-32s", ENCODER, None),
        "lesion classifier": lambda: LesionClassificationTask("lesions-plain", ENCODER, None),
    }[kind]()
    with torch.no_grad():
        task.network.head.bias[2] = float("nan")
    return task


@pytest.mark.parametrize("what", ["test", "validate"])
@pytest.mark.parametrize("kind", ["grader", "lesion network", "lesion classifier"])
def test_a_score_of_what_is_not_finite_is_refused_by_name(kind, what, drawn_store, tmp_path):
    module = data(drawn_store, side=64, truth="grade" if kind == "grader" else "planes")
    first = drawn_store.split("test" if what == "test" else "val")[0].id
    with pytest.raises(UserError, match=rf"photograph {first}: the network's output is not finite"):
        getattr(trainer_in(tmp_path), what)(spoilt(kind), module, verbose=False)
    assert not (tmp_path / "test").exists()


def test_what_is_not_a_number_outside_the_field_is_seen_too(drawn_store):
    image = torch.from_numpy(drawn_store.image(drawn_store.rows[0].id)).permute(2, 0, 1)[None] / 255
    logits = torch.zeros(1, 8, 96, 96)
    logits[0, 3, 0, 0] = float("nan")
    planes = torch.zeros_like(logits, dtype=torch.bool)
    batch = {"id": ["a"], "image": image, "planes": planes, "valid": ~planes, "grade": torch.tensor([0])}
    with pytest.raises(UserError, match="photograph a"):
        count_photographs(batch, as_read(batch, logits), LesionCounts())
