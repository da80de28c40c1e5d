"""FROC against masks made by hand."""

import numpy as np
import pytest
import torch

from retinalesion.geometry import USUAL_DISC
from retinalesion.lesions import CODES
from retinalesion.scores import NEAR
from retinalesion.training import froc
from retinalesion.training.counts import count_regions
from retinalesion.training.froc import Regions, meet, sensitivity_at, thresholds

SIDE = 60
MA, IHE = CODES.index("MA"), CODES.index("iHE")


def plane(*squares):
    """Squares of (row, column, side) set."""
    drawn = np.zeros((SIDE, SIDE), np.bool_)
    for row, column, side in squares:
        drawn[row : row + side, column : column + side] = True
    return drawn


def maps(*squares):
    """Logits of squares (row, column, side, logit) on nothing."""
    drawn = np.full((SIDE, SIDE), -8.0, np.float32)
    for row, column, side, logit in squares:
        drawn[row : row + side, column : column + side] = logit
    return drawn


def met(marked, *findings, reach=2.0):
    logits = maps(*findings)
    one = meet(logits, logits > 0, marked, reach)
    return one.marked, sorted(one.found.tolist()), sorted(one.false.tolist())


def test_a_finding_that_covers_a_pixel_finds_the_region_and_no_other():
    marked = plane((10, 10, 4), (40, 40, 4))
    assert met(marked, (13, 13, 5, 2.0)) == (2, [2.0], [])


def test_a_region_that_several_findings_cover_counts_once_by_the_surest():
    assert met(plane((10, 10, 9)), (9, 9, 3, 1.0), (15, 15, 3, 3.0)) == (1, [3.0], [])


def test_one_finding_may_find_several_regions():
    assert met(plane((10, 10, 3), (20, 10, 3)), (9, 9, 16, 2.0)) == (2, [2.0, 2.0], [])


@pytest.mark.parametrize(("gap", "found"), [(2, True), (3, False)])
def test_a_centre_of_gravity_near_a_pixel_finds_its_region(gap, found):
    """The finding is a square of 3: its centre is one pixel behind its edge."""
    one = met(plane((10, 10, 4)), (10, 12 + gap, 3, 2.0), reach=2.0)
    assert one == ((1, [2.0], []) if found else (1, [], [2.0]))


def test_near_is_a_distance_not_a_square():
    assert met(plane((10, 10, 3)), (14, 14, 1, 2.0), reach=2.0) == (1, [], [2.0])
    assert met(plane((10, 10, 3)), (14, 14, 1, 2.0), reach=2.83) == (1, [2.0], [])


def test_a_region_of_two_pixels_is_left_out_and_what_touches_it_is_not_false():
    marked = plane((10, 10, 1), (10, 11, 1), (40, 40, 4))
    assert met(marked, (10, 10, 2, 2.0)) == (1, [], [])


def test_pixels_that_meet_at_a_corner_are_one_region():
    assert met(plane((10, 10, 1), (11, 11, 1), (12, 12, 1)))[0] == 1


def test_at_the_edge_and_with_nothing_at_all():
    assert met(plane((0, 0, 3)), (0, 4, 1, 2.0)) == (1, [2.0], [])
    assert met(plane(), (SIDE - 1, SIDE - 1, 1, 2.0)) == (0, [], [2.0])
    assert met(plane()) == (0, [], [])


def batch_of(ids, marked, valid):
    planes = torch.zeros(len(ids), 8, SIDE, SIDE, dtype=torch.bool)
    where = torch.zeros_like(planes)
    planes[:, MA], where[:, MA] = torch.from_numpy(marked), torch.from_numpy(valid)
    return {"planes": planes, "valid": where, "grade": torch.full((len(ids),), -1), "id": ids}


def logits_of(count, *squares):
    logits = torch.full((count, 8, SIDE, SIDE), -8.0)
    logits[:] = torch.from_numpy(maps(*squares))
    return logits


def counted(marked, valid, *squares, ids=("a",), discs=None, learned=None):
    known = torch.ones(8, dtype=torch.bool) if learned is None else learned
    return count_regions(
        batch_of(list(ids), marked, valid), logits_of(len(ids), *squares), known, discs or {}
    )


def totals(regions, lesion=MA):
    return [
        int(part[lesion].sum())
        for part in (regions.photographs, regions.marked, regions.found, regions.false)
    ]


def test_what_is_not_valid_is_left_out():
    marked, valid = plane((10, 10, 4), (40, 40, 4)), np.ones((SIDE, SIDE), np.bool_)
    findings = ((10, 10, 4, 2.0), (50, 5, 3, 2.0), (5, 50, 3, 2.0))
    assert totals(counted(marked, valid, *findings)) == [1, 2, 1, 2]
    valid[:30] = False
    assert totals(counted(marked, valid, *findings)) == [1, 1, 0, 1]
    assert totals(counted(marked, valid, *findings), IHE) == [0, 0, 0, 0]
    assert totals(counted(marked, valid & False, *findings)) == [0, 0, 0, 0]


def test_lesions_not_learned_and_blanks_are_left_out():
    marked, valid = plane((10, 10, 4)), np.ones((SIDE, SIDE), np.bool_)
    assert (
        totals(counted(marked, valid, (50, 5, 3, 2.0), learned=torch.zeros(8, dtype=torch.bool))) == [0] * 4
    )
    assert totals(counted(marked, valid, (50, 5, 3, 2.0), ids=("a", ""))) == [1, 1, 0, 1]
    assert totals(counted(marked, valid)) == [1, 1, 0, 0]


def test_reach_is_a_sixtieth_of_the_photographs_own_disc():
    marked, valid = plane((10, 10, 4)), np.ones((SIDE, SIDE), np.bool_)
    finding = (10, 17, 1, 2.0)  # four pixels from the next marked one
    assert NEAR * USUAL_DISC * SIDE < 1
    assert totals(counted(marked, valid, finding)) == [1, 1, 0, 1]
    assert totals(counted(marked, valid, finding, discs={"a": 4.1 / (NEAR * SIDE)})) == [1, 1, 1, 0]
    assert totals(counted(marked, valid, finding, discs={"a": 3.9 / (NEAR * SIDE)})) == [1, 1, 0, 1]


def test_counts_add_up_over_photographs():
    valid = np.ones((SIDE, SIDE), np.bool_)
    one = counted(plane((10, 10, 4)), valid, (10, 10, 4, 2.0))
    other = counted(plane((10, 10, 4)), valid, (40, 40, 4, 1.0), (50, 5, 3, 9.0))
    both = one + other
    assert totals(both) == [2, 2, 1, 2]
    assert totals(one) == [1, 1, 1, 0]


def curve(marked, photographs, found, false):
    """Counts of MA by hand: peaks as logits."""
    regions = Regions.none()
    regions.photographs[MA] = photographs
    regions.add(MA, froc.Met(marked, np.array(found, float), np.array(false, float)))
    return regions


def test_sensitivity_grows_with_the_false_findings_that_one_bears():
    regions = curve(4, 2, [9.0, 5.0, 1.0], [7.0, 7.0, 3.0, 3.0, 3.0, 0.5])
    at = [sensitivity_at(regions, rate)[MA] for rate in (0, 0.99, 1, 2.4, 2.5, 3, 8)]
    assert at == [0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 0.75]
    sensitivity, false = froc.froc(regions)
    assert (sensitivity[MA, -1], false[MA, -1]) == (0.75, 3.0)
    assert (np.diff(sensitivity[MA]) >= 0).all()
    at_5 = np.abs(thresholds() - 1 / (1 + np.exp(-5))).argmin()
    assert (sensitivity[MA, at_5], false[MA, at_5]) == (0.5, 1.0)
    assert thresholds()[-1] == 0.5


def test_without_a_marked_region_there_is_no_sensitivity_and_false_findings_count():
    regions = curve(0, 4, [], [2.0, 3.0])
    assert np.isnan(sensitivity_at(regions, 8)[MA])
    assert froc.froc(regions)[1][MA, -1] == 0.5
    assert np.isnan(froc.froc(regions)[1][IHE]).all()
