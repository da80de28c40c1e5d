"""What every lesion network shares: any side, and probability 0 for lesions that it never learned."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retinalesion.lesions import CODES
from retinalesion.networks.encoder import Encoder

COARSEST = 32  # sides are padded to a multiple of the coarsest stride
NOT_LEARNED = -30.0  # logit: probability 1e-13


class Segmenter(nn.Module):
    """A lesion network: image (n, 3, h, w) in [0, 1] to logits (n, 8, h, w).

    Subclasses give ``logits_of`` for sides that are multiples of 32.
    """

    learned: Tensor

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("learned", torch.ones(len(CODES), dtype=torch.bool))

    def logits_of(self, image: Tensor) -> Tensor:
        """Logits (n, 8, h, w) of an image whose sides are multiples of 32."""
        raise NotImplementedError

    def learn_only(self, codes: Iterable[str]) -> None:
        """Say which lesions the training set teaches; all others get probability 0 everywhere from now on."""
        chosen = set(codes)
        self.learned.copy_(torch.tensor([code in chosen for code in CODES]))

    @property
    def learned_codes(self) -> tuple[str, ...]:
        """Codes of the lesions that this network knows."""
        return tuple(code for code, known in zip(CODES, self.learned.tolist(), strict=True) if known)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, 8, h, w); -30 for lesions not learned."""
        height, width = image.shape[-2:]
        padded = F.pad(image, (0, -width % COARSEST, 0, -height % COARSEST))
        logits = self.logits_of(padded)[..., :height, :width]
        return torch.where(self.learned.view(1, -1, 1, 1), logits, NOT_LEARNED)
