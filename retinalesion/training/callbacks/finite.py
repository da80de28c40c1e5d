"""What is not finite ends a fit, and never reaches a checkpoint: with NaN, every comparison is false."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from retinalesion.errors import UserError
from retinalesion.training.contract import Optimized

MOST_SKIPPED = 10  # steps in a row that float16's scaler may leave out: it tries smaller scales in between


class Finite(Callback):
    """End a fit at its first loss or gradient that is not finite.

    Under float16 the scaler leaves out steps whose gradient is not finite, as a rule now and then: there the
    fit ends at the tenth in a row. A batch is looked at when the next one begins, or before a validation, so
    that a GPU need not be waited for in the middle of a step.
    """

    def __init__(self) -> None:
        self.step, self.ids, self.skipped = 0, "", 0
        self.loss: Tensor | None = None  # of the latest batch, until it is looked at
        self.gradient: Tensor | None = None  # its norm

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Look at the batch before, and note which photographs come now."""
        self.look(trainer, pl_module)
        ids = batch.get("id", ()) if isinstance(batch, Mapping) else ()
        self.step, self.ids = trainer.global_step + 1, ", ".join(map(str, ids))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Keep the loss."""
        self.loss = loss.detach()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Keep the gradient's norm."""
        of_groups = (group["params"] for group in optimizer.param_groups)
        gradients = [p.grad for parameters in of_groups for p in parameters if p.grad is not None]
        self.gradient = get_total_norm(gradients)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing that is not finite is validated."""
        self.look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nor saved."""
        self.look(trainer, pl_module)

    def look(self, trainer: Trainer, task: LightningModule) -> None:
        """Look at the latest batch.

        Raises:
            UserError: its loss or its gradient is not finite.
        """
        loss, gradient = self.loss, self.gradient
        self.loss = self.gradient = None
        if loss is not None and not loss.isfinite().all():
            raise self._gone_astray("the loss", loss.sum(), trainer, task)
        if gradient is None:
            return
        if gradient.isfinite():
            self.skipped = 0
            return
        self.skipped += 1
        in_float16 = getattr(trainer.precision_plugin, "scaler", None) is not None
        if not in_float16:
            raise self._gone_astray("the gradient", gradient, trainer, task)
        if self.skipped >= MOST_SKIPPED:
            raise self._gone_astray(f"the gradient of {self.skipped} steps in a row", gradient, trainer, task)

    def _gone_astray(self, what: str, value: Tensor, trainer: Trainer, task: LightningModule) -> UserError:
        photographs = f" (photographs {self.ids})" if self.ids else ""
        told = f": model.rate is {task.rate:g}" if isinstance(task, Optimized) else ""
        lower = f"Lower the learning rate{told}"
        if str(trainer.precision) != "32-true":
            lower += f"; or train in float32: trainer.precision is {trainer.precision}"
        return UserError(
            f"Step {self.step}{photographs}: {what} is not finite ({float(value)}). The fit stops here, and "
            f"nothing of it was saved since its last validation. {lower}."
        )


def require_finite(state: Mapping[str, Tensor]) -> None:
    """See that weights can be used.

    Args:
        state: tensors by name.

    Raises:
        UserError: some are not finite; the message names the first.
    """
    floating = {name: value for name, value in state.items() if value.is_floating_point()}
    if not floating or bool(torch.stack([value.isfinite().all() for value in floating.values()]).all()):
        return
    first = next(name for name, value in floating.items() if not value.isfinite().all())
    raise UserError(
        f"The weights are not finite any more ({first} is one of them), so no checkpoint was written. "
        "Lower the learning rate (model.rate) and go on from an earlier checkpoint."
    )
