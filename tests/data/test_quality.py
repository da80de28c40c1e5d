import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from retinalesion.data.decode import read_photograph
from retinalesion.data.field import find_field, to_square
from retinalesion.data.quality import LIMITS, judge, limits_of, measure
from retinalesion.data.sources.idrid import IdridSource
from retinalesion.data.synthetic import SyntheticSource


@pytest.fixture(scope="module")
def drawn():
    source = SyntheticSource(count=6, side=512, seed=0)
    return [source.read(photograph).rgb for photograph in source.photographs()]


@pytest.fixture(scope="module")
def limits(drawn):
    return limits_of([figures_of(rgb) for rgb in drawn[1:]])


def figures_of(rgb, side=512):
    return measure(to_square(rgb, find_field(rgb), side))


def covered(rgb, rows, columns):
    height, width = rgb.shape[:2]
    result = rgb.copy()
    result[rows(height // 2), columns(width // 2)] = 0
    return result


def everything(middle):
    return slice(None)


def landscape(rgb):
    scene = np.zeros_like(rgb)
    scene[:] = (90, 150, 230)
    scene[len(scene) // 2 :] = (60, 110, 40)
    return scene


SPOILT = {
    "blurred": (lambda rgb: cv2.GaussianBlur(rgb, (0, 0), 0.01 * len(rgb)), "blurred"),
    "much blurred": (lambda rgb: cv2.GaussianBlur(rgb, (0, 0), 0.04 * len(rgb)), "blurred"),
    "black": (np.zeros_like, "too dark"),
    "dark": (lambda rgb: rgb // 12, "too dark"),
    "over-lit": (lambda rgb: np.clip(3.0 * rgb, 0, 255).astype(np.uint8), "over-lit"),
    "white": (lambda rgb: np.full_like(rgb, 255), "over-lit"),
    "left half": (lambda rgb: covered(rgb, everything, lambda x: slice(x, None)), "field incomplete"),
    "right half": (lambda rgb: covered(rgb, everything, lambda x: slice(x)), "field incomplete"),
    "upper half": (lambda rgb: covered(rgb, lambda y: slice(y, None), everything), "field incomplete"),
    "lower half": (lambda rgb: covered(rgb, lambda y: slice(y), everything), "field incomplete"),
    "noise": (
        lambda rgb: np.random.default_rng(0).integers(0, 256, rgb.shape, np.uint8),
        "not a fundus photograph",
    ),
    "grey": (lambda rgb: np.repeat(rgb[..., :1], 3, axis=2), "not a fundus photograph"),
    "landscape": (landscape, "not a fundus photograph"),
}


def test_a_photograph_like_those_trained_on_is_gradable(drawn, limits):
    assert judge(figures_of(drawn[0]), limits) == ()


@pytest.mark.parametrize(("spoil", "reason"), SPOILT.values(), ids=SPOILT)
def test_what_cannot_be_read_is_told_with_its_reason(drawn, limits, spoil, reason):
    assert any(told.startswith(reason) for told in judge(figures_of(spoil(drawn[0])), limits))


def test_figures_hardly_depend_on_the_resolution():
    source = SyntheticSource(count=1, side=1024, seed=0)
    rgb = source.read(source.photographs()[0]).rgb
    small, middle, large = (figures_of(rgb, side) for side in (256, 512, 1024))
    for name, value in middle.items():
        assert small[name] == pytest.approx(value, abs=0.25 if name == "sharpness" else 0.1), name
        assert large[name] == pytest.approx(value, abs=0.05), name


def test_limits_are_plain_floats_that_hold_all_photographs_that_they_come_from(drawn, limits):
    assert all(type(value) is float for pair in limits.values() for value in pair)
    assert not any(judge(figures_of(rgb), limits) for rgb in drawn[1:])


def test_limits_need_a_photograph_that_shows_something():
    with pytest.raises(ValueError, match="at least one photograph"):
        limits_of([measure(np.zeros((256, 256, 3), np.uint8))])


idrid = pytest.mark.skipif("RETINALESION_IDRID" not in os.environ, reason="RETINALESION_IDRID is not set")


@pytest.fixture(scope="module")
def real():
    source = IdridSource(Path(os.environ["RETINALESION_IDRID"]), part="grading", half="train")
    return [read_photograph(photograph.file) for photograph in source.photographs()[::100]]


@idrid
def test_real_readable_photographs_are_gradable_by_the_shipped_limits(real):
    assert [judge(figures_of(rgb), LIMITS) for rgb in real] == [()] * len(real)


@idrid
@pytest.mark.parametrize("spoil", [spoil for spoil, _ in SPOILT.values()], ids=SPOILT)
def test_real_spoilt_photographs_are_not(real, spoil):
    assert all(judge(figures_of(spoil(rgb)), LIMITS) for rgb in real)
