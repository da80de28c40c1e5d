import csv
import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers.logger import Logger
from PIL import Image
from scipy import ndimage

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.prepare import prepare
from retinalesion.data.store import Store, unpack, write_tables
from retinalesion.data.synthetic import SyntheticSource
from retinalesion.lesions import CODES
from retinalesion.pictures import panel, stack
from retinalesion.training.callbacks.pictures import LARGEST, ValidationPanels, View

LEARNED = ("MA", "iHE", "HaEx", "CWS")
SIDE = 96


class Knowing(LightningModule):
    """Finds what experts marked, of the lesions that it learned."""

    def __init__(self):
        super().__init__()
        self.network = SimpleNamespace(learned_codes=LEARNED)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def configure_callbacks(self):
        return [ValidationPanels()]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def training_step(self, batch, batch_idx):
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        learned = torch.tensor([code in LEARNED for code in CODES]).view(1, -1, 1, 1)
        return {"logits": torch.where(batch["planes"] & learned, 3.0, -3.0)}


class Recorder(Logger):
    """A logger that keeps what it is given; ``way`` is how it takes pictures."""

    def __init__(self, way):
        super().__init__()
        self.taken = []
        self.experiment = SimpleNamespace()
        if way == "log_image":
            self.log_image = lambda key, images, **more: self.taken.append((key, images, more))
        if way == "add_image":
            self.experiment.add_image = lambda key, image, step, **more: self.taken.append((key, image, more))

    name = version = "recorder"

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Five photographs to validate on, and the one with most MA to train on."""
    path = tmp_path_factory.mktemp("drawn") / "store"
    prepare(SyntheticSource(count=6, side=SIDE, seed=3), path, side=SIDE, jobs=1)
    opened = Store(path)
    richest = max(opened.rows, key=lambda row: row.pixels["MA"])
    rows = [replace(row, split="train" if row is richest else "val") for row in opened.rows]
    write_tables(path, rows, opened.info)
    return path


def data(store):
    return FundusDataModule(str(store), batch_size=1, batches=1, workers=0)


def trainer(run, *loggers, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(default_root_dir=run, accelerator="cpu", logger=list(loggers), **quiet, **options)


def expected(store):
    """Id, photograph, truth and prediction of the first four."""
    opened = Store(store)
    learned = np.array([code in LEARNED for code in CODES])[:, None, None]
    for row in opened.split("val")[:4]:
        truth = unpack(opened.planes(row.id))
        yield row.id, opened.image(row.id), truth, truth & learned


def test_the_first_photographs_lie_in_the_runs_folder_with_truth_and_prediction(store, tmp_path):
    trainer(tmp_path).validate(Knowing(), data(store), verbose=False)
    drawn = np.asarray(Image.open(tmp_path / "validate" / "panels.png"))
    panels = [panel(rgb, truth, found, title=id) for id, rgb, truth, found in expected(store)]
    assert np.array_equal(drawn, stack(panels))


def test_a_fit_shows_every_validation_and_no_sanity_check(store, tmp_path):
    board = Recorder("add_image")
    options = {"max_epochs": 2, "num_sanity_val_steps": 1, "log_every_n_steps": 1}
    trainer(tmp_path, board, **options).fit(Knowing(), data(store))
    assert [(key, more) for key, _, more in board.taken] == [("val/panels", {"dataformats": "HWC"})] * 2
    assert np.array_equal(board.taken[-1][1], np.asarray(Image.open(tmp_path / "panels.png")))


def test_overlapping_planes_reach_the_logger_as_a_mask_for_each_lesion(store, tmp_path):
    logger, deaf = Recorder("log_image"), Recorder("")
    trainer(tmp_path, deaf, logger).validate(Knowing(), data(store), verbose=False)
    (panels, pictures, about), (photographs, shown, more) = logger.taken
    assert (panels, photographs) == ("val/panels", "val/photographs")
    assert len(pictures) == len(shown) == 4
    for one, picture, masks in zip(expected(store), shown, more["masks"], strict=True):
        _, rgb, truth, found = one
        assert np.array_equal(picture, rgb)
        assert masks.keys() == {f"truth {c}" for c in CODES} | {f"prediction {c}" for c in LEARNED}
        for j, code in enumerate(CODES):
            assert np.array_equal(masks[f"truth {code}"]["mask_data"], truth[j])
        for code in LEARNED:
            assert np.array_equal(masks[f"prediction {code}"]["mask_data"], found[CODES.index(code)])
    assert about["caption"] == more["caption"] == [id for id, *_ in expected(store)]


def test_large_photographs_are_brought_down_without_losing_a_microaneurysm():
    side = 2 * LARGEST + 100
    planes = torch.zeros(len(CODES), side, side, dtype=torch.bool)
    planes[0, 400, 700] = planes[0, 900, 300] = True
    logits = torch.where(planes, 3.0, -3.0)
    view = View.of("large", torch.full((3, side, side), 0.5), planes, torch.ones_like(planes), logits)
    assert view.rgb.shape == (LARGEST, LARGEST, 3)
    assert ndimage.label(view.truth[0])[1] == ndimage.label(view.prediction[0])[1] == 2


def history(file):
    """The rows of an offline run: LevelDB's log of records, after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    contents, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(contents):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, size, kind = struct.unpack_from("<IHB", contents, place)
        parts += contents[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # a whole record, or the last piece of one
            record, parts = Record.FromString(parts), b""
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_wandb_by_one_line_of_config_has_pictures_and_a_curve_per_lesion(store, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "trainer:\n"
        "  logger: WandbLogger\n"
        "  max_steps: 1\n"
        "  accelerator: cpu\n"
        "model: {network: lnet-16s, encoder: test_efficientnet, weights: null}\n"
        f"data: {{store: {store}, batch_size: 2, batches: 1, workers: 0}}\n"
    )
    subprocess.run(
        [sys.executable, "-m", "retinalesion.cli", "fit", "--config", "mine.yaml", "--run", "runs/try"],
        cwd=tmp_path,
        env={**os.environ, "WANDB_MODE": "offline"},
        check=True,
        capture_output=True,
    )
    run = tmp_path / "runs" / "try"
    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    logged = {key: value for row in history(file) for key, value in row.items()}

    with (run / "metrics.csv").open(newline="") as lines:
        written = {key: float(cell) for row in csv.DictReader(lines) for key, cell in row.items() if cell}
    curves = [key for key in written if key.startswith("val/")]
    assert {"val/pixel_f1", "val/pixel_f1/MA", "val/image_f1/iHE", "val/aupr/HaEx"} <= set(curves)
    assert {key: logged[key] for key in curves} == pytest.approx({key: written[key] for key in curves})

    ids = [id for id, *_ in expected(store)]
    assert logged["val/panels/captions"] == logged["val/photographs/captions"] == ids
    assert {"truth MA", "truth CWS", "prediction MA"} <= logged["val/photographs/all_masks"][0].keys()
    for name in logged["val/panels/filenames"] + logged["val/photographs/filenames"]:
        assert (file.parent / "files" / name).stat().st_size > 0
