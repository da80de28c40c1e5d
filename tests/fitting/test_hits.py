"""Which findings experts marked."""

import numpy as np
import pytest

from retinalesion.data.field import View
from retinalesion.fitting.hits import hits_of
from retinalesion.geometry import Box
from retinalesion.reading.findings import Regions, findings_of

SIDE, DISC = 240, 120.0  # so that a sixtieth of the disc's diameter is two pixels


@pytest.mark.parametrize(
    ("marked", "hit"),
    [
        (np.s_[104:106, 104:106], True),  # a corner of the finding is marked
        (np.s_[100:102, 107:109], False),  # beside it, the centre three pixels away
        (np.s_[50:60, 50:60], False),
        (np.s_[0:0, 0:0], False),
    ],
)
def test_a_finding_is_a_hit_where_it_covers_what_experts_marked(marked, hit):
    assert hits((np.s_[100:105, 100:105],), marked) == {1: hit}


def test_a_finding_whose_centre_is_within_a_sixtieth_of_a_disc_diameter_is_a_hit():
    assert hits((np.s_[100:101, 100:101],), np.s_[100:101, 102:104]) == {1: True}
    assert hits((np.s_[100:101, 100:101],), np.s_[100:101, 104:106]) == {1: False}


def test_two_findings_on_one_mark_are_both_hits_and_lesions_nobody_looked_for_are_none():
    two = (np.s_[100:103, 100:103], np.s_[100:103, 110:113])
    assert hits(two, np.s_[100:103, 102:112]) == {1: True, 2: True}
    assert hits(two, np.s_[100:103, 102:112], annotated=("iHE",)) == {}


def hits(found, marked, annotated=("MA",)):
    probability = np.zeros((SIDE, SIDE), np.float32)
    for window in found:
        probability[window] = 0.9
    truth = np.zeros((8, SIDE, SIDE), np.bool_)
    truth[0][marked] = True
    view = View(np.full((SIDE, SIDE, 3), 90, np.uint8), Box(0, 0, SIDE), (SIDE, SIDE))
    planes = (probability > 0.5).astype(np.uint8)
    findings = findings_of((Regions.of("MA", probability),), planes, view)
    return hits_of(findings, planes, view, truth, annotated, DISC)
