import numpy as np
import pytest

from retinalesion.reading.referral import referral_of
from retinalesion.reading.rule import Logistic
from retinalesion.reading.verdict import Wish, cuts, said_by, said_by_network

FLAT = Logistic(0.0, {"x": 1.0})


def of_score(rule):
    """A rule whose every probability hangs on ``x`` alone."""
    return rule(referable=FLAT, steps=(FLAT, FLAT, FLAT, FLAT))


@pytest.mark.parametrize("x", [-40.0, -2.0, 0.0, 3.0, 40.0])
def test_probabilities_of_the_grades_sum_to_one_and_the_range_holds_the_grade(rule, x):
    said = said_by(of_score(rule), {"x": x})
    assert sum(said.grades) == pytest.approx(1)
    assert min(said.grades) >= 0
    low, high = said.range
    assert 0 <= low <= said.grade <= high <= 4
    assert sum(said.grades[low : high + 1]) >= 0.8 - 1e-9


def test_a_grade_is_the_grade_before_or_worse_and_worse_again(rule):
    half = said_by(of_score(rule), {"x": 0.0})
    assert half.grades == pytest.approx((0.5, 0.25, 0.125, 0.0625, 0.0625))
    assert half.grade == 1  # its mean is 0.94
    assert half.range == (0, 3)


@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        ((0.95, 0.03, 0.02, 0.0, 0.0), (0, 0)),
        ((0.0, 0.0, 0.0, 0.0, 1.0), (4, 4)),
        ((0.2, 0.2, 0.2, 0.2, 0.2), (0, 4)),
        ((0.45, 0.0, 0.0, 0.05, 0.5), (0, 4)),
        ((0.05, 0.9, 0.05, 0.0, 0.0), (1, 1)),
    ],
)
def test_the_range_is_where_four_fifths_lie(grades, expected):
    assert said_by_network(grades).range == expected


def test_the_networks_own_verdict_is_its_likeliest_grade_and_the_usual_cut():
    said = said_by_network((0.4, 0.0, 0.0, 0.3, 0.3))
    assert (said.grade, said.low, said.high) == (0, 0.5, 0.5)
    assert said.referable == pytest.approx(0.6)
    assert said_by_network((0.0, 0.0, 0.5, 0.25, 0.2500001)).referable == 1


def test_a_wish_for_sensitivity_moves_the_lower_cut_alone(rule):
    made = rule()  # its lower cut is -1.5, its upper one 0.5
    assert cuts(made) == (-1.5, 0.5)
    assert cuts(made, Wish(sensitivity=0.98)) == (-2.0, 0.5)
    assert cuts(made, Wish(sensitivity=0.9)) == (-1.0, 0.5)
    assert cuts(made, Wish(sensitivity=0.999)) == (-3.0, 0.5)
    assert cuts(made, Wish(sensitivity=0.5)) == (1.0, 1.0)  # never above the upper one


def test_a_lower_cut_above_the_upper_one_leaves_nothing_uncertain(rule):
    assert cuts(rule(low=2.0, high=0.5)) == (0.5, 0.5)


@pytest.mark.parametrize("x", np.linspace(-4, 4, 9))
@pytest.mark.parametrize("prevalence", [0.02, 0.1, 0.6])
def test_a_prevalence_moves_probabilities_and_no_outcome(rule, x, prevalence):
    made = of_score(rule)
    usual, moved = (said_by(made, {"x": x}, wish) for wish in (Wish(), Wish(prevalence=prevalence)))
    assert referral_of(usual, 0).outcome == referral_of(moved, 0).outcome
    assert np.sign(moved.referable - usual.referable) == np.sign(prevalence - made.prevalence)
    assert sum(moved.grades) == pytest.approx(1)
    odds = (moved.referable / (1 - moved.referable)) / (usual.referable / (1 - usual.referable))
    assert odds == pytest.approx(prevalence / (1 - prevalence) / (0.3 / 0.7))


def test_a_sites_offset_moves_the_score_against_the_cuts(rule):
    made = of_score(rule)
    moved = said_by(rule(referable=FLAT, steps=made.steps, offset=1.0), {"x": 0.0})
    assert moved.referable == said_by(made, {"x": 1.0}).referable
    assert (moved.low, moved.high) == said_by(made, {"x": 0.0})[-2:]
