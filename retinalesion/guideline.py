"""What lesions say of the grade: the rules of the guideline (paper, Table 1 and section 4.1)."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from retinalesion.lesions import CODES

DIRECT: frozenset[str] = frozenset({"MA", "iHE", "vHE", "pHE", "NV"})
INDIRECT: frozenset[str] = frozenset({"HaEx", "CWS", "FiP"})
MANY_HAEMORRHAGES = 20  # more than so many iHE in each of four quadrants are sufficient for DR3

QUADRANTS = ("upper left", "upper right", "lower left", "lower right")  # as seen in the picture
# The same about the fovea of an eye that is known: temporal is the side away from the disc and the nose.
CLINICAL = {
    "right": ("superotemporal", "superonasal", "inferotemporal", "inferonasal"),
    "left": ("superonasal", "superotemporal", "inferonasal", "inferotemporal"),
}
Quadrants = tuple[int, int, int, int]


class Evidence(NamedTuple):
    """What the guideline makes of the lesions seen.

    Attributes:
        supported: grade 0 to 4 for which there is sufficient evidence.
        lifted: grade 0 to 4 with indirect evidence counted too; never below ``supported``.
        indirect_only: lesions were seen, but none of them is direct evidence of retinopathy.
    """

    supported: int
    lifted: int
    indirect_only: bool


def weigh(lesions: Collection[str], quadrants: Sequence[int] | None = None) -> Evidence:
    """Weigh lesions by the guideline (paper, Table 1 and section 4.1).

    HaEx, CWS and FiP "alone shall not be considered as a sign of DR": HaEx and CWS lift only beside the
    direct lesions that their rules name, so that HaEx with CWS stays DR0. FiP counts "when it does not occur
    alone": any other lesion beside it lifts to DR4, HaEx and CWS among them; `Evidence.indirect_only`
    then still tells that no direct evidence stands behind the grade.

    Args:
        lesions: codes of the lesions present.
        quadrants: number of iHE in each of the four quadrants; None where not counted, and then
            iHE alone supports no more than DR2.

    Returns:
        The grades supported and lifted.

    Raises:
        ValueError: an unknown code, or not four counts.
    """
    present = frozenset(lesions)
    if unknown := present - set(CODES):
        raise ValueError(f"unknown lesions {sorted(unknown)}; known are {', '.join(CODES)}")
    if quadrants is not None and len(quadrants) != 4:
        raise ValueError(f"counts of {len(quadrants)} quadrants; there are four")

    if present & {"NV", "vHE", "pHE"}:
        supported = 4
    elif "iHE" in present and quadrants is not None and min(quadrants) > MANY_HAEMORRHAGES:
        supported = 3
    elif "iHE" in present:
        supported = 2
    else:
        supported = int("MA" in present)

    lifted = supported
    if "HaEx" in present and present & {"MA", "iHE"}:
        lifted = max(lifted, 2)
    if {"CWS", "iHE"} <= present:
        lifted = max(lifted, 3)
    if "FiP" in present and len(present) > 1:
        lifted = 4
    return Evidence(supported, lifted, indirect_only=bool(present) and not present & DIRECT)


def quadrants_of(points: ArrayLike, centre: tuple[float, float]) -> NDArray[np.intp]:
    """The quadrant about a centre, usually the fovea, in which each point lies.

    Args:
        points: float (n, 2), column and row.
        centre: column x and row y, in the same pixels.

    Returns:
        Places in `QUADRANTS`, (n,). A point on a border belongs to the right or lower one.
    """
    x, y = (np.asarray(points) >= np.asarray(centre)).T
    return np.asarray(2 * y + x, np.intp)


def naming_of(names: Iterable[str]) -> tuple[str, ...]:
    """The four names among which a photograph's quadrants are: clinical ones, or those of the picture."""
    return CLINICAL["right"] if set(names) & set(CLINICAL["right"]) else QUADRANTS


def count_by_quadrant(plane: NDArray[np.bool_], centre: tuple[float, float]) -> Quadrants:
    """Count connected regions in the four quadrants about a centre, usually the fovea.

    A region counts once, where its centre of gravity lies. Pixels that touch at a corner are connected.

    Args:
        plane: bool (height, width), marked pixels of one lesion.
        centre: column x and row y, in pixels.

    Returns:
        Regions in each quadrant, in the order of `QUADRANTS`.
    """
    *_, centroids = cv2.connectedComponentsWithStats(plane.astype(np.uint8), connectivity=8)
    counts = np.bincount(quadrants_of(centroids[1:], centre), minlength=4)  # the first is the background
    return int(counts[0]), int(counts[1]), int(counts[2]), int(counts[3])
