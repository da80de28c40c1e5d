"""Which lesions a photograph has, told without maps (paper, section 4.2.2).

The table is the only place where a name chooses a network of this kind.
"""

from torch import Tensor

from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.abn import ABN
from retinalesion.networks.classifier import Classifier
from retinalesion.networks.lesion_model import LesionModel
from retinalesion.networks.outputs import WithAttention


class LesionClassifier(LesionModel, Classifier):
    """The plain classifier for lesions: image (n, 3, h, w) in [0, 1] to logits (n, 8).

    Args:
        encoder: see `retinalesion.networks.encoder.Encoder`.

    Raises:
        UserError: as `Encoder` raises.
    """

    def __init__(self, encoder: str = "inception_v3") -> None:
        super().__init__(encoder, outputs=len(CODES))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, 8); -30 for lesions not learned."""
        return self.only_learned(super().forward(image))


class LesionABN(LesionModel, ABN):
    """ABN for lesions; arguments and errors as of `LesionClassifier`, and those of `ABN`."""

    def __init__(self, encoder: str = "inception_v3") -> None:
        super().__init__(encoder, outputs=len(CODES))

    def forward(self, image: Tensor) -> WithAttention:
        """Logits (n, 8) of both branches, -30 for lesions not learned, and the attention map."""
        out = super().forward(image)
        return WithAttention(
            self.only_learned(out.logits), self.only_learned(out.attention_logits), out.attention
        )


LESION_CLASSIFIERS: dict[str, type[LesionClassifier] | type[LesionABN]] = {
    "lesions-plain": LesionClassifier,
    "lesions-abn": LesionABN,
}


def lesion_classifier(name: str, encoder: str = "inception_v3") -> LesionClassifier | LesionABN:
    """A lesion classifier, with random weights.

    Args:
        name: a key of the table above.
        encoder: see `retinalesion.networks.encoder.Encoder`.

    Raises:
        UserError: no network of that name.
    """
    if name not in LESION_CLASSIFIERS:
        raise UserError(f"network {name!r} is unknown. There are: {', '.join(LESION_CLASSIFIERS)}.")
    return LESION_CLASSIFIERS[name](encoder)
