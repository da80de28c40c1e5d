"""How a fit ends: validated, with a checkpoint to go on from, and with a word on what was not done."""

import os
import signal
import threading
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException

from retinalesion.training.callbacks.checkpoints import RunCheckpoint
from retinalesion.training.contract import Calibrated, Optimized, Staged, callbacks_of
from retinalesion.training.schedule import TwoStageSchedule

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


@dataclass(frozen=True)
class End:
    """What ended a fit.

    Attributes:
        cause: in words.
        planned: whether the run is finished: by its length, its schedule, or what its user set for it.
    """

    cause: str
    planned: bool


def end_of(trainer: Trainer, task: LightningModule) -> End:
    """What ended a fit that went to its end.

    A run of a fixed length ends by ``max_steps``, on which its learning rate hangs; ``max_epochs`` cuts it
    off.
    """
    if 0 < trainer.max_steps <= trainer.global_step:
        return End(f"max_steps {trainer.max_steps}", True)
    for callback in callbacks_of(trainer):
        if isinstance(callback, TwoStageSchedule) and callback.is_at_its_end:
            return End(f"{callback.since_best} validations without improvement", True)
        if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None and left <= 0:
            return End("max_time", True)
    epochs = trainer.max_epochs
    done: Any = trainer.fit_loop.epoch_progress.current
    if epochs is not None and 0 <= epochs <= done.processed:
        has_length = isinstance(task, Optimized) and task.optimizer == "adamw"
        return End(f"max_epochs {epochs}", not has_length)
    stops = [type(one).__name__ for one in trainer.early_stopping_callbacks]
    return End(" or ".join(stops) or "a callback of yours", True)


class Ending(Callback):
    """Bring a fit to a good end, whatever ends it.

    The last step is validated whatever the intervals. At the first Ctrl-C or SIGTERM the batch (and its
    validation) is finished and ``last.ckpt`` written; the fit then raises ``SystemExit`` with status 130 or
    143. A second Ctrl-C ends it at once. What was not done is said.
    """

    def __init__(self) -> None:
        self.asked: int | None = None  # the signal that asks for an end
        self.intervals: dict[str, Any] = {}  # of validations, while the last one overrides them

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen; Lightning puts the earlier handlers back when the fit ends."""
        self.asked = None
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else ignored, or somebody's own
            signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = number
        again = "; again: at once, and what came after the last checkpoint is lost" * (
            number == signal.SIGINT
        )
        # Not by print or log, one of which may be at work just now.
        os.write(2, f"\n{NAMES[signal.Signals(number)]}: ending after this batch{again}.\n".encode())

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loggers' count of steps true: Lightning's drifts when runs are resumed in mid-epoch."""
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """See that the last step is validated; end where it was asked for."""
        loop = trainer.fit_loop.epoch_loop
        if loop._should_accumulate():
            return
        fetcher: Any = trainer.fit_loop._data_fetcher
        if not loop._should_check_val_fx(fetcher) and self._is_last_step(trainer):
            # Not by `should_stop`, with which Lightning would log a step that an unbroken run does not.
            every_epoch = None if trainer.check_val_every_n_epoch is None else 1
            now = {
                "check_val_every_n_epoch": every_epoch,
                "val_check_batch": 1,
                "_val_check_time_interval": None,
            }
            self.intervals = {name: getattr(trainer, name) for name in now}
            vars(trainer).update(now)
        if not loop._should_check_val_fx(fetcher):  # else it would end in the middle of the validation
            self._end_if_asked(trainer)

    @staticmethod
    def _is_last_step(trainer: Trainer) -> bool:
        is_epochs_end = trainer.fit_loop.epoch_loop._num_ready_batches_reached()
        is_last_epoch = is_epochs_end and trainer.current_epoch + 1 == trainer.max_epochs
        return trainer.should_stop or is_last_epoch or 0 < trainer.max_steps <= trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End where it was asked for."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._end_if_asked(trainer)

    def _end_if_asked(self, trainer: Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False):
            trainer._signal_connector.received_sigterm = True  # Lightning ends where its counts are complete

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what ended the fit, and what was not done."""
        vars(trainer).update(self.intervals)
        self.intervals = {}
        undone = _undone(trainer, pl_module)
        if undone:
            done = (
                f"{trainer.global_step} of {trainer.max_steps}"
                if trainer.max_steps > 0
                else trainer.global_step
            )
            rank_zero_info(
                f"Ended by {end_of(trainer, pl_module).cause} after {done} steps. {' '.join(undone)}"
            )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep what was trained where the end was asked for, and give the status that tells of it."""
        if not isinstance(exception, SIGTERMException) or trainer.state.fn != "fit":
            return
        number = self.asked or signal.SIGTERM
        exception.code = 128 + number
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, RunCheckpoint) and callback.monitor is None:
                callback.save_now(trainer)
        rank_zero_info(f"Ended by {NAMES[signal.Signals(number)]} after {trainer.global_step} steps.")


def _undone(trainer: Trainer, task: LightningModule) -> list[str]:
    undone = []
    if isinstance(task, Staged) and task.stage == "dice":
        undone.append("The dual loss never came: these are weights of the Dice stage.")
    is_of_length = isinstance(task, Optimized) and task.optimizer == "adamw"
    if is_of_length and trainer.global_step < trainer.max_steps:
        undone.append("The learning rate had not come down to its end.")
        if isinstance(task, Calibrated) and task.calibrate:
            undone.append("Nothing was calibrated.")
    return undone
