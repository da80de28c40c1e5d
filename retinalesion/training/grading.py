"""`GradingTask`: logits to loss, score and step for grades, and for the lesion maps of the same pass."""

from typing import Any, Literal

import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import MulticlassConfusionMatrix

from retinalesion import scores
from retinalesion.data.batch import Batch
from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.prints import ids_among, in_short
from retinalesion.errors import UserError
from retinalesion.lesions import GRADES, NO_GRADE
from retinalesion.networks.base import GuidedGrader, ImageNetwork, answer, maps_in, taught
from retinalesion.networks.checkpoint import read_checkpoint
from retinalesion.networks.sian import Attention, Fusion, Reduction
from retinalesion.networks.tables import LESION_MODELS_FOR, grader_of, lesion_model_from, names_in
from retinalesion.training.callbacks.grade_tables import GradeTables
from retinalesion.training.counts import LesionCounts, as_read, count_photographs
from retinalesion.training.metrics import require_finite_output
from retinalesion.training.rows import GradeRow, PhotographRow
from retinalesion.training.seen import Seen
from retinalesion.training.task import Task


class GradingTask(Task):
    """Train and test a grader: SiAN, Lesion-Concat, ABN, or the plain one (Tables 6 and 7).

    Cross-entropy, with ABN that of both branches; validation is by quadratic weighted kappa. Photographs
    without a grade are left out.

    Args:
        network: a name of `retinalesion.networks.tables`.
        encoder: of the main branch, ``inception_v3`` or any timm model with maps at strides 2 to 32.
        weights: at the start of a fresh fit, of the main branch's encoder: ``imagenet``, a file, an earlier
            run's checkpoint, or null for random. A checkpoint needs them no more.
        lesion_net: checkpoint of the lesion network of SiAN or Lesion-Concat, which takes a lesion classifier
            too; read at the start of a fresh fit only.
        lesion_network: its name; known from the checkpoint.
        lesion_encoder: its encoder; known from the checkpoint.
        side: of the main branch, at most the data's; null for the same.
        attention: SiAN's weight maps by ``conv`` (Eq. 7) or ``max`` (Eq. 6).
        fusion: SiAN's, at the last ``features`` or at the ``input`` (Table 7).
        reduction: SiAN's lesion maps are brought down by ``max`` or ``area``.
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
        if network in LESION_MODELS_FOR and lesion_network is None and lesion_net is not None:
            # kept below, with all that was given
            lesion_network, lesion_encoder = names_in(lesion_net, LESION_MODELS_FOR[network])  # noqa: RUF059
        self.save_hyperparameters()
        self.network: ImageNetwork = grader_of(self.hparams)
        self.network.to(memory_format=torch.channels_last)
        self.weights, self.lesion_net = weights, lesion_net
        self.confusion = MulticlassConfusionMatrix(len(GRADES), ignore_index=NO_GRADE)
        self.counts = LesionCounts()
        self.rows: list[PhotographRow] = []
        self.grade_rows: list[GradeRow] = []

    @property
    def ranking(self) -> str:
        """The best checkpoint is the one of the best kappa."""
        return self.monitor

    def configure_callbacks(self) -> list[Callback]:
        """Those of every task, and the tables of grades."""
        return [*super().configure_callbacks(), GradeTables()]

    def begin(self, data: FundusDataModule | None) -> None:
        """Take the weights of the encoder and of the lesion model.

        Raises:
            UserError: no lesion model named, it is of another fold, or it saw photographs that validate the
                grader.
        """
        if self.weights is not None:
            self.network.load_weights(self.weights)
            self.inherit(self.weights)
        if isinstance(self.network, GuidedGrader):
            if self.lesion_net is None:
                raise UserError("lesion_net: name the checkpoint of the lesion network.")
            trained = lesion_model_from(self.lesion_net, LESION_MODELS_FOR[self.hparams["network"]])
            self._inherit_lesion_net(self.lesion_net, data)
            self.network.lesion_net.load_state_dict(trained.state_dict())
            rank_zero_info(f"Lesions that the lesion model knows: {', '.join(trained.learned_codes)}.")

    def _inherit_lesion_net(self, file: str, data: FundusDataModule | None) -> None:
        """Its maps of photographs that trained it are too good: those must not choose the grader's best."""
        seen = Seen.kept_in(read_checkpoint(file).about)
        if apart := seen.apart_from(Seen.of(data)):
            raise UserError(
                f"{file}: this lesion network is of {apart}: its maps of the photographs that validate the "
                "grader would be too good. Name the lesion network of the same data.folds and data.fold."
            )
        prints = seen.all
        validate = data.rows("val") if data is not None else []
        if known := ids_among(validate, prints):
            raise UserError(
                f"{file}: {len(known)} of the {len(validate)} photographs that validate the grader trained "
                f"this lesion network ({in_short(known)}), and its maps of them are too good. Name one "
                "that was trained on the same store with the same data.folds and data.fold."
            )
        self.inherit_prints(prints)

    def forward(self, image: Tensor) -> tuple[Tensor | None, Tensor]:
        """Logits of lesions (n, 8, h, w), None where there are no maps, and of the grade (n, 5)."""
        out = self.network(image)
        return maps_in(out), answer(out)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy over the photographs that have a grade, the sum over what the network says of it."""
        known = (batch["grade"] != NO_GRADE).sum().clamp(min=1)
        losses = [
            F.cross_entropy(logits.float(), batch["grade"], ignore_index=NO_GRADE, reduction="sum") / known
            for logits in taught(self.network(batch["image"]))
        ]
        value = torch.stack(losses).sum()
        self.log("train/loss", value, prog_bar=True)
        return value

    def on_validation_epoch_start(self) -> None:
        """Count anew."""
        self.confusion.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count grades."""
        grade = self(batch["image"])[1]
        require_finite_output(grade, batch["id"])
        self.confusion.update(grade.argmax(1), batch["grade"])

    def on_validation_epoch_end(self) -> None:
        """Kappa and accuracy."""
        confusion = self.confusion.compute().cpu().numpy()
        self.log_score("val/kappa", float(scores.kappa(confusion)), prog_bar=True)
        self.log_score("val/accuracy", scores.accuracy(confusion))

    def on_test_epoch_start(self) -> None:
        """Count anew."""
        self.counts.reset()
        self.rows, self.grade_rows = [], []

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Three tasks of one pass: count lesion maps, and keep two rows per photograph.

        Returns:
            For those who count regions ``logits`` (n, 8, h, w), where there are maps; for those who make
            readings what `predict_step` says too: ``id``, ``lesions`` and ``grade``.
        """
        lesions, grade = self(batch["image"])
        require_finite_output(grade, batch["id"])
        self.seen_side = batch["image"].shape[-1]
        maps = {} if lesions is None else {"logits": as_read(batch, lesions)}
        for logits in maps.values():
            self.rows += count_photographs(batch, logits, self.counts)
        probability = grade.float().softmax(1)
        for id, truth, one in zip(batch["id"], batch["grade"].tolist(), probability.cpu(), strict=True):
            if id:
                self.grade_rows.append(GradeRow(id, truth, tuple(one.tolist())))
        said = None if lesions is None else lesions.float().sigmoid()
        return {**maps, "id": batch["id"], "lesions": said, "grade": probability}
