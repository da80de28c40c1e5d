"""A camera's spots in batches: ignored where nobody marked anything, and told apart in tests."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.decode import Camera
from retinalesion.data.draws import sample
from retinalesion.data.spots import CameraMap, Spot, write_cameras
from retinalesion.data.store import Row, Store, write_tables
from retinalesion.files import write_png
from retinalesion.geometry import Box
from retinalesion.lesions import CODES

SIDE, MARKED = 64, 78
BOX = Box(10, -6, 128)  # two of the photograph's own pixels to one of the store
LOOKED_FOR = ("MA", "iHE", "HaEx", "CWS")
MA, IHE, HAEX, CWS, NV = (CODES.index(code) for code in (*LOOKED_FOR, "NV"))
DARK, BRIGHT = (32, 20), (46, 44)  # column and row in the store
SPOTS = (Spot("dark", 74.5, 34.5, 12, -0.05, 9), Spot("bright", 102.5, 82.5, 8, 0.03, 8))
REACH = {DARK: 6, BRIGHT: 4}  # of the spots, in the store
TAKEN_FOR = {DARK: (MA, IHE), BRIGHT: (HAEX, CWS)}
# Camera 1 has spots, camera 2 none, and of w the camera is not known.
PHOTOGRAPHS = (("a", "train", 1), ("v", "val", 1), ("t", "test", 1), ("u", "test", 2), ("w", "test", 0))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Photographs that are red, and blue where the dark spot is. On its left half MA are marked."""
    path = tmp_path_factory.mktemp("spotted") / "store"
    image = np.full((SIDE, SIDE, 3), (200, 60, 40), np.uint8)
    cv2.circle(image, DARK, REACH[DARK], (40, 60, 200), cv2.FILLED)
    planes, ignored = np.zeros((2, SIDE, SIDE), np.uint8)
    planes[14:27, 26:32] = 1 << MA  # MARKED pixels
    ignored[50:60, 4:14] = 1 << MA
    rows = []
    for id, split, camera in PHOTOGRAPHS:
        write_png(path / "photographs" / f"{id}.png", image)
        write_png(path / "planes" / f"{id}.png", planes)
        write_png(path / "ignored" / f"{id}.png", ignored)
        given = {"annotated": frozenset(LOOKED_FOR), "pixels": {"MA": MARKED}, "camera": camera}
        rows.append(Row(id, id, split, 150, 116, BOX, id, **given))
    cameras = [CameraMap(Camera(150, 116), 40, 40, SPOTS), CameraMap(Camera(150, 116, "Clean"), 40, 40)]
    write_cameras(path / "cameras.json", cameras)
    write_tables(path, rows, {"side": SIDE, "seed": 0, "source": "test", "fingerprint": "0"})
    return Store(path)


def module(store, **options):
    return FundusDataModule(str(store.path), **{"workers": 0, "batch_size": 8, "batches": 1, **options})


def batches(datamodule, loader):
    loader = getattr(datamodule, f"{loader}_dataloader")()
    return {
        "".join(batch["id"]): batch
        for raw in loader
        for batch in [datamodule.on_after_batch_transfer(raw, 0)]
    }


def away(place, side=SIDE, shift=(0, 0)):
    """Distance of each pixel from a place, (side, side)."""
    rows, columns = np.ogrid[:side, :side]
    return np.hypot(columns - place[0] + shift[0], rows - place[1] + shift[1])


@pytest.mark.parametrize("loader", ["val", "predict"])
def test_where_experts_marked_nothing_spots_are_ignored(store, loader):
    batch = batches(module(store, evaluate="val"), loader)["v"]
    valid, marked = batch["valid"][0].numpy(), batch["planes"][0].numpy()
    for place, codes in TAKEN_FOR.items():
        at, reach = away(place), REACH[place]
        for code in (MA, IHE, HAEX, CWS):
            there = valid[code][(at < reach - 1) & ~marked[code]]
            assert not there.any() if code in codes else there.all()
            assert valid[code][(at > reach + 1) & (at < reach + 6)].all()
    assert valid[MA][marked[MA]].all()
    assert not valid[MA, 50:60, 4:14].any(), "what experts ignored stays ignored"
    assert not valid[NV].any()
    assert "camera" not in batch


@pytest.mark.parametrize("window", [(20, 8, 24), (28, -6, 30), (0, 0, 64)])
def test_in_a_window_spots_are_where_they_are_in_the_photograph(store, window):
    left, top, side = window
    ignored = sample(store, store.split("train")[0], SPOTS, window)["ignored"].numpy()
    inside = (np.arange(side)[:, None] + top >= 0) & (np.arange(side) + left >= 0)
    at = away(DARK, side, (left, top))
    assert (ignored[inside & (at < 5)] & 1 << IHE).all()
    assert not (ignored[inside & (at > 7) & (at < 10)] & 1 << IHE).any()
    assert (ignored[~inside] == 255).all()


@pytest.mark.parametrize("options", [{}, {"crop": 40}, {"side": 48}], ids=["whole", "crop", "smaller"])
def test_augmentation_carries_spots_along(store, options):
    (batch,) = batches(module(store, batch_size=16, **options), "train").values()
    red, _, blue = batch["image"].unbind(1)
    at_spot, beside = blue > 2 * red, (red > 2 * blue) & (red > 0.3)
    assert at_spot.sum() > 200
    valid = {code: batch["valid"][:, code] for code in (MA, IHE, HAEX)}
    assert valid[IHE][at_spot].float().mean() < 0.05
    assert valid[IHE][beside].float().mean() > 0.9
    assert valid[HAEX][at_spot].float().mean() > 0.95
    marked = batch["planes"][:, MA] & at_spot
    assert valid[MA][marked].float().mean() > 0.9
    assert valid[MA][at_spot & ~batch["planes"][:, MA]].float().mean() < 0.2
    assert "camera" not in batch


@pytest.mark.parametrize("side", [SIDE, 32])
def test_in_a_test_spots_are_told_and_nothing_is_ignored(store, side):
    tested = batches(module(store, side=side), "test")
    assert tested.keys() == {"t", "u", "w"}
    known, to = tested["t"]["valid"], side / SIDE
    assert known[0, IHE].all()
    assert known[0, HAEX].all()
    assert all(torch.equal(one["valid"], known) for one in tested.values())
    assert [id for id, one in tested.items() if "camera" in one] == ["t"]
    spots = tested["t"]["camera"]
    assert spots.dtype == torch.bool
    assert spots.shape == (1, len(CODES), side, side)
    for place, codes in TAKEN_FOR.items():
        at = away([(one + 0.5) * to - 0.5 for one in place], side)
        for code in range(len(CODES)):
            assert spots[0, code].numpy()[at < REACH[place] * to - 1].all() == (code in codes)
            assert not spots[0, code].numpy()[(at > REACH[place] * to + 1) & (at < 10 * to)].any()


def test_processes_workers_and_blanks_change_nothing(store):
    alone = batches(module(store), "test")
    for rank in (0, 1):
        datamodule = module(store, workers=1)
        datamodule.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        share = batches(datamodule, "test")
        assert len(share) == 2
        assert ("" in share) == bool(rank)
        for id, batch in share.items():
            if not id:
                assert not batch["valid"].any()
                assert "camera" not in batch
                continue
            assert batch.keys() == alone[id].keys()
            for key in batch.keys() - {"id"}:
                assert torch.equal(batch[key], alone[id][key])


def test_weights_for_marked_pixels_do_not_count_spots_as_unmarked(store):
    row = store.split("train")[0]
    ignored = sample(store, row, SPOTS)["ignored"].numpy() >> MA & 1
    assert ignored.sum() > 100 + 30  # what experts ignored, and half of the spot
    ratio = (SIDE**2 - ignored.sum() - MARKED) / MARKED
    assert module(store).imbalance[MA] == pytest.approx(ratio)
