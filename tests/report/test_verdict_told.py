"""What list and page say of a verdict: headline, what is urgent, the rule behind it, disc and fovea."""

import math
from dataclasses import replace

import pytest

from retinalesion.geometry import Box, Landmark
from retinalesion.reading.reading import Finding, Quality, Reading
from retinalesion.report.facts import NOT_CALIBRATED, cuts_of, facts_of, marks_of, told_of
from retinalesion.report.rows import GRADE_NAMES, headline_of, is_urgent, outcomes_of

HAEX = Finding("HaEx", 1, 9, 9, 8, 8, 3, 3, 9, 1e-4, "upper left", None, 0.9)
READ = Reading(
    "eye",
    "eye.png",
    width=200,
    height=100,
    box=Box(50, 0, 100),
    quality=Quality(True),
    learned=("MA", "HaEx", "NV"),
    outcome="no referral",
    referable_probability=0.04,
    grade=0,
    grade_low=0,
    grade_high=0,
)


@pytest.mark.parametrize("grade", range(5))
def test_a_clear_grade_is_the_headline_with_its_name(grade):
    headline = headline_of(replace(READ, grade=grade, grade_low=grade, grade_high=grade))
    assert headline == (f"DR{grade}", GRADE_NAMES[grade], f"dr{grade}")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 3), (2, 4)])
def test_an_unclear_grade_is_a_range_that_says_so(low, high):
    headline = headline_of(replace(READ, grade=low, grade_low=low, grade_high=high))
    assert headline.text == f"DR{low} – DR{high}"
    assert "unclear" in headline.name


@pytest.mark.parametrize("high", [0, 1, None])
def test_no_apparent_retinopathy_never_stands_above_findings_that_count(high):
    """Neither in what is read now, nor in what an earlier version read."""
    counting = replace(READ, findings=(HAEX,), grade_high=high)
    assert "unclear" in headline_of(counting).name
    possible = replace(counting, findings=(replace(HAEX, counts=False),), grade_high=0)
    assert headline_of(possible).name == "no apparent retinopathy"


def test_what_cannot_be_read_or_is_not_graded_has_no_grade_in_its_headline():
    retake = replace(READ, outcome="retake", quality=Quality(False, ("it is dark",)), grade=None)
    assert headline_of(retake)[:2] == ("Retake", "it cannot be read, take it again")
    ungraded = replace(READ, outcome="not assessed", grade=None)
    assert headline_of(ungraded)[:2] == ("Not assessed", "")


@pytest.mark.parametrize(
    ("change", "urgent"),
    [
        ({"grade": 4}, True),
        ({"findings": (replace(HAEX, lesion="NV"),)}, True),
        ({"findings": (replace(HAEX, lesion="NV", counts=False),)}, False),
        ({"grade": 3, "findings": (HAEX,)}, False),
        ({"grade": 4, "outcome": "uncertain"}, False),
    ],
)
def test_urgent_is_what_is_referred_as_proliferative(change, urgent):
    reading = replace(READ, **{"grade": 2, "outcome": "refer", **change})
    assert is_urgent(reading) == urgent
    assert outcomes_of(reading) == ("urgent",) * urgent + (reading.outcome,)


def test_a_rule_is_told_in_words():
    told = "; ".join(
        told_of(
            {
                **{"photographs": 396, "groups": 41, "source": "IDRiD's training half"},
                **{"sensitivity": [0.952, 0.93, 0.97], "specificity": [0.885, 0.85, 0.912]},
                **{"uncertain": 0.12, "prevalence": 0.336, "site": "moved by 60 photographs of the site"},
                "wished": {"sensitivity": 0.9, "prevalence": 0.1},
            }
        )
    )
    for words in (
        "396 photographs of 41 groups: IDRiD's training half",
        "sensitivity 95 % (93 to 97 %)",
        "specificity 88 % (85 to 91 %)",
        "uncertain were 12 %",
        "34 % of them",
        "moved to a sensitivity of 90 %",
        "a place where 10 % are to be referred",
        "moved by 60 photographs of the site",
    ):
        assert words in told
    assert told_of({}) == [NOT_CALIBRATED]
    assert NOT_CALIBRATED == "not calibrated: the network's own probability, cut at 0.5"


@pytest.mark.parametrize(
    "value", [None, "0.9", True, math.nan, [], [0.9], [0.9, 0.8], [0.9, "a", 1.0], {}, 10**400, "x" * 9000]
)
def test_a_rule_that_tells_odd_things_of_itself_stops_no_report(value):
    """It comes with a checkpoint, which may come from anywhere."""
    names = (
        "photographs",
        "groups",
        "source",
        "sensitivity",
        "specificity",
        "uncertain",
        "prevalence",
        "site",
    )
    told = told_of({**dict.fromkeys(names, value), "wished": value})
    assert all(len(sentence) < 1000 for sentence in told)
    assert "nan" not in " ".join(told)
    assert cuts_of(replace(READ, rule={"cuts": value})) == (0.5, 0.5)


def test_cuts_are_those_of_the_rule_and_there_are_none_without_a_probability():
    assert cuts_of(replace(READ, rule={"cuts": [0.1, 0.3]})) == (0.1, 0.3)
    assert cuts_of(replace(READ, rule={"cuts": [0.1, 0.3]}, referable_probability=None)) is None


def test_eye_disc_and_fovea_are_told_where_they_are_known():
    assert facts_of(READ) == ["eye.png", "200 × 100 pixels"]
    assert marks_of(READ) == {}
    known = replace(
        READ, eye="left", patient="P7", disc=Landmark(99.5, 49.5, 0.98, 20.0), fovea=Landmark(69.5, 49.5)
    )
    facts = ["patient P7", "left eye", "disc seen (98 %)", "fovea known"]
    assert facts_of(known) == ["eye.png", *facts, "200 × 100 pixels"]
    assert marks_of(known) == {"disc": [0.5, 0.5, 0.2], "fovea": [0.2, 0.5, 0.0]}
