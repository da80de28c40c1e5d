"""`LesionTask`: what tasks share whose batches teach lesions."""

from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from retinalesion import scores
from retinalesion.data.batch import Batch
from retinalesion.data.datamodule import FundusDataModule
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.abn import LesionABN
from retinalesion.networks.base import LesionClassifier, Segmenter
from retinalesion.training.task import Task


class LesionTask(Task):
    """Base of the tasks that train lesion networks and lesion classifiers.

    The batches say which lesions are learned: those of which a valid pixel was marked, in any process. A
    network that begins with an earlier run's knows what that one had learned, too.

    Attributes:
        taught: bool (8,), in a fit: lesions that the training photographs of its `FundusDataModule` show,
            whether or not they have come by now; none without it.
    """

    network: Segmenter | LesionClassifier | LesionABN
    weights: str | None
    taught: Tensor

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.register_buffer("taught", torch.zeros(len(CODES), dtype=torch.bool), persistent=False)

    def on_fit_start(self) -> None:
        """Begin or go on, and see what the training set teaches.

        Raises:
            UserError: nothing; or as `Task.on_fit_start` raises.
        """
        taught = self.data.learned if self.data is not None else ()
        if self.data is not None and not taught:
            raise UserError(
                f"{self.data.path}: none of the {len(self.data.rows('train'))} photographs that would train "
                "has a lesion marked, so there is nothing to learn. A mask is white where the lesion is; "
                "retinalesion prepare SOURCE FOLDER --check lists empty ones. Mend them and prepare again."
            )
        super().on_fit_start()
        self.taught.copy_(torch.tensor([code in taught for code in CODES]))

    def begin(self, data: FundusDataModule | None) -> None:
        """Take the weights."""
        if self.is_new:
            self.network.learn_only(())
        if self.weights is not None:
            self.network.load_weights(self.weights)
            self.inherit(self.weights)
        if data is not None:
            rank_zero_info(f"Lesions that this set teaches: {', '.join(data.learned)}.")

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Learn what this batch teaches, in all processes alike: DDP spreads the first one's buffers."""
        shown = (batch["planes"] & batch["valid"]).flatten(2).any(2).any(0)
        self.network.learned.logical_or_(self.trainer.strategy.reduce(shown.float(), reduce_op="sum") > 0)

    def on_fit_end(self) -> None:
        """Validations of their own count what was learned."""
        self.taught.zero_()

    def mean_over_learned(self, score: scores.Array) -> float:
        """A score (8,) over lesions learned, in a fit over all that it is to learn; 0 where there is none."""
        known = (self.learned | self.taught).tolist()
        return scores.mean_over(score, known) if any(known) else 0.0
