"""U-Net: an expansive path as long as the contracting one (Ronneberger et al., 2015; paper, Table 3)."""

import torch
from torch import Tensor, nn

from retinalesion.networks.base import Segmenter, lesion_head
from retinalesion.networks.encoder import Encoder

FULL_SIDE = 32  # maps at the image's own side, where encoders have none to copy


def _blend(channels: int, to: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for given in (channels, to):
        layers += [nn.Conv2d(given, to, 3, padding=1, bias=False), nn.BatchNorm2d(to), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UpStep(nn.Module):
    """One step up: a deconvolution that doubles, copy and merge, two 3x3 convolutions."""

    def __init__(self, channels: int, copied: int, to: int) -> None:
        super().__init__()
        self.doubling = nn.ConvTranspose2d(channels, to, 2, stride=2)
        self.blend = _blend(to + copied, to)

    def forward(self, x: Tensor, *copied: Tensor) -> Tensor:
        """(n, c, k, k) and the encoder's (n, c', 2k, 2k), where it has any, to (n, to, 2k, 2k)."""
        blended: Tensor = self.blend(torch.cat([self.doubling(x), *copied], 1))
        return blended


class UNet(Segmenter):
    """U-Net on any encoder.

    The path mirrors the encoder: at each stride it keeps as many maps as the encoder has there, and it goes
    on to the image's own side. Beside it, L-Net's steps (1x1 convolution, bilinear doubling, one 3x3
    convolution, 128 maps at most) are light, and its path may be cut.

    Args:
        encoder: see `Encoder`.
        weights: of the encoder, see `Encoder`.

    Raises:
        UserError: as `Encoder` raises.
    """

    def __init__(self, encoder: str = "inception_v3", weights: str | None = None) -> None:
        super().__init__(Encoder(encoder, weights))
        channels, *copies = self.encoder.channels[::-1]
        steps = []
        for copied in copies:
            steps.append(UpStep(channels, copied, copied))
            channels = copied
        self.path = nn.ModuleList([*steps, UpStep(channels, 0, FULL_SIDE)])
        self.head = lesion_head(FULL_SIDE)

    def logits_of(self, image: Tensor) -> Tensor:
        """Logits (n, 8, h, w)."""
        *copies, x = self.encoder(image)
        for step in self.path:
            x = step(x, *(copies.pop(),) if copies else ())
        logits: Tensor = self.head(x)
        return logits
