"""What a test of grades leaves: kappa, confusion, recall, referable DR, and one row per photograph."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from rich import box
from rich.console import Console
from rich.table import Table

from retinalesion import scores
from retinalesion.files import write_csv, write_json
from retinalesion.lesions import GRADES, NO_GRADE
from retinalesion.scores import known, over
from retinalesion.training.callbacks.checkpoints import output_folder
from retinalesion.training.callbacks.tested import gather, groups_of, tested_on
from retinalesion.training.contract import Ruled, TestedForGrades
from retinalesion.training.rows import GradeRow


def grade_figures(rows: Sequence[GradeRow], groups: Sequence[str]) -> dict[str, Any]:
    """Scores of the photographs that have a grade; None where a score has no value.

    Args:
        rows: of the test.
        groups: of each row, see `scores.resamples`.
    """
    graded = [(row, group) for row, group in zip(rows, groups, strict=True) if row.grade != NO_GRADE]
    if not graded:
        return {"photographs": 0}
    truth = np.array([row.grade for row, _ in graded])
    each = np.stack([scores.confusion_of([row.grade], [row.said]) for row, _ in graded])
    over_groups = [group for _, group in graded]
    low, high = scores.percentiles(scores.bootstrap(each, over_groups, scores.kappa))
    confusion = each.sum(0)
    referable = scores.referable_figures(truth, [row.probability for row, _ in graded])
    recall = zip(GRADES, scores.recall_per_grade(confusion), strict=True)
    return {
        "photographs": len(truth),
        "intervals over": over(over_groups),
        "kappa": known(float(scores.kappa(confusion))),
        "kappa from": known(low),
        "kappa to": known(high),
        "accuracy": known(scores.accuracy(confusion)),
        "recall": {name: known(value) for name, value in recall},
        "confusion": confusion.tolist(),
        "referable": {
            "operating point": scores.OPERATING_POINT,
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
        f"(95 %, over {figures['intervals over']}: "
        f"{scores.interval_text(figures['kappa from'], figures['kappa to']) or '-'})."
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
    """After ``test``: the scores of grades in the terminal, in ``test`` of the run, and in the loggers."""

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather, score, write and print."""
        task = cast(TestedForGrades, pl_module)
        rows = sorted(gather(task.grade_rows), key=lambda row: row.id)
        groups = groups_of(trainer, [row.id for row in rows])
        figures = grade_figures(rows, groups)
        for name in ("kappa", "accuracy"):
            if figures.get(name) is not None:
                task.log_score(f"test/{name}", figures[name])
        folder: Path = output_folder(trainer) / "test"
        if trainer.is_global_zero:
            network = f"{task.hparams['network']} on {task.hparams['encoder']}"
            about = {"network": network, "trained on store": task.store_fingerprint, "side": task.seen_side}
            about |= {"tested on": tested_on(trainer), **task.cost}
            about |= {"rule": task.ruled} if isinstance(task, Ruled) and task.ruled else {}
            write_json(folder / "grades.json", {**about, **figures})
            lines = [{**row.cells(), "group": group} for row, group in zip(rows, groups, strict=True)]
            write_csv(folder / "grades.csv", lines)
            if figures["photographs"]:
                show(figures, network)
            rank_zero_info(f"Grades: {folder / 'grades.json'}, a row per photograph: {folder / 'grades.csv'}")
