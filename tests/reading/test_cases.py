"""Photographs that come otherwise than a reader expects: each reading says what is the matter."""

import cv2
import numpy as np
import pytest

from retinalesion.data.quality import LIMITS
from retinalesion.lesions import CODES
from retinalesion.reading.reader import Model, Reader

ANY = {name: (-float("inf"), float("inf")) for name in LIMITS}
SIDE, IHE = 512, CODES.index("iHE")
HEALTHY = (0.95, 0.05, 0.0, 0.0, 0.0)
SPOTS = ((240, 200), (300, 330), (210, 300))


class Contrasts(Reader):
    """Takes whatever is darker or brighter than a retina for a haemorrhage, and grades all as healthy."""

    def __init__(self, limits=ANY):
        self.side, self.anatomy, self.model = SIDE, None, Model("contrasts", ("iHE",), limits)

    def maps_of(self, square):
        maps = np.zeros((len(CODES), SIDE, SIDE), np.float32)
        maps[IHE] = (square[..., 0] < 80) | (square[..., 0] > 220)
        return maps, HEALTHY


def eye(*spots, radius=240, tint=(170, 80, 40)):
    """A round field in a picture of 540 x 540, with dark spots and its own waves."""
    rows, columns = np.mgrid[:540, :540] + 0.5
    away = np.hypot(columns - 270, rows - 270) / radius
    waves = np.random.default_rng(radius).uniform(0.9, 1.1, (9, 9))
    waves = cv2.resize(waves, (540, 540), interpolation=cv2.INTER_CUBIC)[..., None]
    rgb = np.where(away[..., None] <= 1, np.array(tint) * (1.1 - 0.3 * away[..., None] ** 2) * waves, 0)
    rgb = rgb.clip(0, 215).astype(np.uint8)
    for spot in spots:
        cv2.circle(rgb, spot, 6, (60, 20, 10), cv2.FILLED)
    return rgb


def read(rgb, **options):
    return Contrasts(**options).see(rgb, "p.jpg", "p").reading


def on_canvas(rgb, times_wide, times_high=1, left=0, top=0):
    height, width = rgb.shape[:2]
    canvas = np.zeros((times_high * height, times_wide * width, 3), np.uint8)
    canvas[top : top + height, left : left + width] = rgb
    return canvas


def test_a_plain_one_is_read():
    said = read(eye(*SPOTS))
    assert (len(said.findings), said.quality.reasons) == (3, ())


@pytest.mark.parametrize("ill_first", [True, False])
@pytest.mark.parametrize("smaller", [240, 200])
@pytest.mark.parametrize("below", [True, False])
def test_of_two_eyes_in_one_picture_none_is_read(ill_first, smaller, below):
    both = [eye(*SPOTS), eye(radius=smaller)]
    said = read(np.concatenate(both if ill_first else both[::-1], axis=0 if below else 1))
    assert said.outcome == "retake"
    assert said.grade is None
    assert "a second field of view" in said.outcome_reason


@pytest.mark.parametrize("label", [(20, 12), (60, 90)])
def test_a_label_at_its_side_is_no_second_field(label):
    rgb = on_canvas(eye(*SPOTS), 2)
    width, height = label
    rgb[30 : 30 + height, 700 : 700 + width] = 200
    said = read(rgb)
    assert (len(said.findings), said.quality.gradable) == (3, True)


@pytest.mark.parametrize(("wide", "high", "left", "top"), [(3, 1, 0, 0), (3, 3, 0, 0), (5, 4, 1600, 1200)])
def test_a_small_field_on_a_large_canvas_is_read_as_without_it(wide, high, left, top):
    plain, said = read(eye(*SPOTS)), read(on_canvas(eye(*SPOTS), wide, high, left, top))
    assert said.quality.gradable
    assert said.box.side == pytest.approx(plain.box.side, rel=0.02)
    there, here = (sorted((f.x, f.y) for f in one.findings) for one in (said, plain))
    assert np.allclose(np.subtract(there, (left, top)), here, atol=4)


def test_letters_beside_the_field_are_no_findings():
    rgb = eye()
    for text, place in (("R  ID 12", (2, 22)), ("12.03.2019", (425, 530)), ("OD", (495, 20))):
        cv2.putText(rgb, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
    said = read(rgb)
    assert said.findings == ()
    assert (said.outcome, said.grade) == ("no referral", 0)
    cv2.putText(rgb, "a", (270, 270), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
    assert len(read(rgb).findings) == 1  # inside it is another matter


@pytest.mark.parametrize(("side", "enough"), [(224, False), (500, False), (540, True)])
def test_with_too_few_pixels_to_see_microaneurysms_none_are_denied(side, enough):
    small = cv2.resize(eye(radius=265), (side, side), interpolation=cv2.INTER_AREA)
    if side == 500:
        small = small[30:-30, 30:-30]  # 440
    said = read(small)
    assert (said.outcome == "retake") != enough
    assert ("too few pixels to see microaneurysms" in said.outcome_reason) != enough
    assert any(line.role == "none" for line in said.evidence) == enough


def test_a_network_of_few_pixels_asks_for_no_more_than_it_sees():
    reader = Contrasts()
    reader.side, reader.maps_of = 96, lambda square: (np.zeros((len(CODES), 96, 96), np.float32), HEALTHY)
    assert reader.see(eye()[::5, ::5].copy(), "p", "p").reading.quality.gradable
    assert not reader.see(eye()[::8, ::8].copy(), "p", "p").reading.quality.gradable


@pytest.mark.parametrize("grain", [0, 8])
@pytest.mark.parametrize("size", [(1400, 1000), (700, 700)])
@pytest.mark.parametrize("letters", [0.4, 1.0])
def test_a_printed_page_is_told_to_be_no_fundus(grain, size, letters):
    page = np.full((*size, 3), 245, np.uint8)
    for row in range(40, size[0], round(34 * letters)):
        cv2.putText(
            page, "Consent to photographs " * 5, (20, row), cv2.FONT_HERSHEY_SIMPLEX, letters, (20,) * 3
        )
    grainy = page + np.random.default_rng(0).normal(0, grain, page.shape)
    said = read(grainy.clip(0, 255).astype(np.uint8), limits=LIMITS)
    assert said.outcome == "retake"
    first = said.quality.reasons[0]
    assert first.startswith("not a fundus photograph: ")
    assert "grain" not in first
