"""The verdict: calibrated probabilities of the grades and of referable, and what is to be done.

By a rule from the statistics of the findings, where the checkpoint has one; else by the network's own
probabilities, which nothing has calibrated. Weights of a rule are never negative, so that more lesions never
lower any probability of being worse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from retinalesion.lesions import GRADES
from retinalesion.reading.rule import Rule, logistic, logit_of
from retinalesion.scores import OPERATING_POINT, REFERABLE, referable_probability

LIKELY = 0.8  # of the grades from lowest to highest told
NETWORK = "network"  # name of the statistic that is the logit of the network's own P(DR2 or worse)


@dataclass(frozen=True)
class Wish:
    """What a user wants of the rule.

    Attributes:
        sensitivity: from which referral is to be considered; None as the rule was fitted.
        prevalence: share of referable eyes where it is used; None as where it was fitted.
    """

    sensitivity: float | None = None
    prevalence: float | None = None


AS_FITTED = Wish()


class Verdict(NamedTuple):
    """What is said of an eye's grade.

    Attributes:
        referable: probability of DR2 or worse, or macular oedema at risk.
        grades: of DR0 to DR4, sum 1.
        grade: the one that is told.
        low: probability of ``referable`` below which not to refer.
        high: from which to refer.
    """

    referable: float
    grades: tuple[float, ...]
    grade: int
    low: float
    high: float

    @property
    def range(self) -> tuple[int, int]:
        """The lowest and the highest grade that are likely: 80 % lie between, the grade among them."""
        below = np.cumsum(self.grades)
        tail = (1 - LIKELY) / 2
        low, high = int((below <= tail).sum()), int((below < 1 - tail).sum())
        return min(low, self.grade), max(min(high, len(GRADES) - 1), self.grade)


def said_by(rule: Rule, statistics: Mapping[str, float], wish: Wish = AS_FITTED) -> Verdict:
    """What a rule makes of statistics; the grade is the one nearest to the mean.

    Args:
        rule: of the checkpoint.
        statistics: of the findings, by name.
        wish: of the user.
    """
    shift = _shift(rule.prevalence, wish.prevalence)
    score = float(rule.referable.logit(statistics)) + rule.offset
    steps = [float(step.logit(statistics)) for step in rule.steps]
    for grade in range(REFERABLE):  # the site's offset and the prevalence are about being ill enough
        steps[grade] += rule.offset + shift
    grades = -np.diff([1.0, *np.cumprod(logistic(steps)), 0.0])
    referable, low, high = logistic(np.add((score, *cuts(rule, wish)), shift)).tolist()
    grade = int(np.floor(np.dot(grades, np.arange(len(GRADES))) + 0.5))
    return Verdict(referable, tuple(grades.tolist()), grade, low, high)


def cuts(rule: Rule, wish: Wish = AS_FITTED) -> tuple[float, float]:
    """Logits of the score below which not to refer, and from which to refer; the first is never above."""
    if wish.sensitivity is None:
        return min(rule.low, rule.high), rule.high
    low = rule.roc.cut_of_sensitivity(wish.sensitivity)
    return low, max(low, rule.high)


def _shift(fitted: float, wished: float | None) -> float:
    """What brings a logit from one prevalence to another."""
    return 0.0 if wished is None else float(logit_of(wished) - logit_of(fitted))


def said_by_network(grades: Sequence[float]) -> Verdict:
    """The same of a network's own probabilities of DR0 to DR4: the likeliest grade, and the usual cut."""
    referable = float(referable_probability(grades))
    return Verdict(referable, tuple(grades), int(np.argmax(grades)), OPERATING_POINT, OPERATING_POINT)
