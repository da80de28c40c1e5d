"""From findings and a network's grade to what is said: counts, evidence, grade with its range, outcome."""

from dataclasses import replace

import pytest

from retinalesion.errors import UserError
from retinalesion.geometry import Box
from retinalesion.reading.conclusion import concluded, rule_of
from retinalesion.reading.reading import BELOW, TWICE, Quality, Reading
from retinalesion.reading.rule import Logistic, OperatingPoint
from retinalesion.reading.verdict import NETWORK, Wish

LEARNED = ("MA", "iHE", "HaEx", "CWS")
HEALTHY, SEVERE = (0.97, 0.02, 0.01, 0.0, 0.0), (0.0, 0.0, 0.1, 0.8, 0.1)
NEVER = Logistic(-9.0, {})


def reading(*findings, network=(), reasons=(), learned=LEARNED):
    return Reading(
        "p",
        "p.jpg",
        width=90,
        height=90,
        box=Box(0, 0, 90),
        quality=Quality(not reasons, reasons),
        learned=learned,
        findings=findings,
        network_probabilities=network,
    )


def test_without_a_rule_all_count_and_the_network_grades(finding):
    said = concluded(reading(finding("HaEx"), network=HEALTHY))
    assert said.present == ("HaEx",)
    assert (said.outcome, said.grade, said.referable) == ("no referral", 0, False)
    assert said.grade_probabilities == HEALTHY
    assert said.rule == {}


def test_without_a_rule_a_model_that_does_not_grade_says_not_assessed(finding):
    for some in ((), (finding("iHE"),)):
        said = concluded(reading(*some))
        assert (said.outcome, said.referable, said.referable_probability) == ("not assessed", None, None)
        assert said.grade is said.grade_low is said.grade_high is None
        assert said.grade_probabilities == ()
        assert said.agreement == "not graded"
    assert "no microaneurysm" in concluded(reading()).evidence[0].text


def test_with_a_rule_a_lesion_network_alone_is_assessed(finding, rule):
    judge = rule()
    said = concluded(reading(*(finding("iHE", n) for n in range(1, 30))), judge)
    assert said.outcome == "refer"
    told = dict(said.rule)
    low, high = told.pop("cuts")
    assert told == judge.told
    assert 0 < low < high <= said.referable_probability
    assert concluded(reading(), judge).outcome == "no referral"


def test_the_networks_probability_joins_where_the_rule_weighs_it(finding, rule):
    judge = rule(referable=Logistic(0.0, {NETWORK: 1.0}))
    assert concluded(reading(network=HEALTHY), judge).outcome == "no referral"
    assert concluded(reading(network=SEVERE), judge).outcome == "refer"
    assert concluded(reading(network=SEVERE), judge).network_probabilities == SEVERE


@pytest.mark.parametrize("judged", [False, True])
@pytest.mark.parametrize(("lesion", "high"), [("MA", 1), ("HaEx", 1), ("iHE", 2)])
def test_no_apparent_retinopathy_never_stands_above_findings_that_count(finding, rule, judged, lesion, high):
    judge = rule(points={}, referable=NEVER, steps=(NEVER,) * 4) if judged else None
    said = concluded(reading(finding(lesion), network=HEALTHY), judge)
    assert said.grade == 0
    assert (said.grade_low, said.grade_high) == (0, high)
    assert concluded(reading(network=HEALTHY), judge).grade_high == 0


def test_findings_that_only_may_be_there_leave_no_apparent_retinopathy(finding, rule):
    judge = rule(referable=NEVER, steps=(NEVER,) * 4)
    said = concluded(reading(finding("iHE", 1, 0.2)), judge)
    assert (said.grade, said.grade_high, said.outcome) == (0, 0, "no referral")
    assert (said.present, said.possible) == ((), ("iHE",))
    assert said.findings[0].reason == BELOW
    assert (said.supported, said.lifted) == (0, 0)


def test_findings_that_count_against_the_probability_make_it_uncertain(finding, rule):
    judge = rule(points={}, referable=NEVER, steps=(NEVER,) * 4)
    said = concluded(reading(finding("iHE")), judge)
    assert (said.outcome, said.referable) == ("uncertain", None)
    assert "sufficient evidence of DR2" in said.outcome_reason
    assert said.agreement == "below evidence"


def test_exudates_near_the_fovea_refer_and_are_evidence(finding, rule):
    judge = rule(points={"HaEx": OperatingPoint(0.99)}, referable=NEVER, steps=(NEVER,) * 4)
    near = finding("HaEx", 1, 0.8, away=0.9)
    said = concluded(reading(near), judge)
    assert (said.outcome, said.referable) == ("refer", True)
    assert said.present == ("HaEx",)
    assert (said.evidence[0].role, said.evidence[0].lesions) == ("macula", ("HaEx",))
    assert "macular oedema is to be looked for" in said.evidence[0].text
    assert concluded(reading(replace(near, disc_diameters=1.1)), judge).outcome == "no referral"
    assert concluded(reading(near), replace(judge, macula=None)).outcome == "no referral"


@pytest.mark.parametrize("network", [(), HEALTHY, SEVERE])
def test_what_cannot_be_read_is_taken_again_and_nothing_in_it_is_missing(finding, rule, network):
    for judge in (None, rule()):
        said = concluded(reading(finding("HaEx", away=0.5), network=network, reasons=("too dark",)), judge)
        assert (said.outcome, said.grade, said.referable_probability) == ("retake", None, None)
        assert "too dark" in said.outcome_reason
        assert not any(line.role == "none" for line in said.evidence)


def test_a_spot_that_is_both_counts_once_in_what_is_said(finding):
    said = concluded(reading(finding("MA", 1, 0.9, other=2), finding("iHE", 2, 0.6, other=1)))
    assert (said.present, said.possible, said.supported) == (("MA",), ("iHE",), 1)
    assert [one.reason for one in said.findings] == ["", TWICE]


def test_a_wish_reaches_the_verdict_and_concluding_again_changes_nothing(finding, rule):
    some = reading(finding("iHE", 1), finding("iHE", 2))
    said = concluded(some, rule())
    assert concluded(said, rule()) == said
    rare = concluded(some, rule(), Wish(prevalence=0.01))
    assert rare.outcome == said.outcome
    assert rare.referable_probability < said.referable_probability


@pytest.mark.parametrize(
    ("part", "name", "grades", "fits"),
    [
        ("referable", "MA number", False, True),
        ("referable", "NV number", False, False),  # not learned
        ("referable", "weather", False, False),
        ("referable", NETWORK, True, True),
        ("referable", NETWORK, False, False),
        ("steps", "NV best", True, False),
        ("second_look", "contrast", False, True),
        ("second_look", "colour", False, False),
    ],
)
def test_a_rule_weighs_only_what_readings_of_its_network_have(rule, part, name, grades, fits):
    model = Logistic(0.0, {name: 1.0})
    made = {"referable": model, "steps": (NEVER, model, NEVER, NEVER), "second_look": {"MA": model}}[part]
    plain = rule(**{part: made}).as_dict()
    if fits:
        assert rule_of(plain, LEARNED, grades, "a.ckpt") == rule(**{part: made})
    else:
        with pytest.raises(UserError, match=f"^a.ckpt: its rule is damaged .*{name}.*calibrate"):
            rule_of(plain, LEARNED, grades, "a.ckpt")
