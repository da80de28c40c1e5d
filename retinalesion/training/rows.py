"""Rows of a test, one per photograph, and the scores that its tables have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from retinalesion import scores
from retinalesion.lesions import CODES, GRADES, NO_GRADE
from retinalesion.scores import Array, Counts

Cells = dict[str, str | int]

# Pixel F1 is Table 3 of the paper, image F1 Table 5; always yes is the image F1 of saying present everywhere.
SCORES = {
    "pixel F1": scores.pixel_f1,
    "IoU": scores.pixel_iou,
    "AUPR": scores.aupr,
    "image F1": scores.image_f1,
    "always yes": scores.always_yes_f1,
    "specificity": scores.specificity,
}


class Scores(NamedTuple):
    """Which scores a table has.

    Attributes:
        of: functions of the counts, by name.
        interval: what stands before "from" and "to" of the interval of F1.
        title: what the first columns are, for the terminal.
    """

    of: Mapping[str, Callable[[Counts], Array]]
    interval: str
    title: str


BY_PIXEL = Scores(
    SCORES, "F1", "pixel F1 as in Table 3 of the paper, its 95 % interval, image F1 as in Table 5"
)
# Of networks without maps, whose photographs count as one pixel each.
IMAGE_LEVEL = Scores(
    {
        "image F1": scores.image_f1,
        "always yes": scores.always_yes_f1,
        "image AUPR": scores.aupr,
        "specificity": scores.specificity,
    },
    "image F1",
    "image F1 as in Table 5 of the paper, its 95 % interval",
)


@dataclass(frozen=True)
class PhotographRow:
    """One photograph of a test, per lesion: all from which scores, intervals and comparisons follow.

    Attributes:
        id: of the photograph.
        grade: -1 where there is none.
        annotated: lesions with valid pixels.
        hits: valid pixels marked and found.
        alarms: valid pixels found and not marked.
        misses: valid pixels marked and not found.
        probability: the map's maximum (Eq. 1).
    """

    id: str
    grade: int
    annotated: tuple[bool, ...]
    hits: tuple[int, ...]
    alarms: tuple[int, ...]
    misses: tuple[int, ...]
    probability: tuple[float, ...]

    def cells(self) -> Cells:
        """As a line of ``photographs.csv``; what was not annotated is empty."""
        cells: Cells = {"id": self.id, "grade": "" if self.grade == NO_GRADE else self.grade}
        for j, code in enumerate(CODES):
            if self.annotated[j]:
                cells |= {f"{code}_hits": self.hits[j], f"{code}_alarms": self.alarms[j]}
                cells |= {f"{code}_misses": self.misses[j]}
            cells[f"{code}_probability"] = probability_text(self.probability[j])
        return cells


class ImageRow(PhotographRow):
    """One photograph of a test without maps: it counts as one pixel of each lesion."""

    def cells(self) -> Cells:
        """As a line of ``photographs.csv``; whether present is empty where it was not annotated."""
        cells: Cells = {"id": self.id, "grade": "" if self.grade == NO_GRADE else self.grade}
        for j, code in enumerate(CODES):
            if self.annotated[j]:
                cells[f"{code}_present"] = self.hits[j] + self.misses[j]
            cells[f"{code}_probability"] = probability_text(self.probability[j])
        return cells


@dataclass(frozen=True)
class GradeRow:
    """One photograph of a test.

    Attributes:
        id: of the photograph.
        grade: true grade, -1 where there is none.
        probability: of DR0 to DR4.
    """

    id: str
    grade: int
    probability: tuple[float, ...]

    @property
    def said(self) -> int:
        """The grade of the highest probability."""
        return int(np.argmax(self.probability))

    def cells(self) -> Cells:
        """As a line of ``grades.csv``."""
        cells: Cells = {"id": self.id, "grade": "" if self.grade == NO_GRADE else self.grade}
        cells["said"] = self.said
        named = zip(GRADES, self.probability, strict=True)
        return cells | {f"P({name})": probability_text(p) for name, p in named}


def probability_text(value: float) -> str:
    """A probability that a program reads again: rounded, what is above 0.5 might no longer be."""
    return f"{value:.9g}"  # enough for every float32
