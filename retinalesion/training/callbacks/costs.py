"""What a network costs, seen while it is tested: time, parameters, multiply-adds."""

import statistics
import time
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.hooks import RemovableHandle

from retinalesion.networks import cost
from retinalesion.training.contract import Timed


class TestCosts(Callback):
    """Leave in the task's ``cost`` what its network costs; the tables write it.

    Seconds are those from entering the network to its last result on the device, added up over the passes
    that a photograph takes (four with ``flips``), and of all batches the median, since the first ones warm
    up. Reading, scoring and writing are not in it, and it is of the first process's device.
    """

    __test__ = False  # no test of ours, whatever its name says to pytest

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.in_batch = self.entered = 0.0
        self.hooks: list[RemovableHandle] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen at the network's door."""
        task = cast(Timed, pl_module)
        self.seconds = []
        self.hooks = [
            task.network.register_forward_pre_hook(self._enter),
            task.network.register_forward_hook(self._leave),
        ]

    def _enter(self, *_: Any) -> None:
        _wait_for_device()
        self.entered = time.perf_counter()

    def _leave(self, *_: Any) -> None:
        _wait_for_device()
        self.in_batch += time.perf_counter() - self.entered

    def on_test_batch_start(self, *_: Any) -> None:
        """Begin a batch."""
        self.in_batch = 0.0

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's time."""
        self.seconds.append(self.in_batch / len(batch["id"]))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the figures; this callback comes before the tables."""
        self._remove_hooks()
        task = cast(Timed, pl_module)
        task.cost = {
            "parameters": cost.parameters(task.network),
            "multiply-adds": _multiply_adds(task),
            "seconds a photograph": float(f"{statistics.median(self.seconds):.3g}"),
        }

    def on_exception(self, *_: Any) -> None:
        """Take the hooks away."""
        self._remove_hooks()

    def _remove_hooks(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks = []


def _multiply_adds(task: Timed) -> int | None:
    try:
        return cost.multiply_adds(task.network, task.seen_side)
    except (RuntimeError, NotImplementedError):  # an encoder that cannot be followed must not cost the scores
        return None


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
