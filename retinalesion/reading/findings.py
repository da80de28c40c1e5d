"""From the map of a lesion to its findings: connected regions, with area, place and confidence."""

import math
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from retinalesion.geometry import Box, Point
from retinalesion.guideline import Quadrants, naming_of
from retinalesion.reading.anatomy import UNKNOWN, Anatomy
from retinalesion.reading.reading import Finding
from retinalesion.scores import THRESHOLD


def findings_of(
    code: str,
    probability: NDArray[np.float32],
    box: Box,
    anatomy: Anatomy = UNKNOWN,
) -> tuple[Finding, ...]:
    """The connected regions where a lesion's map exceeds 0.5 (paper, Eq. 1), however small.

    Pixels that touch at a corner are connected. Quadrants and distances go by the centre of gravity.

    Args:
        code: of the lesion.
        probability: float32 (height, width), its map at the photograph's own size, 0 to 1.
        box: the field of view, in the photograph's own pixels.
        anatomy: what is known of disc, fovea and eye, for quadrants and distances.

    Returns:
        Findings, larger ones first, and from top to bottom among those of one size.
    """
    plane = probability > THRESHOLD
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(plane.view(np.uint8), connectivity=8)
    if count == 1:
        return ()
    peaks = np.zeros(count, np.float32)
    np.maximum.at(peaks, np.asarray(labels, np.int32)[plane], probability[plane])

    field = field_pixels(box, (probability.shape[0], probability.shape[1]))
    middle = Point(box.x + (box.side - 1) / 2, box.y + (box.side - 1) / 2)
    quadrants = anatomy.quadrants(centroids, middle)
    distances = anatomy.from_fovea(centroids)

    def finding(label: int) -> Finding:
        left, top, width, height, pixels = (int(value) for value in stats[label])
        return Finding(
            lesion=code,
            x=float(centroids[label, 0]),
            y=float(centroids[label, 1]),
            left=left,
            top=top,
            width=width,
            height=height,
            pixels=pixels,
            share=min(pixels / field, 1.0),
            quadrant=quadrants[label],
            disc_diameters=None if math.isnan(distances[label]) else float(distances[label]),
            confidence=float(peaks[label]),
        )

    by_size = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable") + 1  # the first is the background
    return tuple(finding(int(label)) for label in by_size)


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
