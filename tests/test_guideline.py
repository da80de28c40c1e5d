import numpy as np
import pytest

from retinalesion.guideline import DIRECT, INDIRECT, count_by_quadrant, weigh
from retinalesion.lesions import CODES

SEVERE = (21, 21, 21, 21)


@pytest.mark.parametrize(
    ("lesions", "quadrants", "supported", "lifted"),
    [
        ("", None, 0, 0),
        ("MA", None, 1, 1),
        ("iHE", None, 2, 2),
        ("MA iHE", (1, 0, 0, 0), 2, 2),
        # more than 20 in each quadrant: one quadrant with 20 is not enough
        ("iHE", SEVERE, 3, 3),
        ("iHE", (20, 21, 21, 21), 2, 2),
        ("iHE", (90, 90, 90, 20), 2, 2),
        ("MA", SEVERE, 1, 1),
        # sufficient for DR4, each by itself and whatever else is there
        ("NV", None, 4, 4),
        ("vHE", None, 4, 4),
        ("pHE", None, 4, 4),
        ("NV MA iHE", (0, 3, 0, 0), 4, 4),
        # HaEx lifts with MA or iHE, and never above DR2
        ("HaEx MA", None, 1, 2),
        ("HaEx iHE", None, 2, 2),
        ("HaEx iHE", SEVERE, 3, 3),
        # CWS lifts with iHE, not with MA
        ("CWS iHE", None, 2, 3),
        ("CWS MA", None, 1, 1),
        ("CWS HaEx MA", None, 1, 2),
        ("CWS HaEx iHE", None, 2, 3),
        # FiP lifts with any other lesion
        *((f"FiP {code}", None, None, 4) for code in CODES if code != "FiP"),
        # indirect evidence only
        ("HaEx", None, 0, 0),
        ("CWS", None, 0, 0),
        ("FiP", None, 0, 0),
        ("HaEx CWS", None, 0, 0),
    ],
)
def test_every_rule_hit_and_just_missed(lesions, quadrants, supported, lifted):
    evidence = weigh(lesions.split(), quadrants)
    assert evidence.lifted == lifted
    assert supported is None or evidence.supported == supported


def test_lifting_never_lowers_the_grade():
    for bits in range(2 ** len(CODES)):
        present = {code for bit, code in enumerate(CODES) if bits >> bit & 1}
        for quadrants in (None, SEVERE):
            evidence = weigh(present, quadrants)
            assert 0 <= evidence.supported <= evidence.lifted <= 4
            assert evidence.indirect_only == (bool(present) and present <= INDIRECT)
            assert evidence.supported == 0 or present & DIRECT


@pytest.mark.parametrize(("lesions", "quadrants"), [(["HE"], None), (["iHE"], (1, 2, 3))])
def test_what_cannot_be_weighed_is_refused(lesions, quadrants):
    with pytest.raises(ValueError, match=r"HE|four"):
        weigh(lesions, quadrants)


def test_regions_count_once_and_where_their_centre_lies():
    plane = np.zeros((40, 60), bool)
    plane[2:5, 2:5] = True  # upper left
    plane[5, 5] = True  # touches it at a corner: the same region
    plane[1, 50] = plane[3, 50] = True  # upper right, two
    plane[30:32, 25:50] = True  # across the middle, most of it lower right
    assert count_by_quadrant(plane, (30, 20)) == (1, 2, 0, 1)
    assert count_by_quadrant(np.zeros((8, 8), bool), (4, 4)) == (0, 0, 0, 0)
