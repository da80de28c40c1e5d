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
    score = _out_of_fold(graded, choices)
    referable, steps = _fit_models(graded, choices)
    ill = np.array([bool(case.referable) for case in graded])
    slope = slope_of(score, ill)
    roc = roc_of(score * slope.weights["score"] + slope.bias, ill)
    return Rule(
        second_look=fit_second_look(cases, learned, choices.figures) if choices.figures else {},
        points=points,
        macula=fit_macula(looked),
        referable=stretched(referable, slope),
        steps=steps,
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


def _fit_models(cases: Sequence[Case], choices: Choices) -> tuple[Logistic, tuple[Logistic, ...]]:
    values = values_of(cases, choices)
    rising = tuple(values) if choices.monotone else ()
    grades = np.array([case.grade for case in cases])
    ill = np.array([bool(case.referable) for case in cases])
    referable = fitted(values, ill, ridge=choices.ridge, rising=rising)
    steps = []
    for grade in range(1, len(GRADES)):
        enter = grades >= grade - 1
        own = {name: column[enter] for name, column in values.items()}
        steps.append(fitted(own, grades[enter] >= grade, ridge=choices.ridge, rising=rising))
    return referable, tuple(steps)


def _out_of_fold(cases: Sequence[Case], choices: Choices) -> Array:
    score = np.zeros(len(cases))
    folds = np.array([case.fold for case in cases])
    for fold in folds_in(cases):
        model, _ = _fit_models(without(cases, fold), choices)
        score[folds == fold] = model.logit(values_of(within(cases, fold), choices))
    return score


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
