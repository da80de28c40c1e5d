"""`SegmentationTask`: logits to loss, score and step for lesion maps."""

from typing import Literal

import torch
from lightning.pytorch import Callback
from torch import Tensor

from retinalesion import scores
from retinalesion.data.batch import Batch
from retinalesion.data.datamodule import FundusDataModule
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.base import Segmenter, with_mirror_images
from retinalesion.networks.tables import segmenter
from retinalesion.training.callbacks.calibration import Calibration
from retinalesion.training.callbacks.pictures import ValidationPanels
from retinalesion.training.counts import LesionCounts, as_read, count_photographs
from retinalesion.training.lesion_task import LesionTask
from retinalesion.training.losses import dice_loss, dual_loss, focal_loss, weighted_cross_entropy
from retinalesion.training.metrics import count
from retinalesion.training.rows import PhotographRow

VALIDATION_SCORES = {"pixel_f1": scores.pixel_f1, "image_f1": scores.image_f1, "aupr": scores.aupr}


class SegmentationTask(LesionTask):
    """Train and test a lesion network.

    Args:
        network: a name of `retinalesion.networks.tables`.
        encoder: its contracting path, ``inception_v3`` or any timm model with maps at strides 2 to 32.
        weights: at the start of a fresh fit, of the encoder: ``imagenet``, a file, or null for random; or of
            the whole network: an earlier run's checkpoint. A checkpoint needs them no more.
        loss: ``dual`` begins with Dice and goes on to the dual loss (section 4.1); ``dice`` stays with Dice;
            ``weighted_cross_entropy`` and ``focal`` are those of Table 4.
        per_lesion: Dice as the mean over lesions that occur in the batch, instead of pooled (Eq. 3).
        misses: weight of misses beside false alarms in Dice, 0 to 1; 0.5 is Dice itself. The losses that have
            no Dice in them hear of neither.
        optimizer: ``sgd`` as in section 4.1, or ``adamw`` with cosine for runs of a fixed length.
        rate: learning rate.
        decay: weight decay.
        flips: test and prediction average the logits of the photograph and its three mirror images.
        calibrate: at the end of a run of a fixed length, shift each lesion's logits so that 0.5 is where the
            training photographs have their best pixel F1, see `Calibration`.
    """

    monitor = "val/pixel_f1"
    imbalance: Tensor  # weight of each lesion's marked pixels, for weighted cross-entropy

    def __init__(
        self,
        network: str = "lnet-16s",
        encoder: str = "inception_v3",
        weights: str | None = "imagenet",
        loss: Literal["dual", "dice", "weighted_cross_entropy", "focal"] = "dual",
        per_lesion: bool = False,
        misses: float = 0.5,
        optimizer: Literal["sgd", "adamw"] = "sgd",
        rate: float = 0.001,
        decay: float = 0.0001,
        flips: bool = False,
        calibrate: bool = False,
    ) -> None:
        super().__init__(optimizer, rate, decay)
        self.save_hyperparameters()
        self.network: Segmenter = segmenter(network, encoder)
        # Twice as fast on a CPU, and what GPUs prefer under autocast.
        self.network.to(memory_format=torch.channels_last)
        if not 0 < misses < 1:
            raise UserError(f"misses is a weight between 0 and 1, not {misses}.")
        if calibrate and optimizer != "adamw":
            raise UserError("calibrate needs a run of a fixed length: set model.optimizer to adamw.")
        self.weights, self.loss, self.flips, self.calibrate = weights, loss, flips, calibrate
        self.per_lesion, self.misses = per_lesion, misses
        self.stage = "dice" if loss == "dual" else "only"
        if loss == "weighted_cross_entropy":
            self.register_buffer("imbalance", torch.ones(len(CODES)))
        self.counts = LesionCounts()
        self.rows: list[PhotographRow] = []

    def configure_callbacks(self) -> list[Callback]:
        """Those of every task, and pictures of each validation."""
        calibration = [Calibration()] if self.calibrate else []
        return [*super().configure_callbacks(), *calibration, ValidationPanels()]

    def begin(self, data: FundusDataModule | None) -> None:
        """Take the weights, and those of marked pixels."""
        super().begin(data)
        if data is not None and self.loss == "weighted_cross_entropy":
            self.imbalance.copy_(torch.tensor(data.imbalance))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, 8, h, w)."""
        logits: Tensor = self.network(image)
        return logits

    def flipped(self, image: Tensor) -> Tensor:
        """Logits (n, 8, h, w), averaged over the mirror images where ``flips`` is set."""
        return with_mirror_images(self.network, image) if self.flips else self(image)

    def loss_of(self, logits: Tensor, planes: Tensor, valid: Tensor) -> Tensor:
        """The loss of one output: as chosen; of ``dual``, Dice until the second stage."""
        if self.loss == "weighted_cross_entropy":
            return weighted_cross_entropy(logits, planes, valid, self.imbalance)
        if self.loss == "focal":
            return focal_loss(logits, planes, valid)
        loss = dual_loss if self.stage == "dual" else dice_loss
        # In half precision the sigmoid of 10 is 1, and has no gradient: no sure mistake would be unlearned.
        probability = logits.float().sigmoid()
        return loss(probability, planes, valid, per_lesion=self.per_lesion, misses=self.misses)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss, a mean over the network's supervised outputs."""
        outputs = self.network.supervised(batch["image"])
        losses = [self.loss_of(logits, batch["planes"], batch["valid"]) for logits in outputs]
        value = torch.stack(losses).mean()
        self.log("train/loss", value, prog_bar=True)
        self.log("train/dual", float(self.stage == "dual"))
        return value

    def on_validation_epoch_start(self) -> None:
        """Count anew."""
        self.counts.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Count; ``logits`` (n, 8, h, w) are for those who draw."""
        logits = as_read(batch, self(batch["image"]))
        self.counts.update(count(logits, batch["planes"], batch["valid"], batch["id"]))
        return {"logits": logits}

    def on_validation_epoch_end(self) -> None:
        """Scores; and their ranking, in which every score of the dual stage is above every one of Dice."""
        counts = self.counts.compute()
        for name, score in VALIDATION_SCORES.items():
            self.log_per_lesion(f"val/{name}", score(counts))
            mean = self.mean_over_learned(score(counts))
            self.log_score(f"val/{name}", mean, prog_bar=name == "pixel_f1")
            if f"val/{name}" == self.monitor:
                self.log_score(self.ranking, mean + (self.stage == "dual"))

    def on_test_epoch_start(self) -> None:
        """Count anew."""
        self.counts.reset()
        self.rows = []

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Count, and keep a row per photograph; ``logits`` (n, 8, h, w) are for those who count regions."""
        logits = as_read(batch, self.flipped(batch["image"]))
        self.seen_side = logits.shape[-1]
        self.rows += count_photographs(batch, logits, self.counts)
        return {"logits": logits}
