import math
import time

import numpy as np
import pytest

from retinalesion.geometry import DISC_SHARE, Box, Disc, Point
from retinalesion.guideline import count_by_quadrant
from retinalesion.reading.anatomy import Anatomy
from retinalesion.reading.findings import field_pixels, quadrant_counts

BOX = Box(0, 0, 100)


def drawn(*regions, shape=(100, 100)):
    """A map with rectangles (left, top, width, height, probability)."""
    probability = np.zeros(shape, np.float32)
    for left, top, width, height, value in regions:
        probability[top : top + height, left : left + width] = value
    return probability


def test_each_region_tells_what_it_is_and_larger_ones_come_first(found_in):
    probability = drawn((5, 10, 1, 1, 0.6), (60, 70, 5, 3, 0.7), (70, 10, 4, 4, 0.5))
    probability[71, 62] = 0.9
    large, small = found_in({"MA": probability}, BOX)
    assert (large.lesion, large.left, large.top, large.width, large.height) == ("MA", 60, 70, 5, 3)
    assert (large.x, large.y, large.pixels, large.quadrant) == (62, 71, 15, "lower right")
    assert large.confidence == pytest.approx(0.9)
    assert large.share == pytest.approx(15 / (math.pi * 50**2), rel=0.001)
    assert (small.x, small.y, small.pixels, small.quadrant) == (5, 10, 1, "upper left")
    assert small.confidence == pytest.approx(0.6)


def test_a_map_that_never_exceeds_one_half_has_no_finding(found_in):
    assert found_in({"MA": drawn((5, 5, 9, 9, 0.5))}, BOX) == ()
    above = np.nextafter(np.float32(0.5), np.float32(1))
    assert found_in({"MA": drawn((5, 5, 1, 1, above))}, BOX)


def test_pixels_that_touch_at_a_corner_are_one_finding(found_in):
    (only,) = found_in({"iHE": drawn((5, 5, 2, 2, 1), (7, 7, 2, 2, 1))}, BOX)
    assert only.pixels == 8


def test_quadrants_go_by_the_fovea_where_it_is_known_else_by_the_middle_of_the_field(found_in):
    probability = drawn((40, 40, 3, 3, 1), shape=(100, 200))
    (about_middle,) = found_in({"iHE": probability}, Box(50, 0, 100))
    (about_fovea,) = found_in({"iHE": probability}, Box(50, 0, 100), Anatomy.told(fovea=Point(30, 60)))
    assert (about_middle.quadrant, about_fovea.quadrant) == ("upper left", "upper right")


@pytest.mark.parametrize(
    ("fovea", "disc", "expected"),
    [
        (Point(50, 50), Disc(20, 50, 25), 2.0),
        (Point(50, 50), Disc(20, 50, math.nan), None),
        (Point(50, 50), None, None),
        (None, Disc(20, 50, 25), None),
    ],
)
def test_distance_in_disc_diameters_where_fovea_and_disc_are_known(found_in, fovea, disc, expected):
    (only,) = found_in({"HaEx": drawn((79, 9, 3, 3, 1))}, BOX, Anatomy.told(disc, fovea))
    # 30 right of the fovea, 40 above it
    assert only.disc_diameters == expected


def test_the_field_is_the_disc_within_the_photograph():
    disc = math.pi * 50**2
    assert field_pixels(BOX, (100, 100)) == pytest.approx(disc, rel=0.001)
    assert field_pixels(Box(0, -50, 100), (50, 100)) == pytest.approx(disc / 2, rel=0.001)
    assert field_pixels(Box(-50, -50, 100), (50, 50)) == pytest.approx(disc / 4, rel=0.001)


def test_counts_are_those_of_the_plane(found_in):
    probability = (np.random.default_rng(0).random((100, 100)) ** 4).astype(np.float32)
    both = found_in({"MA": probability, "iHE": probability}, BOX, Anatomy.told(fovea=Point(40, 60)))
    findings = [finding for finding in both if finding.lesion == "iHE"]
    assert quadrant_counts(both) == count_by_quadrant(probability > 0.5, (40, 60))
    assert sum(finding.pixels for finding in findings) == (probability > 0.5).sum()


def test_thousands_of_regions_at_full_size_take_little_time(found_in):
    probability = np.zeros((2848, 4288), np.float32)
    probability[::40, ::40] = 0.8
    begin = time.perf_counter()
    assert len(found_in({"MA": probability}, Box(287, -297, 3420))) == 72 * 108
    assert time.perf_counter() - begin < 5  # a loop over full frames would take minutes


GREY, DARK, BRIGHT = 100, 70, 140


def painted(*patches, shape=(120, 120)):
    """A grey photograph with patches (left, top, width, height, grey)."""
    rgb = np.full((*shape, 3), GREY, np.uint8)
    for left, top, width, height, grey in patches:
        rgb[top : top + height, left : left + width] = grey
    return rgb


@pytest.mark.parametrize("grey", [DARK, GREY, BRIGHT])
def test_contrast_is_against_what_lies_around(found_in, grey):
    place = (50, 60, 6, 6)
    shape = (120, 120)
    (one,) = found_in({"MA": drawn((*place, 0.9), shape=shape)}, rgb=painted((*place, grey)))
    assert one.contrast == pytest.approx(grey / GREY - 1, abs=0.01)


def test_contrast_heeds_neither_other_lesions_nor_the_black_outside(found_in):
    """A bright one stands at its side, and the picture's edge is black."""
    rgb = painted((50, 60, 6, 6, DARK), (57, 60, 8, 8, 250), (0, 0, 48, 120, 0))
    maps = {
        "MA": drawn((50, 60, 6, 6, 0.9), shape=(120, 120)),
        "HaEx": drawn((57, 60, 8, 8, 0.9), shape=(120, 120)),
    }
    dark, _ = found_in(maps, rgb=rgb)
    assert dark.contrast == pytest.approx(DARK / GREY - 1, abs=0.02)


def test_contrast_where_nothing_is_left_around_is_against_the_usual(found_in):
    whole = np.full((120, 120), 0.9, np.float32)
    (one,) = found_in({"iHE": whole}, rgb=painted())
    assert math.isfinite(one.contrast)


@pytest.mark.parametrize(
    ("width", "height", "ratio"), [(1, 1, 1.0), (8, 8, 1.0), (20, 5, 4.0), (3, 12, 4.0), (9, 1, 9.0)]
)
def test_elongation_of_a_bar_is_its_length_to_its_width(found_in, width, height, ratio):
    (one,) = found_in({"iHE": drawn((40, 40, width, height, 0.9))}, BOX)
    assert one.elongation == pytest.approx(ratio)


def test_peak_and_mean_are_the_maps(found_in):
    probability = drawn((40, 40, 2, 2, 0.6))
    probability[40, 40] = 1.0
    (one,) = found_in({"MA": probability}, BOX)
    assert (one.peak, one.mean, one.confidence) == pytest.approx((1.0, 0.7, 1.0))


@pytest.mark.parametrize("diameter", [20, math.nan])
def test_neighbours_are_those_of_its_kind_within_a_disc_diameter(found_in, diameter):
    """Of the usual size, 0.16 of the field's side, where no disc is seen: here 17 pixels."""
    known = Anatomy.told(Disc(10, 10, diameter))
    maps = {
        "MA": drawn((50, 50, 1, 1, 0.9), (60, 50, 1, 1, 0.9), (66, 50, 1, 1, 0.9), (5, 90, 1, 1, 0.9)),
        "HaEx": drawn((50, 52, 1, 1, 0.9)),
    }
    found = found_in(maps, Box(0, 0, 112), known)
    assert {one.x: one.neighbours for one in found if one.lesion == "MA"} == {50: 2, 60: 2, 66: 2, 5: 0}
    assert [one.neighbours for one in found if one.lesion == "HaEx"] == [0]


def test_from_edge_and_from_disc(found_in):
    known = Anatomy.told(Disc(30, 50, 10))
    at = [(50, 50), (10, 50), (99, 50), (2, 2)]
    found = found_in({"MA": drawn(*((x, y, 1, 1, 0.9) for x, y in at), shape=(101, 101))}, anatomy=known)
    told = {(one.x, one.y): one for one in found}
    assert told[50, 50].from_edge == pytest.approx(1)
    assert told[10, 50].from_edge == pytest.approx(1 - 40 / 50.5)
    assert told[99, 50].from_edge == pytest.approx(1 - 49 / 50.5)
    assert told[10, 50].from_disc == 2.0
    assert [one.from_disc for one in found_in({"MA": drawn((9, 9, 1, 1, 0.9))}, BOX)] == [None]


def test_areas_in_disc_areas_and_in_those_of_a_usual_disc(found_in):
    (seen,) = found_in({"MA": drawn((50, 50, 5, 5, 0.9))}, BOX, Anatomy.told(Disc(30, 50, 10)))
    (usual,) = found_in({"MA": drawn((50, 50, 5, 5, 0.9))}, BOX)
    assert seen.disc_areas == pytest.approx(25 / (math.pi * 25))
    assert usual.disc_areas == pytest.approx(usual.share / DISC_SHARE, rel=1e-3)


def test_overlap_and_the_other_of_its_colour(found_in):
    maps = {
        "MA": drawn((20, 20, 4, 4, 0.9), (60, 60, 2, 2, 0.9), (24, 60, 3, 3, 0.9)),
        "iHE": drawn((22, 20, 10, 4, 0.9), (62, 62, 8, 8, 0.9), (80, 20, 5, 5, 0.9)),
        "HaEx": drawn((22, 20, 1, 1, 0.9)),
    }
    found = {(one.lesion, one.left): one for one in found_in(maps, BOX)}
    half, corner, alone = (found["MA", left] for left in (20, 60, 24))
    assert (half.overlap, corner.overlap, alone.overlap) == (0.5, 0, 0)
    assert half.other == found["iHE", 22].number
    assert corner.other == found["iHE", 62].number  # touching at a corner
    assert alone.other is None
    assert (found["iHE", 22].other, found["iHE", 22].overlap) == (half.number, 8 / 40)
    assert found["iHE", 62].other == corner.number
    assert found["iHE", 80].other is None
    assert (found["HaEx", 22].other, found["HaEx", 22].overlap) == (None, 0)


def test_the_other_is_the_one_that_shares_most(found_in):
    maps = {"MA": drawn((20, 20, 3, 3, 0.9), (30, 20, 5, 5, 0.9)), "iHE": drawn((22, 20, 12, 5, 0.9))}
    large, small, haemorrhage = found_in(maps, BOX)
    assert large.other == small.other == haemorrhage.number == 3
    assert haemorrhage.other == large.number == 1


def test_numbers_run_through_all_lesions(found_in):
    maps = {"MA": drawn((20, 20, 3, 3, 0.9), (60, 20, 5, 5, 0.9)), "HaEx": drawn((22, 70, 1, 5, 0.9))}
    assert [one.number for one in found_in(maps, BOX)] == [1, 2, 3]
    assert len({one.number for one in found_in({**maps, "CWS": np.zeros((100, 100), np.float32)}, BOX)}) == 3
