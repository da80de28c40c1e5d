"""What is found on a camera's spots is left out of a test, and the test says so."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.decode import Camera
from retinalesion.data.spots import CameraMap, Spot, write_cameras
from retinalesion.data.store import Store, write_tables
from retinalesion.lesions import CODES
from retinalesion.training.classification import LesionClassificationTask
from retinalesion.training.counts import LesionCounts, as_read, count_photographs, without_spots
from retinalesion.training.segmentation import SegmentationTask

MA, IHE, HAEX, NV = (CODES.index(code) for code in ("MA", "iHE", "HaEx", "NV"))
ON, HALF, PARTLY, BESIDE = (slice(2, 6), slice(9, 13), slice(16, 20), slice(22, 24))  # rows of regions
COLUMNS = slice(2, 10)
EVERYWHERE = [(code, rows) for code in (MA, IHE, HAEX, NV) for rows in (ON, HALF, PARTLY, BESIDE)]


@pytest.fixture
def batch():
    """Two photographs in which all is found everywhere; the first has spots taken for MA and iHE.

    The region ON is wholly on one, HALF by half of its columns, PARTLY by three of eight. MA are marked ON.
    """
    planes, spots = torch.zeros(2, 2, len(CODES), 26, 16, dtype=torch.bool)
    planes[:, MA, ON, COLUMNS] = True
    for code in (MA, IHE):
        spots[0, code, :8] = True
        spots[0, code, 8:14, 6:] = True
        spots[0, code, 15:21, 7:] = True
    about = {"id": ["a", "b"], "grade": torch.tensor([1, -1]), "image": torch.zeros(2, 3, 26, 16)}
    return {"planes": planes, "valid": torch.ones_like(planes), "camera": spots, **about}


def counted(batch, logits, totals=None):
    return count_photographs(batch, as_read(batch, logits), totals or LesionCounts())


@pytest.fixture
def logits():
    found = torch.full((2, len(CODES), 26, 16), -3.0)
    for code, rows in EVERYWHERE:
        found[:, code, rows, COLUMNS] = 2.0 if rows == BESIDE else 4.0
    return found


def test_regions_that_lie_on_spots_by_half_are_left_out_and_others_stay_whole(batch, logits):
    before = logits.clone()
    left = without_spots(logits, batch["camera"])
    for code, rows in EVERYWHERE:
        region = left[0, code, rows, COLUMNS]
        if code in (MA, IHE) and rows in (ON, HALF):
            assert (region < -10).all()
            logits[0, code, rows, COLUMNS] = region
    assert torch.equal(left, logits)  # and nothing else is changed
    assert not torch.equal(left, before)


def test_what_is_given_stays_as_it_is(batch, logits):
    before = logits.clone()
    without_spots(logits, batch["camera"])
    assert torch.equal(logits, before)


def test_where_nothing_is_found_nothing_is_left_out(batch, logits):
    nothing = logits - 9
    assert torch.equal(without_spots(nothing, batch["camera"]), nothing)
    assert torch.equal(without_spots(logits, torch.zeros_like(batch["camera"])), logits)


def test_hits_alarms_and_probability_know_nothing_of_the_spots(batch, logits):
    totals, size = LesionCounts(), 4 * 8
    spotted, clean = counted(batch, logits, totals)
    assert (clean.hits[MA], clean.alarms[MA], clean.misses[MA]) == (size, 2 * size + 16, 0)
    assert (spotted.hits[MA], spotted.alarms[MA], spotted.misses[MA]) == (0, size + 16, size)
    assert (spotted.hits[IHE], spotted.alarms[IHE]) == (0, size + 16)
    assert spotted.alarms[HAEX] == clean.alarms[HAEX] == 3 * size + 16
    hits, alarms = totals.pixels[MA, 0], totals.pixels[IHE, 1]
    assert (hits, alarms) == (size, clean.alarms[IHE] + spotted.alarms[IHE])
    assert spotted.probability == clean.probability  # PARTLY is as sure
    logits[:, MA, PARTLY] = -3.0
    spotted, clean = counted(batch, logits)
    assert clean.probability[MA] == pytest.approx(torch.tensor(4.0).sigmoid().item())
    assert spotted.probability[MA] == pytest.approx(torch.tensor(2.0).sigmoid().item())


def test_without_spots_in_the_batch_all_counts(batch, logits):
    del batch["camera"]
    first, second = counted(batch, logits)
    assert replace(first, id="b", grade=-1) == second


SPOT = (64, 50)  # in the middle of the field of drawn photographs, 128 wide


@pytest.fixture
def spotted(drawn_store, tmp_path):
    """The drawn store, two of whose test photographs are of a camera with a spot, and one of one without."""
    path = Path(shutil.copytree(drawn_store.path, tmp_path / "store"))
    numbers = dict(zip((row.id for row in drawn_store.split("test")), (1, 2, 1, 0), strict=True))
    rows = [replace(row, camera=numbers.get(row.id, 0)) for row in drawn_store.rows]
    write_tables(path, rows, drawn_store.info)
    camera, spot = Camera(rows[0].width, rows[0].height), Spot("dark", *SPOT, 6, -0.05, 9)
    write_cameras(path / "cameras.json", [CameraMap(camera, 40, 40, (spot,)), CameraMap(camera, 40, 40)])
    return Store(path)


def tables_of(store, run):
    """The tables of a network that finds every lesion on the spot alone."""
    task = SegmentationTask("lnet-32s", "test_efficientnet", None)
    rows = {row.id: row for row in store.rows}

    def finding(image):
        logits = torch.full((len(image), len(CODES), *image.shape[-2:]), -5.0)
        box, side = rows[store.split("test")[0].id].box, image.shape[-1]
        x, y = ((at - start) * side // box.side for at, start in zip(SPOT, box, strict=False))
        logits[:, :, y - 2 : y + 3, x - 2 : x + 3] = 5.0
        return logits

    task.flipped = finding
    data = FundusDataModule(str(store.path), workers=0)
    usual = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    Trainer(default_root_dir=run, accelerator="cpu", **usual).test(task, data, verbose=False)
    with (run / "test/photographs.csv").open(newline="") as lines:
        return json.loads((run / "test/summary.json").read_text("utf-8")), list(csv.DictReader(lines))


def test_a_test_tells_in_how_many_photographs_spots_were_left_out(spotted, tmp_path, capsys):
    summary, rows = tables_of(spotted, tmp_path / "run")
    assert summary["photographs with known camera spots"] == 2
    assert "Of 2 photographs the camera's own spots are known; what is found there is left out." in " ".join(
        capsys.readouterr().out.split()
    )
    found = [
        {code: float(row[f"{code}_probability"]) > 0.5 for code in ("MA", "iHE", "HaEx")} for row in rows
    ]
    clean, dusty = {"MA": True, "iHE": True, "HaEx": True}, {"MA": False, "iHE": False, "HaEx": True}
    assert found == [dusty, clean, dusty, clean]
    assert [int(row["MA_hits"]) + int(row["MA_alarms"]) for row in rows] == [0, 25, 0, 25]


def test_a_test_without_spots_speaks_of_none(drawn_store, tmp_path, capsys):
    summary, _ = tables_of(drawn_store, tmp_path / "run")
    assert summary["photographs with known camera spots"] == 0
    assert "spots" not in capsys.readouterr().out


def test_a_classifier_has_no_places_to_leave_out(batch):
    task = LesionClassificationTask("lesions-plain", "test_efficientnet", None)
    task.forward = lambda image: torch.full((2, len(CODES)), 3.0)
    task.on_test_epoch_start()
    task.test_step({**batch, "image": torch.zeros(2, 3, 26, 16)}, 0)
    assert [row.id for row in task.rows] == ["a", "b"]
