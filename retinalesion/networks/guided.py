"""What graders with a lesion model at their side share: it is frozen in earnest."""

from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from retinalesion.networks.classifier import ImageNetwork
from retinalesion.networks.lesion_model import LesionModel
from retinalesion.networks.lesion_models import Table, lesion_model_from
from retinalesion.networks.outputs import answer
from retinalesion.networks.segmenters import SEGMENTERS


class GuidedGrader(ImageNetwork):
    """A grader with a lesion model at its side.

    Args:
        lesion_net: the lesion model.
        encoder: of the main branch, see `Encoder`.
        weights: of that encoder.
        side: of the main branch; None for the image's own.
        freeze: the lesion model stays as it is: no gradient, and in eval mode whatever a caller does.

    Attributes:
        takes: table of the lesion models that it can have.

    Raises:
        UserError: as `Encoder` raises.
    """

    takes: ClassVar[Table] = SEGMENTERS

    def __init__(
        self,
        lesion_net: LesionModel,
        encoder: str = "inception_v3",
        weights: str | None = None,
        side: int | None = None,
        freeze: bool = True,
    ) -> None:
        super().__init__(encoder, weights, side)
        self.lesion_net, self.freeze = lesion_net, freeze
        lesion_net.requires_grad_(not freeze)
        self.train(self.training)

    @classmethod
    def from_lesion_net(cls, checkpoint: Path | str, encoder: str = "inception_v3", **others: Any) -> Self:
        """A grader on the lesion model of a checkpoint.

        Args:
            checkpoint: of the lesion model's task.
            encoder: of the main branch.
            others: as the constructor takes them.

        Raises:
            UserError: the checkpoint is missing, cut off or of something else.
        """
        return cls(lesion_model_from(checkpoint, cls.takes), encoder, **others)

    def train(self, mode: bool = True) -> Self:
        """Training mode, of which a frozen lesion model hears nothing."""
        super().train(mode)
        if self.freeze:
            self.lesion_net.eval()
        return self

    def lesions_in(self, image: Tensor) -> Tensor:
        """What the lesion model says of an image: logits (n, 8, h, w), or (n, 8) of a lesion classifier."""
        if self.freeze and self.lesion_net.training:  # set by a caller, on the model itself
            self.lesion_net.eval()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            return answer(self.lesion_net(image))
