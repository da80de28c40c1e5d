"""The paper's figures: that they hold together, and that a run's settings find its rows."""

from itertools import combinations

import pytest

from retinalesion.lesions import CODES
from retinalesion.paper import mean_of, paper

ROWS = [(table.number, row) for table in paper().tables for row in table.rows]


@pytest.mark.parametrize(("number", "row"), ROWS, ids=lambda x: getattr(x, "name", str(x)))
def test_the_settings_of_a_row_find_it_and_no_other_of_its_table(number, row):
    assert paper().rows_of({**row.settings, "encoder": "inception_v3", "rate": 0.001})[number] is row
    others = [one for of, one in ROWS if of == number and one is not row]
    assert not any(one.is_served_by(row.settings) for one in others)


def test_tables_have_the_papers_rows():
    assert [(t.number, len(t.rows)) for t in paper().tables] == [(3, 12), (4, 4), (5, 14), (6, 10), (7, 4)]
    for number, one in ROWS:
        columns = {frozenset(figures) for figures in one.figures.values()}
        expected = {3: {*CODES, "mean"}, 5: {*CODES, "mean"}, 4: {"mean"}, 6: {"kappa"}, 7: {"kappa"}}
        assert columns == {frozenset(expected[number])}


def test_printed_means_are_those_of_the_printed_lesions():
    for number, row in ROWS:
        if number in (3, 5):
            (figures,) = row.figures.values()
            assert sum(figures[code] for code in CODES) / 8 == pytest.approx(figures["mean"], abs=0.0007)


def test_what_several_tables_print_of_one_run_is_the_same():
    shared = 0
    for (number, row), (other_number, other) in combinations(ROWS, 2):
        if number != other_number and row.settings == other.settings:
            for score in row.figures.keys() & other.figures.keys():
                column = "kappa" if score == "kappa" else "mean"
                assert row.figures[score][column] == other.figures[score][column]
                shared += 1
    assert shared == 3  # L-Net-16s in 3 and 4, and in 4 and 5; SiAN in 6 and 7


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"network": "lnet-8s", "loss": "dice"}, "L-Net-8s, Dice"),
        ({"network": "plain", "side": 512}, "Plain grader, 512"),
        (
            {"network": "sian", "lesion_network": "lnet-4s", "attention": "conv", "fusion": "features"},
            "SiAN, L-Net-4s",
        ),
        (
            {"network": "sian", "lesion_network": "unet", "attention": "max", "fusion": "features"},
            "SiAN, U-Net, CW-MaxPool (Eq. 6) at the feature maps",
        ),
        ({"network": "my-net", "loss": "my-loss"}, "my-net, my-loss"),
    ],
)
def test_a_run_in_no_table_has_a_name_of_its_own(settings, name):
    assert not paper().rows_of(settings)
    assert paper().name_of(settings) == name


def test_departures_are_what_differs_from_the_paper_and_does_not_make_the_row():
    row = dict(ROWS)[6]
    plain = next(row for number, row in ROWS if row.settings.get("side") == 224)
    assert paper().departures({"encoder": "inception_v3", "side": 896, "read at": 896}, row) == {}
    settings = {"side": 224, "read at": 224, "encoder": "tf_efficientnet_lite0", "freeze": False}
    assert paper().departures(settings, plain) == {"encoder": "tf_efficientnet_lite0", "freeze": False}


def test_means_over_some_lesions_are_of_these_and_of_all_as_printed():
    figures = dict.fromkeys(CODES, 0.5) | {"MA": 0.1, "mean": 0.123}
    assert mean_of(figures, CODES) == 0.123
    assert mean_of(figures, ("MA", "NV")) == pytest.approx(0.3)
    assert mean_of({"mean": 0.365}, ("MA", "NV")) == 0.365
