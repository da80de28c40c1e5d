"""The second look, fitted: regions that experts marked against those that they did not, and those of DR0."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retinalesion.fitting.cases import Case, folds_in, within, without
from retinalesion.fitting.logistic import fitted
from retinalesion.reading.reading import Finding
from retinalesion.reading.rule import Array, Logistic
from retinalesion.reading.second_look import FIGURES, figures_of, looked_again

FEWEST = 20  # regions of either kind; with fewer the peak stays the confidence
RIDGE = 10.0


class Regions(NamedTuple):
    """Regions of one lesion of which it is known whether they are one.

    Attributes:
        findings: of photographs that experts looked through, and of DR0.
        truth: they are, bool (n,).
        weight: of each, (n,): every photograph weighs the same, however many it has.
    """

    findings: list[Finding]
    truth: NDArray[np.bool_]
    weight: Array


def told_regions(cases: Iterable[Case], code: str) -> Regions:
    """The regions of a lesion that experts or the eye's health tell to be one or not."""
    regions: list[Finding] = []
    truth: list[bool] = []
    weight: list[float] = []
    for case in cases:
        own = [finding for finding in case.reading.findings if finding.lesion == code]
        if own and (code in case.annotated or case.grade == 0):
            regions += own
            truth += [code in case.annotated and case.hits.get(one.number, False) for one in own]
            weight += [1 / len(own)] * len(own)
    each = np.array(weight, np.float64)
    return Regions(regions, np.array(truth, np.bool_), each / each.mean() if weight else each)


def fit_second_look(
    cases: Sequence[Case], learned: Sequence[str], figures: Sequence[str] = FIGURES
) -> dict[str, Logistic]:
    """A model a lesion; none of lesions with too few regions.

    Args:
        cases: to fit on.
        learned: lesions.
        figures: to look at.
    """
    models = {}
    for code in learned:
        told = told_regions(cases, code)
        if min(told.truth.sum(), (~told.truth).sum()) >= FEWEST:
            values = figures_of(told.findings)
            chosen = {name: values[name] for name in figures}
            models[code] = fitted(chosen, told.truth, ridge=RIDGE, weight=told.weight)
    return models


def looked_out_of_fold(
    cases: Sequence[Case], learned: Sequence[str], figures: Sequence[str] = FIGURES
) -> list[Case]:
    """The cases, each with confidences by models that were fitted on the other folds; in the same order."""
    told: dict[int, Case] = {}
    places = {id(case): place for place, case in enumerate(cases)}
    for fold in folds_in(cases):
        models = fit_second_look(without(cases, fold), learned, figures)
        for case in within(cases, fold):
            told[places[id(case)]] = looked(case, models)
    return [told.get(place, case) for place, case in enumerate(cases)]


def looked(case: Case, models: Mapping[str, Logistic]) -> Case:
    """A case with confidences."""
    return case._replace(reading=replace(case.reading, findings=looked_again(case.reading.findings, models)))
