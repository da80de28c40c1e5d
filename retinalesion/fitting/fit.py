"""A rule from cases, and what such rules say of cases that they never saw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retinalesion.fitting.cases import Case, folds_in, said, within, without
from retinalesion.fitting.logistic import columns, fitted
from retinalesion.fitting.points import fit_macula, fit_points
from retinalesion.fitting.second_look import fit_second_look, looked_out_of_fold
from retinalesion.lesions import GRADES, NO_GRADE
from retinalesion.reading.reading import Reading
from retinalesion.reading.rule import Array, Logistic, Roc, Rule, logit_of
from retinalesion.reading.second_look import FIGURES
from retinalesion.reading.statistics import names_for, statistics_of
from retinalesion.reading.verdict import NETWORK
from retinalesion.scores import referable_probability

SENSITIVITY, SPECIFICITY = 0.95, 0.90  # of the two cuts
ROC_STEPS = 101
FEWEST_STEP = 10  # photographs on either side, from which a step's probability is calibrated


@dataclass(frozen=True)
class Choices:
    """What a rule is made of.

    Attributes:
        figures: of the second look; empty for none, then the peak is the confidence.
        network: the network's own probability joins.
        monotone: weights of the verdict are not negative.
        ridge: how small they are held.
    """

    figures: tuple[str, ...] = FIGURES
    network: bool = False
    monotone: bool = True
    ridge: float = 3.0


SHIPPED = Choices()


def fit(cases: Sequence[Case], choices: Choices = SHIPPED) -> Rule:
    """A rule; inside, what is fitted on top of something is fitted on what that says out of fold.

    Args:
        cases: in two folds at least.
        choices: what it is made of.
    """
    learned = _learned(cases)
    looked = looked_out_of_fold(cases, learned, choices.figures) if choices.figures else list(cases)
    points = fit_points(looked, learned)
    graded = [case for case in looked if case.grade != NO_GRADE and case.readable]
    ill = np.array([bool(case.referable) for case in graded])
    grades = np.array([case.grade for case in graded])
    (referable, *steps), (score, *scores) = _fit_models(graded, choices), _out_of_fold(graded, choices)
    slope = slope_of(score, ill)
    roc = roc_of(slope.logit({"score": score}), ill)
    calibrated = [
        calibrated_step(step, logit, grades, grade)
        for grade, (step, logit) in enumerate(zip(steps, scores, strict=True), 1)
    ]
    return Rule(
        second_look=fit_second_look(cases, learned, choices.figures) if choices.figures else {},
        points=points,
        macula=fit_macula(looked),
        referable=stretched(referable, slope),
        steps=tuple(calibrated),
        low=roc.cut_of_sensitivity(SENSITIVITY),
        high=roc.cut_of_specificity(SPECIFICITY),
        roc=roc,
        prevalence=float(ill.mean()),
    )


def judged(cases: Sequence[Case], choices: Choices = SHIPPED) -> list[Reading]:
    """What is said of each case by a rule that was fitted on the other folds alone; in the same order."""
    return judged_by(cases, lambda others: fit(others, choices))


def judged_by(cases: Sequence[Case], rule_of: Callable[[Sequence[Case]], Rule]) -> list[Reading]:
    """The same of rules that are made otherwise.

    Args:
        cases: in two folds at least.
        rule_of: what makes a rule of cases.
    """
    told: dict[int, Reading] = {}
    places = {id(case): place for place, case in enumerate(cases)}
    for fold in folds_in(cases):
        rule = rule_of(without(cases, fold))
        for case in within(cases, fold):
            told[places[id(case)]] = said(case, rule)
    return [told[place] for place in range(len(cases))]


def roc_of(score: Array, ill: NDArray[np.bool_]) -> Roc:
    """Sensitivity and specificity at a hundred cuts."""
    cuts = np.unique(np.quantile(score, np.linspace(0, 1, ROC_STEPS)))
    yes = score[:, None] >= cuts
    sensitivity, specificity = yes[ill].mean(0), 1 - yes[~ill].mean(0)
    return Roc(*(tuple(map(float, one)) for one in (cuts, sensitivity, specificity)))


def values_of(cases: Sequence[Case], choices: Choices) -> dict[str, Array]:
    """What the verdict is made of, (n,) each."""
    learned = _learned(cases)
    rows = [statistics_of(case.reading.findings, learned) for case in cases]
    values = columns(rows, names_for(learned))
    if choices.network:
        network = [referable_probability(case.reading.network_probabilities) for case in cases]
        values[NETWORK] = logit_of(np.array(network))
    return values


def _fit_models(cases: Sequence[Case], choices: Choices) -> list[Logistic]:
    """Of referable, then of each step."""
    values = values_of(cases, choices)
    rising = tuple(values) if choices.monotone else ()
    grades = np.array([case.grade for case in cases])
    ill = np.array([bool(case.referable) for case in cases])
    models = [fitted(values, ill, ridge=choices.ridge, rising=rising)]
    for grade in range(1, len(GRADES)):
        enter = grades >= grade - 1
        own = {name: column[enter] for name, column in values.items()}
        models.append(fitted(own, grades[enter] >= grade, ridge=choices.ridge, rising=rising))
    return models


def _out_of_fold(cases: Sequence[Case], choices: Choices) -> Array:
    """Logits of referable and of each step, (5, n), each by models that did not see the fold."""
    scores = np.zeros((len(GRADES), len(cases)))
    folds = np.array([case.fold for case in cases])
    for fold in folds_in(cases):
        values = values_of(within(cases, fold), choices)
        for place, model in enumerate(_fit_models(without(cases, fold), choices)):
            scores[place, folds == fold] = model.logit(values)
    return scores


def calibrated_step(step: Logistic, score: Array, grades: NDArray[np.int64], grade: int) -> Logistic:
    """The step to a grade, its probabilities calibrated where there are enough photographs on either side.

    Args:
        step: that it is the grade or worse, where it is the one before or worse.
        score: its logits of photographs that it was not fitted on, (n,).
        grades: theirs, (n,).
        grade: which.
    """
    enter = grades >= grade - 1
    yes = grades[enter] >= grade
    if min(yes.sum(), (~yes).sum()) < FEWEST_STEP:
        return step
    return stretched(step, slope_of(score[enter], yes))


def slope_of(score: Array, ill: NDArray[np.bool_]) -> Logistic:
    """What brings the score out of fold to a probability: one that was fitted is too sure of itself."""
    model = fitted({"score": score}, ill, ridge=1e-3, rising=("score",))
    return model if model.weights else Logistic(model.bias, {"score": 0.0})


def stretched(model: Logistic, slope: Logistic) -> Logistic:
    """A model whose logits are brought to other ones, as `slope_of` tells."""
    by = slope.weights["score"]
    weights = {name: weight * by for name, weight in model.weights.items()}
    return replace(model, bias=slope.bias + by * model.bias, weights=weights)


def _learned(cases: Sequence[Case]) -> tuple[str, ...]:
    return next((case.reading.learned for case in cases if case.reading.learned), ())
