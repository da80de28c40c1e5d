"""What all that tells lesions shares, by pixel or by photograph: it knows which ones it learned."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from retinalesion.lesions import CODES

NOT_LEARNED = -30.0  # logit: probability 1e-13


class LesionModel(nn.Module):
    """Base of lesion networks and lesion classifiers; the first, where a class has several.

    Attributes:
        learned: bool (8,), lesions that training taught; all, until `learn_only` says otherwise.
    """

    learned: Tensor

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.register_buffer("learned", torch.ones(len(CODES), dtype=torch.bool))

    def learn_only(self, codes: Iterable[str]) -> None:
        """Say which lesions the training set teaches; all others get probability 0 from now on."""
        chosen = set(codes)
        self.learned.copy_(torch.tensor([code in chosen for code in CODES]))

    @property
    def learned_codes(self) -> tuple[str, ...]:
        """Codes of the lesions that this network knows."""
        return tuple(code for code, known in zip(CODES, self.learned.tolist(), strict=True) if known)

    def only_learned(self, logits: Tensor) -> Tensor:
        """Logits (n, 8) or (n, 8, h, w), those of lesions not learned put to -30."""
        return torch.where(self.learned.view(1, -1, *[1] * (logits.ndim - 2)), logits, NOT_LEARNED)
