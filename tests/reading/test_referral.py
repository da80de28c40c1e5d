import pytest

from retinalesion.reading.referral import referral_of
from retinalesion.reading.verdict import Verdict

NO_OEDEMA = "macular oedema is not judged"


def verdict(referable, low=0.2, high=0.6):
    return Verdict(referable, (1 - referable, 0, referable, 0, 0), 0, low, high)


@pytest.mark.parametrize(
    ("referable", "supported", "outcome", "words"),
    [
        (0.6, 0, "refer", "0.60 (refer from 0.60)"),
        (0.59, 0, "uncertain", "0.59, between 0.20 and 0.60: look"),
        (0.2, 1, "uncertain", "between"),
        (0.19, 0, "no referral", "0.19 (below 0.20)"),
        (0.19, 1, "no referral", "0.19 (below 0.20)"),
        (0.99, 4, "refer", "and the lesions found are sufficient evidence of DR4"),
        (0.5, 2, "uncertain", "and the lesions found are sufficient evidence of DR2"),
        (
            0.01,
            2,
            "uncertain",
            "(below 0.20), but the lesions found are sufficient evidence of DR2: look",
        ),
    ],
)
def test_the_probability_decides_and_findings_that_contradict_make_it_uncertain(
    referable, supported, outcome, words
):
    told = referral_of(verdict(referable), supported)
    assert told.outcome == outcome
    assert words in told.reason
    assert told.reason.endswith(NO_OEDEMA)


@pytest.mark.parametrize(("supported", "words"), [(1, ""), (2, "sufficient evidence of DR2")])
def test_a_model_that_does_not_grade_says_not_assessed(supported, words):
    told = referral_of(None, supported)
    assert told.outcome == "not assessed"
    assert "this model does not grade" in told.reason
    assert words in told.reason
    assert ("evidence" in told.reason) == bool(words)


@pytest.mark.parametrize("said", [None, verdict(0.0)])
def test_exudates_near_the_fovea_refer(finding, said):
    told = referral_of(said, 0, [finding("HaEx", 1), finding("HaEx", 2)])
    assert told.outcome == "refer"
    assert told.reason == (
        "2 hard exudates within a disc diameter of the fovea: macular oedema is to be looked for"
    )


@pytest.mark.parametrize("said", [None, verdict(0.0), verdict(1.0)])
def test_what_cannot_be_read_is_taken_again_whatever_was_found(finding, said):
    told = referral_of(said, 4, [finding("HaEx")], ("too dark", "blurred"))
    assert told == ("retake", "it cannot be read, take it again; too dark; blurred")
