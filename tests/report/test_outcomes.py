"""`test` of a grader with a rule: outcomes as `predict` says them, scored, in its summary and its tables."""

import csv
import json

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.reading.reader import Reader
from retinalesion.reading.rule import Logistic, Roc, Rule, logit_of
from retinalesion.reading.stream import Readings
from retinalesion.report.outcomes import OutcomeTables
from retinalesion.report.prediction import ReadingWriter
from retinalesion.scores import referable_probability
from retinalesion.training.grading import GradingTask

TINY = "test_efficientnet"
KNOWN = {"network": 1.0}  # the network's own probability of DR2 or worse, as a logit


@pytest.fixture(scope="module")
def task(drawn_store):
    """With a rule whose cuts lie among what the untrained network says."""
    torch.manual_seed(0)
    grader = GradingTask("sian", TINY, None, lesion_network="lnet-32s", lesion_encoder=TINY)
    grader.network.lesion_net.learn_only(["MA", "iHE"])
    reader = Reader(grader, drawn_store.side)
    grades = [reader.maps_of(drawn_store.image(row.id))[1] for row in drawn_store.rows]
    low, high = np.quantile(logit_of(referable_probability(grades)), (0.3, 0.7)).tolist()
    rule = Rule(
        second_look={},
        points={},
        macula=None,
        referable=Logistic(0.0, KNOWN),
        steps=tuple(Logistic(-float(grade), KNOWN) for grade in range(4)),
        low=low,
        high=high,
        roc=Roc((low, high), (1.0, 0.5), (0.5, 1.0)),
        prevalence=0.5,
    )
    grader.rule = rule.as_dict()
    return grader


@pytest.fixture(autouse=True)
def any_quality(monkeypatch):
    monkeypatch.setattr("retinalesion.reading.reader.measure", lambda square: {})
    monkeypatch.setattr("retinalesion.reading.reader.judge_view", lambda view: ())


def trainer_in(folder, *callbacks):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return Trainer(default_root_dir=folder, accelerator="cpu", callbacks=list(callbacks), **quiet)


def rows_of(file):
    with file.open(encoding="utf-8-sig", newline="") as lines:
        return {row["id"]: row for row in csv.DictReader(lines)}


@pytest.fixture
def data(drawn_store):
    return FundusDataModule(str(drawn_store.path), truth="grade", evaluate="all", batch_size=4, workers=0)


def test_outcomes_are_those_that_predict_says_and_their_figures_stand_in_the_summary(
    task, data, drawn_store, tmp_path, capsys
):
    trainer_in(tmp_path, OutcomeTables()).test(task, data, verbose=False)
    said = " ".join(capsys.readouterr().out.lower().split())
    trainer_in(tmp_path, ReadingWriter()).predict(task, data, return_predictions=False)
    rows = rows_of(tmp_path / "test" / "outcomes.csv")
    readings = {one.id: one for one in Readings(tmp_path / "predict" / "readings.jsonl")}
    assert rows.keys() == readings.keys() == {row.id for row in drawn_store.rows}
    assert {id: row["outcome"] for id, row in rows.items()} == {id: r.outcome for id, r in readings.items()}
    assert {row["outcome"] for row in rows.values()} == {"refer", "uncertain", "no referral"}
    assert {id: int(row["said"]) for id, row in rows.items()} == {id: r.grade for id, r in readings.items()}
    assert len({row["group"] for row in rows.values()}) < len(rows)
    summary = json.loads((tmp_path / "test" / "grades.json").read_text())
    ruled = summary["rule"]
    for name, kind, yes in (("sensitivity", (2, 3, 4), True), ("specificity, DR0", (0,), False)):
        those = [row for row in rows.values() if int(row["grade"]) in kind]
        share = np.mean([(row["outcome"] != "no referral") is yes for row in those])
        assert ruled["figures"][name][0] == pytest.approx(share)
    assert ruled["photographs"] == sum(sum(counts.values()) for counts in ruled["outcomes"].values()) == 16
    assert "groups of photographs that belong together" in ruled["intervals over"]
    for words in ("specificity, dr1", "by the checkpoint's rule", "columns: outcome"):
        assert words in said


def test_a_test_without_a_rule_leaves_no_outcomes_of_an_earlier_one(task, data, tmp_path, monkeypatch):
    trainer_in(tmp_path, OutcomeTables()).test(task, data, verbose=False)
    assert (tmp_path / "test" / "outcomes.csv").exists()
    monkeypatch.setattr(task, "rule", {})
    trainer_in(tmp_path, OutcomeTables()).test(task, data, verbose=False)
    assert not (tmp_path / "test" / "outcomes.csv").exists()
    assert "rule" not in json.loads((tmp_path / "test" / "grades.json").read_text())
