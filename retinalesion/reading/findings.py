"""From the maps of lesions to findings: connected regions, with area, place, and plain figures of each."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from retinalesion.data.field import View
from retinalesion.data.photograph import Bits
from retinalesion.geometry import DISC_SHARE, Box, Point
from retinalesion.guideline import Quadrants, naming_of
from retinalesion.lesions import CODES
from retinalesion.reading.anatomy import UNKNOWN, Anatomy
from retinalesion.reading.counting import RED
from retinalesion.reading.reading import Finding
from retinalesion.scores import THRESHOLD

PARTNER = {"MA": "iHE", "iHE": "MA", "HaEx": "CWS", "CWS": "HaEx"}  # of the same colour
_AROUND = 12  # what is around a region: a window of this part of the square's side
_TOUCHING = np.ones((3, 3), np.uint8)

Floats = NDArray[np.float64]


class Regions(NamedTuple):
    """The connected regions where a lesion's map exceeds 0.5 (paper, Eq. 1), however small.

    Pixels that touch at a corner are connected. The first label is what is marked nowhere.

    Attributes:
        code: of the lesion.
        size: height and width of the photograph.
        stats: OpenCV's table, (n + 1, 5).
        centroids: column and row, (n + 1, 2).
        rows: of every marked pixel, (m,).
        columns: likewise.
        label: likewise.
        peak: maximum of the map, (n + 1,).
        mean: of the map, likewise.
    """

    code: str
    size: tuple[int, int]
    stats: NDArray[np.int32]
    centroids: Floats
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    label: NDArray[np.int32]
    peak: NDArray[np.float32]
    mean: Floats

    @classmethod
    def of(cls, code: str, probability: NDArray[np.float32]) -> Self:
        """Of a map at the photograph's own size, float32 (height, width), 0 to 1."""
        plane = probability > THRESHOLD
        count, labels, stats, centroids = cv2.connectedComponentsWithStats(
            plane.view(np.uint8), connectivity=8
        )
        rows, columns = np.nonzero(plane) if count > 1 else (np.zeros(0, np.intp),) * 2
        own = np.asarray(labels[rows, columns], np.int32)
        values = probability[rows, columns]
        peak = np.zeros(count, np.float32)
        np.maximum.at(peak, own, values)
        return cls(
            code,
            (plane.shape[0], plane.shape[1]),
            np.asarray(stats, np.int32),
            np.asarray(centroids, np.float64),
            rows,
            columns,
            own,
            peak,
            _means(own, values, count),
        )

    @property
    def by_size(self) -> NDArray[np.intp]:
        """Labels, larger regions first, and from top to bottom among those of one size."""
        return np.argsort(-self.stats[1:, cv2.CC_STAT_AREA], kind="stable") + 1


def findings_of(
    regions: Sequence[Regions], planes: NDArray[np.uint8], view: View, anatomy: Anatomy = UNKNOWN
) -> tuple[Finding, ...]:
    """The regions as findings, which all count until an operating point is asked.

    Quadrants and distances go by the centre of gravity. The confidence is the peak until a second look.

    Args:
        regions: of each lesion.
        planes: of all lesions, uint8 (height, width), bit j = lesion j.
        view: the photograph.
        anatomy: what is known of disc, fovea and eye.

    Returns:
        Findings by lesion, larger ones first, numbered from 1.
    """
    box = view.box
    field = field_pixels(box, view.size)
    middle = Point(box.x + (box.side - 1) / 2, box.y + (box.side - 1) / 2)
    found = any(one.rows.size for one in regions)
    relative = _relative(view.square, view.in_square(planes > 0)) if found else None
    numbers, first = {}, 1
    for one in regions:  # number of the finding by its label
        numbers[one.code] = np.zeros(len(one.stats), np.int64)
        numbers[one.code][one.by_size] = np.arange(first, first + len(one.stats) - 1)
        first += len(one.stats) - 1
    red = {one.code: one for one in regions if one.code in RED}
    findings: list[Finding] = []
    for one in regions:
        if relative is None or len(one.stats) == 1:
            continue
        count, at = len(one.stats), one.centroids
        quadrants = anatomy.quadrants(at, middle)
        from_fovea, from_disc = anatomy.from_fovea(at), anatomy.from_disc(at)
        from_edge = 1 - np.hypot(*(at - middle).T) / (box.side / 2)
        areas = anatomy.disc_areas(one.stats[:, cv2.CC_STAT_AREA], field)
        contrast = _means(one.label, _sampled(relative, one, box), count)
        elongation = _elongations(one)
        neighbours = _neighbours(at[1:], _disc_diameter(anatomy, field))
        partner = PARTNER.get(one.code)
        bit = 1 << CODES.index(partner) if partner else 0
        overlap = _means(one.label, planes[one.rows, one.columns] & bit > 0, count)
        others = _others(one, red[partner], numbers[partner]) if partner in red and one.code in RED else {}
        for label in one.by_size.tolist():
            left, top, width, height, pixels = (int(value) for value in one.stats[label])
            findings.append(
                Finding(
                    lesion=one.code,
                    number=int(numbers[one.code][label]),
                    x=float(at[label, 0]),
                    y=float(at[label, 1]),
                    left=left,
                    top=top,
                    width=width,
                    height=height,
                    pixels=pixels,
                    share=min(pixels / field, 1.0),
                    disc_areas=float(areas[label]),
                    quadrant=quadrants[label],
                    disc_diameters=_known(from_fovea[label]),
                    from_disc=_known(from_disc[label]),
                    from_edge=float(from_edge[label]),
                    peak=float(one.peak[label]),
                    mean=float(one.mean[label]),
                    contrast=float(contrast[label]),
                    elongation=float(elongation[label]),
                    neighbours=int(neighbours[label - 1]),
                    overlap=float(overlap[label]),
                    other=others.get(label),
                    confidence=float(one.peak[label]),
                )
            )
    return tuple(findings)


def field_pixels(box: Box, size: tuple[int, int]) -> int:
    """Area of the field of view: the disc inscribed in the box, as far as it lies in the photograph.

    Args:
        box: in the photograph's own pixels.
        size: (height, width) of the photograph.

    Returns:
        Pixels, at least 1.
    """
    height, width = size
    radius = box.side / 2
    x, rows = box.x + radius, np.arange(height) + 0.5
    half = np.sqrt(np.maximum(radius**2 - (rows - box.y - radius) ** 2, 0))
    chords = np.clip(x + half, 0, width) - np.clip(x - half, 0, width)
    return max(1, round(float(chords.sum())))


def quadrant_counts(findings: Iterable[Finding], code: str = "iHE") -> Quadrants:
    """Findings of one lesion in each quadrant, as `guideline.weigh` takes them.

    Args:
        findings: of any lesions.
        code: of the lesion that counts.

    Returns:
        Counts in the order of their `guideline.naming_of`.
    """
    places = [finding.quadrant for finding in findings if finding.lesion == code]
    first, second, third, fourth = (places.count(quadrant) for quadrant in naming_of(places))
    return first, second, third, fourth


def _relative(square: NDArray[np.uint8], marked: Bits) -> NDArray[np.float32]:
    """Green of a square against the mean of what is around and not marked: 0 alike, below 0 darker."""
    green = square[..., 1].astype(np.float32)
    plain = ((square.max(2) > 0) & ~marked).astype(np.float32)
    window = (max(3, square.shape[0] // _AROUND) | 1,) * 2
    weight = np.asarray(cv2.blur(plain, window), np.float32)
    mean = np.asarray(cv2.blur(green * plain, window), np.float32)
    usual = float(green[plain > 0].mean()) if plain.any() else 1.0
    around = (mean + 1e-3 * usual) / (weight + 1e-3)  # where all around is marked: the usual green
    return np.asarray(green / np.maximum(around, 1.0) - 1, np.float32)


def _sampled(relative: NDArray[np.float32], regions: Regions, box: Box) -> NDArray[np.float32]:
    """The square's value at every marked pixel."""
    scale, last = relative.shape[0] / box.side, relative.shape[0] - 1
    rows = ((regions.rows + 0.5 - box.y) * scale).astype(np.intp).clip(0, last)
    columns = ((regions.columns + 0.5 - box.x) * scale).astype(np.intp).clip(0, last)
    return np.asarray(relative[rows, columns], np.float32)


def _elongations(regions: Regions) -> Floats:
    """Ratio of the axes of the ellipse that has a region's second moments; a pixel is a square."""
    count = len(regions.stats)
    x, y = (regions.columns, regions.rows) - regions.centroids[regions.label].T
    xx, yy = (_means(regions.label, one * one, count) + 1 / 12 for one in (x, y))
    xy = _means(regions.label, x * y, count)
    spread = np.sqrt((xx - yy) ** 2 / 4 + xy**2)
    middle = (xx + yy) / 2
    return np.asarray(np.sqrt((middle + spread) / np.maximum(middle - spread, 1e-9)))


def _neighbours(points: Floats, reach: float) -> NDArray[np.int64]:
    """How many others lie within reach of each."""
    tree = KDTree(points)
    return np.asarray(tree.query_ball_point(points, reach, return_length=True), np.int64) - 1


def _others(regions: Regions, other: Regions, numbers: NDArray[np.int64]) -> dict[int, int]:
    """By label, the number of the other lesion's region that shares most of it or touches it."""
    if len(other.stats) == 1:
        return {}
    # Enlarged by a pixel, so that what touches shares; float32 holds labels up to 16 million.
    labels = np.zeros(other.size, np.float32)
    labels[other.rows, other.columns] = other.label
    enlarged = cv2.dilate(labels, _TOUCHING)
    near = enlarged[regions.rows, regions.columns].astype(np.int64)
    met = near > 0
    pairs, shared = np.unique(np.stack([regions.label[met], near[met]]), axis=1, return_counts=True)
    most = np.argsort(shared, kind="stable")  # the last of a label in this order shares most
    return {int(pairs[0, i]): int(numbers[pairs[1, i]]) for i in most}


def _disc_diameter(anatomy: Anatomy, field: float) -> float:
    """In pixels; of the usual disc where none is seen."""
    known = anatomy.disc and anatomy.disc.diameter
    return known or math.sqrt(4 / math.pi * DISC_SHARE * field)


def _means(label: NDArray[np.int32], values: NDArray[np.generic], count: int) -> Floats:
    """The mean of values over each label, 0 where it has none."""
    many = np.bincount(label, minlength=count)
    return np.asarray(np.bincount(label, values.astype(np.float64), count) / np.maximum(many, 1))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
