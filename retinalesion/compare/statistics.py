"""Intervals and tests for scores of runs: bootstrap over photographs, and the spread over seeds.

Every score here is a function of what photographs add up to, so that a resample of photographs is a
weighted sum. Arrays have these axes: S seeds (runs that differ in nothing else), P photographs, R
resamples, k parts of a score (lesions; or the one part of kappa). A score turns sums (..., parts of the
counts) into (..., k), NaN where a part has no value.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

RESAMPLES = 2000
LEVEL = 0.95
ENOUGH_SEEDS = 3  # a side, before one may be called better

Array = NDArray[np.float64]
Score = Callable[[Array], Array]


def f1(sums: Array) -> Array:
    """F1 per lesion of hits, alarms, misses (..., k, 3); NaN with nothing to find and nothing found."""
    hits, alarms, misses = np.moveaxis(sums, -1, 0)
    return _quotient(2 * hits, 2 * hits + alarms + misses)


def mean_of(sums: Array) -> Array:
    """The mean per lesion of totals and numbers (..., k, 2); NaN where the number is 0."""
    return _quotient(sums[..., 0], sums[..., 1])


def kappa(sums: Array) -> Array:
    """Quadratic weighted kappa of confusions (..., g, g), as (..., 1); NaN where it has no meaning."""
    grade = np.arange(sums.shape[-1])
    weight = (grade[:, None] - grade) ** 2
    by_chance = sums.sum(-1, keepdims=True) * sums.sum(-2, keepdims=True)
    expected = _quotient((weight * by_chance).sum((-2, -1)), sums.sum((-2, -1)))
    return (1 - _quotient((weight * sums).sum((-2, -1)), expected))[..., None]


def _quotient(above: Array, below: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


@lru_cache(maxsize=2)
def resamples(photographs: int) -> Array:
    """How often each photograph is in each resample, (R, P); the same for all rows: pairs of them."""
    shares = np.full(photographs, 1 / photographs)
    drawn = np.random.default_rng(0).multinomial(photographs, shares, RESAMPLES).astype(np.float64)
    drawn.flags.writeable = False
    return drawn


@dataclass(frozen=True)
class Scored:
    """A row of a table, scored.

    Attributes:
        seeds: (S, k), the score of each run on all photographs.
        drawn: (R, k), in each resample the mean of the runs' scores.
        photographs: how many.
    """

    seeds: Array
    drawn: Array
    photographs: int

    @classmethod
    def of(cls, counts: Array, score: Score) -> "Scored":
        """Score runs.

        Args:
            counts: (S, P, ...) of each run and photograph, photographs in the same order for all rows.
            score: of their sums.
        """
        photographs = counts.shape[1]
        drawn = [score(np.tensordot(resamples(photographs), run, 1)) for run in counts]
        return cls(score(counts.sum(1)), np.mean(drawn, axis=0), photographs)

    @property
    def value(self) -> Array:
        """The mean over runs, (k,)."""
        return np.asarray(self.seeds.mean(0))

    def only(self, parts: Sequence[int]) -> "Scored":
        """Some of the parts."""
        columns = list(parts)
        return Scored(self.seeds[:, columns], self.drawn[:, columns], self.photographs)

    def over(self, parts: Sequence[int]) -> "Scored":
        """The mean over some parts, as a score of one part; parts without a value do not enter."""
        some = self.only(parts)
        return Scored(_mean(some.seeds), _mean(some.drawn), self.photographs)

    def interval(self, part: int) -> tuple[float, float]:
        """The 95 % interval of a part: percentiles over photographs; with several runs, over seeds too."""
        if len(self.seeds) == 1:
            return _percentiles(self.drawn[:, part])
        spread = _Spread.of(self.drawn[:, part], self.photographs, [self.seeds[:, part]])
        return spread.interval(float(self.value[part]))


class Difference(NamedTuple):
    """By how much one row's score is above another's.

    Attributes:
        value: of the difference.
        low: end of its 95 % interval.
        high: the other end.
        p: two-sided, over seeds and photographs; None with fewer than three seeds a side, where the
            interval is over photographs alone and says nothing of what another seed would give.
    """

    value: float
    low: float
    high: float
    p: float | None

    def turned(self) -> "Difference":
        """By how much the other one's score is above."""
        return Difference(-self.value, -self.high, -self.low, self.p)


def difference(a: Scored, b: Scored) -> Difference:
    """Compare two rows on the same photographs, by the mean over parts that have a value in both.

    Two things would make the difference come out otherwise: other photographs, and other seeds. What
    photographs do is seen by a paired bootstrap: both rows in the same resamples, each as the mean of its
    seeds. What seeds do cannot be seen by resampling three of them, which would show two thirds of their
    variance and never an unlucky draw; it is estimated without bias from their scores, s^2 / n for each
    side. The variance of the difference is the sum of the three (what a seed does to single photographs is
    in two of them, which errs on the side of caution), and since variances of few seeds are themselves
    uncertain, the interval is Student's, with the degrees of freedom of Welch and Satterthwaite: n - 1 for
    each side's seeds, P - 1 for photographs.

    With fewer than three seeds a side the interval is the paired bootstrap's alone: it speaks of these very
    runs, not of what was done differently in them.

    Args:
        a: a row.
        b: another, of as many photographs in the same order.
    """
    columns = ~np.isnan(a.value - b.value)
    value = float(_mean((a.value - b.value)[None, columns])[0, 0])
    drawn = _mean((a.drawn - b.drawn)[:, columns])[:, 0]
    if min(len(a.seeds), len(b.seeds)) < ENOUGH_SEEDS:
        return Difference(value, *_percentiles(drawn), None)
    means = [_mean(row.seeds[:, columns])[:, 0] for row in (a, b)]
    spread = _Spread.of(drawn, a.photographs, means)
    return Difference(value, *spread.interval(value), spread.p(value))


def holm(p: Sequence[float]) -> list[float]:
    """P values corrected by Holm for being several: all below a level hold together at that level."""
    order = sorted(range(len(p)), key=p.__getitem__)
    corrected, so_far = [0.0] * len(p), 0.0
    for place, which in enumerate(order):
        so_far = max(so_far, min(1.0, (len(p) - place) * p[which]))
        corrected[which] = so_far
    return corrected


class _Spread(NamedTuple):
    """Of an estimate: standard error and degrees of freedom."""

    error: float
    freedom: float

    @classmethod
    def of(cls, drawn: Array, photographs: int, seeds: Sequence[Array]) -> "_Spread":
        """From resamples of photographs (R,) and the scores of each side's seeds (S,)."""
        # Resamples of P photographs vary less than other photographs would, by (P - 1) / P.
        over_photographs = float(np.nanvar(drawn)) * photographs / max(photographs - 1, 1)
        parts = [(over_photographs, photographs - 1)]
        parts += [(float(np.var(one, ddof=1)) / len(one), len(one) - 1) for one in seeds if len(one) > 1]
        total = sum(variance for variance, _ in parts)
        below = sum(variance**2 / freedom for variance, freedom in parts if freedom)
        return cls(total**0.5, total**2 / below if below else np.inf)

    def interval(self, value: float) -> tuple[float, float]:
        """The 95 % interval around an estimate."""
        reach = float(special.stdtrit(self.freedom, (1 + LEVEL) / 2)) * self.error
        return value - reach, value + reach

    def p(self, value: float) -> float:
        """Two-sided, of an estimate being 0."""
        if self.error == 0:
            return float(value == 0)
        return 2 * float(special.stdtr(self.freedom, -abs(value) / self.error))


def _percentiles(drawn: Array) -> tuple[float, float]:
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of a part without a value
        low, high = np.nanpercentile(drawn, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return float(low), float(high)


def _mean(parts: Array) -> Array:
    """(n, k) to (n, 1); NaN where no part has a value."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        return np.asarray(np.nanmean(parts, axis=1, keepdims=True))
