"""`compare` of runs that were tested on folds: one result of one assignment, and what is missing is named."""

import csv
import json

import numpy as np
import pytest

from retinalesion.compare.judge import compare_runs
from retinalesion.compare.page import compare
from retinalesion.compare.results import Result
from retinalesion.errors import UserError

LESIONS = {"network": "lnet-8s", "loss": "dual"}
GRADES = {"network": "plain", "side": 448}
COUNT = 3


@pytest.fixture
def fold_runs(tmp_path, make_run, write_rows):
    """Makes runs, each tested on a fold of 24 photographs, whose rows together are those of one test."""

    def make(settings, folds=range(COUNT), assignment="a" * 16, seed=0, sizes=True, **options):
        runs = []
        for fold in folds:
            run = make_run(
                tmp_path / f"{assignment[0]}{seed}{settings['network']}-{fold}", settings, seed, **options
            )
            file = next(run.glob("test/*s.csv"))
            with file.open(encoding="utf-8", newline="") as lines:
                rows = list(csv.DictReader(lines))
            write_rows(file, rows[fold::COUNT])
            (report,) = run.glob("test/*.json")
            about = json.loads(report.read_text("utf-8"))
            folds_told = {"count": COUNT, "fold": fold, "assignment": assignment}
            folds_told |= {"photographs": [len(rows[k::COUNT]) for k in range(COUNT)]} if sizes else {}
            about["photographs"] = len(rows[fold::COUNT])
            about["tested on"] = {"store": "f00d", "source": "idrid", "part": "val", "folds": folds_told}
            report.write_text(json.dumps(about), "utf-8")
            runs.append(run)
        return runs

    return make


def tables_of(*folders):
    return {table.number: table for table in compare_runs([Result.read(folder) for folder in folders])}


@pytest.mark.parametrize("settings", [LESIONS, GRADES], ids=["lesions", "grades"])
def test_all_folds_together_are_one_row_and_score_as_one_test_of_all(tmp_path, make_run, fold_runs, settings):
    whole, folds = tables_of(make_run(tmp_path / "whole", settings)), tables_of(*fold_runs(settings)[::-1])
    for number, table in folds.items():
        (row,) = table.rows
        assert row.name == f"{whole[number].rows[0].name}, 3 folds"
        assert len(row.runs) == 1
        assert "24 photographs, every photograph by the network of its fold" in table.notes[0]
        assert not any("missing" in note for note in table.notes)
        expected = {section.score: section for section in whole[number].sections}
        assert {section.score for section in table.sections} == expected.keys() - {"AUPR"}
        for section in table.sections:
            assert section.cells == expected[section.score].cells


@pytest.mark.parametrize(
    ("folds", "sizes", "said"),
    [
        ([0, 2], True, "Fold 1 of 3 is missing: 8 photographs are not in this."),
        ([2], True, "Folds 0, 1 of 3 are missing: 16 photographs are not in this."),
        ([0, 2], False, "Fold 1 of 3 is missing: their photographs are not in this."),
    ],
)
def test_folds_that_are_missing_are_named(tmp_path, fold_runs, folds, sizes, said):
    runs = fold_runs(LESIONS, folds, sizes=sizes)
    tables = compare(runs, tmp_path / "out")
    for table in tables:
        assert said in table.notes
        assert [row.name for row in table.rows] == [f"L-Net-8s, {len(folds)} of 3 folds"]
    assert said in (tmp_path / "out/index.html").read_text("utf-8")


def test_runs_that_miss_different_folds_are_refused_and_both_are_named(fold_runs):
    runs = [*fold_runs(LESIONS), *fold_runs({"network": "unet", "loss": "dice"}, [0, 1])]
    with pytest.raises(
        UserError, match=r"different photographs \(a0unet.*: fold 2 of 3 is missing: 8 photographs"
    ):
        tables_of(*runs)


def test_folds_of_two_assignments_are_two_rows_and_that_is_said(fold_runs):
    tables = tables_of(*fold_runs(LESIONS), *fold_runs(LESIONS, assignment="b" * 16))
    for table in tables.values():
        assert len({row.name for row in table.rows}) == 2
        assert any(
            "Folds of 2 assignments (aaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbb)" in note for note in table.notes
        )


def test_several_seeds_of_all_folds_are_one_row(fold_runs):
    seeds = [fold_runs(LESIONS, seed=seed) for seed in range(3)]
    (row,) = tables_of(*np.array(seeds).T.ravel().tolist())[3].rows
    assert len(row.runs) == 3
    assert [len(run.parts) for run in row.runs] == [3, 3, 3]


def test_a_fold_twice_is_refused(fold_runs, tmp_path):
    runs = fold_runs(LESIONS)
    again = runs[1].rename(tmp_path / "again")
    with pytest.raises(UserError, match=r"same settings, fold and seed \(0\)"):
        tables_of(*fold_runs(LESIONS, folds=[1]), runs[0], again, runs[2])


def test_folds_that_share_a_photograph_are_refused(fold_runs, write_rows):
    runs = fold_runs(LESIONS)
    file = runs[2] / "test/photographs.csv"
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    write_rows(file, [{**rows[0], "id": "eye_00"}, *rows[1:]])
    with pytest.raises(UserError, match="photograph eye_00, which is in one fold only"):
        tables_of(*runs)


@pytest.mark.parametrize(
    "folds",
    [
        {},
        3,
        {"count": 3, "fold": 3, "assignment": "x"},
        {"count": 3, "fold": 0, "assignment": "x", "photographs": [1]},
    ],
)
def test_damaged_folds_are_refused(tmp_path, make_run, folds):
    run = make_run(tmp_path / "run", LESIONS, **{"tested on": {"store": "f00d", "folds": folds}})
    with pytest.raises(UserError, match=r"summary\.json: damaged"):
        Result.read(run)


def test_a_photograph_is_shown_by_the_network_of_its_fold(fold_runs):
    runs = fold_runs(LESIONS)
    (row,) = tables_of(*runs)[3].rows
    assert row.runs[0].folders == tuple(runs)
    assert [row.runs[0].folder_for(f"eye_{n:02}") for n in (3, 4, 5)] == runs
