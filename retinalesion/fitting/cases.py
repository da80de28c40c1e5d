"""Cases: photographs that were read once and whose truth is known. All that is fitted is fitted on these."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retinalesion.lesions import NO_GRADE
from retinalesion.reading.conclusion import concluded
from retinalesion.reading.reading import Reading
from retinalesion.reading.rule import Rule
from retinalesion.reading.second_look import looked_again
from retinalesion.reading.verdict import AS_FITTED, Wish
from retinalesion.scores import NOT_KNOWN, referable_truth

NONE: Mapping[int, bool] = {}


class Case(NamedTuple):
    """A photograph that was read, and what is known of it.

    Attributes:
        reading: with findings and their figures; what a rule says of it does not count.
        group: of photographs that must stand on one side.
        fold: in which it is left out; -1 of what is in no fold and is only judged.
        set: it belongs to.
        camera: that took it.
        hits: by number of the finding, whether experts marked it; of photographs that they looked through.
        annotated: lesions that experts looked for.
        marked: lesions that they found.
    """

    reading: Reading
    group: str
    fold: int
    set: str = ""
    camera: str = ""
    hits: Mapping[int, bool] = NONE
    annotated: frozenset[str] = frozenset()
    marked: frozenset[str] = frozenset()

    @property
    def grade(self) -> int:
        """As a table says, -1 where none does."""
        return NO_GRADE if self.reading.truth_grade is None else self.reading.truth_grade

    @property
    def oedema(self) -> int:
        """Risk of macular oedema as a table says, -1 where none does."""
        return -1 if self.reading.truth_oedema is None else self.reading.truth_oedema

    @property
    def referable(self) -> bool | None:
        """DR2 or worse, or macular oedema at risk; None where it has no grade."""
        told = int(referable_truth(self.grade, self.oedema))
        return None if told == NOT_KNOWN else bool(told)

    @property
    def readable(self) -> bool:
        """Whether there is something to fit on: it could be opened and read."""
        return self.reading.quality is not None and self.reading.quality.gradable


def said(case: Case, rule: Rule, wish: Wish = AS_FITTED) -> Reading:
    """What a rule makes of a case, by the code that `analyze` runs."""
    findings = looked_again(case.reading.findings, rule.second_look)
    return concluded(replace(case.reading, findings=findings), rule, wish)


def folds_in(cases: Sequence[Case]) -> list[int]:
    """The folds that cases stand in."""
    return sorted({case.fold for case in cases if case.fold >= 0})


def without(cases: Sequence[Case], fold: int) -> list[Case]:
    """Those in other folds."""
    return [case for case in cases if case.fold not in (fold, -1)]


def within(cases: Sequence[Case], fold: int) -> list[Case]:
    """Those of one fold."""
    return [case for case in cases if case.fold == fold]


def groups_of(cases: Sequence[Case]) -> NDArray[np.str_]:
    """Groups by name."""
    return np.array([case.group for case in cases], np.str_)
