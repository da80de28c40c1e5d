"""Disc, fovea and eye: what they tell of places, and that they are found."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from retinalesion import samples
from retinalesion.data.decode import read_photograph
from retinalesion.data.field import View
from retinalesion.data.sources.idrid import IdridSource
from retinalesion.data.synthetic import SyntheticSource
from retinalesion.geometry import DISC_SHARE, Box, Disc, Landmark, Point
from retinalesion.guideline import weigh
from retinalesion.networks.anatomy import SHIPPED
from retinalesion.networks.lnet import LNet
from retinalesion.reading.anatomy import SEEN, UNKNOWN, Anatomy, Sighting
from retinalesion.reading.evidence import evidence_lines
from retinalesion.reading.findings import quadrant_counts
from retinalesion.reading.reader import AnatomyReader, Reader, Subject

FOVEA, RIGHT, LEFT = Point(100, 100), Disc(180, 95, 32), Disc(20, 105, 32)  # the disc is nasal of the fovea
CORNERS = [(60, 60), (140, 60), (60, 140), (140, 140)]


@pytest.mark.parametrize(
    ("disc", "eye", "names"),
    [
        (RIGHT, "right", "superotemporal superonasal inferotemporal inferonasal"),
        (LEFT, "left", "superonasal superotemporal inferonasal inferotemporal"),
    ],
)
def test_quadrants_have_clinical_names_where_disc_and_fovea_are_known(disc, eye, names):
    known = Anatomy.told(disc, FOVEA)
    assert known.eye == eye
    assert known.quadrants(CORNERS, Point(0, 0)) == names.split()
    assert Anatomy.told(fovea=FOVEA, eye=eye).quadrants(CORNERS, Point(0, 0)) == names.split()


def test_without_an_eye_quadrants_are_those_of_the_picture_about_fovea_or_middle():
    names = ["upper left", "upper right", "lower left", "lower right"]
    assert Anatomy.told(fovea=FOVEA).quadrants(CORNERS, Point(0, 0)) == names
    assert Anatomy.told(disc=RIGHT, eye="right").quadrants(CORNERS, Point(100, 100)) == names
    assert Anatomy().quadrants(CORNERS, Point(0, 0)) == ["lower right"] * 4


def test_a_picture_turned_on_its_side_tells_no_eye():
    assert Anatomy.told(Disc(110, 20, 32), FOVEA).eye == ""
    assert Anatomy.told(Disc(110, 20, 32), FOVEA, "left").eye == "left"


def test_distances_and_areas_are_in_disc_diameters_and_disc_areas():
    known = Anatomy.told(RIGHT, FOVEA)
    assert known.from_fovea([(100, 164), FOVEA]).tolist() == [2, 0]
    assert known.from_disc([(180, 79)]).tolist() == [0.5]
    assert known.disc_areas([math.pi * 16**2], 1e9) == pytest.approx([1])
    for less in (Anatomy.told(Disc(180, 95, math.nan), FOVEA), Anatomy.told(fovea=FOVEA), Anatomy()):
        assert np.isnan(less.from_fovea([(1, 2), (3, 4)])).all()
        assert less.disc_areas([DISC_SHARE * 5000], 5000) == pytest.approx([1])


def sighting(disc=(0.25, 0.5), fovea=(0.5, 0.5), certain=(0.9, 0.8), diameter=0.125):
    return Sighting((disc, fovea), certain, diameter)


def test_what_is_seen_in_the_square_lies_in_the_photographs_own_pixels():
    seen = Anatomy.seen(sighting(), Box(100, -40, 800))
    assert seen.disc == Landmark(299.5, 359.5, 0.9, 100)
    assert seen.fovea == Landmark(499.5, 359.5, 0.8)
    assert seen.eye == "left"


def test_what_is_less_certain_is_not_seen():
    seen = Anatomy.seen(sighting(certain=(0.9, SEEN - 0.01)), Box(0, 0, 100))
    assert seen.fovea is None
    assert seen.eye == ""
    assert Anatomy.seen(sighting(certain=(0.0, 0.0)), Box(0, 0, 100)) == Anatomy()


def test_what_a_table_tells_counts_before_what_is_seen():
    seen = Anatomy.seen(sighting(), Box(0, 0, 800))
    told = Anatomy.told(Disc(600, 400, math.nan), eye="right").before(seen)
    assert told.disc == Landmark(600, 400, 1.0, 100)  # of which the size is seen
    assert told.fovea == seen.fovea
    assert told.eye == "right"
    assert Anatomy.told(Disc(600, 400, 90)).before(seen).eye == "right"  # by the place told
    assert Anatomy().before(seen) == seen


@pytest.mark.parametrize("anatomy", [Anatomy(), Anatomy.told(RIGHT, FOVEA), Anatomy.told(LEFT, FOVEA)])
def test_counts_by_quadrant_are_right_by_either_naming(found_in, anatomy):
    """More than 20 haemorrhages in each of four quadrants are sufficient for DR3."""
    probability = np.zeros((200, 200), np.float32)
    probability[2:84:4, 50:52] = probability[2:84:4, 150:152] = 1  # 21 in each upper quadrant
    probability[116:198:4, 50:52] = probability[116:198:4, 150:152] = 1
    findings = found_in({"iHE": probability}, Box(0, 0, 200), anatomy)
    assert quadrant_counts(findings) == (21, 21, 21, 21)
    assert weigh({"iHE"}, quadrant_counts(findings)).supported == 3
    fewer = [one for one in findings if one.y > 10]
    counts = quadrant_counts(fewer)
    assert weigh({"iHE"}, counts).supported == 2
    (line, *_) = evidence_lines(fewer, ("iHE",))
    assert all(f"{counts[place]} {name}" in line.text for place, name in enumerate(_names(anatomy)))


def _names(anatomy):
    if not anatomy.eye:
        return ("upper left", "upper right", "lower left", "lower right")
    return ("superotemporal", "superonasal", "inferotemporal", "inferonasal")


DRAWN = SyntheticSource(count=1, side=128, seed=3)
NETWORK = LNet(32, "test_efficientnet")
# Centres as IDRiD gives them, at the samples' own size; both are left eyes.
SAMPLES = {"IDRiD_48.jpg": ((751, 1185), (2086, 1348), 528), "IDRiD_295.jpg": ((330, 462), (721, 464), 160)}


@pytest.mark.parametrize("file", samples.photographs(), ids=lambda file: file.name)
def test_disc_fovea_and_eye_of_the_samples_are_found(file):
    view = View.of(read_photograph(file), 512)
    seen = AnatomyReader().look(view)
    disc, fovea, diameter = SAMPLES[file.name]
    assert seen.eye == "left"
    assert math.dist(seen.disc.point, disc) < 0.25 * diameter
    assert math.dist(seen.fovea.point, fovea) < 0.25 * diameter
    assert seen.disc.diameter == pytest.approx(diameter, rel=0.15)


@pytest.mark.parametrize(
    "rgb",
    [
        DRAWN.read(DRAWN.photographs()[0]).rgb,
        np.zeros((60, 90, 3), np.uint8),
        np.full((1, 1, 3), 200, np.uint8),
    ],
    ids=["drawn", "black", "one pixel"],
)
def test_whatever_is_looked_at_places_are_finite(rgb):
    seen = AnatomyReader().look(View.of(rgb, 96))
    for landmark in (seen.disc, seen.fovea):
        assert landmark is None or all(map(math.isfinite, (landmark.x, landmark.y, landmark.certainty)))
        assert landmark is None or SEEN <= landmark.certainty <= 1


def test_a_black_picture_shows_neither():
    assert AnatomyReader().look(View.of(np.zeros((60, 90, 3), np.uint8), 96)) == UNKNOWN


def test_a_reader_finds_quadrants_by_the_fovea_that_it_sees(monkeypatch):
    """With `anatomy=None` it looks for none; what the subject tells counts first."""
    rgb = read_photograph(samples.photographs()[1])
    view = View.of(rgb, 96)
    maps = np.zeros((8, 96, 96), np.float32)
    maps[0, 20:22, 20:22] = 1  # upper left in a left eye: superonasal
    monkeypatch.setattr(Reader, "maps_of", lambda *_: (maps, ()))
    for anatomy, subject, expected in (
        (SHIPPED, Subject("p", "p"), "superonasal"),
        (SHIPPED, Subject("p", "p", Anatomy.told(eye="right")), "superotemporal"),
        (None, Subject("p", "p"), "upper left"),
    ):
        (finding,) = Reader(NETWORK, 96, anatomy=anatomy).look(view, subject).reading.findings
        assert finding.quadrant == expected
        assert (finding.disc_diameters is None) == (anatomy is None)


@pytest.mark.skipif("RETINALESION_IDRID" not in os.environ, reason="RETINALESION_IDRID names no folder")
def test_disc_and_fovea_of_real_photographs_are_found():
    source = IdridSource(Path(os.environ["RETINALESION_IDRID"]), part="grading", half="train")
    reader = AnatomyReader()
    known = [one for one in source.photographs() if one.disc and one.fovea][::40]
    assert len(known) > 5
    near = []
    for photograph in known:
        seen = reader.look(View.of(source.read(photograph).rgb, 512))
        for place, truth in ((seen.disc, photograph.disc), (seen.fovea, photograph.fovea)):
            near.append(seen.disc and place and math.dist(place.point, truth[:2]) < 0.5 * seen.disc.diameter)
    assert np.mean([bool(one) for one in near]) > 0.9
