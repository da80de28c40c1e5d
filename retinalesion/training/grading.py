"""`GradingTask`: logits to loss, score and step for grades, and for the lesion maps of the same pass."""

from typing import Any, Literal

import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import MulticlassConfusionMatrix

from retinalesion.errors import UserError
from retinalesion.lesions import CODES, GRADES, NO_GRADE
from retinalesion.networks.classifier import Grader
from retinalesion.networks.graders import NEED_LESION_NET, grader
from retinalesion.networks.segmenters import lesion_net_from, names_in, segmenter
from retinalesion.networks.sian import Attention, Fusion, Reduction, SiAN, SiANOutput
from retinalesion.training.counts import LesionCounts, count_photographs
from retinalesion.training.grade_tables import GradeRow, GradeTables
from retinalesion.training.grades import accuracy, quadratic_kappa
from retinalesion.training.tables import PhotographRow
from retinalesion.training.task import Task

Batch = dict[str, Any]


class GradingTask(Task):
    """Train and test an image-level network: SiAN, or the plain grader.

    Cross-entropy; validation is by quadratic weighted kappa. Photographs without a grade are left out.

    Args:
        network: a name of `retinalesion.networks.graders`.
        encoder: of the main branch, ``inception_v3`` or any timm model with maps at strides 2 to 32.
        weights: at the start of a fresh fit, of the main branch's encoder: ``imagenet``, a file, an earlier
            run's checkpoint, or null for random. A checkpoint needs them no more.
        lesion_net: checkpoint of the side branch's lesion network, read at the start of a fresh fit only.
        lesion_network: its name; known from the checkpoint.
        lesion_encoder: its encoder; known from the checkpoint.
        side: of the main branch, at most the data's; null for the same.
        attention: weight maps by ``conv`` (Eq. 7) or ``max`` (Eq. 6).
        fusion: at the last ``features`` or at the ``input`` (Table 7).
        reduction: lesion maps are brought down by ``max`` or ``area``.
        freeze: the lesion network stays as it is; otherwise it goes on learning, by the grades.
        optimizer: ``sgd`` as in section 4.1, or ``adamw`` with cosine for runs of a fixed length.
        rate: learning rate.
        decay: weight decay.
    """

    monitor = "val/kappa"

    def __init__(
        self,
        network: str = "sian",
        encoder: str = "inception_v3",
        weights: str | None = "imagenet",
        lesion_net: str | None = None,
        lesion_network: str | None = None,
        lesion_encoder: str | None = None,
        side: int | None = None,
        attention: Attention = "conv",
        fusion: Fusion = "features",
        reduction: Reduction = "max",
        freeze: bool = True,
        optimizer: Literal["sgd", "adamw"] = "sgd",
        rate: float = 0.001,
        decay: float = 0.0001,
    ) -> None:
        super().__init__(optimizer, rate, decay)
        if network in NEED_LESION_NET and lesion_network is None and lesion_net is not None:
            lesion_network, lesion_encoder = names_in(lesion_net)
        self.save_hyperparameters()
        branch = segmenter(lesion_network, lesion_encoder or "inception_v3") if lesion_network else None
        self.network: Grader = grader(
            network,
            encoder,
            side,
            branch,
            attention=attention,
            fusion=fusion,
            reduction=reduction,
            freeze=freeze,
        )
        self.network.to(memory_format=torch.channels_last)
        self.weights, self.lesion_net = weights, lesion_net
        self.confusion = MulticlassConfusionMatrix(len(GRADES), ignore_index=NO_GRADE)
        self.counts = LesionCounts()
        self.rows: list[PhotographRow] = []
        self.grade_rows: list[GradeRow] = []

    @property
    def learned(self) -> Tensor:
        """Bool (8,): lesions that the side branch knows; none without one."""
        network = self.network
        if isinstance(network, SiAN):
            return network.lesion_net.learned
        return torch.zeros(len(CODES), dtype=torch.bool, device=self.device)

    @property
    def ranking(self) -> str:
        """The best checkpoint is the one of the best kappa."""
        return self.monitor

    def configure_callbacks(self) -> list[Callback]:
        """Those of every task, and the tables of grades."""
        return [*super().configure_callbacks(), GradeTables()]

    def begin(self, datamodule: Any) -> None:
        """Take the weights of both branches."""
        if self.weights is not None:
            self.network.load_weights(self.weights)
        if isinstance(self.network, SiAN):
            if self.lesion_net is None:
                raise UserError("lesion_net: name the checkpoint of the lesion network.")
            self.network.lesion_net.load_state_dict(lesion_net_from(self.lesion_net).state_dict())
            known = ", ".join(self.network.lesion_net.learned_codes)
            rank_zero_info(f"Lesions that the side branch knows: {known}.")

    def forward(self, image: Tensor) -> tuple[Tensor | None, Tensor]:
        """Logits of lesions (n, 8, h, w), None without a side branch, and of the grade (n, 5)."""
        out = self.network(image)
        return (out.lesions, out.grade) if isinstance(out, SiANOutput) else (None, out)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy over the photographs that have a grade."""
        _, grade = self(batch["image"])
        known = (batch["grade"] != NO_GRADE).sum().clamp(min=1)
        total = F.cross_entropy(grade.float(), batch["grade"], ignore_index=NO_GRADE, reduction="sum")
        value: Tensor = total / known
        self.log("train/loss", value, prog_bar=True)
        return value

    def on_validation_epoch_start(self) -> None:
        """Count anew."""
        self.confusion.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count grades."""
        self.confusion.update(self(batch["image"])[1].argmax(1), batch["grade"])

    def on_validation_epoch_end(self) -> None:
        """Kappa and accuracy."""
        confusion = self.confusion.compute()
        self.log_score("val/kappa", float(quadratic_kappa(confusion)), prog_bar=True)
        self.log_score("val/accuracy", float(accuracy(confusion)))

    def on_test_epoch_start(self) -> None:
        """Count anew."""
        self.counts.reset()
        self.rows, self.grade_rows = [], []

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Three tasks of one pass: count lesion maps, and keep two rows per photograph."""
        lesions, grade = self(batch["image"])
        self.seen_side = batch["image"].shape[-1]
        if lesions is not None:
            self.rows += count_photographs(batch, lesions, self.counts)
        probability = grade.float().softmax(1).cpu()
        for id, truth, one in zip(batch["id"], batch["grade"].tolist(), probability, strict=True):
            if id:
                self.grade_rows.append(GradeRow(id, truth, tuple(one.tolist())))

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """By ``id``: ``lesions`` float32 (n, 8, h, w), None without a side branch, and ``grade`` (n, 5)."""
        lesions, grade = self(batch["image"])
        maps = None if lesions is None else lesions.float().sigmoid()
        return {"id": batch["id"], "lesions": maps, "grade": grade.float().softmax(1)}
