"""Logistic models, operating points and tables."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from retinalesion.errors import UserError
from retinalesion.fitting.logistic import fitted
from retinalesion.fitting.points import fit_macula, fit_points
from retinalesion.fitting.second_look import told_regions
from retinalesion.fitting.tables import read_tables, write_tables
from retinalesion.reading.counting import counted
from retinalesion.reading.rule import logit_of


def table(seed=0, count=600):
    rng = np.random.default_rng(seed)
    values = {
        "up": rng.normal(3, 2, count),
        "down": rng.normal(-1, 0.5, count),
        "idle": rng.normal(size=count),
    }
    logit = values["up"] - 3 - 2 * (values["down"] + 1)
    return values, rng.random(count) < 1 / (1 + np.exp(-logit))


def test_weights_are_those_of_scikit_learn():
    values, truth = table()
    columns = np.stack(list(values.values()), 1)
    scaled = (columns - columns.mean(0)) / columns.std(0)
    known = LogisticRegression(C=0.5, tol=1e-8, max_iter=1000).fit(scaled, truth)
    model = fitted(values, truth, ridge=2.0)
    np.testing.assert_allclose(model.probability(values), known.predict_proba(scaled)[:, 1], atol=1e-4)


def test_weights_are_held_to_their_sign_and_what_never_varies_has_none():
    values, truth = table()
    model = fitted({**values, "same": np.full(600, 7.0)}, truth, rising=("up", "down"), falling=("idle",))
    assert model.weights["up"] > 0
    assert "down" not in model.weights
    assert model.weights.get("idle", 0) <= 0
    assert "same" not in model.weights


@pytest.mark.parametrize("truth", [np.ones(50, bool), np.zeros(50, bool)])
def test_where_there_is_one_kind_only_nothing_breaks(truth):
    model = fitted({"up": np.arange(50.0)}, truth)
    assert (model.probability({"up": 3.0}) > 0.5) == truth[0]


def test_points_keep_to_their_budget_of_healthy_eyes(draw):
    cases = draw(300)
    budget = {"MA": 0.1, "iHE": 0.05, "HaEx": 0.0, "CWS": 0.02}
    points = fit_points(cases, ("MA", "iHE", "HaEx", "CWS"), budget)
    healthy = [counted(case.reading.findings, points) for case in cases if case.grade == 0]
    for code, allowed in budget.items():
        share = np.mean([any(one.counts and one.lesion == code for one in some) for some in healthy])
        assert share <= allowed


def test_exudates_near_the_fovea_hardly_ever_refer_eyes_without_risk(draw):
    cases = [
        case._replace(reading=replace(case.reading, truth_oedema=2 if case.grade >= 3 else 0))
        for case in draw(300)
    ]
    point = fit_macula(cases)
    assert 0 < point.confidence < 1


def test_regions_are_told_by_experts_or_by_health(draw):
    cases = draw(60)
    told = told_regions(cases, "MA")
    known = sum(
        one.lesion == "MA" for case in cases if case.hits or case.grade == 0 for one in case.reading.findings
    )
    assert len(told.findings) == len(told.truth) == known
    assert told.truth.any()
    assert not told.truth.all()
    assert told.weight.mean() == pytest.approx(1)


def test_tables_bring_the_cases_back(draw, tmp_path):
    cases = draw(20)
    write_tables(tmp_path, cases)
    again = read_tables(tmp_path)
    assert [case._replace(reading=None) for case in again] == [case._replace(reading=None) for case in cases]
    for one, other in zip(again, cases, strict=True):
        assert one.reading.network_probabilities == pytest.approx(
            other.reading.network_probabilities, rel=1e-3
        )
        for a, b in zip(one.reading.findings, other.reading.findings, strict=True):
            assert (a.lesion, a.number, a.quadrant) == (b.lesion, b.number, b.quadrant)
            assert (a.disc_areas, a.contrast) == pytest.approx((b.disc_areas, b.contrast), rel=1e-2)
            assert logit_of(a.peak) == pytest.approx(logit_of(b.peak), rel=1e-2)
    first = (tmp_path / "regions.csv.xz").read_bytes()
    write_tables(tmp_path, again)
    assert (tmp_path / "regions.csv.xz").read_bytes() == first


def test_a_folder_without_tables_is_told(tmp_path):
    with pytest.raises(UserError, match="does not hold the tables"):
        read_tables(tmp_path)
