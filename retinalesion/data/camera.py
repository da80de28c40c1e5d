"""Finding a camera's own spots: what sits at one place in photograph after photograph is not the eye's.

Dust on lens or sensor leaves small dark spots, a reflex within the lens a bright one. Retinas move from
photograph to photograph and average out; the camera stays. Each photograph, divided by its own local median,
enters a mean picture, and small round spots that stand out of that picture's noise are the camera's.

All is done on copies of one working size, places are told in the photographs' own pixels.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from retinalesion.data.decode import Camera
from retinalesion.data.field import lit_part
from retinalesion.data.photograph import Bits
from retinalesion.data.spots import MISTAKEN, CameraMap, Spot
from retinalesion.pictures import spots_marked

MOST = 1000  # photographs of a camera that enter its mean: more would hardly change it
ALONE = 7.0  # times the noise, where the mean picture is the only witness
BESIDE_FINDINGS = 4.5  # where findings have to recur there too

_WORKING = 1072  # longer side of the copies; a microaneurysm is four to five pixels wide there
_MEDIAN = 1 / 35  # width of the local median, of the longer side: wider than a spot, narrower than the disc
_RIM = 4  # the rim is blurred, by a quarter of that window
_CLIP = 0.06  # of the local median: a haemorrhage says no more than the strongest dust
_ONE = 127 / _CLIP
_SATURATED = 245
_SIZES = (1.4, 2.0, 2.8, 4.0, 5.6)  # deviations of round spots, in working pixels
_AROUND = 96  # working pixels: the neighbourhood whose noise counts
_SLACK = 2.5  # working pixels: by so much photographs of one camera shift, and findings outgrow a spot
_SHALLOWEST = 0.003  # of what is around
_INSIDE = 0.8  # of a spot and its surroundings
_ROUND = 0.3  # least ratio of a spot's two curvatures; vessels and the rims of reflexes have less
_SHOWN = 0.04  # what is black or white in the picture for eyes


class MeanPicture:
    """The mean of photographs of one camera; it takes the memory of one picture, however many they are."""

    def __init__(self) -> None:
        self.photographs = 0
        self._sum: NDArray[np.int32] | None = None
        self._seen: NDArray[np.int32] | None = None

    def add(self, relative: NDArray[np.uint8]) -> None:
        """Add a photograph, as `relative_to_surroundings` returns it."""
        if self._sum is None or self._seen is None:
            self._sum, self._seen = np.zeros(relative.shape, np.int32), np.zeros(relative.shape, np.int32)
        lit = relative > 0
        self._sum += (relative.astype(np.int32) - 128) * lit
        self._seen += lit
        self.photographs += 1

    def values(self) -> tuple[NDArray[np.float32], Bits]:
        """The mean, float32 (h, w) around 0 at the working size, and where half of the photographs saw."""
        if self._sum is None or self._seen is None:
            raise ValueError("no photograph was added")
        known = self._seen * 2 > self.photographs
        return (self._sum / np.maximum(self._seen, 1) / _ONE * known).astype(np.float32), known

    def picture(self) -> NDArray[np.uint8]:
        """The mean for eyes, uint8 (h, w): 128 as bright as what is around, black and white 4 % off."""
        return np.asarray(np.clip(128 + self.values()[0] * (128 / _SHOWN), 0, 255), np.uint8)

    def spots(self, camera: Camera, cut: float) -> tuple[Spot, ...]:
        """Small round spots that stand out of the noise, in the camera's own pixels, the strongest first.

        Args:
            camera: whose mean this is.
            cut: least strength.
        """
        mean, known = self.values()
        to_x, to_y = camera.width / mean.shape[1], camera.height / mean.shape[0]
        found: list[Spot] = []
        for kind in MISTAKEN:
            sign = -1.0 if kind == "dark" else 1.0
            found += [
                Spot(
                    kind,
                    x=(column + 0.5) * to_x - 0.5,
                    y=(row + 0.5) * to_y - 0.5,
                    radius=(math.sqrt(2) * size + _SLACK) * max(to_x, to_y),
                    depth=sign * depth,
                    strength=strength,
                )
                for strength, depth, size, row, column in _stand_out(sign * mean, known, cut)
            ]
        kept: list[Spot] = []
        for spot in sorted(found, key=lambda spot: -spot.strength):
            # What is beside a strong spot looks like one of the other kind.
            if all(
                spot.kind == one.kind or math.hypot(spot.x - one.x, spot.y - one.y) > spot.radius + one.radius
                for one in kept
            ):
                kept.append(spot)
        return tuple(kept)


def relative_to_surroundings(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A photograph divided by its own local median, on a copy of working size.

    Red and green are taken together: dust darkens both alike, vessels and lesions mainly green, and red is
    saturated in places.

    Args:
        rgb: uint8 (height, width, 3).

    Returns:
        uint8 (h, w), its longer side at most 1072: 1 to 255 for 6 % below to 6 % above the surroundings, 128
        for as bright; 0 where the camera saw nothing or too much.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, _WORKING / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    light = cv2.addWeighted(small[..., 0], 0.5, small[..., 1], 0.5, 0)
    window = max(3, round(max(size) * _MEDIAN) | 1)
    lit = _largest(lit_part(small, (size[1], size[0])).view(np.uint8))
    # Beyond the rim goes on what is before it, so that black does not bend the median.
    share = cv2.blur(lit.astype(np.float32), (window, window))
    beyond = cv2.blur((light * lit).astype(np.float32), (window, window)) / np.maximum(share, 1e-3)
    median = cv2.medianBlur(np.where(lit > 0, light, beyond).astype(np.uint8), window)
    relative = light.astype(np.float32) / np.maximum(median, 1) - 1
    coded = np.rint(np.clip(relative, -_CLIP, _CLIP) * _ONE).astype(np.int16) + 128
    rim = 2 * (window // _RIM) + 1
    inner = cv2.erode(lit, np.ones((rim, rim), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.where((inner > 0) & (median < _SATURATED), coded, 0).astype(np.uint8)


def _largest(lit: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The field without what is written beside it."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=4)
    if len(stats) < 3:  # background and field
        return lit
    return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()), np.uint8)


def _stand_out(
    mean: NDArray[np.float32], known: Bits, cut: float
) -> list[tuple[float, float, float, int, int]]:
    """Bright spots of a picture: strength, height, deviation, row, column; none within another's reach."""
    weight = known.astype(np.float32)

    def blurred(sigma: float) -> NDArray[np.float32]:
        known_sum = cv2.GaussianBlur(mean * weight, (0, 0), sigma)
        return np.asarray(known_sum / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3), np.float32)

    candidates = []
    for size in _SIZES:
        band = blurred(size) - blurred(2 * size)
        strength = np.where(known, band / _noise_around(band, known), 0)
        reach = 2 * math.ceil(size) + 1
        highest = cv2.dilate(strength, np.ones((reach, reach), np.uint8))
        inside = cv2.GaussianBlur(weight, (0, 0), 2 * size) > _INSIDE
        at = (strength == highest) & (strength > cut) & (_roundness(band) > _ROUND)
        at &= inside & (mean > _SHALLOWEST)
        for row, column in zip(*np.nonzero(at), strict=True):
            candidates.append(
                (float(strength[row, column]), float(mean[row, column]), size, int(row), int(column))
            )
    kept: list[tuple[float, float, float, int, int]] = []
    for one in sorted(candidates, reverse=True):
        if all(math.hypot(one[3] - k[3], one[4] - k[4]) > 1.5 * max(one[2], k[2]) for k in kept):
            kept.append(one)
    return kept


def _noise_around(band: NDArray[np.float32], known: Bits) -> NDArray[np.float32]:
    """Deviation of what is around each pixel, by the median, so that spots themselves hardly enter."""
    height, width = band.shape
    half = _AROUND // 2
    rows, columns = range(0, height, half), range(0, width, half)
    grid = np.full((len(rows), len(columns)), np.nan, np.float32)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            around = np.s_[max(0, row - half) : row + 2 * half, max(0, column - half) : column + 2 * half]
            values = band[around][known[around]][::2]  # half of them tell as much
            if values.size >= half:
                grid[i, j] = 1.4826 * np.median(np.abs(values - np.median(values)))
    least = np.float32(1e-5)
    if not np.isnan(grid).all():
        least = max(least, np.nanmedian(grid) / 2)  # a corner of the field may hold next to nothing
    grid = np.fmax(grid, least)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _roundness(band: NDArray[np.float32]) -> NDArray[np.float32]:
    """The smaller curvature of a summit to the larger, 0 to 1; 0 for a saddle."""
    xx = cv2.Sobel(band, cv2.CV_32F, 2, 0, ksize=5)
    yy = cv2.Sobel(band, cv2.CV_32F, 0, 2, ksize=5)
    xy = cv2.Sobel(band, cv2.CV_32F, 1, 1, ksize=5)
    middle, away = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    less, more = -(middle + away), away - middle  # of a summit both are above 0
    return np.where(less > 0, less / np.maximum(more, 1e-12), 0).astype(np.float32)


def marked(one: CameraMap, mean: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mean picture with a ring around each spot and its number beside it.

    Args:
        one: the camera, with spots in the photographs' own pixels.
        mean: its picture for eyes, uint8 (h, w), of any size.

    Returns:
        uint8 (h, w, 3).
    """
    to_x, to_y = mean.shape[1] / one.camera.width, mean.shape[0] / one.camera.height
    rings = [spot.scaled(to_x, to_y) for spot in one.spots]
    return spots_marked(mean, [(ring.kind, ring.x, ring.y, ring.radius) for ring in rings])
