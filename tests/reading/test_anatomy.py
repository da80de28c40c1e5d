import math

import numpy as np
import pytest

from retinalesion.geometry import Box, Disc, Landmark, Point
from retinalesion.guideline import weigh
from retinalesion.reading.anatomy import DISC_SHARE, SEEN, Anatomy, Sighting
from retinalesion.reading.evidence import evidence_lines
from retinalesion.reading.findings import quadrant_counts

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
