import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from retinalesion.data.field import find_field, from_square, grow, lit_field, plane_to_square, to_square
from retinalesion.geometry import Box

FULL = {"size": (600, 800), "centre": (410.0, 300.0), "radius": 270.0}
CUT = {"size": (600, 900), "centre": (420.0, 290.0), "radius": 370.0}  # above and below, as by most cameras
CUT_BELOW = {"size": (600, 900), "centre": (420.0, 380.0), "radius": 350.0}
CUT_RIGHT = {"size": (900, 700), "centre": (440.0, 450.0), "radius": 380.0}


def draw(size, centre, radius, *, background=(2, 2, 2), brightness=1.0, change=None, noise=2.0):
    height, width = size
    rows, columns = np.mgrid[:height, :width] + 0.5
    distance = np.hypot(columns - centre[0], rows - centre[1]) / radius
    retina = np.array([170, 80, 40]) * (1.1 - 0.5 * distance[..., None] ** 2) * brightness
    photograph = np.where(distance[..., None] <= 1, retina, np.array(background, float))
    if change:
        change(photograph, rows, columns, distance)
    photograph += np.random.default_rng(1).normal(0, noise, photograph.shape)
    return np.clip(photograph, 0, 255).astype(np.uint8)


def notch(photograph, rows, columns, distance):
    photograph[150:190, 650:690] = (120, 60, 30)  # a tab that sticks out of the disc, as in IDRiD


def missing_bite(photograph, rows, columns, distance):
    photograph[280:330, 120:175] = 2


def notch_in_the_stop(photograph, rows, columns, distance):
    photograph[280:330, 20:65] = 2


def bright_rim(photograph, rows, columns, distance):
    photograph[(distance > 0.97) & (distance <= 1)] = (230, 230, 255)


def dust(photograph, rows, columns, distance):
    for x, y in np.random.default_rng(2).integers(0, 600, (40, 2)):
        cv2.circle(photograph, (int(x), int(y)), 3, (90, 90, 90), -1)
    photograph[20:40, 690:790] = 200  # a label


def shadow(photograph, rows, columns, distance):
    photograph *= np.clip((columns[..., None] - 190) / 120, 0.03, 1)


def glow(photograph, rows, columns, distance):
    photograph += np.where(distance > 1, 14 * np.exp(-6 * (distance - 1)), 0)[..., None]


def dark_pool(photograph, rows, columns, distance):
    photograph[(distance <= 1) & (rows > 420)] = (14, 5, 4)  # a vitreous haemorrhage


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize(
    ("shape", "look"),
    [
        (FULL, {}),
        (CUT, {}),
        (CUT_BELOW, {}),
        (CUT_RIGHT, {}),
        (FULL, {"brightness": 0.1}),
        (CUT, {"brightness": 0.1, "background": (0, 0, 0), "noise": 1.0}),
        (FULL, {"background": (128, 128, 128)}),
        (FULL, {"background": (255, 255, 255)}),
        (FULL, {"noise": 12.0}),
        *((FULL, {"change": change}) for change in (notch, missing_bite, bright_rim, dust)),
        *((FULL, {"change": change}) for change in (shadow, glow, dark_pool)),
    ],
)
def test_the_box_is_the_square_around_the_disc_whatever_disturbs_it(shape, look, scale):
    photograph = draw(**shape, **look)
    if scale > 1:
        photograph = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    box = find_field(photograph)
    height, width = shape["size"]
    (x, y), radius = shape["centre"], shape["radius"]
    left, right = max(x - radius, 0), min(x + radius, width)
    upper, lower = max(y - radius, 0), min(y + radius, height)
    tolerance = 0.02 * radius
    found = np.array([box.x, box.x + box.side, box.y, box.y + box.side]) / scale
    assert box.side / scale == pytest.approx(max(right - left, lower - upper), abs=2 * tolerance)
    assert found[0] <= left + tolerance
    assert found[1] >= right - tolerance
    assert found[2] <= upper + tolerance
    assert found[3] >= lower - tolerance


def test_a_disc_cut_above_and_below_lies_in_the_middle_of_its_box():
    box = find_field(draw(**CUT))
    assert box.y + box.side / 2 == pytest.approx(CUT["centre"][1], abs=8)
    assert box.y < 0


@pytest.mark.parametrize(
    "photograph",
    [
        draw((448, 448), (224.0, 224.0), 224.0),  # touches all four sides
        draw((448, 448), (224.0, 224.0), 226.0, change=shadow),
        draw((448, 448), (224.0, 224.0), 330.0),  # no background at all
        draw((448, 448), (224.0, 224.0), 224.0, brightness=0.06),
        np.zeros((448, 448, 3), np.uint8),
        np.full((448, 448, 3), 130, np.uint8),
    ],
    ids=["touching", "touching, in shadow", "no background", "dark", "black", "grey"],
)
def test_what_is_square_and_cropped_already_stays_as_it_is(photograph):
    assert find_field(photograph) == Box(0, 0, 448)


def test_without_a_background_the_box_holds_the_whole_photograph():
    assert find_field(draw((400, 600), (300.0, 200.0), 500.0)) == Box(0, -100, 600)


@pytest.mark.parametrize("side", [300, 600])
@pytest.mark.parametrize(
    ("change", "lit"),
    [(None, True), (notch_in_the_stop, False), (missing_bite, True), (dark_pool, True)],
    ids=["retina", "notch", "hole", "pool of blood"],
)
def test_what_the_camera_saw_is_told_from_what_it_did_not(change, lit, side):
    square = draw((600, 600), (300.0, 300.0), 270.0, change=change)
    field = lit_field(square, (side, side))
    assert field.shape == (side, side)
    assert not field[side // 20, side // 20]
    assert field[side // 2, side // 2]
    x, y = {notch_in_the_stop: (45, 305), missing_bite: (150, 305)}.get(change, (300, 560))
    assert field[y * side // 600, x * side // 600] == lit


def written_on(rgb, *places):
    for place in places:
        cv2.putText(rgb, "R ID 12", place, cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2)
    return rgb


@pytest.mark.parametrize("size", [(600, 600), (440, 600)], ids=["whole", "cut above and below"])
@pytest.mark.parametrize("as_square", [False, True])
def test_letters_beside_the_disc_and_its_rim_are_no_place_for_lesions(size, as_square):
    middle = (300.0, size[0] / 2)
    rgb = draw(size, middle, 250.0)
    written_on(rgb, (2, 24), (490, size[0] - 6))
    if as_square:
        rgb = to_square(rgb, find_field(rgb), 512)
    height, width = rgb.shape[:2]
    field = lit_field(rgb, (height, width))
    scale = 512 / 500 if as_square else 1.0
    x, y = (256, 256) if as_square else middle
    away = np.hypot(*(np.mgrid[:height, :width] + 0.5 - np.reshape((y, x), (2, 1, 1)))) / (250 * scale)
    assert not field[away > 1].any()
    assert field[(away < 0.97) & (rgb.max(axis=2) > 20)].all()
    assert 0.005 < 1 - away[field].max() < 0.02


def test_without_a_background_all_is_seen():
    assert lit_field(draw((448, 448), (224.0, 224.0), 330.0), (100, 100)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (7, 3), (40, 40)])
def test_tiny_photographs_have_a_box_too(size):
    box = find_field(np.full((*size, 3), 90, np.uint8))
    assert box.side == max(size)


def test_the_box_grows_to_hold_every_marked_pixel_and_only_then():
    inside, outside = np.zeros((600, 800), bool), np.zeros((600, 800), bool)
    inside[300, 400] = True
    outside[5, 790] = True
    box = Box(140, 30, 540)
    assert grow(box, [inside]) == box
    grown = grow(box, [inside, outside])
    assert grown.x <= 140
    assert grown.x + grown.side >= 791
    assert grown.y <= 5
    assert grown.y + grown.side >= 570
    assert plane_to_square(outside, grown, 224).sum() == 1


def test_outside_the_photograph_the_square_is_black():
    square = to_square(np.full((40, 60, 3), 200, np.uint8), Box(-10, -20, 80), 40)
    assert (square[10:30, 5:35] == 200).all()
    assert square.sum() == 200 * 3 * 20 * 30


@pytest.mark.parametrize(("marked", "set_"), [(7, False), (8, True)])
def test_a_stored_pixel_is_set_where_half_of_its_area_is_marked(marked, set_):
    mask = np.zeros((16, 16), bool)
    mask[12:, 12:] = True
    mask[:4, :4].flat[:marked] = True
    plane = plane_to_square(mask, Box(0, 0, 16), 4)
    assert plane[0, 0] == set_
    assert plane[3, 3]


def test_a_lesion_smaller_than_half_a_stored_pixel_stays_present():
    mask = np.zeros((800, 800), bool)
    mask[610:612, 205] = True
    plane = plane_to_square(mask, Box(0, 0, 800), 32)
    assert np.argwhere(plane).tolist() == [[24, 8]]


def test_an_empty_mask_stays_empty():
    assert not plane_to_square(np.zeros((64, 64), bool), Box(0, 0, 64), 8).any()


@pytest.mark.parametrize("side", [128, 96, 400])
def test_the_way_there_and_back_keeps_places(side):
    """A smooth spot comes back with its centre within a twentieth of a pixel."""
    rows, columns = np.mgrid[:300, :420] + 0.5
    spot = np.exp(-((columns - 251.3) ** 2 + (rows - 133.7) ** 2) / 800)
    box = Box(60, -10, 320)
    square = to_square(np.repeat((spot * 255)[..., None], 3, 2).astype(np.uint8), box, side)
    back = from_square(square[..., 0].astype(np.float32), box, (300, 420))
    assert back.shape == (300, 420)
    assert (back * columns).sum() / back.sum() == pytest.approx(251.3, abs=0.05)
    assert (back * rows).sum() / back.sum() == pytest.approx(133.7, abs=0.05)


def test_the_way_back_is_zero_outside_the_box():
    back = from_square(np.ones((16, 16), np.float32), Box(20, -5, 40), (50, 70))
    assert back.sum() == 35 * 40
    assert back[:35, 20:60].all()


idrid = pytest.mark.skipif("RETINALESION_IDRID" not in os.environ, reason="RETINALESION_IDRID is not set")


@idrid
@pytest.mark.timeout(600)
def test_idrid_keeps_every_lesion_and_its_area_at_896():
    """The 54 photographs: lesions present, total area within 3 %, each photograph within 12 %."""
    from retinalesion.data.sources.idrid import IdridSource

    source = IdridSource(Path(os.environ["RETINALESION_IDRID"]), part="segmentation", half="train")
    areas: dict[str, list[tuple[int, float, int]]] = {code: [] for code in ("MA", "iHE", "HaEx", "CWS")}
    for photograph in source.photographs():
        pixels = source.read(photograph)
        box = grow(find_field(pixels.rgb), pixels.planes.values())
        assert 3400 <= box.side <= 3850
        for code, mask in pixels.planes.items():
            stored = int(plane_to_square(mask, box, 896).sum())
            areas[code].append((int(mask.sum()), stored * (box.side / 896) ** 2, stored))
    table: dict[str, NDArray[np.float64]] = {code: np.array(found, float) for code, found in areas.items()}
    assert {code: int((found[:, 2] > 0).sum()) for code, found in table.items()} == {
        "MA": 54,
        "iHE": 53,
        "HaEx": 54,
        "CWS": 26,
    }
    for found in table.values():
        marked, enlarged, stored = found.T
        assert enlarged.sum() == pytest.approx(marked.sum(), rel=0.03)
        assert enlarged[stored > 200] == pytest.approx(marked[stored > 200], rel=0.12)
