"""What a rule is worth: figures of readings whose truth is known, with intervals by group.

Every figure is a score of weights of photographs, so that the same code scores all of them, a resample, or
what a resample left out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retinalesion.fitting.cases import Case
from retinalesion.lesions import GRADES
from retinalesion.reading.reading import Reading
from retinalesion.reading.rule import Array, logistic, logit_of
from retinalesion.scores import interval_text, kappa, known, percentiles, quotient, resamples, weighted_auroc

BINS = 10  # of the reliability curve
_HELD = 0.01
Bools = NDArray[np.bool_]


class Judged(NamedTuple):
    """What was said of photographs whose truth is known, as columns.

    Attributes:
        id: of each.
        group: of each.
        grade: as tables say, int (n,).
        ill: referable, bool (n,).
        said: grade, -1 where none was said.
        outcome: in words.
        probability: of referable, NaN where none was said.
    """

    id: NDArray[np.str_]
    group: NDArray[np.str_]
    grade: NDArray[np.int64]
    ill: Bools
    said: NDArray[np.int64]
    outcome: NDArray[np.str_]
    probability: Array

    @classmethod
    def of(cls, cases: Sequence[Case], readings: Sequence[Reading]) -> "Judged":
        """Of cases and what is said of each; cases without a grade are left out."""
        pairs = [pair for pair in zip(cases, readings, strict=True) if pair[0].referable is not None]
        told = (reading.referable_probability for _, reading in pairs)
        return cls(
            np.array([reading.id for _, reading in pairs], np.str_),
            np.array([case.group for case, _ in pairs], np.str_),
            np.array([case.grade for case, _ in pairs], np.int64),
            np.array([bool(case.referable) for case, _ in pairs], np.bool_),
            np.array([-1 if reading.grade is None else reading.grade for _, reading in pairs], np.int64),
            np.array([reading.outcome or "" for _, reading in pairs], np.str_),
            np.array([np.nan if one is None else one for one in told], np.float64),
        )

    def where(self, chosen: Bools) -> "Judged":
        """Those that are chosen."""
        return Judged(**{name: getattr(self, name)[chosen] for name in self._fields})

    @property
    def referred(self) -> Bools:
        """Who is to be looked at: uncertain, retake and not assessed count as referred."""
        return np.asarray(self.outcome != "no referral")


Score = Callable[[Judged, Array], Array]  # of photographs and their weights (R, n) to (R,)


class Figure(NamedTuple):
    """A figure with its interval; None where it has no value."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        return f"{self.value:.3f} ({interval_text(self.low, self.high)})".removesuffix(" ()")


def auroc(judged: Judged, weights: Array) -> Array:
    """Area under the ROC curve of the probability; what has none counts as likeliest to be ill.

    Ties count by half; NaN where one kind is missing.
    """
    score = np.where(np.isnan(judged.probability), np.inf, judged.probability)
    return weighted_auroc(judged.ill, score, weights)


def grade_kappa(judged: Judged, weights: Array) -> Array:
    """Quadratic weighted kappa of the photographs of which a grade was said."""
    size = len(GRADES)
    told = np.flatnonzero(judged.said >= 0)
    cells = np.zeros((len(judged.grade), size * size))
    cells[told, judged.grade[told] * size + judged.said[told]] = 1
    return kappa((weights @ cells).reshape(len(weights), size, size))


def slope(judged: Judged, weights: Array) -> Array:
    """Of a logistic model of the truth on the probability's logit: 1 is calibrated, below is too sure.

    By Newton's steps of all weightings at once, each halved until the truth is likelier. The slope is held
    near 1 by a hundredth of a photograph, so that it is finite where all ill ones are above all others.
    """
    told = ~np.isnan(judged.probability)
    logit, ill, weights = logit_of(judged.probability[told]), judged.ill[told], weights[:, told]
    both = ((weights * ill).sum(1) > 0) & ((weights * ~ill).sum(1) > 0)
    at = np.tile((0.0, 1.0), (len(weights), 1))

    def cost(at: Array) -> Array:
        of = at[:, :1] + at[:, 1:] * logit
        likely = (weights * (np.logaddexp(0, of) - ill * of)).sum(1)
        return np.asarray(likely + _HELD / 2 * (at[:, 1] - 1) ** 2)

    for _ in range(15):
        p = logistic(at[:, :1] + at[:, 1:] * logit)
        wrong, spread = weights * (p - ill), weights * p * (1 - p)
        first = np.stack([wrong.sum(1), wrong @ logit + _HELD * (at[:, 1] - 1)], 1)
        mixed = spread @ logit
        curve = (spread.sum(1) + 1e-9, mixed, mixed, spread @ logit**2 + _HELD)
        second = np.stack(curve, 1).reshape(-1, 2, 2)
        step = np.linalg.solve(second, first[..., None])[..., 0]
        before = cost(at)
        for _ in range(8):
            worse = cost(at - step) > before + 1e-9
            if not worse.any():
                break
            step[worse] /= 2
        at = at - step
    return np.where(both, at[:, 1], np.nan)


def share(yes: Callable[[Judged], Bools], among: Callable[[Judged], Bools] | None = None) -> Score:
    """The score that is the share of yes, among all or among some."""

    def score(judged: Judged, weights: Array) -> Array:
        some = np.ones(len(judged.grade), np.bool_) if among is None else among(judged)
        return quotient(weights @ (yes(judged) & some), weights @ some)

    return score


SCORES: Mapping[str, Score] = {
    "AUROC": auroc,
    "kappa": grade_kappa,
    "sensitivity": share(lambda j: j.referred, lambda j: j.ill),
    "specificity": share(lambda j: ~j.referred, lambda j: ~j.ill),
    "specificity, DR0": share(lambda j: ~j.referred, lambda j: ~j.ill & (j.grade == 0)),
    "specificity, DR1": share(lambda j: ~j.referred, lambda j: ~j.ill & (j.grade == 1)),
    "sensitivity of refer alone": share(lambda j: j.outcome == "refer", lambda j: j.ill),
    "specificity of refer alone": share(lambda j: j.outcome != "refer", lambda j: ~j.ill),
    "uncertain": share(lambda j: j.outcome == "uncertain"),
    "retake": share(lambda j: j.outcome == "retake"),
    "calibration slope": slope,
}


def figures_of(judged: Judged, scores: Mapping[str, Score] = SCORES) -> dict[str, Figure]:
    """Figures by name."""
    return {name: figure(judged, score) for name, score in scores.items()}


def figure(judged: Judged, score: Score) -> Figure:
    """A figure of all photographs, with its interval over groups."""
    value = score(judged, np.ones((1, len(judged.grade))))[0]
    return Figure(known(value), *map(known, percentiles(score(judged, drawn_of(judged)))))


def drawn_of(judged: Judged) -> Array:
    """How often each photograph is in each resample of groups, (R, n)."""
    return resamples(tuple(judged.group.tolist()))


def reliability_of(judged: Judged) -> list[tuple[float, float, int]]:
    """Mean probability, share of ill, and number of photographs, in bins of equal number."""
    told = ~np.isnan(judged.probability)
    p, ill = judged.probability[told], judged.ill[told]
    parts = np.array_split(np.argsort(p, kind="stable"), BINS)
    return [(float(p[part].mean()), float(ill[part].mean()), len(part)) for part in parts if len(part)]


def outcomes_by_grade(judged: Judged) -> dict[int, dict[str, int]]:
    """How many photographs of each true grade got each outcome."""
    names = np.unique(judged.outcome)
    return {
        int(grade): {
            str(name): int(((judged.grade == grade) & (judged.outcome == name)).sum()) for name in names
        }
        for grade in np.unique(judged.grade)
    }
