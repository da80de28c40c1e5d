"""Statistics of a photograph's findings: numbers that more lesions never lower, to make a verdict of."""

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np

from retinalesion.reading.counting import MACULA, less_sure
from retinalesion.reading.reading import Finding

_SMALL = 1e-3  # disc areas; an area of so much is told from none
OF_EACH = ("number", "area", "best", "quadrants")


def names_for(learned: Collection[str]) -> tuple[str, ...]:
    """Names of the statistics of a model that learned these lesions."""
    names = [f"{code} {what}" for code in learned for what in OF_EACH]
    names += ["iHE least quadrant"] * ("iHE" in learned) + ["HaEx near fovea"] * ("HaEx" in learned)
    return tuple(names)


def statistics_of(findings: Sequence[Finding], learned: Collection[str]) -> dict[str, float]:
    """Statistics by name, all 0 where nothing was found.

    Each finding enters with its confidence; a spot that is MA and iHE enters once, as the surer.

    ================== ============================================================================
    number             natural logarithm of one and the sum of confidences
    area               the same of confidences times areas, in thousandths of the disc's area
    best               the highest confidence
    quadrants          sum over quadrants of the highest confidence in each, 0 to 4
    iHE least quadrant ``number`` of the quadrant that has fewest
    HaEx near fovea    ``area`` of those within a disc diameter of the fovea
    ================== ============================================================================

    Args:
        findings: of the eye, with their confidence.
        learned: codes of the lesions that the model knows.
    """
    twice = less_sure(findings)
    told: dict[str, float] = {}
    for code in learned:
        own = [one for one in findings if one.lesion == code and one.number not in twice]
        best: dict[str, float] = defaultdict(float)
        number: dict[str, float] = defaultdict(float)
        for one in own:
            best[one.quadrant] = max(best[one.quadrant], one.confidence)
            number[one.quadrant] += one.confidence
        told[f"{code} number"] = float(np.log1p(sum(number.values())))
        told[f"{code} area"] = _area(own)
        told[f"{code} best"] = max(best.values(), default=0.0)
        told[f"{code} quadrants"] = sum(best.values())
        if code == "iHE":
            told["iHE least quadrant"] = float(np.log1p(min(number.values()))) if len(number) == 4 else 0.0
        if code == "HaEx":
            near = [one for one in own if one.disc_diameters is not None and one.disc_diameters <= MACULA]
            told["HaEx near fovea"] = _area(near)
    return told


def _area(findings: Sequence[Finding]) -> float:
    return float(np.log1p(sum(one.confidence * one.disc_areas for one in findings) / _SMALL))
