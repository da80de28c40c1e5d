"""Chosen photographs beside what each run sees in them."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from retinalesion.compare.side_by_side import Chosen, Shower, side_by_side
from retinalesion.data.store import unpack
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.base import Answers, Trained
from retinalesion.training.grading import GradingTask
from retinalesion.training.segmentation import SegmentationTask

ENCODER = "test_resnet"


def checkpoint(task, file):
    """As a fit would leave it."""
    contents = {"hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
    task.on_save_checkpoint(contents)
    contents["retinalesion"]["side"] = 96
    torch.save(contents, file)
    return file


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A lesion network that finds MA everywhere, one that finds nothing, and a grader without maps."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    tasks = {
        "much": SegmentationTask("lnet-32s", ENCODER, None),
        "none": SegmentationTask("lnet-32s", ENCODER, None),
    }
    for name, task in tasks.items():
        task.network.learn_only(["MA"])
        torch.nn.init.zeros_(task.network.head.weight)
        torch.nn.init.constant_(task.network.head.bias, 5.0 if name == "much" else -5.0)
    tasks["grader"] = GradingTask("plain", ENCODER, None)
    return {name: checkpoint(task, folder / f"{name}.ckpt") for name, task in tasks.items()}


def pixels(shown):
    head, _, data = shown.data.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), int)


def seen(checkpoints, store, *ids):
    rows = [Shower(name, lambda id, file=file: file.with_suffix("")) for name, file in checkpoints.items()]
    return side_by_side(Chosen(ids, store, lambda folder: folder.with_suffix(".ckpt")), rows)


def test_photograph_truth_and_what_each_network_finds(checkpoints, drawn_store):
    row = next(row for row in drawn_store.split("test") if unpack(drawn_store.planes(row.id)).any())
    (view,) = seen(checkpoints, drawn_store, row.id)
    assert view.id == row.id
    assert view.note == f"part test, DR{row.grade}"
    assert [one.title for one in view.pictures] == ["Photograph", "Experts", "much", "none", "grader"]
    plain, truth, much, none, grader = view.pictures
    assert all(code in truth.note for code in CODES)
    assert much.note == "MA"
    assert none.note == "no lesion found"
    assert grader.note.startswith("DR")
    assert np.abs(pixels(truth) - pixels(plain)).max() > 60
    assert np.abs(pixels(much) - pixels(plain)).mean() > 10
    assert none.data == plain.data


def test_each_photograph_is_shown_by_the_run_that_is_to_show_it(checkpoints, drawn_store):
    ids = [row.id for row in drawn_store.rows[:3]]
    row = Shower("folds", lambda id: checkpoints["much" if id == ids[1] else "none"].with_suffix(""))
    views = side_by_side(Chosen(ids, drawn_store, lambda folder: folder.with_suffix(".ckpt")), [row])
    assert [view.pictures[-1].note for view in views] == ["no lesion found", "MA", "no lesion found"]


def test_attention_is_drawn_where_a_network_has_no_maps(checkpoints, drawn_store, monkeypatch):
    def answers(self, image):
        attention = torch.zeros(1, 1, 6, 6)
        attention[..., :3] = 1
        return Answers(grade=torch.eye(5)[2:3], attention=attention)

    monkeypatch.setattr(Trained, "answers", answers)
    (view,) = seen({"ABN": checkpoints["grader"]}, drawn_store, drawn_store.rows[0].id)
    plain, _, attention = view.pictures
    assert attention.note == "DR2; attention"
    gained = (pixels(attention) - pixels(plain)).sum(2)
    assert gained[:, :40].mean() > gained[:, -40:].mean()


def test_photographs_come_in_the_order_in_which_they_were_named(checkpoints, drawn_store):
    ids = [row.id for row in drawn_store.rows[:3]][::-1]
    assert [view.id for view in seen({"none": checkpoints["none"]}, drawn_store, *ids)] == ids


def test_a_photograph_that_the_store_lacks_is_named(checkpoints, drawn_store):
    with pytest.raises(UserError, match="no photograph nobody"):
        seen(checkpoints, drawn_store, drawn_store.rows[0].id, "nobody")
