"""Intervals and tests of `compare`: against scipy, by hand, and by simulation."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from retinalesion import scores
from retinalesion.compare.statistics import Difference, Scored, difference, holm
from retinalesion.scores import f1

BENCH = Path(__file__).parents[2] / "bench" / "compare.py"


def drawn_counts(seeds=1, photographs=40, lesions=3, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(1, 200, (seeds, photographs, lesions, 3)).astype(float)


def test_interval_over_photographs_is_scipys():
    counts = drawn_counts()

    def score(rows):
        hits, alarms, misses = counts[0, rows, 1].sum(0)
        return 2 * hits / (2 * hits + alarms + misses)

    expected = stats.bootstrap(
        (np.arange(40),), score, vectorized=False, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    low, high = Scored.of(counts, f1).interval(1)
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.05 * width)
    assert high == pytest.approx(expected.high, abs=0.05 * width)


def test_interval_over_seeds_is_students_where_photographs_are_all_alike():
    hits = np.array([50.0, 60.0, 70.0])
    counts = np.stack([np.tile([[h, 30.0, 30.0]], (20, 1, 1)) for h in hits])
    scores = 2 * hits / (2 * hits + 60)
    expected = stats.t.interval(0.95, 2, scores.mean(), stats.sem(scores))
    assert Scored.of(counts, f1).interval(0) == pytest.approx(expected)


def test_difference_of_seeds_alone_is_welchs_test():
    def scored(*hits):
        return Scored.of(np.stack([np.tile([[h, 30.0, 30.0]], (20, 1, 1)) for h in hits]), f1)

    a, b = scored(50.0, 60.0, 70.0), scored(45.0, 46.0, 50.0, 52.0)
    expected = stats.ttest_ind(a.seeds[:, 0], b.seeds[:, 0], equal_var=False)
    found = difference(a, b)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_differences_are_of_pairs():
    """What makes photographs easy for both rows does not widen the interval of their difference."""
    counts = drawn_counts(3)
    little = counts + np.array([2.0, 0.0, 0.0])
    a, b = Scored.of(little, f1), Scored.of(counts, f1)
    single = (np.ptp(one.over(range(3)).interval(0)) for one in (a, b))
    found = difference(a, b)
    assert found.value > 0
    assert found.high - found.low < min(single)


@pytest.mark.parametrize(("seeds", "others"), [(1, 1), (1, 5), (2, 3)])
def test_with_few_seeds_there_is_no_p(seeds, others):
    rows = [Scored.of(drawn_counts(n, seed=place), f1) for place, n in enumerate((seeds, others))]
    found = difference(*rows)
    assert found.p is None
    assert found.low < found.value < found.high


def test_equal_rows_do_not_differ():
    row = Scored.of(drawn_counts(3), f1)
    found = difference(row, row)
    assert found.value == 0
    assert found.p == pytest.approx(1)
    same = Scored.of(np.tile(drawn_counts(1, 1), (3, 1, 1, 1)), f1)
    assert difference(same, same) == Difference(0, 0, 0, 1)


def test_a_lesion_without_a_score_enters_no_difference():
    counts = drawn_counts(3)
    counts[:, :, 2] = 0
    with_it, without = Scored.of(counts, f1), Scored.of(counts[:, :, :2], f1)
    more = counts + np.array([1, 0, 0])
    other, other_without = Scored.of(more, f1), Scored.of(more[:, :, :2], f1)
    other.seeds[:, 2] = np.nan
    assert difference(with_it, other) == pytest.approx(difference(without, other_without))


def test_turned_is_seen_from_the_other_side():
    a, b = Scored.of(drawn_counts(3, seed=1), f1), Scored.of(drawn_counts(3, seed=2), f1)
    assert difference(a, b).turned() == pytest.approx(difference(b, a))


@pytest.mark.parametrize(
    ("p", "corrected"),
    [
        ([], []),
        ([0.02], [0.02]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.03, 0.03, 0.5], [0.09, 0.09, 0.5]),
        ([0.9, 0.8], [1.0, 1.0]),
    ],
)
def test_holm(p, corrected):
    assert holm(p) == pytest.approx(corrected)


def test_simulated_pairs_are_called_better_when_they_differ_and_seldom_when_they_do_not(monkeypatch):
    """The bench in small; `python bench/compare.py` draws 300 pairs of every kind."""
    monkeypatch.setattr(scores, "RESAMPLES", 300)
    scores.resamples.cache_clear()
    try:
        bench = runpy.run_path(str(BENCH))
        spreads = bench["Spreads"](30, 0.12)
        same = bench["compared"]("pixel F1", 100, spreads)
        # a shift of a quarter on the logit scale is about 0.06 F1
        bench["compared"].__globals__["shift_for"] = lambda *_: 0.25
        differing = bench["compared"]("pixel F1", 30, spreads, gain=0.05)
    finally:
        scores.resamples.cache_clear()
    assert bench["called"](same) <= 0.1
    assert bench["called"](differing) > 0.5
