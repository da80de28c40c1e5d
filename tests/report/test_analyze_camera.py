"""From dusty photographs to readings that know nothing of the dust, by a reader that takes every speck."""

import base64
import csv
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from retinalesion.cli import main
from retinalesion.data.decode import Camera
from retinalesion.data.quality import LIMITS
from retinalesion.data.spots import read_cameras
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.reading.camera import Cameras
from retinalesion.reading.reader import Model, Reader
from retinalesion.report.analyze import analyze
from retinalesion.report.cameras import find_cameras
from retinalesion.report.outputs import Outputs

SIZE = (200, 200)
DUST, REFLEX = (70, 60), (140, 90)
COUNT = 32
IHE, HAEX = CODES.index("iHE"), CODES.index("HaEx")
NAMED = "200 x 200 pixels, 32 photographs: 1 dark spot"
ANY = {name: (-float("inf"), float("inf")) for name in LIMITS}


class Specks(Reader):
    """Takes what is darker than its surroundings for iHE, and what is brighter for HaEx."""

    def __init__(self):
        self.side, self.anatomy, self.model = 160, None, Model("specks", ("iHE", "HaEx"), ANY)

    def maps_of(self, square):
        green = square[..., 1]
        relative = green / np.maximum(cv2.medianBlur(green, 21), 1.0) - 1
        maps = np.zeros((len(CODES), self.side, self.side), np.float32)
        maps[IHE], maps[HAEX] = (np.clip(4 * sign * relative, 0, 1) for sign in (-1, 1))
        return maps, ()


@pytest.fixture(scope="module", autouse=True)
def specks():
    """It reads whatever checkpoint is named; and quality is not measured, which would take longest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "from_checkpoint", lambda *_: Specks())
        patch.setattr("retinalesion.reading.reader.measure", lambda square: dict.fromkeys(LIMITS, 0.0))
        yield


def draw(number, size=SIZE):
    """Waves of its own, and from 8 on a haemorrhage of its own, seen through the same glass."""
    random = np.random.default_rng(number)
    waves = cv2.resize(random.uniform(0.75, 1, (7, 7)), size[::-1], interpolation=cv2.INTER_CUBIC)
    eye = waves + random.normal(0, 0.01, size)
    if number >= 8:
        cv2.circle(eye, random.integers((20, 140), (180, 180)).tolist(), 3, 0.3, cv2.FILLED)
    for place, depth in ((DUST, 0.5), (REFLEX, 1.5)):
        spot = cv2.circle(np.ones(size), place, 3, depth, cv2.FILLED, cv2.LINE_AA)
        eye *= cv2.GaussianBlur(spot, (0, 0), 0.7)
    return cv2.convertScaleAbs(cv2.merge([40 * eye, 90 * eye, 150 * eye]))  # as OpenCV writes it


@pytest.fixture(scope="module")
def dusty(tmp_path_factory):
    """Photographs of one camera; those before p08 show nothing but its dust and its reflex."""
    folder = tmp_path_factory.mktemp("dusty")
    for number in range(COUNT):
        cv2.imwrite(str(folder / f"p{number:02}.png"), draw(number))
    return folder


def run(photographs, out, **options):
    return {one.id: one for one in analyze(photographs, out, checkpoint=__file__, **options)}


@pytest.fixture(scope="module")
def auto(dusty, tmp_path_factory):
    """Folder and readings of an analysis that looks for the spots itself. Not to be written to."""
    out = tmp_path_factory.mktemp("auto") / "analysis"
    return out, run(dusty, out)


@pytest.fixture(scope="module")
def none(dusty, tmp_path_factory):
    """The same of one that does not look, of the first and the last photograph."""
    out = tmp_path_factory.mktemp("none") / "analysis"
    return out, run([dusty / "p00.png", dusty / "p31.png"], out, camera="none")


def near(finding, place):
    return np.hypot(finding.x - place[0], finding.y - place[1]) < 4


def pictures(out, id):
    """The files of a photograph, by name."""
    files = [out / "planes" / f"{id}.png", out / "overlays" / f"{id}.png"]
    files += (out / "report/photographs" / id).iterdir()
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def plane(out, id, code):
    return cv2.imread(str(out / "planes" / f"{id}.png"), cv2.IMREAD_UNCHANGED) >> code & 1


def everything_in(out):
    """All files by name, but for the mark, which tells when the photographs were changed."""
    files = (file for file in out.rglob("*") if file.is_file() and file.name != "analysis.json")
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def table(file):
    with file.open(newline="", encoding="utf-8-sig") as lines:
        return list(csv.DictReader(lines))


def test_what_lies_on_the_spots_counts_nowhere(auto):
    _, readings = auto
    assert len(readings) == COUNT
    for id, reading in readings.items():
        (dark,) = (finding for finding in reading.camera if finding.lesion == "iHE")
        (bright,) = (finding for finding in reading.camera if finding.lesion == "HaEx")
        assert near(dark, DUST)
        assert near(bright, REFLEX)
        assert dark.spot != bright.spot
        own = id >= "p08"
        assert reading.present == (("iHE",) if own else ())
        assert not any(near(finding, place) for finding in reading.findings for place in (DUST, REFLEX))
        assert own == ((reading.supported or 0) >= 2)
        assert own == ("sufficient evidence of DR2" in reading.outcome_reason)
        assert reading.outcome == "not assessed", "it does not grade"
        assert (reading.probability["iHE"] > 0.5) == own
        assert reading.probability["HaEx"] < 0.5
        told = {code for line in reading.evidence if line.role == "supports" for code in line.lesions}
        assert told == ({"iHE"} if own else set())


def test_otherwise_it_would_count(none):
    _, readings = none
    for reading in readings.values():
        assert reading.present == ("iHE", "HaEx")
        assert reading.camera == ()
        assert "sufficient evidence of DR2" in reading.outcome_reason


def test_planes_overlays_and_the_report_are_drawn_without(auto, none):
    for id in ("p00", "p31"):
        assert plane(none[0], id, IHE)[DUST[::-1]] == plane(none[0], id, HAEX)[REFLEX[::-1]] == 1
        assert plane(auto[0], id, IHE)[DUST[::-1]] == plane(auto[0], id, HAEX)[REFLEX[::-1]] == 0
        assert plane(auto[0], id, IHE).any() == (id == "p31")
        having, without = pictures(none[0], id), pictures(auto[0], id)
        assert having[f"overlays/{id}.png"] != without[f"overlays/{id}.png"]
        layers = json.loads(without[f"report/photographs/{id}/pictures.json"])["layers"]
        assert layers == (["iHE"] if id == "p31" else [])
        assert f"report/photographs/{id}/camera.png" in without.keys() - having.keys()


def test_tables_tell_what_counts_and_why_the_rest_does_not(auto):
    out, readings = auto
    rows = table(out / "findings.csv")
    camera = [row for row in rows if row["counts"] == "0"]
    assert Counter(row["lesion"] for row in camera) == {"iHE": COUNT, "HaEx": COUNT}
    assert {row["reason"] for row in camera} == {"on a spot of the camera"}
    assert {row["spot"] for row in camera} == {"1", "2"}
    counting = [row for row in rows if row["counts"] == "1"]
    assert len(counting) == sum(len(reading.findings) for reading in readings.values())
    assert {(row["reason"], row["spot"]) for row in counting} == {("", "")}
    by_id = {row["id"]: row for row in table(out / "readings.csv")}
    assert [by_id["p00"][f"iHE_{name}"] for name in ("present", "pixels", "regions")] == ["0", "0", "0"]
    assert [by_id["p31"][f"iHE_{name}"] for name in ("present", "regions")] == ["1", "1"]
    lines = [json.loads(line) for line in (out / "readings.jsonl").read_text("utf-8").splitlines()]
    assert all(len(line["camera"]) == 2 for line in lines)


def test_the_map_of_a_batch_serves_for_a_single_photograph(auto, dusty, tmp_path):
    """Known beforehand or found at the end, spots lead to the same."""
    out, readings = auto
    (one,) = read_cameras(out / "cameras.json")
    assert str(one).startswith(f"Camera of {NAMED}")
    assert [spot.found for spot in one.spots] == [COUNT, COUNT]
    for id in ("p00", "p31"):
        file, single = dusty / f"{id}.png", tmp_path / id
        assert run(file, single, camera=out / "cameras.json") == {id: readings[id]}
        assert pictures(single, id) == pictures(out, id)
        assert read_cameras(single / "cameras.json") == (one,), "what was used is told"


def test_who_looks_for_no_spots_leaves_no_map_of_an_earlier_analysis(auto, dusty, tmp_path):
    out = Path(shutil.copytree(auto[0], tmp_path / "analysis"))
    run(dusty / "p00.png", out, camera="none")
    assert not (out / "cameras.json").exists()
    assert {row["counts"] for row in table(out / "findings.csv")} == {"1"}
    assert [file.name for file in (out / "planes").iterdir()] == ["p00.png"]


def test_a_photograph_of_another_camera_is_refused_before_anything_is_done(
    auto, dusty, tmp_path, monkeypatch
):
    other, out = tmp_path / "other.png", tmp_path / "out"
    cv2.imwrite(str(other), draw(0, (210, 240)))
    monkeypatch.setattr(Reader, "from_checkpoint", lambda *_, **__: pytest.fail("a model was read"))
    with pytest.raises(
        UserError, match=r"other\.png \(240 x 210 pixels\).*holds: 200 x 200 pixels.*--camera none"
    ):
        run([dusty / "p00.png", other], out, camera=auto[0] / "cameras.json")
    with pytest.raises(UserError, match=r"nowhere\.json.*retinalesion camera"):
        run(other, out, camera=tmp_path / "nowhere.json")
    assert not out.exists()


def test_of_too_few_photographs_it_is_said_and_all_counts(dusty, tmp_path, capsys):
    readings = run([dusty / f"p{number:02}.png" for number in range(3)], tmp_path / "out")
    told = " ".join(capsys.readouterr().err.split())
    assert "200 x 200 pixels, 3 photographs" in told
    assert "too few to look for spots of its own" in told
    for reading in readings.values():
        assert reading.present == ("iHE", "HaEx")
        assert reading.camera == ()


def test_the_command_says_what_was_set_aside_and_that_the_camera_wants_cleaning(
    auto, dusty, tmp_path, capsys
):
    shutil.copy(dusty / "p00.png", tmp_path)
    (tmp_path / "p99.png").write_text("no picture")
    words = ["--out", str(tmp_path / "out"), "--checkpoint", __file__]
    assert main(["analyze", str(tmp_path), *words, "--camera", str(auto[0] / "cameras.json")]) == 0
    shown = capsys.readouterr().out
    assert "2 findings lie on spots of the camera itself and so do not count" in shown
    assert "1 could not be opened" in shown


@pytest.fixture(scope="module")
def mapped(dusty, tmp_path_factory):
    """What ``retinalesion camera`` wrote."""
    out = tmp_path_factory.mktemp("mapped") / "room 3.json"
    assert main(["camera", str(dusty), "--out", str(out), "--checkpoint", __file__]) == 0
    return out


def test_the_camera_command_writes_the_map_and_a_picture(mapped, auto):
    assert {file.name for file in mapped.parent.iterdir()} == {"room 3.json", "room 3.html"}
    assert read_cameras(mapped) == read_cameras(auto[0] / "cameras.json")
    page = mapped.with_suffix(".html").read_text("utf-8")
    assert "1 dark spot of its own (dust)" in page
    coded = base64.b64decode(re.search("base64,([^']+)'", page)[1])
    picture = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR).astype(int)
    assert picture.shape[:2] == SIZE
    assert (np.ptp(picture, axis=2) > 40).any(), "rings in colour on a grey picture"


@pytest.mark.parametrize(
    ("photographs", "out", "words"),
    [
        (
            ["p00.png", "p01.png", "p02.png"],
            "map.json",
            r"3 photographs: too few.*30 are needed",
        ),
        (["no.png"], "map.json", r"30 photographs of one camera, of 15 patients"),
        (["p00.png"], "folder", r"folder is a folder\. Name a file: --out .*cameras\.json"),
        (["store"], "map.json", "spots of a store's cameras.*Name photographs instead"),
        (["nowhere"], "map.json", "nowhere: no such file or folder"),
    ],
    ids=["few", "unreadable", "out is a folder", "a store", "missing"],
)
def test_what_the_camera_command_refuses(dusty, drawn_store, tmp_path, photographs, out, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "no.png").write_text("no picture")
    known = {file.name: file for file in dusty.iterdir()} | {"store": drawn_store.path}
    with pytest.raises(UserError, match=re.compile(words, re.DOTALL)):
        find_cameras(
            [known.get(name, tmp_path / name) for name in photographs], tmp_path / out, checkpoint=__file__
        )
    assert {file.name for file in tmp_path.iterdir()} == {"folder", "no.png"}
    assert not list((tmp_path / "folder").iterdir())


def test_what_cannot_be_graded_is_freed_of_the_spots_too(dusty, tmp_path, monkeypatch):
    def light(square):
        return dict.fromkeys(LIMITS, 0.0) | {"light": float(square.mean() / 255)}

    shutil.copytree(dusty, tmp_path / "eyes")
    cv2.imwrite(str(tmp_path / "eyes/p32.png"), cv2.imread(str(dusty / "p00.png")) // 2)
    monkeypatch.setattr("retinalesion.reading.reader.measure", light)
    picky = Specks()
    picky.model = picky.model._replace(limits=ANY | {"light": (0.2, 1.0)})
    monkeypatch.setattr(Reader, "from_checkpoint", lambda *_: picky)
    found = run(tmp_path / "eyes", tmp_path / "out")["p32"]
    assert not found.quality.gradable
    assert len(found.camera) == 2


def test_a_file_that_goes_meanwhile_stops_nothing(dusty, tmp_path, monkeypatch):
    eyes, maps = Path(shutil.copytree(dusty, tmp_path / "eyes")), Cameras.maps

    def gone(self, readings):
        (eyes / "p03.png").unlink()
        return maps(self, readings)

    monkeypatch.setattr(Cameras, "maps", gone)
    assert len(run(eyes, tmp_path / "out")) == COUNT


def test_the_picture_of_a_map_is_no_photograph(dusty, tmp_path):
    eyes = Path(shutil.copytree(dusty, tmp_path / "eyes"))
    find_cameras(eyes, eyes / "cameras.json", checkpoint=__file__)
    assert len(run(eyes, tmp_path / "out", camera=eyes / "cameras.json")) == COUNT


def test_a_folder_of_many_sizes_keeps_no_picture_of_each(tmp_path):
    eyes = tmp_path / "eyes"
    eyes.mkdir()
    for number in range(6):
        cv2.imwrite(str(eyes / f"p{number}.png"), draw(number, (200, 200 + number)))
    cameras = Cameras.of_files(tmp_path, ((file.stem, file) for file in sorted(eyes.iterdir())))
    readings = run(eyes, tmp_path / "out")
    assert not any(reading.camera for reading in readings.values())
    assert all(not one.looked for one, _ in cameras.maps(readings))
    assert "6 cameras with 6 photographs together" in (tmp_path / "out/report/index.html").read_text("utf-8")


def test_a_map_that_lies_in_the_folder_of_results_is_kept(auto, dusty, tmp_path):
    out = Path(shutil.copytree(auto[0], tmp_path / "analysis"))
    for _ in range(2):
        readings = run(dusty / "p00.png", out, camera=out / "cameras.json")
        assert len(readings["p00"].camera) == 2


def test_stopped_while_pictures_are_drawn_anew_it_goes_on_to_the_same_end(auto, dusty, tmp_path, monkeypatch):
    """Each time it is stopped a little later: what was drawn anew is drawn from what was there before."""
    out, draw, drawn = tmp_path / "out", Outputs.draw, []

    def stop(self, reading, *arguments):
        drawn.append(reading.id)
        if len(drawn) in (COUNT + 3, COUNT + 3 + 7):
            raise KeyboardInterrupt
        return draw(self, reading, *arguments)

    monkeypatch.setattr(Outputs, "draw", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(dusty, out)
        assert len(table(out / "readings.csv")) == COUNT
    run(dusty, out)
    assert everything_in(out) == everything_in(auto[0])


def test_tags_of_a_camera_are_text_and_nothing_else(dusty, tmp_path):
    eyes = tmp_path / "eyes"
    eyes.mkdir()
    tags = Image.Exif()
    tags[0x0110] = "X [/] <b>y</b>"
    for file in dusty.iterdir():
        Image.open(file).save(eyes / f"{file.stem}.jpg", quality=95, exif=tags)
    run(eyes, tmp_path / "out")
    page = (tmp_path / "out/report/index.html").read_text("utf-8")
    assert "X [/] &lt;b&gt;y&lt;/b&gt;" in page


def test_a_camera_of_which_nothing_can_be_read_is_not_called_clean(tmp_path):
    ((one, _),) = Cameras(tmp_path, dict.fromkeys(map(str, range(40)), Camera(100, 80))).maps({})
    assert not one.looked
    assert one.photographs == 0
