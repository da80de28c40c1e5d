"""A rule fitted to photographs of a site: what it looks at and how it weighs that stays, its cuts move."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retinalesion.errors import UserError
from retinalesion.fitting.cases import Case
from retinalesion.fitting.fit import (
    SENSITIVITY,
    SPECIFICITY,
    Choices,
    calibrated_step,
    roc_of,
    slope_of,
    stretched,
    values_of,
)
from retinalesion.fitting.points import fit_macula, fit_points
from retinalesion.fitting.second_look import looked
from retinalesion.reading.reading import Reading
from retinalesion.reading.rule import Rule, logit_of
from retinalesion.reading.verdict import NETWORK

HEALTHY = "healthy_score"  # what a rule keeps for `moved`: the median score of the DR0 it was fitted on
SITE = "site"  # what it says of having been moved


def refitted(rule: Rule, cases: Sequence[Case]) -> Rule:
    """The rule with operating points, temperature and cuts fitted anew.

    The second look and the weights of the verdict stay as they are: a hundred photographs are too few for
    them. None of them was fitted on these photographs, so that nothing here has to be out of fold.

    Args:
        rule: of the checkpoint; that it was moved for a site is forgotten.
        cases: graded, of both kinds, read by that checkpoint.
    """
    own = [looked(case, rule.second_look) for case in cases]
    graded = [case for case in own if case.referable is not None and case.readable]
    values = values_of(graded, Choices(network=NETWORK in rule.referable.weights))
    ill = np.array([bool(case.referable) for case in graded])
    grades = np.array([case.grade for case in graded])
    score = rule.referable.logit(values)
    slope = slope_of(score, ill)
    roc = roc_of(slope.logit({"score": score}), ill)
    steps = [
        calibrated_step(step, step.logit(values), grades, grade) for grade, step in enumerate(rule.steps, 1)
    ]
    return replace(
        rule,
        points=fit_points(own, next(case.reading.learned for case in own)),
        macula=None if rule.macula is None else fit_macula(own),
        referable=stretched(rule.referable, slope),
        steps=tuple(steps),
        low=roc.cut_of_sensitivity(SENSITIVITY),
        high=roc.cut_of_specificity(SPECIFICITY),
        roc=roc,
        prevalence=float(ill.mean()),
        offset=0.0,
        told={},
    )


def healthy_score(cases: Sequence[Case], readings: Sequence[Reading]) -> float | None:
    """The median score of DR0; None where there is none that could be read.

    Args:
        cases: with their grades.
        readings: what a rule that was not moved says of each.
    """
    told = [
        reading.referable_probability
        for case, reading in zip(cases, readings, strict=True)
        if case.grade == 0 and reading.referable_probability is not None
    ]
    return float(np.median(logit_of(told))) if told else None


def moved(rule: Rule, readings: Sequence[Reading], healthy: float) -> Rule:
    """The rule for a site whose photographs nobody graded: its score moved by one number.

    Where a share of the eyes is healthy and they score below the others, the median of the healthy is the
    score that half of that share lies below. It is brought to where the median of the healthy lay when the
    rule was fitted.

    Args:
        rule: that keeps that median.
        readings: of the site, by this very rule.
        healthy: share of DR0 among them, as is assumed.

    Raises:
        UserError: it does not keep it.
    """
    middle = rule.told.get(HEALTHY)
    if not isinstance(middle, (int, float)) or isinstance(middle, bool) or not np.isfinite(middle):
        raise UserError(
            "the checkpoint's rule does not tell where healthy eyes lay when it was fitted. Fit it again on "
            "graded photographs: retinalesion calibrate STORE"
        )
    told = [one.referable_probability for one in readings if one.referable_probability is not None]
    scores = logit_of(told) - rule.offset
    offset = float(middle - np.quantile(scores, healthy / 2))
    site = (
        f"moved for a site by {offset:+.2f}, by {len(told)} of its photographs without grades, of which "
        f"{healthy:.0%} are assumed to be healthy (DR0); sensitivity and specificity were not measured there"
    )
    return replace(rule, offset=offset, told={**rule.told, SITE: site})
