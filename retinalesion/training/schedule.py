"""The two stages of a fit: Dice, then the dual loss (paper, section 4.1)."""

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from retinalesion.errors import UserError


class TwoStageSchedule(Callback):
    """Divide the rate by 10, change the stage and stop, by the score of validations (section 4.1).

    The rate falls at the fourth validation without improvement, and the fit stops at the tenth. At the first
    fall the stage goes from ``dice`` to ``dual`` where the task has a second stage, and there the best score
    and both counts start anew, so that Dice's best pixel F1 does not hide what the dual loss does.

    Args:
        monitor: the validation score, larger is better.
        patience: validations without improvement until the rate falls.
        stop_patience: validations without improvement until the fit stops.
        factor: of a fall.
    """

    def __init__(self, monitor: str, patience: int = 4, stop_patience: int = 10, factor: float = 0.1) -> None:
        self.monitor, self.patience, self.stop_patience, self.factor = (
            monitor,
            patience,
            stop_patience,
            factor,
        )
        self.best, self.since_fall, self.since_best = -math.inf, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Best score and both counts."""
        return {"best": self.best, "since_fall": self.since_fall, "since_best": self.since_best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best, self.since_fall = state_dict["best"], state_dict["since_fall"]
        self.since_best = state_dict["since_best"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count this validation."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise UserError(f"no score {self.monitor!r} was logged by validation. There are: {known}.")
        score = float(trainer.callback_metrics[self.monitor])
        if score > self.best:
            self.best, self.since_fall, self.since_best = score, 0, 0
            return
        self.since_fall += 1
        self.since_best += 1
        if self.since_fall >= self.patience:
            self._fall(trainer, pl_module)
        if self.since_best >= self.stop_patience:
            rank_zero_info(f"Stopping: {self.since_best} validations without improvement on {self.best:.4f}.")
            trainer.should_stop = True

    def _fall(self, trainer: Trainer, task: LightningModule) -> None:
        self.since_fall = 0
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= self.factor
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        rank_zero_info(f"Batch {trainer.global_step}: learning rate falls to {rate:.2g}.")
        if getattr(task, "stage", None) == "dice":
            task.to_dual()  # type: ignore[operator]
            self.best, self.since_best = -math.inf, 0


class SwitchAtShare(Callback):
    """For runs of a fixed length: go to the dual stage after a share of the steps (0.7)."""

    def __init__(self, share: float = 0.7) -> None:
        self.share = share

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Switch when the step has come."""
        due = trainer.global_step >= self.share * trainer.estimated_stepping_batches
        if due and getattr(pl_module, "stage", None) == "dice":
            pl_module.to_dual()  # type: ignore[operator]


def run_folder(trainer: Trainer) -> Path | None:
    """The trainer's ``default_root_dir``, or None where none was chosen and Lightning's own places count."""
    chosen = Path(trainer.default_root_dir).resolve()
    return None if chosen == Path.cwd() else chosen


def output_folder(trainer: Trainer) -> Path:
    """Where tables and pictures go: the run's folder, else Lightning's. Every process has to call it."""
    return run_folder(trainer) or Path(trainer.log_dir or ".")


class RunCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint callback, writing to ``checkpoints`` of the run's folder."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the place."""
        if self.dirpath is None and (run := run_folder(trainer)):
            self.dirpath = str(run / "checkpoints")
        super().setup(trainer, pl_module, stage)


def checkpoints(ranking: str) -> list[RunCheckpoint]:
    """``best.ckpt`` by a score (larger is better), and ``last.ckpt`` after every validation."""
    plain: dict[str, Any] = {
        "auto_insert_metric_name": False,
        "enable_version_counter": False,
        "save_top_k": 1,
    }
    best = RunCheckpoint(monitor=ranking, mode="max", filename="best", **plain)
    last = RunCheckpoint(monitor=None, filename="last", every_n_epochs=1, **plain)
    return [best, last]
