import math
import time

import numpy as np
import pytest

from retinalesion.geometry import Box, Disc, Point
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
