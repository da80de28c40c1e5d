"""Lightning's ``test`` of a grader scores its rule too: what would be done about each eye."""

from collections.abc import Mapping
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from retinalesion.files import write_csv
from retinalesion.fitting.cases import Case
from retinalesion.fitting.figures import Judged, figures_of, outcomes_by_grade
from retinalesion.fitting.told import plain
from retinalesion.lesions import GRADES
from retinalesion.reading.reader import Told
from retinalesion.reading.reading import Reading
from retinalesion.report.batches import BatchReader
from retinalesion.report.figures import show, show_outcomes
from retinalesion.scores import over
from retinalesion.training.callbacks.checkpoints import output_folder
from retinalesion.training.callbacks.tested import gather, groups_of
from retinalesion.training.contract import Ruled

TABLE = "outcomes.csv"


class OutcomeTables(Callback):
    """After ``test`` of a grader whose checkpoint has a rule: outcomes by true grade, and figures of them.

    Readings are made of the tested batches, without pictures. ``outcomes.csv`` in ``test`` of the run has a
    row per photograph, and the summary, ``grades.json``, the figures, under ``rule``. The command line adds
    this callback; in a notebook: ``Trainer(callbacks=[OutcomeTables()])``. Batches that do not come from a
    `FundusDataModule` are left alone.
    """

    def __init__(self) -> None:
        self.reader: BatchReader | None = None
        self.readings: list[Reading] = []
        self.figures: dict[str, Any] = {}  # of the latest test

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take up the rule; what an earlier test left would not belong to this one."""
        file = output_folder(trainer) / "test" / TABLE
        if trainer.is_global_zero:
            file.unlink(missing_ok=True)
        task = cast(Told, pl_module)
        self.reader = BatchReader(trainer, task, pl_module.device) if task.trained.rule else None
        self.readings, self.figures = [], {}
        self._leave_with(pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Read the photographs of a batch."""
        if self.reader and isinstance(outputs, Mapping) and "id" in outputs:  # of lesion networks it is not
            side = batch["image"].shape[-1]
            self.readings += [seen.reading for _, seen in self.reader.seen(outputs, side)]

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the readings of all processes, write the table, and leave the figures for the summary."""
        readings = sorted(gather(self.readings), key=lambda reading: reading.id)
        groups = groups_of(trainer, [reading.id for reading in readings])
        cases = [Case(reading, group, -1) for reading, group in zip(readings, groups, strict=True)]
        judged = Judged.of(cases, readings)
        folder = output_folder(trainer) / "test"  # every process has to ask
        if not judged.id.size:
            return
        self.figures = {
            "photographs": len(judged.id),
            "intervals over": over(judged.group.tolist()),
            "figures": plain(figures_of(judged)),
            "outcomes": {GRADES[grade]: counts for grade, counts in outcomes_by_grade(judged).items()},
        }
        self._leave_with(pl_module)
        if trainer.is_global_zero:
            lines = [outcome_row(reading, group) for reading, group in zip(readings, groups, strict=True)]
            write_csv(folder / TABLE, lines, spreadsheet=True)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print both."""
        if self.figures and trainer.is_global_zero:
            show_outcomes(self.figures["outcomes"])
            title = f"{self.figures['photographs']} graded photographs, by the checkpoint's rule"
            show({"": self.figures["figures"]}, title)
            rank_zero_info(f"A row per photograph: {output_folder(trainer) / 'test' / TABLE}")

    def _leave_with(self, task: LightningModule) -> None:
        if isinstance(task, Ruled):
            task.ruled = self.figures


def outcome_row(reading: Reading, group: str) -> dict[str, Any]:
    """What is said of a photograph, with its truth, as a line of ``outcomes.csv``."""
    told = {
        "grade": reading.truth_grade,
        "oedema": reading.truth_oedema,
        "outcome": reading.outcome,
        "probability": reading.referable_probability,
        "said": reading.grade,
        "from": reading.grade_low,
        "to": reading.grade_high,
        "present": " ".join(reading.present),
        "reason": reading.outcome_reason,
    }
    return {"id": reading.id, "group": group, **{k: "" if v is None else v for k, v in told.items()}}
