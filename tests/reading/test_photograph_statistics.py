"""More lesions never lower a statistic, nor any probability of being worse."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from retinalesion.guideline import QUADRANTS
from retinalesion.lesions import CODES
from retinalesion.reading.reading import CAMERAS
from retinalesion.reading.rule import Logistic
from retinalesion.reading.statistics import names_for, statistics_of
from retinalesion.reading.verdict import said_by

LEARNED = CODES[:5]


def test_of_nothing_all_are_nothing_and_bear_the_names_that_a_rule_may_weigh():
    for learned in (LEARNED, ("MA",), ()):
        told = statistics_of([], learned)
        assert set(told) == set(names_for(learned))
        assert not any(told.values())


def test_what_each_one_says(finding):
    some = [
        finding("iHE", 1, 0.5, area=0.002),
        finding("iHE", 2, 0.9, area=0.01, quadrant="lower right"),
        finding("iHE", 3, 0.6, area=0, quadrant="lower right"),
        finding("HaEx", 4, 0.8, area=0.005, away=1.0),
        finding("HaEx", 5, 0.8, area=0.005, away=1.1),
        finding("NV", 6),  # not learned
    ]
    told = statistics_of(some, LEARNED)
    assert told["iHE number"] == pytest.approx(np.log1p(2.0))
    assert told["iHE area"] == pytest.approx(np.log1p(1 + 9))
    assert told["iHE best"] == 0.9
    assert told["iHE quadrants"] == pytest.approx(0.5 + 0.9)
    assert told["iHE least quadrant"] == 0
    assert told["HaEx area"] == pytest.approx(np.log1p(8))
    assert told["HaEx near fovea"] == pytest.approx(np.log1p(4))
    assert not any("NV" in name for name in told)
    rest = [finding("iHE", 7, 0.2, quadrant=place) for place in ("upper right", "lower left")]
    assert statistics_of([*some, *rest], LEARNED)["iHE least quadrant"] == pytest.approx(np.log1p(0.2))


def test_a_spot_that_is_both_enters_once_and_what_does_not_count_enters_all_the_same(finding):
    ma, ihe = finding("MA", 1, 0.4, other=2), finding("iHE", 2, 0.9, other=1)
    told = statistics_of([ma, ihe], LEARNED)
    assert told == statistics_of([ihe], LEARNED)
    assert told == statistics_of([replace(ihe, counts=False, reason=CAMERAS)], LEARNED)


def drawn(finding, rng, count):
    """Findings of which none shares its spot with another."""
    return [
        finding(
            str(rng.choice(LEARNED)),
            number,
            float(rng.uniform(0.01, 1)),
            float(10 ** rng.uniform(-5, 0)),
            None if rng.random() < 0.2 else float(rng.uniform(0, 4)),
            str(rng.choice(QUADRANTS)),
        )
        for number in range(1, count + 1)
    ]


def weighing(rng):
    weights = {name: float(rng.exponential()) * (rng.random() < 0.5) for name in names_for(LEARNED)}
    return Logistic(float(rng.normal(-2, 2)), weights)


@pytest.mark.parametrize("seed", range(20))
def test_more_findings_or_surer_ones_never_lower_anything(seed, finding, rule):
    rng = np.random.default_rng(seed)
    judge = rule(referable=weighing(rng), steps=tuple(weighing(rng) for _ in range(4)), offset=rng.normal())
    some = drawn(finding, rng, 12)
    surer = [replace(one, confidence=(one.confidence + 1) / 2) for one in some]
    steps = [*(some[:count] for count in range(len(some) + 1)), surer]
    told = [statistics_of(step, LEARNED) for step in steps]
    for less, more in pairwise(told):
        assert all(more[name] >= less[name] for name in less)
    said = [said_by(judge, one) for one in told]
    worse = [(one.referable, *np.cumsum(one.grades[::-1])[:4], one.grade) for one in said]
    assert (np.diff(worse, axis=0) >= -1e-12).all()
    assert worse[0] < worse[-1]
