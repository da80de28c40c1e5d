"""What `predict` leaves: readings and pictures at the photographs' own size, each photograph once."""

import csv
import json
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from scipy import ndimage

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.prepare import prepare
from retinalesion.data.sources.folder import FolderSource
from retinalesion.data.store import Store, unpack
from retinalesion.data.synthetic import SyntheticSource
from retinalesion.errors import UserError
from retinalesion.files import locked
from retinalesion.lesions import CODES
from retinalesion.networks.base import Segmenter, Trained
from retinalesion.report.prediction import ReadingWriter

LEARNED = ("MA", "iHE", "HaEx", "CWS", "pHE")
SOURCE = SyntheticSource(count=5, side=160, seed=3)
SIDE = 96


class Knowing(LightningModule):
    """Finds what experts marked, a little smaller than they did, of the lesions that it learned."""

    def __init__(self):
        super().__init__()
        network = Segmenter(torch.nn.Identity())
        network.learn_only(LEARNED)
        self.trained = Trained(network, "knowing")

    def predict_step(self, batch, batch_idx):
        learned = torch.tensor([code in LEARNED for code in CODES]).view(1, -1, 1, 1)
        return {"id": batch["id"], "lesions": (batch["planes"] & learned) * 0.75 + 0.125 * learned}


def predict(run, store, processes=1, probabilities=False, evaluate="all"):
    trainer = Trainer(
        default_root_dir=run,
        accelerator="cpu",
        devices=processes,
        strategy="ddp_spawn" if processes > 1 else "auto",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ReadingWriter(probabilities)],
    )
    data = FundusDataModule(str(store), evaluate=evaluate, workers=0)
    trainer.predict(Knowing(), data, return_predictions=False)
    return run / "predict"


def table_of(folder):
    with (folder / "readings.csv").open(newline="", encoding="utf-8-sig") as lines:
        return {row["id"]: row for row in csv.DictReader(lines)}


def grey(file):
    return cv2.imread(str(file), cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("drawn") / "store"
    prepare(SOURCE, path, side=SIDE, jobs=1)
    return path


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    return predict(tmp_path_factory.mktemp("run"), store, probabilities=True)


def test_planes_lie_on_the_lesions_of_the_photograph_as_it_was_taken(folder):
    hits, marked, found = 0, 0, 0
    for photograph in SOURCE.photographs():
        pixels = SOURCE.read(photograph)
        planes = unpack(grey(folder / "planes" / f"{photograph.id}.png"))
        assert planes.shape[1:] == pixels.rgb.shape[:2]
        for code, truth in pixels.planes.items():
            if code in LEARNED:
                plane = planes[CODES.index(code)]
                hits, marked, found = hits + (plane & truth).sum(), marked + truth.sum(), found + plane.sum()
    assert 2 * hits / (marked + found) > 0.85


def test_the_table_counts_what_the_planes_show(folder, store):
    table = table_of(folder)
    assert list(table) == [row.id for row in Store(store).rows]
    present = 0
    for id, row in table.items():
        planes = unpack(grey(folder / "planes" / f"{id}.png"))
        for code in LEARNED:
            plane = planes[CODES.index(code)]
            present += plane.any()
            assert int(row[f"{code}_present"]) == plane.any() == (float(row[f"{code}_probability"]) > 0.5)
            assert int(row[f"{code}_pixels"]) == plane.sum()
            assert int(row[f"{code}_regions"]) == ndimage.label(plane, np.ones((3, 3)))[1]
    assert present > 5


def test_grades_stand_in_the_table_as_known(folder, store):
    assert {id: int(row["truth_grade"]) for id, row in table_of(folder).items()} == {
        row.id: row.grade for row in Store(store).rows
    }


def test_a_lesion_not_learned_is_never_called_absent(folder):
    for id, row in table_of(folder).items():
        planes = unpack(grey(folder / "planes" / f"{id}.png"))
        for code in set(CODES) - set(LEARNED):
            assert row[f"{code}_present"] == "not learned"
            assert not row[f"{code}_pixels"]
            assert not planes[CODES.index(code)].any()
            assert not (folder / "probabilities" / f"{id}_{code}.png").exists()


def test_probabilities_have_sixteen_bits_and_cut_at_a_half_are_the_planes(folder, store):
    for row in Store(store).rows:
        planes = unpack(grey(folder / "planes" / f"{row.id}.png"))
        for code in LEARNED:
            picture = grey(folder / "probabilities" / f"{row.id}_{code}.png")
            assert picture.dtype == np.uint16
            assert np.array_equal(picture > 32767, planes[CODES.index(code)])
            inside = picture[picture > 0]
            assert np.median(inside) == pytest.approx(0.125 * 65535, abs=1)  # to 0 at the field's rim
            assert inside.max() <= round(0.875 * 65535) + 1


def test_overlays_are_the_stores_photographs_with_lesions_drawn_in(folder, store):
    opened = Store(store)
    for row in opened.rows:
        drawn = np.asarray(Image.open(folder / "overlays" / f"{row.id}.png"))
        photograph, marked = opened.image(row.id), unpack(opened.planes(row.id))
        marked = marked[[CODES.index(code) for code in LEARNED]].any(0)
        assert drawn.shape == (SIDE, SIDE, 3)
        changed = (drawn != photograph).any(2)
        assert changed.any() == marked.any()
        near = cv2.dilate(marked.astype(np.uint8), np.ones((7, 7))) > 0
        assert not changed[~near].any()


def test_the_table_tells_of_the_latest_prediction_and_maps_are_written_only_on_request(store, tmp_path):
    predict(tmp_path, store)
    folder = predict(tmp_path, store, evaluate="train")
    assert list(table_of(folder)) == [row.id for row in Store(store).split("train")]
    assert not (folder / "probabilities").exists()
    assert not [file for file in folder.rglob("*") if ".part" in file.name]


def test_the_report_has_truth_where_there_is_truth(folder, store):
    opened = Store(store)
    assert (folder / "report/index.html").is_file()
    lines = [json.loads(line) for line in (folder / "readings.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [row.id for row in opened.rows]
    for row in opened.rows:
        drawn = json.loads((folder / "report/photographs" / row.id / "pictures.json").read_text())
        assert set(drawn["truth"]) == {code for code, pixels in row.pixels.items() if pixels}


def test_findings_add_up_to_the_planes(folder):
    with (folder / "findings.csv").open(newline="", encoding="utf-8-sig") as lines:
        pixels = Counter()
        for row in csv.DictReader(lines):
            pixels[row["id"], row["lesion"]] += int(row["pixels"])
    counted = {
        (id, code): int(row[f"{code}_pixels"])
        for id, row in table_of(folder).items()
        for code in LEARNED
        if int(row[f"{code}_pixels"])
    }
    assert pixels == counted


def test_two_processes_write_every_photograph_once(store, folder, tmp_path):
    shared = predict(tmp_path, store, processes=2, probabilities=True)  # 5 photographs: one has a blank
    for table in ("readings.csv", "findings.csv", "readings.jsonl", "report/index.html"):
        assert (shared / table).read_bytes() == (folder / table).read_bytes()
    assert {file.relative_to(shared) for file in shared.rglob("*.png")} == {
        file.relative_to(folder) for file in folder.rglob("*.png")
    }


def test_photographs_without_any_truth_are_predicted_too(tmp_path):
    (tmp_path / "mine").mkdir()
    for photograph in SOURCE.photographs()[:2]:
        Image.fromarray(SOURCE.read(photograph).rgb).save(tmp_path / "mine" / f"{photograph.id}.png")
    prepare(FolderSource(tmp_path / "mine"), tmp_path / "store", side=SIDE, jobs=1)
    table = table_of(predict(tmp_path / "run", tmp_path / "store"))
    assert len(table) == 2
    assert {row["truth_grade"] for row in table.values()} == {""}


def test_a_folder_that_another_process_predicts_into_is_refused_and_let_go_of(store, tmp_path):
    with locked(tmp_path / "predict"), pytest.raises(UserError, match="in use by process"):
        predict(tmp_path, store, evaluate="val")
    assert not list((tmp_path / "predict").iterdir())
    for _ in range(2):
        assert table_of(predict(tmp_path, store, evaluate="val"))
