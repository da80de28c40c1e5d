"""Lesion-Concat: the image's features and its lesion vector to one linear layer (paper, section 4.2.3)."""

import torch
from torch import Tensor, nn

from retinalesion.lesions import CODES, GRADES
from retinalesion.networks.base import GuidedGrader, LesionModel, LesionsAndGrade


class LesionConcat(GuidedGrader):
    """Lesion-Concat: image (n, 3, h, w) in [0, 1] to the lesion model's logits and the grade.

    The lesion vector (P1, ..., P8) holds the global maximum of each lesion map (Eq. 1), or a lesion
    classifier's probabilities; with the features after average pooling, (2048 + 8) x 5 weights of
    Inception-v3 see it.

    Args:
        lesion_net: a lesion network or a lesion classifier.
        encoder: of the main branch, see `Encoder`.
        weights: of that encoder.
        side: of the main branch; None for the image's own.
        freeze: the lesion model stays as it is.

    Raises:
        UserError: as `Encoder` raises.
    """

    def __init__(
        self,
        lesion_net: LesionModel,
        encoder: str = "inception_v3",
        weights: str | None = None,
        side: int | None = None,
        freeze: bool = True,
    ) -> None:
        super().__init__(lesion_net, encoder, weights, side, freeze)
        self.head = nn.Linear(self.encoder.channels[-1] + len(CODES), len(GRADES))

    def forward(self, image: Tensor) -> LesionsAndGrade:
        """Logits of lesions, (n, 8, h, w) or (n, 8), and of the grade (n, 5)."""
        lesions = self.lesions_in(image)
        features = self.encoder(self.seen(image))[-1].mean((2, 3))
        return LesionsAndGrade(lesions, self.head(torch.cat([features, lesion_vector(lesions)], 1)))


def lesion_vector(lesions: Tensor) -> Tensor:
    """Probabilities (n, 8) of lesions in a photograph, from logits (n, 8, h, w) by Eq. 1, or (n, 8)."""
    probability = lesions.sigmoid()
    return probability.amax((2, 3)) if probability.ndim == 4 else probability
