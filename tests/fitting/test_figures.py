"""Figures of what was judged, and choices among variants."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from retinalesion.fitting.choice import chosen, gain
from retinalesion.fitting.figures import (
    SCORES,
    Judged,
    auroc,
    figure,
    figures_of,
    grade_kappa,
    outcomes_by_grade,
    reliability_of,
    slope,
)


def drawn(count=400, seed=0, steep=1.0, groups=None):
    """Photographs whose true logit is known; what is told of them is ``steep`` times as sure."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 2, count)
    ill = rng.random(count) < 1 / (1 + np.exp(-logit))
    probability = 1 / (1 + np.exp(-steep * logit))
    grade = np.where(ill, rng.integers(2, 5, count), rng.integers(0, 2, count))
    said = np.clip(np.rint(grade + rng.normal(0, 0.8, count)), 0, 4).astype(int)
    outcome = np.select([probability > 0.7, probability > 0.4], ["refer", "uncertain"], "no referral")
    group = np.arange(count) if groups is None else np.arange(count) % groups
    return Judged(np.arange(count).astype(str), group.astype(str), grade, ill, said, outcome, probability)


def test_scores_are_those_of_scikit_learn():
    told = drawn()
    assert figure(told, auroc).value == pytest.approx(roc_auc_score(told.ill, told.probability))
    kappa = cohen_kappa_score(told.grade, told.said, weights="quadratic")
    assert figure(told, grade_kappa).value == pytest.approx(kappa)


@pytest.mark.parametrize("steep", [0.5, 1.0, 2.0])
def test_the_slope_tells_how_much_too_sure_probabilities_are(steep):
    found = figure(drawn(600, steep=steep), slope)
    assert found.value == pytest.approx(1 / steep, rel=0.25)
    assert found.low < 1 / steep < found.high


def test_uncertain_and_retake_count_as_referred():
    told = drawn()
    retake = told._replace(outcome=np.full(len(told.id), "retake"), probability=np.full(len(told.id), np.nan))
    figures = figures_of(retake)
    assert (figures["sensitivity"].value, figures["specificity"].value, figures["retake"].value) == (1, 0, 1)
    look = told.outcome != "no referral"
    assert figures_of(told)["sensitivity"].value == pytest.approx(look[told.ill].mean())


def test_photographs_of_few_groups_give_wide_intervals():
    alone, few = figure(drawn(), auroc), figure(drawn(groups=8), auroc)
    assert alone.value == few.value
    one_kind = drawn().where(drawn().ill)
    assert figure(one_kind, auroc).value is None
    assert figures_of(one_kind)["specificity"].value is None


def test_bins_and_outcomes_hold_every_photograph_once():
    told = drawn()
    assert sum(number for *_, number in reliability_of(told)) == 400
    assert sum(sum(row.values()) for row in outcomes_by_grade(told).values()) == 400
    assert all(abs(p - ill) < 0.2 for p, ill, _ in reliability_of(told))


def test_a_gain_is_paired_and_photographs_in_another_order_are_refused():
    told = drawn()
    worse = told._replace(probability=np.random.default_rng(1).random(400))
    found = gain(worse, told, auroc)
    assert found.low > 0
    assert gain(told, told, auroc) == (0, 0, 0)
    with pytest.raises(ValueError, match="same photographs"):
        gain(told, told._replace(id=told.id[::-1]), auroc)


def test_the_best_of_many_that_know_nothing_is_worth_nothing():
    """As it stands it looks better than chance; scored where it was not chosen, it does not."""
    told = drawn(120)
    guesses = {
        f"guess {seed}": told._replace(probability=np.random.default_rng(seed).random(120))
        for seed in range(20)
    }
    _, standing, worth = chosen(guesses, auroc)
    assert standing.value == max(figure(one, auroc).value for one in guesses.values())
    assert standing.value > 0.56
    assert worth.value < standing.value - 0.03
    assert worth.low < 0.5


def test_every_score_takes_many_weightings_at_once():
    told = drawn(60)
    weights = np.vstack([np.ones(60), np.arange(60) % 3])
    for score in SCORES.values():
        together = score(told, weights)
        assert together.shape == (2,)
        assert together[1] == pytest.approx(score(told, weights[1:])[0], nan_ok=True)
