"""DANet: attention among positions and among maps (Fu et al., CVPR 2019; paper, Table 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retinalesion.networks.base import Segmenter, enlarged, lesion_head
from retinalesion.networks.deeplab import conv
from retinalesion.networks.encoder import Encoder

NARROWER = 4  # the attentions work on a quarter of the encoder's maps
QUERIES = 8  # and queries and keys have an eighth of those


class PositionAttention(nn.Module):
    """Every position takes up what positions like it hold; begins as identity (gamma 0).

    The key has no bias: it would add the same to all that a softmax compares.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, max(channels // QUERIES, 1), 1)
        self.key = nn.Conv2d(channels, max(channels // QUERIES, 1), 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same shape."""
        query, key, value = (one(x).flatten(2).mT[:, None] for one in (self.query, self.key, self.value))
        # Fused, so that 12,544 positions (of 896 at stride 8) need no matrix of all pairs in memory.
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return self.gamma * attended[:, 0].mT.reshape(x.shape) + x


class ChannelAttention(nn.Module):
    """Every map takes up other maps; begins as identity (gamma 0).

    Maps attend to those unlike them, as in the authors' published code; the article has no such minus.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same shape."""
        # Sums over all positions overflow float16.
        with torch.autocast("cuda" if x.is_cuda else "cpu", enabled=False):
            flat = x.flatten(2).float()
            attended = (-flat @ flat.mT).softmax(2) @ flat
        return self.gamma * attended.view(x.shape) + x


class Branch(nn.Module):
    """An attention between two 3x3 convolutions."""

    def __init__(self, channels: int, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.before, self.after = conv(channels, width, 3), conv(width, width, 3)
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, width, h, w)."""
        attended: Tensor = self.after(self.attention(self.before(x)))
        return attended


class DANet(Segmenter):
    """Dual attention network with output stride 8 and three supervised outputs: the sum, and each branch.

    Args:
        encoder: see `Encoder`; it has to allow dilation.
        weights: of the encoder, see `Encoder`.

    Raises:
        UserError: as `Encoder` raises.
    """

    def __init__(self, encoder: str = "inception_v3", weights: str | None = None) -> None:
        super().__init__(Encoder(encoder, weights, coarsest=8))
        channels = self.encoder.channels[-1]
        width = max(channels // NARROWER, QUERIES)
        self.position = Branch(channels, width, PositionAttention(width))
        self.channel = Branch(channels, width, ChannelAttention())
        self.heads = nn.ModuleList(lesion_head(width) for _ in range(3))

    @property
    def last(self) -> nn.Conv2d:
        """That of the sum of both branches."""
        return self.heads[0]  # type: ignore[return-value]

    def logits_of(self, image: Tensor) -> Tensor:
        """Logits (n, 8, h, w) of the sum of both branches."""
        x = self.encoder(image)[-1]
        return enlarged(self.heads[0](self.position(x) + self.channel(x)), image)

    def all_logits_of(self, image: Tensor) -> tuple[Tensor, ...]:
        """Logits (n, 8, h, w) of the sum, of the position branch and of the channel branch."""
        x = self.encoder(image)[-1]
        position, channel = self.position(x), self.channel(x)
        branches = (position + channel, position, channel)
        return tuple(enlarged(head(y), image) for head, y in zip(self.heads, branches, strict=True))
