from dataclasses import replace

import pytest

from retinalesion.guideline import QUADRANTS
from retinalesion.lesions import CODES
from retinalesion.reading.evidence import agreement_of, evidence_lines, no_sign, weigh_findings
from retinalesion.reading.reading import Finding

IDRID = ("MA", "iHE", "HaEx", "CWS")
NO_SIGN = (
    "no microaneurysm, intraretinal haemorrhage, hard exudate, cotton-wool spot, vitreous haemorrhage, "
    "preretinal haemorrhage, neovascularisation or fibrous proliferation was found that counts; "
    "other eye disease is not judged"
)


def found(lesion, *quadrants):
    """So many findings of a lesion in each quadrant; one, upper left, where none are given."""
    return [
        Finding(lesion, 1, 0, 0, 0, 0, 1, 1, 1, 0.001, place, None, 0.9)
        for place, count in zip(QUADRANTS, quadrants or (1, 0, 0, 0), strict=True)
        for _ in range(count)
    ]


def present(codes):
    return [finding for code in codes.split() for finding in found(code)]


def told(findings, learned=CODES, grade=None):
    return [line.text for line in evidence_lines(findings, learned, grade)]


@pytest.mark.parametrize(
    ("findings", "supported", "lifted", "words"),
    [
        (present("MA"), 1, 1, "1 microaneurysm (1 upper left): sufficient for DR1"),
        (
            found("iHE", 3, 0, 0, 1),
            *(2, 2),
            "4 intraretinal haemorrhages (3 upper left, 1 lower right): sufficient for DR2",
        ),
        (
            found("iHE", 21, 21, 21, 21),
            *(3, 3),
            "84 intraretinal haemorrhages (21 upper left, 21 upper right, 21 lower left, 21 lower right): "
            "sufficient for DR3, more than 20 in each quadrant",
        ),
        (
            found("iHE", 21, 21, 20, 21),
            *(2, 2),
            "83 intraretinal haemorrhages (21 upper left, 21 upper right, 20 lower left, 21 lower right): "
            "sufficient for DR2; DR3 needs more than 20 in each quadrant",
        ),
        (present("vHE"), 4, 4, "1 vitreous haemorrhage (1 upper left): sufficient for DR4"),
        (present("pHE"), 4, 4, "1 preretinal haemorrhage (1 upper left): sufficient for DR4"),
        (present("NV"), 4, 4, "1 neovascularisation (1 upper left): sufficient for DR4"),
        (present("MA HaEx"), 1, 2, "1 hard exudate (1 upper left) beside microaneurysms: lifts to DR2"),
        (
            present("CWS HaEx"),
            0,
            0,
            "1 hard exudate (1 upper left): no sign of diabetic retinopathy by itself",
        ),
        (
            present("iHE CWS"),
            *(2, 3),
            "1 cotton-wool spot (1 upper left) beside intraretinal haemorrhages: lifts to DR3",
        ),
        (
            present("MA CWS"),
            *(1, 1),
            "1 cotton-wool spot (1 upper left): no sign of diabetic retinopathy by itself",
        ),
        (
            present("iHE HaEx"),
            *(2, 2),
            "1 hard exudate (1 upper left) beside intraretinal haemorrhages: "
            "speaks for DR2, for which there is sufficient evidence",
        ),
        (
            present("HaEx FiP"),
            *(0, 4),
            "1 fibrous proliferation (1 upper left) beside hard exudates: lifts to DR4",
        ),
        (
            present("FiP"),
            *(0, 0),
            "1 fibrous proliferation (1 upper left): no sign of diabetic retinopathy by itself",
        ),
    ],
)
def test_every_rule_hit_and_just_missed_in_words(findings, supported, lifted, words):
    weighed = weigh_findings(findings)
    assert (weighed.supported, weighed.lifted) == (supported, lifted)
    assert words in told(findings)


def test_a_line_names_the_lesions_that_it_speaks_of_and_the_grade():
    lines = {line.lesions: line for line in evidence_lines(present("MA iHE HaEx"), CODES)}
    assert (lines["MA",].role, lines["MA",].grade) == ("supports", 1)
    assert (lines["iHE",].role, lines["iHE",].grade) == ("supports", 2)
    assert (lines["HaEx", "MA", "iHE"].role, lines["HaEx", "MA", "iHE"].grade) == ("lifts", 2)


@pytest.mark.parametrize(("codes", "alone"), [("HaEx CWS", True), ("FiP CWS", True), ("MA HaEx", False)])
def test_indirect_evidence_by_itself_is_said_to_be_that(codes, alone):
    assert any(text.startswith("indirect evidence only") for text in told(present(codes))) == alone


def test_no_sign_is_told_of_dr0_only():
    assert NO_SIGN in told([])
    assert NO_SIGN in told([], grade=0)
    assert NO_SIGN not in told([], grade=2)
    assert NO_SIGN not in told(present("MA"), grade=0)
    assert NO_SIGN not in told(present("FiP HaEx"), grade=0)


def test_what_was_not_looked_for_is_always_named_and_never_called_absent():
    assert "venous beading and IrMA were not looked for" in told([])
    lines = evidence_lines(present("MA"), IDRID)
    (unknown,) = [line for line in lines if line.role == "not looked for" and line.lesions]
    assert unknown.lesions == ("vHE", "pHE", "NV", "FiP")
    assert unknown.text == "not learned by this model, so not looked for: vHE, pHE, NV, FiP"
    assert not any(code in line.text for line in lines if line is not unknown for code in unknown.lesions)
    assert not any("not learned" in text for text in told([]))


@pytest.mark.parametrize(
    ("grade", "supported", "lifted", "learned", "agreement", "words"),
    [
        (None, 2, 3, CODES, "not graded", "not graded"),
        (0, 0, 0, CODES, "agrees", "DR0 agrees with the lesions found"),
        (2, 2, 3, CODES, "agrees", "agrees"),
        (3, 2, 3, IDRID, "agrees", "they support DR2 and lift to DR3"),
        (1, 2, 2, CODES, "below evidence", "sufficient for DR2"),
        (0, 1, 1, IDRID, "below evidence", "sufficient for DR1"),
        (2, 1, 1, IDRID, "above evidence", "no more than DR1"),
        (3, 2, 2, IDRID, "above evidence", "venous beading and IrMA were not looked for"),
        (4, 3, 3, CODES, "above evidence", "no more than DR3"),
        # what was not learned may be there
        (4, 3, 3, IDRID, "cannot be judged", "NV, vHE, pHE, FiP were not looked for"),
        (4, 2, 2, ("MA", "iHE", "NV", "vHE", "FiP"), "cannot be judged", ": pHE was not looked for"),
        (2, 1, 1, ("MA", "HaEx"), "cannot be judged", ": iHE was not looked for"),
        (1, 0, 0, ("iHE",), "cannot be judged", ": MA was not looked for"),
        # but speaks of no grade that it would not explain
        (4, 4, 4, IDRID, "agrees", "agrees"),
        (1, 0, 0, IDRID, "above evidence", "no more than DR0"),
    ],
)
def test_a_grade_agrees_from_supported_to_lifted(grade, supported, lifted, learned, agreement, words):
    found_agreement, text = agreement_of(grade, supported, lifted, learned)
    assert found_agreement == agreement
    assert words in text


def test_what_is_possible_is_told_and_is_no_evidence():
    unsure = [replace(one, counts=False) for one in found("iHE", 3, 0, 0, 1)]
    assert weigh_findings(unsure).lifted == 0
    assert told(unsure)[0] == NO_SIGN
    (line,) = [line for line in evidence_lines(found("MA") + unsure, CODES) if line.role == "possible"]
    assert line.text == "possible, too unsure to count: 4 intraretinal haemorrhages"
    assert line.lesions == ("iHE",)
    both = [*unsure, *found("iHE")]  # some count: then the lesion is present
    assert weigh_findings(both).supported == 2
    assert not any(line.role == "possible" for line in evidence_lines(both, CODES))
    assert "1 intraretinal haemorrhage (1 upper left): sufficient for DR2" in told(both)


def test_no_sign_is_told_of_what_was_learned_alone():
    assert no_sign(("HaEx", "MA")) == (
        "no microaneurysm or hard exudate was found that counts; other eye disease is not judged"
    )
    assert no_sign(IDRID[1:], ["HaEx"]).startswith("no intraretinal haemorrhage or cotton-wool spot was")


@pytest.mark.parametrize(("learned", "codes"), [((), ""), (("HaEx",), "HaEx"), (("HaEx", "CWS"), "HaEx CWS")])
def test_nothing_is_told_to_be_missing_where_nothing_else_was_learned(learned, codes):
    texts = told(present(codes), learned)
    assert not any("was found that counts" in text for text in texts)
    assert no_sign(learned, codes.split()) == "other eye disease is not judged"
