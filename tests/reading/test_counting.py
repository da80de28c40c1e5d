import pytest

from retinalesion.reading.counting import counted, less_sure, of_macula
from retinalesion.reading.reading import BELOW, TWICE
from retinalesion.reading.rule import OperatingPoint


def told(findings):
    return {one.number: one.reason or one.counts for one in findings}


def test_without_operating_points_every_spot_counts(finding):
    some = [finding("MA", 1, 0.1), finding("iHE", 2, 0.2), finding("HaEx", 3, 0.01, area=0)]
    assert told(counted(some, {})) == {1: True, 2: True, 3: True}


@pytest.mark.parametrize(("ma", "ihe", "lost"), [(0.9, 0.6, 2), (0.6, 0.9, 1)])
@pytest.mark.parametrize("points", [{}, {"MA": OperatingPoint(0.5), "iHE": OperatingPoint(0.5)}])
@pytest.mark.parametrize(("other_of_ma", "other_of_ihe"), [(2, 1), (2, None), (None, 1)])
def test_a_spot_marked_as_both_counts_once_as_the_surer(
    finding, ma, ihe, lost, points, other_of_ma, other_of_ihe
):
    both = [finding("MA", 1, ma, other=other_of_ma), finding("iHE", 2, ihe, other=other_of_ihe)]
    assert told(counted(both, points)) == {lost: TWICE, 3 - lost: True}


def test_of_equally_sure_ones_the_larger_counts(finding):
    assert less_sure([finding("MA", 1, pixels=9, other=2), finding("iHE", 2, pixels=80, other=1)]) == {1}


def test_what_is_taken_itself_takes_nothing(finding):
    """A haemorrhage between two microaneurysms, one surer and one less sure than it."""
    three = [finding("MA", 1, 0.9, other=3), finding("MA", 2, 0.5, other=3), finding("iHE", 3, 0.7, other=1)]
    assert less_sure(three) == {3}


def test_what_lies_on_a_cameras_spot_takes_nothing(finding):
    assert less_sure([finding("MA", 1, 0.5, other=2)]) == frozenset()  # number 2 was set aside


def test_exudates_that_touch_cotton_wool_spots_both_count(finding):
    both = counted([finding("HaEx", 1, 0.9, other=2), finding("CWS", 2, 0.6, other=1)], {})
    assert all(one.counts for one in both)


@pytest.mark.parametrize(
    ("confidence", "area", "counts"), [(0.7, 0.002, True), (0.69, 0.002, False), (0.7, 0.0019, False)]
)
def test_below_its_operating_point_a_finding_is_possible(finding, confidence, area, counts):
    (one,) = counted([finding("iHE", 1, confidence, area)], {"iHE": OperatingPoint(0.7, 0.002)})
    assert (one.counts, one.reason) == (counts, "" if counts else BELOW)


def test_a_lesion_counts_from_so_many_findings_on(finding):
    points = {"CWS": OperatingPoint(0.5, 0, 2)}
    one, two, faint = finding("CWS", 1), finding("CWS", 2), finding("CWS", 3, 0.4)
    assert told(counted([one, faint], points)) == {1: BELOW, 3: BELOW}
    assert told(counted([one, two, faint], points)) == {1: True, 2: True, 3: BELOW}


def test_what_is_less_sure_is_no_second_one(finding):
    points = {"iHE": OperatingPoint(0.5, 0, 2)}
    some = [finding("MA", 1, 0.95, other=2), finding("iHE", 2, 0.9, other=1), finding("iHE", 3)]
    assert told(counted(some, points)) == {1: True, 2: TWICE, 3: BELOW}


def test_what_counted_before_is_counted_anew(finding):
    below = counted([finding("MA", 1, 0.5)], {"MA": OperatingPoint(0.9)})
    assert told(counted(below, {})) == {1: True}


def test_exudates_near_the_fovea_count_by_their_own_operating_point(finding):
    point = OperatingPoint(0.7, 0.001, 2)
    near = [finding("HaEx", 1, 0.8, 0.01, away=1.0), finding("HaEx", 2, 0.7, 0.001, away=0)]
    others = [
        finding("HaEx", 3, away=1.01),
        finding("HaEx", 4, away=None),
        finding("HaEx", 5, 0.6, away=0.5),
        finding("HaEx", 6, 0.8, area=0.0009, away=0.5),
        finding("CWS", 7, away=0.5),
    ]
    assert [one.number for one in of_macula([*near, *others], point)] == [1, 2]
    assert of_macula([near[0], *others], point) == ()
    assert of_macula(near, None) == ()
    strict = {"HaEx": OperatingPoint(0.99)}
    assert told(counted([*near, others[0]], strict, near)) == {1: True, 2: True, 3: BELOW}
