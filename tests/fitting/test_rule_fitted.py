"""What is fitted, and that nobody is judged by what was fitted on them."""

from dataclasses import replace

import numpy as np
import pytest

from retinalesion.fitting.cases import said, within
from retinalesion.fitting.figures import Judged, auroc, figure, figures_of, grade_kappa
from retinalesion.fitting.fit import Choices, fit, judged
from retinalesion.fitting.second_look import looked_out_of_fold
from retinalesion.reading.rule import Rule

NETWORK = Choices(network=True)
EVEN = (0.2,) * 5


@pytest.fixture(scope="module")
def cases(draw):
    return draw(120)


@pytest.fixture(scope="module")
def nested(cases):
    return judged(cases)


def planted(cases, folds):
    """The grade itself as the network's answer in some folds; in the others the network knows nothing."""

    def answer(case):
        return tuple(np.eye(5)[case.grade].tolist()) if case.fold in folds else EVEN

    return [
        case._replace(reading=replace(case.reading, network_probabilities=answer(case))) for case in cases
    ]


def hidden(cases):
    """The same with hardly anything to be told from what was found."""
    return [
        case._replace(reading=replace(case.reading, findings=case.reading.findings[:1])) for case in cases
    ]


def test_eyes_whose_findings_tell_their_grade_are_judged_well(cases, nested):
    figures = figures_of(Judged.of(cases, nested))
    assert figures["AUROC"].value > 0.9
    assert figures["kappa"].value > 0.6
    assert figures["sensitivity"].value > 0.85
    assert figures["specificity"].value > 0.6
    assert figures["AUROC"].low <= figures["AUROC"].value <= figures["AUROC"].high


@pytest.mark.parametrize("score", [auroc, grade_kappa])
def test_the_grade_planted_in_one_fold_moves_no_figure_of_it_and_planted_everywhere_it_does(cases, score):
    cases = hidden(cases)

    def of_fold_2(folds):
        some = planted(cases, folds)
        own = within(some, 2)
        told = [r for case, r in zip(some, judged(some, NETWORK), strict=True) if case.fold == 2]
        return figure(Judged.of(own, told), score).value

    nowhere = of_fold_2(())
    assert of_fold_2((2,)) == nowhere
    assert of_fold_2(range(5)) > nowhere + 0.05


def test_confidences_out_of_fold_are_of_models_that_did_not_see_the_fold(cases):
    """Regions of a fold told upside down change what the other folds' models say, and not their own."""
    before = looked_out_of_fold(cases, cases[0].reading.learned)
    turned = [
        case._replace(hits={number: not hit for number, hit in case.hits.items()}) if case.fold == 1 else case
        for case in cases
    ]
    after = looked_out_of_fold(turned, cases[0].reading.learned)
    for one, other in zip(before, after, strict=True):
        if one.fold == 1:
            assert one.reading == other.reading
    assert any(one.reading != other.reading for one, other in zip(before, after, strict=True))


def test_weights_of_the_verdict_are_not_negative_unless_that_is_asked_for(cases):
    held, free = fit(cases), fit(cases, Choices(monotone=False))
    assert all(weight >= 0 for model in (held.referable, *held.steps) for weight in model.weights.values())
    assert any(weight < 0 for model in (free.referable, *free.steps) for weight in model.weights.values())


def test_a_rule_survives_its_file_and_says_the_same(cases):
    rule = fit(cases)
    again = Rule.from_dict(rule.as_dict())
    assert again == rule
    assert said(cases[0], again) == said(cases[0], rule)


def test_cuts_are_those_of_the_sensitivity_and_specificity_asked_for(cases):
    rule = fit(cases)
    at = dict(zip(rule.roc.cut, zip(rule.roc.sensitivity, rule.roc.specificity, strict=True), strict=True))
    assert at[rule.low][0] >= 0.95
    assert at[rule.high][1] >= 0.90


def test_findings_count_in_few_healthy_eyes_and_most_ill_ones(cases, nested):
    healthy = [bool(r.present) for case, r in zip(cases, nested, strict=True) if case.grade == 0]
    ill = [bool(r.present) for case, r in zip(cases, nested, strict=True) if case.grade >= 2]
    assert np.mean(healthy) < 0.25
    assert np.mean(ill) > 0.9
