"""The two stages of a fit: Dice, then the dual loss (paper, section 4.1)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from retinalesion.errors import UserError
from retinalesion.training.contract import Monitored, Optimizer, Staged, callbacks_of

WARM_UP = 0.05  # share of the steps in which the rate of a run of fixed length rises
AVERAGING = 0.998  # decay of the running mean of weights: about the last 500 steps


class TwoStageSchedule(Callback):
    """Divide the rate by 10, change the stage and stop, by the score of validations (section 4.1).

    The rate falls at the fourth validation without improvement, and the fit stops at the tenth. At the first
    fall the stage goes from ``dice`` to ``dual`` where the task has a second stage, and there the best score
    and both counts start anew, so that Dice's best pixel F1 does not hide what the dual loss does.

    Args:
        monitor: the validation score, larger is better; by default the task's own.
        patience: validations without improvement until the rate falls.
        stop_patience: validations without improvement until the fit stops.
        factor: of a fall.
    """

    def __init__(
        self, monitor: str | None = None, patience: int = 4, stop_patience: int = 10, factor: float = 0.1
    ) -> None:
        self.monitor, self.patience = monitor, patience
        self.stop_patience, self.factor = stop_patience, factor
        self.best, self.since_fall, self.since_best = -math.inf, 0, 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count anew, unless the fit goes on from a checkpoint."""
        if trainer.ckpt_path is None:
            self.best, self.since_fall, self.since_best = -math.inf, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Best score and both counts."""
        return {"best": self.best, "since_fall": self.since_fall, "since_best": self.since_best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best, self.since_fall = state_dict["best"], state_dict["since_fall"]
        self.since_best = state_dict["since_best"]

    @property
    def is_at_its_end(self) -> bool:
        """Whether there were as many validations without improvement as stop the fit."""
        return self.since_best >= self.stop_patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that has stopped, resumed, stays stopped."""
        if self.is_at_its_end:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count this validation."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        monitor = self.monitor or (pl_module.monitor if isinstance(pl_module, Monitored) else None)
        if monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise UserError(f"no score {monitor!r} was logged by validation. There are: {known}.")
        score = float(trainer.callback_metrics[monitor])
        if score > self.best:
            self.best, self.since_fall, self.since_best = score, 0, 0
            return
        self.since_fall += 1
        self.since_best += 1
        if self.since_fall >= self.patience:
            self._fall(trainer, pl_module)
        if self.is_at_its_end:
            rank_zero_info(f"Stopping: {self.since_best} validations without improvement on {self.best:.4f}.")
            trainer.should_stop = True

    def _fall(self, trainer: Trainer, task: LightningModule) -> None:
        self.since_fall = 0
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= self.factor
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        rank_zero_info(f"Batch {trainer.global_step}: learning rate falls to {rate:.2g}.")
        if isinstance(task, Staged) and task.stage == "dice":
            task.to_dual()
            self.best, self.since_best = -math.inf, 0


class SwitchAtShare(Callback):
    """For runs of a fixed length: go to the dual stage after a share of the steps (0.7)."""

    def __init__(self, share: float = 0.7) -> None:
        self.share = share

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Switch when the step has come."""
        due = trainer.global_step >= self.share * trainer.max_steps
        if due and isinstance(pl_module, Staged) and pl_module.stage == "dice":
            pl_module.to_dual()


def cosine(step: int, steps: int) -> float:
    """Share of the peak rate, for runs of a fixed length: a short straight rise, then half a cosine down.

    Args:
        step: steps done.
        steps: of the whole run.
    """
    rise = WARM_UP * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    return (1 + math.cos(math.pi * min((step - rise) / (steps - rise), 1))) / 2


class AveragedWeights(WeightAveraging):
    """The running mean of weights, for runs of a fixed length: validation and checkpoints hold it.

    At the beginning the mean is over fewer steps, so that a short run is not bound to the weights of its
    first.
    """

    def __init__(self) -> None:
        super().__init__(avg_fn=_nearer)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the mean; to test and predict, the mean is already in place."""
        if trainer.state.fn == "fit":
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    @contextmanager
    def in_place(self, task: LightningModule) -> Iterator[None]:
        """In the meantime the task has the mean for its weights, in eval mode; what changes in it stays."""
        was_training = task.training
        self._swap_models(task)
        task.eval()
        try:
            yield
        finally:
            task.train(was_training)
            self._swap_models(task)


def _nearer(mean: Tensor, weights: Tensor, count: Tensor) -> Tensor:
    if not mean.is_floating_point():
        return weights  # counters and flags have no mean
    kept = ((1 + count) / (10 + count)).clamp(max=AVERAGING)
    return mean + (1 - kept) * (weights - mean)  # in this form, what is frozen stays bit for bit


def schedule(optimizer: Optimizer, trainer: Trainer) -> list[Callback]:
    """The callbacks that lead a fit through its stages; the user's own stand in the place of these.

    Args:
        optimizer: ``sgd``, or ``adamw`` for a run of a fixed length.
        trainer: whose callbacks are looked at.
    """
    if optimizer == "sgd":
        ours: list[Callback] = [TwoStageSchedule()]
    else:
        ours = [SwitchAtShare(), AveragedWeights()]
    theirs = callbacks_of(trainer)
    return [one for one in ours if not any(_is_of_its_kind(his, one) for his in theirs)]


def _is_of_its_kind(his: Callback, one: Callback) -> bool:
    """His derives from it, or it from his: those Lightning would drop for it."""
    return isinstance(his, type(one)) or (type(his) is not Callback and isinstance(one, type(his)))
