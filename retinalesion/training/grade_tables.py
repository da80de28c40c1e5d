"""What a test of grades leaves: kappa, confusion, recall, referable DR, and one row per photograph."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from rich import box
from rich.console import Console
from rich.table import Table

from retinalesion.files import replace_file, write_csv
from retinalesion.lesions import GRADES, NO_GRADE
from retinalesion.training.checkpoints import output_folder
from retinalesion.training.costs import tested_on
from retinalesion.training.grades import (
    OPERATING_POINT,
    accuracy,
    confusion_of,
    kappa_interval,
    quadratic_kappa,
    recall_per_grade,
    referable_figures,
)
from retinalesion.training.tables import gather, known


@dataclass(frozen=True)
class GradeRow:
    """One photograph of a test.

    Attributes:
        id: of the photograph.
        grade: true grade, -1 where there is none.
        probability: of DR0 to DR4.
    """

    id: str
    grade: int
    probability: tuple[float, ...]

    def cells(self) -> dict[str, Any]:
        """As a line of ``grades.csv``."""
        said = max(range(len(GRADES)), key=self.probability.__getitem__)
        cells: dict[str, Any] = {"id": self.id, "grade": "" if self.grade == NO_GRADE else self.grade}
        cells["said"] = said
        return cells | {f"P({name})": f"{p:.4f}" for name, p in zip(GRADES, self.probability, strict=True)}


def grade_figures(rows: Sequence[GradeRow]) -> dict[str, Any]:
    """Scores of the photographs that have a grade; None where a score has no value."""
    truth = torch.tensor([row.grade for row in rows])
    probability = torch.tensor([row.probability for row in rows])[truth != NO_GRADE]
    truth = truth[truth != NO_GRADE]
    if not len(truth):
        return {"photographs": 0}
    said = probability.argmax(1)
    confusion = confusion_of(truth, said)
    low, high = kappa_interval(truth, said)
    referable = referable_figures(truth, probability)
    return {
        "photographs": len(truth),
        "kappa": known(float(quadratic_kappa(confusion))),
        "kappa from": known(low),
        "kappa to": known(high),
        "accuracy": known(float(accuracy(confusion))),
        "recall": {
            name: known(r) for name, r in zip(GRADES, recall_per_grade(confusion).tolist(), strict=True)
        },
        "confusion": confusion.tolist(),
        "referable": {
            "operating point": OPERATING_POINT,
            **{name: known(value) for name, value in referable.items()},
        },
    }


def show(figures: Mapping[str, Any], network: str) -> None:
    """Print the scores."""
    table = Table(
        caption="rows: true grade; columns: grade said",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("")
    for name in (*GRADES, "recall"):
        table.add_column(name, justify="right")
    for name, counts in zip(GRADES, figures["confusion"], strict=True):
        table.add_row(name, *map(str, counts), _shown(figures["recall"][name]))
    console = Console()
    console.print(
        f"{figures['photographs']} graded photographs, {network}: quadratic weighted kappa "
        f"{_shown(figures['kappa'])}, as in Table 6 of the paper "
        f"(95 %: {_shown(figures['kappa from'])} to {_shown(figures['kappa to'])})."
    )
    console.print(table)
    referable = figures["referable"]
    console.print(
        f"Referable (DR2 or worse): sensitivity {_shown(referable['sensitivity'])}, specificity "
        f"{_shown(referable['specificity'])} at {referable['operating point']}; "
        f"AUROC {_shown(referable['AUROC'])}. Macular oedema is not judged."
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


class GradeTables(Callback):
    """After ``test``: the scores of grades in the terminal, in ``test`` of the run, and in the loggers.

    The task offers ``grade_rows`` (of this process) and ``cost``.
    """

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather, score, write and print."""
        task: Any = pl_module
        rows = sorted(gather(task.grade_rows), key=lambda row: row.id)
        figures = grade_figures(rows)
        for name in ("kappa", "accuracy"):
            if figures.get(name) is not None:
                task.log_score(f"test/{name}", figures[name])
        folder: Path = output_folder(trainer) / "test"
        if trainer.is_global_zero:
            network = f"{task.hparams['network']} on {task.hparams['encoder']}"
            about = {"network": network, "trained on store": task.store_fingerprint, "side": task.seen_side}
            about |= {"tested on": tested_on(trainer), **task.cost}
            text = json.dumps({**about, **figures}, indent=2) + "\n"
            replace_file(folder / "grades.json", lambda beside: beside.write_text(text, "utf-8"))
            write_csv(folder / "grades.csv", [row.cells() for row in rows])
            if figures["photographs"]:
                show(figures, network)
            rank_zero_info(f"Grades: {folder / 'grades.json'}, a row per photograph: {folder / 'grades.csv'}")
