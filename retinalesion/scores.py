"""Scores: thresholds, what follows from counts and rows, and intervals. Numpy only, each known once.

Counts first; every score is a function of counts, so that what photographs, batches and processes counted
adds up, and a resample of photographs is a weighted sum. Scores take any leading axes and are NaN where they
have no value; `known` turns that into None. Nothing that is not finite may be counted.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retinalesion.lesions import GRADES, NO_GRADE, NO_OEDEMA

THRESHOLD = 0.5  # of a lesion's probability: found where it is above (Eq. 1; hard labels, section 3)
REFERABLE = 2  # DR2 or worse
AT_RISK = 1  # of macular oedema, or more
NOT_KNOWN = -1  # whether a photograph is referable
NEAR = 1 / 60  # disc diameters from what experts marked to the centre of a finding that counts as found
OPERATING_POINT = 0.5  # of P(DR2) + P(DR3) + P(DR4): refer from there
RESAMPLES = 2000
LEVEL = 0.95  # of intervals
# Precision and recall are taken at steps of the logit, since maps trained with Dice crowd near 0 and 1.
STEPS, LOWEST, HIGHEST = 16384, -16.0, 16.0
FARTHEST_CUT = 3.0  # logit, probabilities 0.05 and 0.95: beyond them a network has not learned the lesion

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Score = Callable[[Array], Array]  # of sums of what photographs add, (..., parts of a count) to (..., k)


@dataclass  # not frozen: torchmetrics copies what it computes
class Counts:
    """What one or many photographs add up to, per lesion.

    Attributes:
        pixels: int64 (8, 3), valid pixels: hits (marked and found), alarms (found, not marked), misses.
        image: int64 (8, 2, 2), photographs by truth and prediction (absent, present).
        histogram: int64 (8, 2, 16384), valid pixels by truth and step of the logit, for AUPR.
    """

    pixels: Ints
    image: Ints
    histogram: Ints

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def quotient(above: ArrayLike, below: ArrayLike) -> Array:
    """A quotient, NaN where it is one by 0."""
    numerator, denominator = np.asarray(above, np.float64), np.asarray(below, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def f1(pixels: NDArray[Any]) -> Array:
    """F1 of hits, alarms and misses (..., 3); NaN with nothing to find and nothing found."""
    hits, alarms, misses = np.moveaxis(pixels, -1, 0)
    return quotient(2 * hits, 2 * hits + alarms + misses)


def pixel_f1(counts: Counts) -> Array:
    """Pixel F1 per lesion, pooled over the photographs (Table 3; section 4.2.1)."""
    return f1(counts.pixels)


def pixel_iou(counts: Counts) -> Array:
    """Intersection over union per lesion, pooled."""
    return quotient(counts.pixels[:, 0], counts.pixels.sum(1))


def image_f1(counts: Counts) -> Array:
    """Image F1 per lesion (Table 5)."""
    return f1(np.stack([counts.image[:, 1, 1], counts.image[:, 0, 1], counts.image[:, 1, 0]], -1))


def always_yes_f1(counts: Counts) -> Array:
    """Image F1 of always saying present: what an image F1 has to beat."""
    absent, present = np.moveaxis(counts.image.sum(-1), -1, 0)
    return f1(np.stack([present, absent, np.zeros_like(present)], -1))


def specificity(counts: Counts) -> Array:
    """Share of the photographs without a lesion in which it was not found; NaN where all have it."""
    return quotient(counts.image[:, 0, 0], counts.image[:, 0].sum(-1))


def aupr(counts: Counts) -> Array:
    """Average precision per lesion over pixels: the IDRiD challenge's score. NaN where nothing is marked."""
    alarms, hits = _found_at_each_step(counts)
    gained = np.diff(quotient(hits, hits[:, -1:]), prepend=0.0)
    return np.asarray((gained * (hits / np.maximum(hits + alarms, 1))).sum(-1))


def best_cut(counts: Counts) -> Array:
    """The logit (8,) above which pixel F1 is highest, within ±3; 0 for a lesion that is nowhere marked."""
    alarms, hits = _found_at_each_step(counts)
    marked = hits[:, -1:]
    cuts = np.linspace(HIGHEST, LOWEST, STEPS + 1)[1:]
    score = f1(np.stack([hits, alarms, marked - hits], -1))
    score = np.where((np.abs(cuts) > FARTHEST_CUT) | (marked == 0), -1.0, score)
    return np.where(marked[:, 0] > 0, cuts[score.argmax(-1)], 0.0)


def _found_at_each_step(counts: Counts) -> tuple[Array, Array]:
    """Alarms and hits, (8, 16384) each, if all at a step or above were found; the highest first."""
    alarms, hits = np.moveaxis(counts.histogram[..., ::-1].cumsum(-1).astype(np.float64), 1, 0)
    return alarms, hits


def mean_over(score: ArrayLike, learned: ArrayLike) -> float:
    """The mean over lesions learned; a lesion without a score does not enter."""
    chosen = np.asarray(score, np.float64)[np.asarray(learned, np.bool_)]
    return float(mean_of_parts(chosen))


def mean_of_parts(parts: Array) -> Array:
    """The mean over the last axis; parts without a value do not enter, NaN where none has one."""
    has = ~np.isnan(parts)
    return quotient(np.where(has, parts, 0.0).sum(-1), has.sum(-1))


def confusion_of(truth: ArrayLike, said: ArrayLike) -> Ints:
    """Photographs by true grade (rows) and grade said, (5, 5), of grades (n,); -1 is left out."""
    size, grades = len(GRADES), np.asarray(truth, np.int64)
    graded = grades != NO_GRADE
    cells = size * grades[graded] + np.asarray(said, np.int64)[graded]
    return np.bincount(cells, minlength=size**2).reshape(size, size)


def kappa(confusion: NDArray[Any]) -> Array:
    """Quadratic weighted kappa (Table 6) of confusions (..., g, g); NaN where it has no meaning."""
    counts = np.asarray(confusion, np.float64)
    grade = np.arange(counts.shape[-1])
    weight = (grade[:, None] - grade) ** 2
    by_chance = counts.sum(-1, keepdims=True) * counts.sum(-2, keepdims=True)
    expected = quotient((weight * by_chance).sum((-2, -1)), counts.sum((-2, -1)))
    return 1 - quotient((weight * counts).sum((-2, -1)), expected)


def recall_per_grade(confusion: Ints) -> Array:
    """Share of each grade's photographs that were given it, (5,)."""
    return quotient(confusion.diagonal(), confusion.sum(1))


def accuracy(confusion: Ints) -> float:
    """Share of the photographs that were given their grade."""
    return float(quotient(confusion.trace(), confusion.sum()))


def referable_probability(grades: ArrayLike) -> Array:
    """P(DR2) + P(DR3) + P(DR4) of probabilities (..., 5)."""
    total = np.asarray(grades, np.float64)[..., REFERABLE:].sum(-1)
    return np.asarray(np.minimum(total, 1.0))  # rounding may lead above


def referable_truth(grade: ArrayLike, oedema: ArrayLike = NO_OEDEMA) -> Ints:
    """Whether photographs are referable: DR2 or worse, or macular oedema at risk.

    Args:
        grade: 0 to 4, -1 where there is none; any shape.
        oedema: risk of macular oedema, 0 to 2, -1 where nobody said, which adds nothing; of the same shape.

    Returns:
        1, 0, or -1 (`NOT_KNOWN`) where there is no grade.
    """
    grades, risks = np.asarray(grade, np.int64), np.asarray(oedema, np.int64)
    referable = (grades >= REFERABLE) | (risks >= AT_RISK)
    return np.where(grades == NO_GRADE, NOT_KNOWN, referable).astype(np.int64)


def refers(probability: ArrayLike, at: float = OPERATING_POINT) -> NDArray[np.bool_]:
    """Whether a probability of DR2 or worse is one to refer: from the operating point, itself included."""
    return np.asarray(np.asarray(probability) >= at)


def auroc(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: how often a positive has the higher score, ties by half; NaN of one kind."""
    positive = np.asarray(truth, np.bool_)
    return float(weighted_auroc(positive, score, np.ones((1, positive.size)))[0])


def weighted_auroc(truth: NDArray[np.bool_], score: ArrayLike, weights: Array) -> Array:
    """The same of many weightings of the photographs at once.

    Args:
        truth: bool (n,).
        score: (n,).
        weights: of the photographs, (R, n).

    Returns:
        (R,).
    """
    if not truth.size:
        return np.full(len(weights), np.nan)
    _, place = np.unique(np.asarray(score), return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    positive = np.add.reduceat((weights * truth)[:, order], starts, axis=1)
    negative = np.add.reduceat((weights * ~truth)[:, order], starts, axis=1)
    below = np.cumsum(negative, 1) - negative / 2
    return quotient((positive * below).sum(1), positive.sum(1) * negative.sum(1))


def referable_figures(
    truth: ArrayLike, probability: ArrayLike, at: float = OPERATING_POINT
) -> dict[str, float]:
    """Sensitivity and specificity at an operating point, and AUROC, for DR2 or worse.

    Args:
        truth: grades (n,), none of them -1.
        probability: of DR0 to DR4, (n, 5).
        at: see `refers`.

    Returns:
        By name; NaN where there are no photographs of a kind.
    """
    score, positive = referable_probability(probability), np.asarray(truth) >= REFERABLE
    yes = refers(score, at)
    return {
        "sensitivity": float(quotient((yes & positive).sum(), positive.sum())),
        "specificity": float(quotient((~yes & ~positive).sum(), (~positive).sum())),
        "AUROC": auroc(positive, score),
    }


@lru_cache(maxsize=2)
def resamples(groups: tuple[Hashable, ...]) -> Array:
    """How often each photograph is in each resample, (R, P); the same for all runs: they are pairs of them.

    Groups are drawn, with replacement, and with each all of its photographs.

    Args:
        groups: of each photograph, by any name; alone in it, it is drawn alone.
    """
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    shares = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(0).multinomial(len(names), shares, RESAMPLES).astype(np.float64)[:, place]
    drawn.flags.writeable = False
    return drawn


def bootstrap(counts: NDArray[Any], groups: Sequence[Hashable], score: Score) -> Array:
    """The score of each resample of photographs, (R, k).

    Args:
        counts: what each photograph adds, (P, ...).
        groups: of each photograph, see `resamples`.
        score: of sums (..., parts of a count).
    """
    return score(np.tensordot(resamples(tuple(groups)), counts, 1))


def percentiles(drawn: Array) -> tuple[float, float]:
    """The 95 % interval of resampled scores (R,); those without a value do not enter, NaN where none has."""
    some = drawn[~np.isnan(drawn)]
    if not some.size:
        return np.nan, np.nan
    low, high = np.percentile(some, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return float(low), float(high)


def over(groups: Sequence[Hashable]) -> str:
    """What intervals are over, in words."""
    count = len(set(groups))
    return "photographs" if count == len(groups) else f"{count} groups of photographs that belong together"


def interval_text(low: float | None, high: float | None) -> str:
    """An interval as all tables print it; empty where there is none."""
    return "" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def known(value: float) -> float | None:
    """A score for a table; None for one without a value."""
    return float(value) if np.isfinite(value) else None
