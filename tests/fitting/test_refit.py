"""A rule for a site: by its graded photographs, nested; and by those that nobody graded."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from retinalesion.errors import UserError
from retinalesion.fitting.cases import said
from retinalesion.fitting.figures import Judged, figures_of
from retinalesion.fitting.fit import fit, judged, judged_by
from retinalesion.fitting.refit import HEALTHY, SITE, healthy_score, moved, refitted
from retinalesion.fitting.told import told_of
from retinalesion.reading.rule import Rule, logit_of


def thinned(case):
    """The same eye where about one finding of six is found, so that grades are not told too well."""
    kept = np.random.default_rng(int(case.reading.id[1:])).random(len(case.reading.findings)) < 1 / 6
    findings = tuple(one for one, yes in zip(case.reading.findings, kept, strict=True) if yes)
    return case._replace(reading=replace(case.reading, findings=findings))


def of_dusty_camera(case):
    """The same eye with three spots of dust that look like lesions."""
    findings = case.reading.findings
    dust = [
        replace(findings[0], lesion=code, number=1000 + number, peak=0.8)
        for number, code in enumerate(("MA", "MA", "iHE"))
        if findings
    ]
    reading = replace(case.reading, findings=(*findings, *dust))
    return case._replace(reading=reading, hits={}, annotated=frozenset())


@pytest.fixture(scope="module")
def home(draw):
    return [thinned(case) for case in draw(120)]


@pytest.fixture(scope="module")
def nested(home):
    return judged(home)


@pytest.fixture(scope="module")
def rule(home, nested):
    return replace(fit(home), told=told_of(home, nested, nested, "drawn"))


@pytest.fixture(scope="module")
def site(draw):
    return [of_dusty_camera(thinned(case)) for case in draw(120, seed=1)]


def worth(cases, readings):
    return {name: one.value for name, one in figures_of(Judged.of(cases, readings)).items()}


def test_cuts_that_do_not_travel_do_after_a_hundred_graded_photographs(rule, site):
    before = worth(site, [said(case, rule) for case in site])
    after = worth(site, judged_by(site, partial(refitted, rule)))
    assert after["specificity"] > before["specificity"] + 0.2
    assert after["sensitivity"] > 0.85
    assert 0.6 < after["calibration slope"] < 1.6


def test_what_is_looked_at_and_how_it_is_weighed_stays(rule, site):
    new = refitted(rule, site)
    assert new.second_look == rule.second_look
    assert new.points != rule.points
    for one, other in zip((new.referable, *new.steps), (rule.referable, *rule.steps), strict=True):
        ratios = [one.weights[name] / weight for name, weight in other.weights.items()]
        assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert (new.offset, new.told) == (0.0, {})


def test_nobody_is_judged_by_what_was_fitted_on_their_fold(rule, site):
    turned = [
        case._replace(reading=replace(case.reading, truth_grade=4 - case.grade)) if case.fold == 2 else case
        for case in site
    ]
    for case, one, other in zip(
        site, *(judged_by(some, partial(refitted, rule)) for some in (site, turned)), strict=True
    ):
        if case.fold == 2:
            assert replace(other, truth_grade=one.truth_grade) == one


def test_what_a_rule_tells_of_itself_is_plain_and_the_figures_are_those_of_its_table(rule, home, nested):
    told = rule.told
    assert json.loads(json.dumps(rule.as_dict(), allow_nan=False))["told"] == told
    assert Rule.from_dict(rule.as_dict()).told == told
    figures = worth(home, nested)
    assert told["sensitivity"] == told["figures"]["sensitivity"]
    assert told["specificity"][0] == figures["specificity"]
    assert (told["photographs"], told["source"]) == (120, "drawn")
    assert told["groups"] == len({case.group for case in home})


def test_photographs_without_grades_move_the_score_to_where_the_healthy_lay(rule, site):
    share = np.mean([case.grade == 0 for case in site])
    there = moved(rule, [said(case, rule) for case in site], share)
    scores = logit_of([said(case, there).referable_probability for case in site])
    assert np.quantile(scores, share / 2) == pytest.approx(rule.told[HEALTHY], abs=1e-6)
    assert replace(there, offset=0.0, told=rule.told) == rule
    assert f"{share:.0%} are assumed to be healthy" in there.told[SITE]
    assert "120 of its photographs without grades" in there.told[SITE]
    before, after = (worth(site, [said(case, one) for case in site]) for one in (rule, there))
    assert after["specificity"] > before["specificity"] + 0.1
    assert after["AUROC"] == pytest.approx(before["AUROC"])


def test_a_rule_that_was_moved_can_be_moved_again_and_ends_where_it_was(rule, site):
    once = moved(rule, [said(case, rule) for case in site], 0.5)
    twice = moved(once, [said(case, once) for case in site], 0.5)
    assert twice.offset == pytest.approx(once.offset, abs=1e-6)
    assert refitted(twice, site) == refitted(rule, site)


@pytest.mark.parametrize("kept", [{}, {HEALTHY: None}, {HEALTHY: "0"}, {HEALTHY: True}])
def test_a_rule_that_does_not_tell_where_the_healthy_lay_is_not_moved(rule, site, kept):
    with pytest.raises(UserError, match="Fit it again on graded photographs"):
        moved(replace(rule, told=kept), [said(case, rule) for case in site[:5]], 0.5)


def test_where_nobody_is_healthy_nothing_tells_where_they_lie(rule, home):
    ill = [case for case in home if case.grade]
    assert healthy_score(ill, [said(case, rule) for case in ill]) is None
