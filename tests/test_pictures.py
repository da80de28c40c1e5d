import math
from itertools import combinations

import cv2
import numpy as np
import pytest

from retinalesion.lesions import CODES, LESIONS
from retinalesion.pictures import ASIDE, RINGS, key, overlay, panel, spots_marked, stack

FUNDUS = [(200, 110, 45), (175, 90, 20), (215, 120, 95), (140, 60, 25), (110, 30, 20), (190, 70, 45)]
EYES = {  # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def fundus(height=90, width=120):
    return np.full((height, width, 3), FUNDUS[0], np.uint8)


def planes(height=90, width=120, **marked):
    drawn = np.zeros((8, height, width), bool)
    for code, area in marked.items():
        drawn[(CODES.index(code), *area)] = True
    return drawn


def seen(colour, eye):
    values = np.array(colour) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(EYES[eye]) @ linear, 0, 1)
    values = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(values.astype(np.float32)[None, None], cv2.COLOR_RGB2LAB)[0, 0]


@pytest.mark.parametrize(("eye", "apart"), [("normal", 30), ("protan", 30), ("deutan", 30), ("tritan", 23)])
def test_colours_are_told_apart_from_each_other_and_from_the_retina(eye, apart):
    for one, other in combinations(LESIONS, 2):
        distance = np.linalg.norm(seen(one.colour, eye) - seen(other.colour, eye))
        assert distance >= apart, (one.code, other.code)
    for lesion in LESIONS:
        for retina in FUNDUS:
            assert np.linalg.norm(seen(lesion.colour, eye) - seen(retina, eye)) >= apart, lesion.code


@pytest.mark.parametrize("eye", EYES)
def test_what_is_set_aside_and_the_rings_of_spots_are_told_apart_too(eye):
    for colour in [lesion.colour for lesion in LESIONS] + FUNDUS:
        assert np.linalg.norm(seen(ASIDE, eye) - seen(colour, eye)) >= 25, colour
    dark, bright, mean = (seen(colour, eye) for colour in (RINGS["dark"], RINGS["bright"], (128, 128, 128)))
    assert min(np.linalg.norm(one - other) for one, other in combinations((dark, bright, mean), 2)) >= 40


@pytest.mark.parametrize("lesion", LESIONS, ids=CODES)
def test_a_single_pixel_is_ringed_in_its_colour_and_stays_visible(lesion):
    rgb = fundus()
    rgb[40, 50] = (90, 20, 10)
    drawn = overlay(rgb, planes(**{lesion.code: (40, 50)}), fill=0)
    assert tuple(drawn[40, 50]) == (90, 20, 10)
    ring = (drawn == lesion.colour).all(axis=-1)
    assert 6 <= ring.sum() <= 24
    rows, columns = np.nonzero(ring)
    assert rows.min() >= 37
    assert rows.max() <= 43
    assert columns.min() >= 47
    assert columns.max() <= 53


@pytest.mark.parametrize("side", [512, 896, 1400])
@pytest.mark.parametrize("radius", [0, 2, 30])
def test_what_is_possible_is_dashed_on_all_sides_and_not_tinted(side, radius):
    """At the sizes of overlays and of the report, however small it is."""
    marked, middle = planes(side, side), side // 2
    cv2.circle(marked[0].view(np.uint8), (middle, middle), radius, 1, cv2.FILLED)
    rgb = fundus(side, side)
    dashed, solid = overlay(rgb, planes(side, side), possible=marked), overlay(rgb, marked)
    assert (dashed[marked[0]] == FUNDUS[0]).all()
    dashes, line = ((drawn == LESIONS[0].colour).all(axis=-1) for drawn in (dashed, solid))
    rows, columns = np.nonzero(dashes)
    turns = np.sort(np.arctan2(rows - middle, columns - middle))
    assert np.diff(turns, append=turns[0] + math.tau).max() < 2.2
    pieces, ring = (cv2.connectedComponents(one.astype(np.uint8))[0] - 1 for one in (dashes, line))
    assert pieces >= 3
    assert ring == 1


@pytest.mark.parametrize("lesion", LESIONS, ids=CODES)
def test_dashes_are_seen_on_a_vessel_in_every_colour(lesion):
    """A dark one is cased in white."""
    vessel = np.full((90, 120, 3), FUNDUS[4], np.uint8)
    marked = planes(**{lesion.code: (slice(40, 44), slice(50, 54))})
    drawn = overlay(vessel, planes(), possible=marked)
    new = drawn[(drawn != vessel).any(axis=-1)]
    assert (new == lesion.colour).all(axis=-1).sum() > 8
    below = seen(FUNDUS[4], "normal")
    assert max(np.linalg.norm(seen(one, "normal") - below) for one in np.unique(new, axis=0)) > 50


def test_nothing_marked_nothing_drawn_and_the_photograph_is_left_alone():
    rgb = fundus()
    assert np.array_equal(overlay(rgb, planes()), rgb)
    overlay(rgb, planes(iHE=(slice(20, 60), slice(20, 60))))
    assert np.array_equal(rgb, fundus())


def test_a_microaneurysm_shows_on_top_of_what_lies_under_it():
    both = planes(MA=(50, 50), vHE=(slice(20, 80), slice(20, 80)))
    drawn = overlay(fundus(), both)
    assert (drawn == LESIONS[0].colour).all(axis=-1).any()
    assert (drawn == LESIONS[4].colour).all(axis=-1).any()


def test_fill_tints_the_inside_only():
    drawn = overlay(fundus(), planes(HaEx=(slice(30, 60), slice(30, 60))), fill=0.5)
    assert tuple(drawn[45, 45]) == (100, 55, 150)
    assert tuple(drawn[10, 10]) == FUNDUS[0]


def test_what_is_set_aside_is_ringed_in_grey_below_the_lesions():
    aside = planes(MA=(slice(40, 60), slice(40, 60)))[0]
    grey = (overlay(fundus(), planes(), aside=aside) == ASIDE).all(axis=-1)
    assert grey[38, 50]
    assert not grey[45:55, 45:55].any()
    lesion = planes(MA=(slice(30, 50), slice(40, 60)))
    assert (overlay(fundus(), lesion, aside=aside) == overlay(fundus(), lesion))[:50, 40:60].mean() > 0.7
    both = overlay(fundus(), planes(MA=(slice(40, 60), slice(40, 60))), aside=aside)
    assert not (both == ASIDE).all(axis=-1).any()
    assert (both == LESIONS[0].colour).all(axis=-1).any()


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="belong"):
        overlay(fundus(), planes(80, 120))
    with pytest.raises(ValueError, match="belong"):
        overlay(fundus(), planes(), aside=planes(80, 120)[0])


def grey(height=712, width=1072):
    return np.full((height, width), 128, np.uint8)


def within(spots, beyond=0.0):
    """Where the spots lie, as far as the picture reaches."""
    rows, columns = np.mgrid[:712, :1072]
    reach = [(columns - x) ** 2 + (rows - y) ** 2 <= (radius + beyond) ** 2 for _, x, y, radius in spots]
    return np.logical_or.reduce(reach)


def test_each_spot_is_ringed_in_the_colour_of_its_kind_and_numbered():
    drawn = spots_marked(grey(), [("dark", 300.0, 200.0, 8.0), ("bright", 700.0, 500.0, 8.0)])
    assert drawn.shape == (712, 1072, 3)
    for kind, x, y in (("dark", 300, 200), ("bright", 700, 500)):
        around = drawn[y - 60 : y + 60, x - 60 : x + 60]
        assert (around == RINGS[kind]).all(axis=-1).any()
        assert (drawn[y - 5 : y + 6, x - 5 : x + 6] == 128).all()
        number = (around != 128).any(axis=-1)
        number[48:73, 48:73] = False  # the ring
        assert number.sum() > 40
    assert not (drawn[:350] == RINGS["bright"]).all(axis=-1).any()


def test_numbers_of_sixty_spots_cover_none_of_them_and_stay_within():
    random = np.random.default_rng(0)
    places = [(x, y) for y in range(0, 712, 44) for x in range(0, 1072, 44)]  # on the edges, in the corners
    chosen = [places[0], places[-1], *(places[i] for i in random.choice(len(places), 58, replace=False))]
    spots = [("dark" if i % 4 else "bright", float(x), float(y), 9.0) for i, (x, y) in enumerate(chosen)]
    drawn = (spots_marked(grey(), spots) != 128).any(axis=-1)
    assert not drawn[within(spots, beyond=-1)].any()
    apart = drawn & ~within(spots, beyond=3)
    assert apart.sum() > 60 * 40
    for place in (0, 1):
        assert (apart & within(spots[place : place + 1], beyond=30)).sum() > 40


def test_spots_side_by_side_get_numbers_that_do_not_overlap():
    spots = [("dark", 500.0, 300.0, 8.0), ("dark", 514.0, 300.0, 8.0)]
    one, both = ((spots_marked(grey(), spots[:count]) != 128).any(axis=-1) for count in (1, 2))
    beside = ~within(spots, beyond=3)
    assert (both & beside).sum() > 1.8 * (one & beside).sum()


@pytest.mark.parametrize("shape", [(712, 1072), (20, 20), (3, 400)])
def test_a_picture_of_any_size_can_be_marked(shape):
    mean = grey(*shape)
    assert spots_marked(mean, []).shape == (*shape, 3)
    assert (spots_marked(mean, [("dark", 2.0, 2.0, 5.0)] * 3) != 128).any()
    assert (mean == 128).all()


@pytest.mark.parametrize("width", [120, 500, 2000])
def test_key_shows_each_lesion_asked_for_and_fits(width):
    for codes in (CODES, ("MA", "CWS")):
        strip = key(width, codes)
        assert strip.shape[1] == width
        for lesion in LESIONS:
            assert (strip == lesion.colour).all(axis=-1).any() == (lesion.code in codes)


def test_panel_sets_photograph_truth_and_prediction_side_by_side():
    rgb, truth = fundus(), planes(iHE=(slice(30, 50), slice(30, 50)))
    assert panel(rgb).shape[1] == 120
    both = panel(rgb, truth, planes(), title="p000_right DR2")
    assert both.shape[1] >= 360
    assert both.shape[0] > 90
    cream = (both[:-40] == LESIONS[1].colour).all(axis=-1)
    assert not cream[:, :120].any()
    assert cream[:, 120:245].any()
    assert not cream[:, 245:].any()


def test_stack_takes_pictures_of_different_widths():
    assert stack([fundus(10, 30), fundus(20, 50)]).shape == (30, 50, 3)
