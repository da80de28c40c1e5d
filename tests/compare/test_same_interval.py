"""What `test` prints of a run and what `compare` says of it alone is one thing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Trainer

from retinalesion.cli import main
from retinalesion.compare.judge import compare_runs
from retinalesion.compare.results import Result
from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.store import Store, write_tables
from retinalesion.lesions import CODES
from retinalesion.scores import interval_text
from retinalesion.training.classification import LesionClassificationTask
from retinalesion.training.grading import GradingTask
from retinalesion.training.rows import GradeRow, ImageRow
from retinalesion.training.segmentation import SegmentationTask

ENCODER = "test_efficientnet"


@pytest.fixture(scope="module")
def paired(drawn_store, tmp_path_factory) -> Path:
    """The drawn store, all of it to test with, two photographs of each patient."""
    path = Path(shutil.copytree(drawn_store.path, tmp_path_factory.mktemp("paired") / "store"))
    rows = [
        replace(row, patient=f"p{n // 2}", twins=(), split="test") for n, row in enumerate(drawn_store.rows)
    ]
    write_tables(path, rows, drawn_store.info)
    return path


def leave_a_test(task, store, run, truth="planes"):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    data = FundusDataModule(str(store), side=64, workers=0, truth=truth)
    Trainer(default_root_dir=run, accelerator="cpu", **quiet).test(task, data, verbose=False)
    config = {"model": {key: task.hparams[key] for key in ("network", "encoder")}, "seed_everything": 0}
    (run / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
    return run


def task_of(kind):
    torch.manual_seed(0)
    if kind == "grades":
        task = GradingTask("plain", ENCODER, None)
        torch.nn.init.normal_(task.network.head.weight, std=3.0)  # not one grade for all
    elif kind == "maps":
        task = SegmentationTask("lnet-4s", ENCODER, None)
        torch.nn.init.normal_(task.network.head.bias, std=1.0)
    else:
        task = LesionClassificationTask("lesions-plain", ENCODER, None)
        torch.nn.init.normal_(task.network.head.weight, std=3.0)
    return task


@pytest.mark.parametrize("kind", ["grades", "maps", "image labels"])
@pytest.mark.parametrize("grouped", [True, False], ids=["two a patient", "nobody known"])
def test_one_run_has_one_interval(kind, grouped, paired, drawn_store, tmp_path, capsys):
    store = paired
    if not grouped:
        store = Path(shutil.copytree(paired, tmp_path / "store"))
        rows = [replace(row, patient="") for row in Store(paired).rows]
        write_tables(store, rows, drawn_store.info)
    run = leave_a_test(task_of(kind), store, tmp_path / "run", "grade" if kind == "grades" else "planes")
    printed = " ".join(capsys.readouterr().out.split())
    tables = compare_runs([Result.read(run)])
    section = tables[0].sections[0]
    cells = dict(zip(section.columns, section.cells[0], strict=True))
    if kind == "grades":
        figures = json.loads((run / "test/grades.json").read_text("utf-8"))
        expected = {"kappa": (figures["kappa"], figures["kappa from"], figures["kappa to"])}
        assert interval_text(cells["kappa"].low, cells["kappa"].high) in printed
    else:
        name, ends = ("pixel F1", "F1") if kind == "maps" else ("image F1", "image F1")
        lines = json.loads((run / "test/summary.json").read_text("utf-8"))["lesions"]
        expected = {line["lesion"]: (line[name], line[f"{ends} from"], line[f"{ends} to"]) for line in lines}
        mean = cells["mean"]
        assert interval_text(mean.low, mean.high).replace(" to ", "-") in printed
    found = {column: (cell.value, cell.low, cell.high) for column, cell in cells.items()}
    assert {column: found[column] for column in expected} == {
        column: pytest.approx(values, abs=1e-12) for column, values in expected.items()
    }
    assert any(low < value < high for value, low, high in expected.values() if value is not None)
    over = "over 8 groups of photographs" if grouped else "over photographs"
    assert over in printed
    assert any(over in note for note in tables[0].notes)
    assert main(["compare", str(run), "--out", str(tmp_path / "out")]) == 0
    shown = cells["kappa" if kind == "grades" else "mean"]
    assert interval_text(shown.low, shown.high).replace(" to ", "-") in capsys.readouterr().out.replace(
        " to ", "-"
    )


@pytest.mark.parametrize("probability", [0.50003, 0.5, 0.49997, 0.50000006])
def test_what_was_found_is_found_when_it_is_read_again(probability, tmp_path, write_rows):
    """A probability of 0.50003 is above a half in every table."""
    value = torch.tensor(probability).item()  # as networks say it
    found = value > 0.5
    row = ImageRow("a", 2, (True,) * 8, (int(found),) * 8, (0,) * 8, (1 - found,) * 8, (value,) * 8)
    (tmp_path / "test").mkdir()
    write_rows(tmp_path / "test/photographs.csv", [row.cells()])
    lesions = [{"lesion": code, "learned": True} for code in CODES]
    report = {"photographs": 1, "lesions": lesions}
    (tmp_path / "test/summary.json").write_text(json.dumps(report), "utf-8")
    (tmp_path / "config.yaml").write_text("model: {network: lesions-plain}", "utf-8")
    assert Result.read(tmp_path).lesions.found.all() == found


def test_probabilities_of_grades_are_written_as_they_are():
    values = torch.tensor([0.1, 0.2, 0.35, 0.15, 0.2]).tolist()
    cells = GradeRow("a", 2, tuple(values)).cells()
    assert [torch.tensor(float(cells[f"P(DR{g})"])).item() for g in range(5)] == values
    assert cells["said"] == 2
