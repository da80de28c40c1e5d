"""FROC: the share of marked regions that is found, against false findings a photograph. No torch here.

Counts first: what photographs and processes counted adds up. A finding is a region of a lesion's map above
0.5, and its score is the map's peak in it. Regions join over corners, too.
"""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from retinalesion.lesions import CODES
from retinalesion.scores import HIGHEST, Array, Ints, quotient

SMALLEST = 3  # pixels of a marked region, at the side tested
RATES = (1, 2, 4, 8)  # false findings a photograph at which sensitivity is told
STEPS = 256  # of the peak, by its logit from 0 (that of 0.5) to 16

Bits = NDArray[np.bool_]


@dataclass
class Regions:
    """What one or many photographs add up to, per lesion.

    Attributes:
        photographs: int64 (8,), with a valid pixel of a lesion learned.
        marked: int64 (8,), marked regions.
        found: int64 (8, 256), marked regions found, by the step of the highest peak among their findings.
        false: int64 (8, 256), findings that touch nothing marked, by the step of their peak.
    """

    photographs: Ints
    marked: Ints
    found: Ints
    false: Ints

    @classmethod
    def none(cls) -> Self:
        """Of no photograph."""
        shapes: tuple[tuple[int, ...], ...] = ((), (), (STEPS,), (STEPS,))
        return cls(*(np.zeros((len(CODES), *shape), np.int64) for shape in shapes))

    def __add__(self, other: "Regions") -> "Regions":
        return Regions(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def add(self, lesion: int, met: "Met") -> None:
        """Count what was met of a lesion in a photograph."""
        self.marked[lesion] += met.marked
        for steps, peaks in ((self.found, met.found), (self.false, met.false)):
            places = np.clip(peaks / HIGHEST * STEPS, 0, STEPS - 1).astype(np.int64)
            steps[lesion] += np.bincount(places, minlength=STEPS)


class Met(NamedTuple):
    """How findings of a lesion and marked regions meet in one photograph.

    Attributes:
        marked: marked regions.
        found: of each of these that is found, the highest peak among the findings that find it, as a logit.
        false: peaks of the findings that touch nothing marked.
    """

    marked: int
    found: Array
    false: Array


def meet(logits: NDArray[np.floating[Any]], found: Bits, marked: Bits, reach: float) -> Met:
    """Findings and marked regions of a lesion in one photograph.

    A region is found by a finding that covers one of its pixels, or whose centre of gravity is within reach
    of one. Marked regions of fewer than three pixels are left out: they are not there to be found, and what
    touches them is not false.

    Args:
        logits: (h, w).
        found: (h, w), where the map is above 0.5 and its pixels are valid.
        marked: (h, w), where experts marked something and pixels are valid.
        reach: in pixels.
    """
    regions, sizes, _ = _parted(marked)
    findings, _, centres = _parted(found)
    peaks = np.full(len(centres), -np.inf)
    np.maximum.at(peaks, findings[found], logits[found].astype(np.float64))
    both = found & marked
    covers = np.stack([findings[both], regions[both]], 1)
    which, met = np.concatenate([covers, _near(centres, regions, reach)]).T
    surest = np.full(len(sizes), -np.inf)
    np.maximum.at(surest, met, peaks[which])
    large, alone = sizes >= SMALLEST, np.ones(len(centres), np.bool_)
    large[0] = alone[0] = alone[which] = False  # 0: what is in no region
    return Met(int(large.sum()), surest[large & (surest > -np.inf)], peaks[alone])


def _parted(plane: Bits) -> tuple[NDArray[np.int32], Ints, Array]:
    """Each pixel's region (h, w), and their sizes (k,) and centres of gravity (k, 2); 0 is in none."""
    _, numbers, figures, centres = cv2.connectedComponentsWithStats(plane.view(np.uint8), connectivity=8)
    sizes = np.asarray(figures, np.int64)[:, cv2.CC_STAT_AREA]
    return np.asarray(numbers, np.int32), sizes, np.asarray(centres, np.float64)


def _near(centres: Array, regions: NDArray[np.int32], reach: float) -> Ints:
    """Findings, and the marked regions within reach of their centres: pairs of numbers (k, 2)."""
    steps = np.arange(-int(reach) - 1, int(reach) + 2)
    around = np.stack(np.meshgrid(steps, steps), -1).reshape(1, -1, 2)
    places = np.rint(centres[1:, None]).astype(np.int64) + around
    height, width = regions.shape
    near = np.linalg.norm(places - centres[1:, None], axis=-1) <= reach
    near &= ((places >= 0) & (places < (width, height))).all(-1)
    x, y = places[near].T
    pairs = np.stack([np.nonzero(near)[0] + 1, regions[y, x]], 1)
    return np.asarray(pairs[pairs[:, 1] > 0], np.int64)


def froc(regions: Regions) -> tuple[Array, Array]:
    """Sensitivity over marked regions and false findings a photograph, (8, 256) each.

    The first column is of the surest findings alone, the last one of all above 0.5. NaN where nothing is
    marked, or nowhere was looked.
    """
    found, false = (steps[:, ::-1].cumsum(1) for steps in (regions.found, regions.false))
    return quotient(found, regions.marked[:, None]), quotient(false, regions.photographs[:, None])


def thresholds() -> Array:
    """Of the peak, as a probability: for each column of `froc`."""
    logits = np.arange(STEPS)[::-1] * HIGHEST / STEPS
    return np.asarray(1 / (1 + np.exp(-logits)))


def sensitivity_at(regions: Regions, rate: float) -> Array:
    """Sensitivity (8,) with at most so many false findings a photograph; of all, where these are fewer."""
    sensitivity, false = froc(regions)
    few = np.where(false <= rate, sensitivity, 0.0 * sensitivity)  # the more findings, the more are false
    return np.asarray(few.max(1))
