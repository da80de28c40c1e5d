"""L-Net: a contracting path and an expansive path of chosen length (paper, section 3.1, Fig. 4)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retinalesion.errors import UserError
from retinalesion.networks.base import Segmenter, enlarged, lesion_head
from retinalesion.networks.encoder import STRIDES, Encoder

WIDEST, NARROWEST = 128, 32


class Step(nn.Module):
    """One step of the expansive path: 1x1 convolution, bilinear doubling, copy and merge.

    The paper leaves open how many maps the 1x1 convolution keeps and what follows a merge. Here it keeps as
    many as the encoder has at the stride it goes to, but 32 at least and 128 at most, and one 3x3 convolution
    with batch norm and ReLU blends the merged maps: light beside any encoder.
    """

    def __init__(self, channels: int, copied: int) -> None:
        super().__init__()
        self.channels = min(max(copied, NARROWEST), WIDEST)
        self.adjust = nn.Conv2d(channels, self.channels, 1)
        self.merge = nn.Sequential(
            nn.Conv2d(self.channels + copied, self.channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(self.channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor, copied: Tensor) -> Tensor:
        """(n, c, k, k) and the encoder's (n, c', 2k, 2k) to (n, width, 2k, 2k)."""
        x = F.interpolate(self.adjust(x), scale_factor=2, mode="bilinear", align_corners=False)
        merged: Tensor = self.merge(torch.cat([x, copied], 1))
        return merged


class LNet(Segmenter):
    """L-Net-32s to L-Net-2s.

    Args:
        stride: 32, 16, 8, 4 or 2, where the expansive path is cut. 16 is the paper's choice for SiAN.
        encoder: see `Encoder`.
        weights: of the encoder, see `Encoder`.

    Raises:
        UserError: the stride is none of these, or as `Encoder` raises.
    """

    def __init__(self, stride: int = 16, encoder: str = "inception_v3", weights: str | None = None) -> None:
        if stride not in STRIDES:
            raise UserError(f"L-Net has output strides {STRIDES}, not {stride}.")
        super().__init__(Encoder(encoder, weights))
        channels = self.encoder.channels[-1]
        steps = []
        for copied, at in zip(self.encoder.channels[-2::-1], STRIDES[-2::-1], strict=True):
            if at >= stride:
                steps.append(Step(channels, copied))
                channels = steps[-1].channels
        self.path = nn.ModuleList(steps)
        self.head = lesion_head(channels)

    def logits_of(self, image: Tensor) -> Tensor:
        """Logits (n, 8, h, w)."""
        *copies, x = self.encoder(image)
        for step in self.path:
            x = step(x, copies.pop())
        return enlarged(self.head(x), image)
