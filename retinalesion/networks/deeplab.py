"""DeepLabv3+: a dilated encoder, ASPP, and one skip at stride 4 (Chen et al., ECCV 2018; paper, Table 3)."""

import torch
from torch import Tensor, nn

from retinalesion.networks.base import Segmenter, enlarged, lesion_head
from retinalesion.networks.encoder import Encoder

WIDTH, SKIPPED = 256, 48
RATES = (6, 12, 18)


def conv(channels: int, to: int, size: int = 1, dilation: int = 1) -> nn.Sequential:
    """A convolution with same padding, batch norm and ReLU."""
    padding = dilation * (size // 2)
    return nn.Sequential(
        nn.Conv2d(channels, to, size, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(to),
        nn.ReLU(inplace=True),
    )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3 and the image's mean, side by side, then 1x1.

    The branch of the mean has a bias in place of batch norm, which a batch of one image could not feed.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        dilated = [conv(channels, WIDTH, 3, rate) for rate in RATES]
        self.branches = nn.ModuleList([conv(channels, WIDTH), *dilated])
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, WIDTH, 1), nn.ReLU())
        self.project = conv((len(self.branches) + 1) * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, 256, h, w)."""
        seen = [branch(x) for branch in self.branches]
        projected: Tensor = self.project(torch.cat([*seen, self.mean(x).expand_as(seen[0])], 1))
        return projected


class DeepLabV3Plus(Segmenter):
    """DeepLabv3+ with output stride 16.

    Args:
        encoder: see `Encoder`; it has to allow dilation.
        weights: of the encoder, see `Encoder`.

    Raises:
        UserError: as `Encoder` raises.
    """

    def __init__(self, encoder: str = "inception_v3", weights: str | None = None) -> None:
        super().__init__(Encoder(encoder, weights, coarsest=16))
        self.pyramid = ASPP(self.encoder.channels[-1])
        self.skip = conv(self.encoder.channels[1], SKIPPED)
        self.blend = nn.Sequential(conv(WIDTH + SKIPPED, WIDTH, 3), conv(WIDTH, WIDTH, 3))
        self.head = lesion_head(WIDTH)

    def logits_of(self, image: Tensor) -> Tensor:
        """Logits (n, 8, h, w)."""
        maps = self.encoder(image)
        fine = self.skip(maps[1])
        x = torch.cat([enlarged(self.pyramid(maps[-1]), fine), fine], 1)
        return enlarged(self.head(self.blend(x)), image)
