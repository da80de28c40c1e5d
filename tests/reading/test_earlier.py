"""Readings that an earlier version wrote, schema 1, are still read."""

import json

import pytest

from retinalesion.geometry import Box
from retinalesion.reading.reading import Reading

FINDING = {
    **{"lesion": "MA", "x": 30.5, "y": 40.0, "left": 28, "top": 38, "width": 6, "height": 5, "pixels": 22},
    **{"share": 0.0001, "quadrant": "upper left", "disc_diameters": None, "confidence": 0.83, "spot": None},
}
LINE = {
    **{"schema": 1, "id": "e01", "file": "e01.jpg", "patient": "P04", "eye": "left", "date": "2019-03-01"},
    **{"width": 640, "height": 480, "box": {"x": 80, "y": 0, "side": 480}, "error": "", "model": "sian"},
    "quality": {"gradable": True, "reasons": [], "figures": {"light": 0.3}},
    **{"learned": ["MA", "iHE", "HaEx", "CWS"], "probability": {"MA": 0.83, "iHE": 0.7, "HaEx": 0.1}},
    "findings": [FINDING, {**FINDING, "lesion": "iHE", "confidence": 0.7}],
    "camera": [{**FINDING, "spot": 2}],
    **{"grade": 1, "grade_probabilities": [0.1, 0.6, 0.2, 0.1, 0.0], "supported": 2, "lifted": 2},
    "evidence": [{"text": "1 microaneurysm", "role": "supports", "grade": 1, "lesions": ["MA"]}],
    **{"agreement": "below evidence", "agreement_text": "DR1 is below the evidence"},
    **{"referable": True, "referable_probability": 0.3, "referable_reason": "by proof", "truth_grade": 2},
    "present": ["MA", "iHE"],
}


def read(**other):
    return Reading.from_dict(json.loads(json.dumps({**LINE, **other})))


def test_all_that_was_said_is_there():
    one = read()
    assert (one.id, one.patient, one.eye, one.box) == ("e01", "P04", "left", Box(80, 0, 480))
    assert (one.outcome, one.outcome_reason, one.referable) == ("refer", "by proof", True)
    assert (one.grade, one.grade_low, one.grade_high) == (1, 1, 1)
    assert one.grade_probabilities == one.network_probabilities == (0.1, 0.6, 0.2, 0.1, 0.0)
    assert (one.present, one.possible) == (("MA", "iHE"), ())
    assert [(f.number, f.peak, f.confidence, f.counts) for f in one.findings] == [
        (1, 0.83, 0.83, True),
        (2, 0.7, 0.7, True),
    ]
    (camera,) = one.camera
    assert (camera.number, camera.spot, camera.counts) == (3, 2, False)
    assert one.disc is one.fovea is one.truth_oedema is None
    assert Reading.from_dict(json.loads(one.as_json())) == one  # as schema 2


@pytest.mark.parametrize(
    ("other", "outcome", "referable"),
    [
        ({"referable": False}, "no referral", False),
        ({"referable": False, "grade": None, "grade_probabilities": []}, "not assessed", None),
        ({"referable": True, "grade": None, "grade_probabilities": []}, "refer", True),
        ({"quality": {"gradable": False, "reasons": ["dark"], "figures": {}}, "grade": None}, "retake", None),
        ({"error": "damaged", "quality": None, "referable": None, "grade": None}, None, None),
    ],
)
def test_its_outcome_is_told_in_todays_words(other, outcome, referable):
    one = read(**other)
    assert (one.outcome, one.referable) == (outcome, referable)


def test_a_line_of_a_version_without_camera_spots_is_read():
    line = {key: value for key, value in LINE.items() if key != "camera"}
    assert Reading.from_dict(line).camera == ()
