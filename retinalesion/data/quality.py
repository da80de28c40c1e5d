"""Whether a photograph can be read: is it a fundus, is its field complete, is it lit and sharp enough.

Nine plain figures of the field-of-view square, and limits for them that come from the photographs that a
network was trained on: what it never saw anything like, it cannot read. All figures are taken on one small
working square, so that they hardly depend on the photograph's resolution. What the square does not show is
asked of the view: whether it has pixels enough, and stands alone in its picture.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from retinalesion.data.field import View

Figures = dict[str, float]
Limits = dict[str, tuple[float, float]]


class _Figure(NamedTuple):
    """How far limits lie beyond the training photographs, and what is said of a photograph beyond them.

    Wide enough for limits from half of IDRiD's photographs to let the other half pass (200 random halves),
    and narrow enough to stop the spoilt versions that ``bench/quality.py`` makes.
    """

    slack: float
    low: str = ""  # nothing to say: no limit on this side
    high: str = ""


_OTHER = "not a fundus photograph: "
_FIGURES = {
    "complete": _Figure(0.10, low="field incomplete: parts of it are black or cut off"),
    "corners": _Figure(0.12, high=_OTHER + "a field of view is round, this picture fills its corners"),
    "light": _Figure(0.10, low="too dark to read", high="over-lit: too bright to read"),
    "glare": _Figure(0.20, high="over-lit: large parts are saturated"),
    "redness": _Figure(0.20, low=_OTHER + "not as red as a retina"),
    "warmth": _Figure(0.20, low=_OTHER + "too blue for a retina"),
    "hues": _Figure(0.50, high=_OTHER + "more colours than a retina has"),
    "detail": _Figure(
        0.90,
        low="no vessels to be seen: blurred or hazy",
        high=_OTHER + "stronger contrasts than in a retina",
    ),
    "sharpness": _Figure(
        0.20,
        low="blurred: small lesions cannot be seen",
        high=_OTHER + "finer contrasts than in a retina, of grain or print",
    ),
}
_PERCENTILES = (0.5, 99.5)
_ANY = float("inf")

# For checkpoints that carry none: `limits_of` IDRiD's 450 photographs that are there to train with.
LIMITS: Limits = {
    "complete": (0.816, _ANY),
    "corners": (-_ANY, 0.128),
    "light": (0.065, 0.63),
    "glare": (-_ANY, 0.413),
    "redness": (0.46, _ANY),
    "warmth": (0.117, _ANY),
    "hues": (-_ANY, 1.725),
    "detail": (-7.33, -3.56),
    "sharpness": (-0.993, -0.023),
}

_SIDE = 512  # vessels are a few pixels wide, microaneurysms one or two
_LIT, _BLACK = 0.12, 8.0  # of the field's bright parts; grey levels
_SATURATED = 250

# A microaneurysm is 1/190 of a field of 50 degrees wide, 2.5 pixels of so many. With 500 the model in the box
# finds seven tenths of those that it finds at full size, with 360 four tenths, with 270 two to three.
FIELD_PIXELS = 480
SECOND_FIELD = 0.25  # of the field's area, from which what lies beside it is another one

_FLOOR = 0.004  # relative contrast that grain and rounding leave in a picture without detail


def measure(square: NDArray[np.uint8]) -> Figures:
    """The figures of a field-of-view square.

    ====================== ==============================================================================
    complete               lit share of the inscribed disc
    corners                lit share of what lies outside the disc
    light                  median luminance of the lit part, 0 to 1
    glare                  share of the lit part where a channel is saturated
    redness, warmth        median of red to green, of green to blue, in octaves
    hues                   spread of red to green, 5th to 95th percentile, in octaves
    detail                 contrast of structures as wide as vessels, relative to the local mean, in octaves
    sharpness              contrast of structures half as wide as the finest vessels to that of vessels, in
                           octaves
    ====================== ==============================================================================

    Args:
        square: uint8 (side, side, 3) RGB, black where the box reaches outside. From a side of 256 up the
            figures agree with those of larger squares.

    Returns:
        Figures by name; of a square with nothing lit only ``complete`` and ``light``.
    """
    way = cv2.INTER_AREA if square.shape[0] > _SIDE else cv2.INTER_CUBIC
    rgb = np.asarray(cv2.resize(square.astype(np.float32), (_SIDE, _SIDE), interpolation=way), np.float32)
    rgb = rgb.clip(0, 255)
    away = np.hypot(*(np.mgrid[:_SIDE, :_SIDE] + 0.5 - _SIDE / 2))
    disc = away <= _SIDE / 2
    brightest = rgb.max(axis=2)
    lit = _opened(brightest > max(_BLACK, _LIT * float(np.percentile(brightest[disc], 90))))
    inside = lit & disc
    if not inside.any():
        return {"complete": 0.0, "light": _luminance(rgb[disc])}

    red, green, blue = np.log2(rgb[inside] + 1).T
    sharpness, detail = _bands(rgb[..., 1], lit, away)
    return {
        "complete": float(inside.sum() / disc.sum()),
        "corners": float(lit[~disc].mean()),
        "light": _luminance(rgb[inside]),
        "glare": float((brightest[inside] >= _SATURATED).mean()),
        "redness": float(np.median(red - green)),
        "warmth": float(np.median(green - blue)),
        "hues": float(np.subtract(*np.percentile(red - green, (95, 5)))),
        "detail": detail,
        "sharpness": sharpness,
    }


def judge_view(view: View) -> tuple[str, ...]:
    """Why a field of view cannot be read, whatever it shows.

    Args:
        view: with its square as the network sees it: to more pixels than that has none is held.

    Returns:
        As `judge`.
    """
    reasons = []
    if view.beside >= SECOND_FIELD:
        reasons.append("a second field of view is beside the one looked at: one eye a picture")
    fewest = min(FIELD_PIXELS, view.square.shape[0])
    if view.box.side < fewest:
        reasons.append(
            f"too few pixels to see microaneurysms (the field is {view.box.side} wide, at least {fewest})"
        )
    return tuple(reasons)


def limits_of(figures: Sequence[Mapping[str, float]]) -> Limits:
    """Limits from the figures of readable photographs, usually a store's training rows.

    Args:
        figures: as `measure` returns them, one for each photograph.

    Returns:
        Lowest and highest value by name: the percentiles 0.5 and 99.5, widened. Plain floats, infinite on
        a side where nothing is too low or too high.

    Raises:
        ValueError: no photograph has all figures.
    """
    full = [one for one in figures if one.keys() >= _FIGURES.keys()]
    if not full:
        raise ValueError("limits of quality need at least one photograph that is not black")
    limits = {}
    for name, figure in _FIGURES.items():
        low, high = np.percentile([one[name] for one in full], _PERCENTILES)
        limits[name] = (
            float(low) - figure.slack if figure.low else -_ANY,
            float(high) + figure.slack if figure.high else _ANY,
        )
    return limits


def judge(figures: Mapping[str, float], limits: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """Why a photograph cannot be read.

    Args:
        figures: as `measure` returns them.
        limits: as `limits_of` returns them.

    Returns:
        A reason in words for each figure beyond its limits, first that it is no fundus; none where the
        photograph is gradable.
    """
    reasons = []
    for name, value in figures.items():
        low, high = limits[name]
        if value < low:
            reasons.append(f"{_FIGURES[name].low} ({name} {value:.2f}, at least {low:.2f})")
        elif value > high:
            reasons.append(f"{_FIGURES[name].high} ({name} {value:.2f}, at most {high:.2f})")
    return tuple(sorted(reasons, key=lambda reason: not reason.startswith(_OTHER)))


def _opened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without specks and labels."""
    return np.asarray(cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)) > 0)


def _luminance(pixels: NDArray[np.float32]) -> float:
    return float(np.median(pixels @ np.array((0.299, 0.587, 0.114), np.float32))) / 255


def _bands(
    green: NDArray[np.float32], lit: NDArray[np.bool_], away: NDArray[np.float64]
) -> tuple[float, float]:
    """Sharpness and detail: contrasts between pictures ever more blurred, away from the field's rim."""
    weight = lit.astype(np.float32)
    mean = _blurred(green * weight, 20) / np.maximum(_blurred(weight, 20), 1e-3)
    relative = np.asarray(green / np.maximum(mean, 4), np.float32)
    core = np.asarray(cv2.erode(lit.view(np.uint8), np.ones((25, 25), np.uint8), borderValue=0) > 0)
    core &= away <= 0.45 * _SIDE
    if not core.any():
        core = lit
    pictures = [_blurred(relative, sigma) for sigma in (1, 2, 4, 8)]
    fine, middle, coarse = (
        float(np.sqrt(np.mean((sharper - softer)[core] ** 2))) for sharper, softer in pairwise(pictures)
    )
    return float(np.log2((fine + 1e-6) / np.hypot(middle, _FLOOR))), float(np.log2(coarse + 1e-6))


def _blurred(picture: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)
