"""`LesionClassificationTask`: logits to loss, score and step for lesions of whole photographs."""

from typing import Literal

import torch
from torch import Tensor

from retinalesion import scores
from retinalesion.data.batch import Batch, Labels, Truth
from retinalesion.networks.abn import LesionABN
from retinalesion.networks.base import LesionClassifier, answer, taught
from retinalesion.networks.tables import lesion_classifier
from retinalesion.training.counts import LesionCounts, count_photographs
from retinalesion.training.lesion_task import LesionTask
from retinalesion.training.losses import classification_dice_loss
from retinalesion.training.metrics import count
from retinalesion.training.rows import IMAGE_LEVEL, ImageRow, PhotographRow


class LesionClassificationTask(LesionTask):
    """Train and test a network that says which lesions a photograph has, not where (section 4.2.2, Table 5).

    Image labels follow from planes and valid pixels: a lesion is present where any valid pixel has it, and
    of one without a valid pixel nothing is known. Dice over photographs and lesions, with ABN that of both
    branches; validation is by the mean image F1 of lesions learned.

    Args:
        network: a name of `retinalesion.networks.tables`.
        encoder: ``inception_v3`` or any timm model with maps at strides 2 to 32.
        weights: at the start of a fresh fit, of the encoder: ``imagenet``, a file, an earlier run's
            checkpoint, or null for random. A checkpoint needs them no more.
        optimizer: ``sgd`` as in section 4.1, or ``adamw`` with cosine for runs of a fixed length.
        rate: learning rate.
        decay: weight decay.
    """

    monitor = "val/image_f1"
    scores = IMAGE_LEVEL

    def __init__(
        self,
        network: str = "lesions-plain",
        encoder: str = "inception_v3",
        weights: str | None = "imagenet",
        optimizer: Literal["sgd", "adamw"] = "sgd",
        rate: float = 0.001,
        decay: float = 0.0001,
    ) -> None:
        super().__init__(optimizer, rate, decay)
        self.save_hyperparameters()
        self.network: LesionClassifier | LesionABN = lesion_classifier(network, encoder)
        self.network.to(memory_format=torch.channels_last)
        self.weights = weights
        self.counts = LesionCounts()
        self.rows: list[PhotographRow] = []

    @property
    def ranking(self) -> str:
        """The best checkpoint is the one of the best image F1: there is one stage only."""
        return self.monitor

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, 8)."""
        return answer(self.network(image))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Dice on image labels, the sum over the branches that the network has."""
        labels = image_labels(batch)
        losses = [
            classification_dice_loss(_as_maps(logits).float().sigmoid(), labels["planes"], labels["valid"])
            for logits in taught(self.network(batch["image"]))
        ]
        value = torch.stack(losses).sum()
        self.log("train/loss", value, prog_bar=True)
        return value

    def on_validation_epoch_start(self) -> None:
        """Count anew."""
        self.counts.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count."""
        labels = image_labels(batch)
        logits = _as_maps(self(batch["image"]))
        self.counts.update(count(logits, labels["planes"], labels["valid"], batch["id"]))

    def on_validation_epoch_end(self) -> None:
        """Image F1 per lesion, and the mean over those learned."""
        score = scores.image_f1(self.counts.compute())
        self.log_per_lesion(self.monitor, score)
        self.log_score(self.monitor, self.mean_over_learned(score), prog_bar=True)

    def on_test_epoch_start(self) -> None:
        """Count anew."""
        self.counts.reset()
        self.rows = []

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count, and keep a row per photograph."""
        self.seen_side = batch["image"].shape[-1]
        logits = _as_maps(self(batch["image"]))
        # Without maps, spots have no place.
        labels: Labels = {**image_labels(batch), "grade": batch["grade"], "id": batch["id"]}
        self.rows += count_photographs(labels, logits, self.counts, ImageRow)


def image_labels(batch: Truth) -> Truth:
    """Labels of whole photographs as maps of one pixel, so that losses and counts of maps serve them too.

    Args:
        batch: of `FundusDataModule`.

    Returns:
        ``planes`` bool (n, 8, 1, 1), present; ``valid`` likewise, known.
    """
    shown, known = batch["planes"] & batch["valid"], batch["valid"]
    return {"planes": _as_maps(shown.flatten(2).any(2)), "valid": _as_maps(known.flatten(2).any(2))}


def _as_maps(of_photographs: Tensor) -> Tensor:
    """(n, 8) as maps of one pixel, (n, 8, 1, 1)."""
    return of_photographs[..., None, None]
