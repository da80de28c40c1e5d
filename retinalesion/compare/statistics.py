"""Intervals and tests for scores of runs: bootstrap over photographs, and the spread over seeds.

Arrays have these axes: S seeds (runs that differ in nothing else), P photographs, R resamples, k parts of a
score (lesions; or the one part of kappa). Scores and resamples are those of `retinalesion.scores`.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from retinalesion.scores import LEVEL, Array, Score, bootstrap, mean_of_parts, percentiles

ENOUGH_SEEDS = 3  # a side, before one may be called better


@dataclass(frozen=True)
class Scored:
    """A row of a table, scored.

    Attributes:
        seeds: (S, k), the score of each run on all photographs.
        drawn: (R, k), in each resample the mean of the runs' scores.
        groups: how many groups of photographs were drawn from; 0 of a score without resamples.
    """

    seeds: Array
    drawn: Array
    groups: int

    @classmethod
    def of(cls, counts: Array, score: Score, groups: Sequence[Hashable] | None = None) -> "Scored":
        """Score runs.

        Args:
            counts: (S, P, ...) of each run and photograph, photographs in the same order for all rows.
            score: of their sums.
            groups: of each photograph, see `scores.resamples`; None where each stands alone.
        """
        named = range(counts.shape[1]) if groups is None else groups
        drawn = [bootstrap(run, named, score) for run in counts]
        return cls(score(counts.sum(1)), np.mean(drawn, axis=0), len(set(named)))

    @property
    def value(self) -> Array:
        """The mean over runs, (k,)."""
        return np.asarray(self.seeds.mean(0))

    def only(self, parts: Sequence[int]) -> "Scored":
        """Some of the parts."""
        columns = list(parts)
        return Scored(self.seeds[:, columns], self.drawn[:, columns], self.groups)

    def over(self, parts: Sequence[int]) -> "Scored":
        """The mean over some parts, as a score of one part; parts without a value do not enter."""
        some = self.only(parts)
        return Scored(mean_of_parts(some.seeds)[:, None], mean_of_parts(some.drawn)[:, None], self.groups)

    def interval(self, part: int) -> tuple[float, float]:
        """The 95 % interval of a part: percentiles over photographs; with several runs, over seeds too."""
        if len(self.seeds) == 1:
            return percentiles(self.drawn[:, part])
        spread = _Spread.of(self.drawn[:, part], self.groups, [self.seeds[:, part]])
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
    each side's seeds, G - 1 for G groups of photographs (each its own where no groups are known).

    With fewer than three seeds a side the interval is the paired bootstrap's alone: it speaks of these very
    runs, not of what was done differently in them.

    Args:
        a: a row.
        b: another, of as many photographs in the same order.
    """
    columns = ~np.isnan(a.value - b.value)
    value = float(mean_of_parts((a.value - b.value)[columns]))
    drawn = mean_of_parts((a.drawn - b.drawn)[:, columns])
    if min(len(a.seeds), len(b.seeds)) < ENOUGH_SEEDS:
        return Difference(value, *percentiles(drawn), None)
    means = [mean_of_parts(row.seeds[:, columns]) for row in (a, b)]
    spread = _Spread.of(drawn, a.groups, means)
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
    def of(cls, drawn: Array, groups: int, seeds: Sequence[Array]) -> "_Spread":
        """From resamples of groups of photographs (R,) and the scores of each side's seeds (S,)."""
        # Resamples of G groups vary less than other groups would, by (G - 1) / G.
        over_photographs = float(np.nanvar(drawn)) * groups / max(groups - 1, 1)
        parts = [(over_photographs, groups - 1)]
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
