"""Patch-based FCN-32s: trained on patches, run as a sliding window (paper, section 4.2.1 and Table 3)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from retinalesion.lesions import CODES
from retinalesion.networks.fcn import FCN

WINDOW = 224
STEP = 112
TINY = 1e-6  # keeps the logit of a mean probability finite; half precision does not know 1 - TINY from 1


def covered(image: Tensor, step: int) -> Tensor:
    """An image (n, c, h, w) grown by black to the right and below until windows at this step cover it."""
    height, width = image.shape[-2:]
    right, below = (-(side - WINDOW) % step if side > WINDOW else WINDOW - side for side in (width, height))
    return F.pad(image, (0, right, 0, below))


class PatchFCN(FCN):
    """FCN-32s on windows of 224 x 224.

    In training the image is divided into patches that do not overlap (16 at the paper's 896); afterwards the
    window moves by 112, and where windows overlap their probabilities are averaged.

    Args:
        encoder: see `Encoder`.
        weights: of the encoder, see `Encoder`.

    Raises:
        UserError: as `Encoder` raises.
    """

    def __init__(self, encoder: str = "inception_v3", weights: str | None = None) -> None:
        super().__init__(32, encoder, weights)

    def logits_of(self, image: Tensor) -> Tensor:
        """Logits (n, 8, h, w)."""
        height, width = image.shape[-2:]
        step = WINDOW if self.training else STEP
        whole = covered(image, step)
        windows = whole.unfold(2, WINDOW, step).unfold(3, WINDOW, step)
        batch, _, down, across = windows.shape[:4]
        patches = windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, WINDOW, WINDOW)
        logits = super().logits_of(patches).view(batch, down, across, len(CODES), WINDOW, WINDOW)
        if self.training:
            together = logits.permute(0, 3, 1, 4, 2, 5).reshape(batch, len(CODES), *whole.shape[-2:])
        else:
            columns = logits.float().sigmoid().permute(0, 3, 4, 5, 1, 2).reshape(batch, -1, down * across)
            probability, times = (
                F.fold(x, whole.shape[-2:], WINDOW, stride=step)
                for x in (columns, torch.ones_like(columns[:1, : WINDOW * WINDOW]))
            )
            together = torch.logit(probability / times, eps=TINY).to(logits.dtype)
        return together[..., :height, :width]
