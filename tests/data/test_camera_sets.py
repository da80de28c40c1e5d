"""A camera's spots from a folder of photographs to its store, and in the list of what is wrong with a set."""

import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_camera import glass, photograph

from retinalesion.cli import main
from retinalesion.data.check import check
from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.prepare import prepare
from retinalesion.data.sources.folder import FolderSource
from retinalesion.data.spots import read_cameras, spots_in
from retinalesion.data.store import Store
from retinalesion.errors import UserError
from retinalesion.report.analyze import analyze

COUNT = 32
SIZE, TINY = (200, 220), (60, 70)
SPOTS = {(70, 60): -0.1, (150, 120): -0.12, (100, 150): 0.1}
TOLD = "2 dark spots of its own (dust) and 1 bright spot of its own (reflexes of the lens)"
OF_THE_CAMERA = {"cameras.json", "cameras/1.png"}


def write_set(root, count, light=1.0, size=TINY):
    """Photographs p00, p01 and so on, seen through a glass."""
    (root / "photographs").mkdir(parents=True)
    for number in range(count):
        rgb = photograph(number, light, size)
        cv2.imwrite(str(root / "photographs" / f"p{number:02}.png"), rgb[..., ::-1])
    return root


@pytest.fixture(scope="module")
def dusty(tmp_path_factory):
    """Photographs with dust and a reflex at fixed places, two of them with MA. Not to be written to."""
    root = write_set(tmp_path_factory.mktemp("dusty"), COUNT, glass(SPOTS, SIZE, radius=2), SIZE)
    (root / "masks/MA").mkdir(parents=True)
    for name, place in (("p00", (70, 60)), ("p01", (120, 100))):
        mask = cv2.circle(np.zeros(SIZE, np.uint8), place, 6, 255, cv2.FILLED)
        cv2.imwrite(str(root / "masks/MA" / f"{name}.png"), mask)
    return root


def make(root, path, **arguments):
    return prepare(FolderSource(root), path, **{"side": 64, "jobs": 1, **arguments}).store


@pytest.fixture(scope="module")
def whole(dusty, tmp_path_factory):
    """The store of the dusty set. Not to be written to."""
    return make(dusty, tmp_path_factory.mktemp("whole") / "store")


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole.path, tmp_path / "copy"))


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def require_at_the_spots(places):
    """Every spot of the glass is there, and nothing else."""
    assert len(places) == len(SPOTS)
    for place in SPOTS:
        assert min(np.hypot(x - place[0], y - place[1]) for x, y in places) < 3


def test_spots_are_kept_with_a_picture_a_number_and_a_note(whole):
    (one,) = read_cameras(whole.path / "cameras.json")
    require_at_the_spots([(spot.x, spot.y) for spot in one.spots])
    assert (one.camera.width, one.camera.height) == SIZE[::-1]
    assert (one.photographs, one.groups) == (COUNT, COUNT)
    picture = cv2.imread(str(whole.path / "cameras/1.png"))
    assert picture.shape[:2] == SIZE
    assert (np.ptp(picture.astype(int), axis=2) > 40).any(), "rings in colour on a grey picture"
    assert [row.camera for row in whole.rows] == [1] * COUNT
    with (whole.path / "photographs.csv").open(newline="") as lines:
        assert {line["camera"] for line in csv.DictReader(lines)} == {"1"}
    (note,) = (note for note in whole.info["notes"] if note.startswith("Camera"))
    assert f"220 x 200 pixels, 32 photographs: {TOLD}" in note
    assert spots_in(whole) == {row.id: one.spots for row in whole.rows}


def test_without_them_a_store_is_the_same_apart_from_them(dusty, whole, tmp_path, capsys):
    path = tmp_path / "store"
    words = [str(dusty), str(path), "--side", "64", "--jobs", "1", "--no-camera"]
    assert main(["prepare", "folder", *words]) == 0
    assert "camera" not in capsys.readouterr().out.lower()
    store, tables = Store(path), {"photographs.csv", "store.json"}
    without, having = contents(path), contents(whole.path)
    assert without.keys() == having.keys() - OF_THE_CAMERA
    assert {name for name in without if without[name] != having[name]} == tables
    assert store.fingerprint == whole.fingerprint
    assert not any("Camera" in note for note in store.info["notes"])
    assert spots_in(store) == {}
    assert [row.split for row in store.rows] == [row.split for row in whole.rows]


def test_interrupted_half_way_and_gone_on_with_the_spots_are_the_same(dusty, whole, tmp_path):
    class Told(FolderSource):
        read_ids: tuple[str, ...] = ()

        def read(self, photograph):
            if photograph.id == self.stop_at:
                raise KeyboardInterrupt
            self.read_ids += (photograph.id,)
            return super().read(photograph)

    source, path = Told(dusty), tmp_path / "store"
    source.stop_at = "p20"
    with pytest.raises(KeyboardInterrupt):
        prepare(source, path, side=64, jobs=1)
    assert not contents(path).keys() & {*OF_THE_CAMERA, "store.json"}
    source.stop_at = ""
    prepare(source, path, side=64, jobs=1)
    assert source.read_ids == tuple(f"p{number:02}" for number in range(COUNT))
    assert contents(path) == contents(whole.path)


def test_a_store_of_an_earlier_version_is_gone_on_with(dusty, tmp_path):
    store = make(dusty, tmp_path / "store", camera=False)
    info = json.loads((store.path / "store.json").read_text("utf-8"))
    del info["camera"]
    (store.path / "store.json").write_text(json.dumps(info), "utf-8")
    assert make(dusty, store.path, camera=False).fingerprint == store.fingerprint


def test_a_relative_that_was_lost_is_made_again(dusty, whole, tmp_path, monkeypatch):
    path, finish = tmp_path / "store", "retinalesion.data.prepare._finish"
    with monkeypatch.context() as patch:
        patch.setattr(finish, lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make(dusty, path)
    (path / "unfinished/camera/p03.png").write_bytes(b"")
    assert contents(make(dusty, path).path) == contents(whole.path)


def test_a_store_begun_without_spots_is_not_gone_on_with(dusty, copy):
    with pytest.raises(UserError, match="camera True there, False here"):
        make(dusty, copy, camera=False)


def test_of_few_photographs_nothing_is_said_of_their_camera(tmp_path):
    root = write_set(tmp_path / "few", 29)
    store = make(root, tmp_path / "store")
    assert not contents(store.path).keys() & OF_THE_CAMERA
    assert store.info["notes"] == []
    assert spots_in(store) == {}


def test_photographs_that_cannot_be_read_do_not_count(tmp_path):
    root = write_set(tmp_path / "cut", 30)
    cut = root / "photographs/p04.png"
    cut.write_bytes(cut.read_bytes()[:3000])
    store = make(root, tmp_path / "store", skip_bad=True)
    (note,) = store.info["notes"]
    assert "29 photographs" in note
    assert "too few" in note
    assert not any(spots_in(store).values())
    findings = check(FolderSource(root), jobs=1)
    assert [finding.kind for finding in findings] == ["unreadable", "note"]
    assert findings[1].message == note


def test_a_store_of_an_earlier_version_opens_and_has_no_spots(copy):
    later, lines = {"camera", "group", "stored"}, (copy / "photographs.csv").read_text("utf-8").splitlines()
    rows = [{key: line[key] for key in line.keys() - later} for line in csv.DictReader(lines)]
    info = json.loads((copy / "store.json").read_text("utf-8"))
    kept = {key: info[key] for key in info.keys() - {"rows", "rows_digest"}}
    (copy / "store.json").write_text(json.dumps(kept), "utf-8")
    with (copy / "photographs.csv").open("w", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (copy / "cameras.json").unlink()
    store = Store(copy)
    assert len(store.rows) == COUNT
    assert spots_in(store) == {}
    assert "camera" not in next(
        iter(FundusDataModule(str(copy), evaluate="all", workers=0).test_dataloader())
    )


@pytest.mark.parametrize(
    "text", [None, "no json", '{"format": 1, "cameras": []}'], ids=["missing", "damaged", "of other cameras"]
)
def test_spots_that_are_lost_are_told_with_a_remedy_before_anything_is_done(copy, tmp_path, text):
    file = copy / "cameras.json"
    file.unlink() if text is None else file.write_text(text)
    datamodule = FundusDataModule(str(copy), evaluate="all", workers=0)
    remedy = r"cameras\.json.*Prepare"
    for loader in ("train_dataloader", "test_dataloader", "predict_dataloader"):
        with pytest.raises(UserError, match=remedy):
            getattr(datamodule, loader)()
    with pytest.raises(UserError, match=remedy):
        analyze(copy, tmp_path / "out", checkpoint="nowhere.ckpt")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"nowhere\.ckpt"):  # who looks for no spots needs none
        analyze(copy, tmp_path / "out", checkpoint="nowhere.ckpt", camera="none")


def test_check_tells_the_places_shows_them_and_leaves_the_set_alone(dusty, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = contents(dusty)
    findings = check(FolderSource(dusty), jobs=1)
    assert contents(dusty) == before
    (found,) = (finding for finding in findings if finding.kind == "camera")
    assert found.id == ""
    assert f"32 photographs: {TOLD}" in found.message
    places = re.findall(r"\d+ \((\d+), (\d+)\)", found.message)
    require_at_the_spots([(int(x), int(y)) for x, y in places])
    picture = Path(found.message.partition("Picture: ")[2])
    assert picture.is_relative_to(tmp_path)
    assert cv2.imread(str(picture)).shape[:2] == SIZE


def test_check_may_be_told_not_to_look(dusty, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["prepare", "folder", str(dusty), "--check", "--no-camera", "--jobs", "1"]) == 0
    assert "camera" not in capsys.readouterr().out.lower()
    assert not list(tmp_path.rglob("*.png"))


def test_a_clean_camera_is_nothing_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))  # no picture is written
    findings = check(FolderSource(write_set(tmp_path / "clean", 30)), jobs=1)
    assert "camera" not in {finding.kind for finding in findings}
    assert any("no spots of its own" in finding.message for finding in findings)
