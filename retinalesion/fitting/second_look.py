"""The second look, fitted: regions that experts marked against those that they did not, and those of DR0."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from retinalesion.fitting.cases import Case, folds_in, within, without
from retinalesion.fitting.logistic import fitted
from retinalesion.reading.reading import Finding
from retinalesion.reading.rule import Logistic
from retinalesion.reading.second_look import FIGURES, figures_of, looked_again

FEWEST = 20  # regions of either kind; with fewer the peak stays the confidence
RIDGE = 3.0


def told_regions(cases: Iterable[Case], code: str) -> tuple[list[Finding], list[bool]]:
    """Regions of a lesion, and whether they are one: those of photographs looked through, and of DR0."""
    regions, truth = [], []
    for case in cases:
        for finding in case.reading.findings:
            if finding.lesion != code:
                continue
            if code in case.annotated:
                regions.append(finding)
                truth.append(bool(case.hits.get(finding.number)))
            elif case.grade == 0:
                regions.append(finding)
                truth.append(False)
    return regions, truth


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
        regions, truth = told_regions(cases, code)
        if min(sum(truth), len(truth) - sum(truth)) >= FEWEST:
            values = figures_of(regions)
            models[code] = fitted({name: values[name] for name in figures}, np.array(truth), ridge=RIDGE)
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
