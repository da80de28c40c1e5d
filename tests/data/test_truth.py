import pytest

from retinalesion.data.outcome import Outcome
from retinalesion.data.photograph import Photograph
from retinalesion.data.truth import places_of
from retinalesion.geometry import Box, Disc, Point

TWINS = {"a": ("b",), "b": ("a",)}


def of_size(width, height, disc=None):
    return Outcome(width, height, Box(0, 0, height), "", "", {}, disc, {}, ())


@pytest.mark.parametrize(
    ("size", "disc", "fovea"),
    [
        ((200, 150), Disc(80.5, 60.5, 20), Point(159.5, 99.5)),
        ((100, 75), Disc(40, 30, 10), Point(79.5, 49.5)),
        ((200, 130), None, None),
    ],
    ids=["twice as large", "as large", "cropped"],
)
def test_a_photograph_takes_disc_and_fovea_of_its_twin_brought_to_its_own_size(size, disc, fovea):
    photographs = {"a": Photograph("a", "a"), "b": Photograph("b", "b", fovea=Point(79.5, 49.5))}
    outcomes = {"a": of_size(*size), "b": of_size(100, 75, Disc(40, 30, 10))}
    assert places_of("a", photographs, outcomes, TWINS) == (disc, fovea)


def test_its_own_count_first_and_another_patients_never():
    fovea = Point(79.5, 49.5)
    photographs = {"a": Photograph("a", "a", patient="P"), "b": Photograph("b", "b", fovea=fovea)}
    outcomes = {"a": of_size(100, 75, Disc(1, 2, 3)), "b": of_size(100, 75, Disc(40, 30, 10))}
    assert places_of("a", photographs, outcomes, TWINS) == (Disc(1, 2, 3), fovea)
    photographs["b"] = Photograph("b", "b", patient="Q", fovea=fovea)
    assert places_of("a", photographs, outcomes, TWINS) == (Disc(1, 2, 3), None)
