"""ABN, Attention Branch Network (Fukui et al., CVPR 2019), on an encoder (sections 4.2.2 and 4.2.3)."""

from torch import Tensor, nn

from retinalesion.lesions import CODES, GRADES
from retinalesion.networks.base import ImageNetwork, LesionModel, WithAttention
from retinalesion.networks.encoder import Encoder
from retinalesion.networks.stages import LastStageAtStride1, cut, through


class AttentionBranch(nn.Module):
    """The encoder's maps at stride 16 to logits of its own and to one attention map.

    The encoder's last stage again, at stride 1; batch norm, 1x1 to k maps, batch norm, ReLU. From those maps
    a 1x1 convolution and average pooling make logits, a 3x3 convolution, batch norm and the sigmoid the map.

    Args:
        encoder: whose last stage to copy.
        outputs: k.

    Raises:
        UserError: that stage cannot run at stride 1.
    """

    def __init__(self, encoder: Encoder, outputs: int) -> None:
        super().__init__()
        channels = encoder.channels[-1]
        self.stage = LastStageAtStride1(encoder)
        self.reduce = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Conv2d(outputs, outputs, 1)
        self.attend = nn.Sequential(
            nn.Conv2d(outputs, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1), nn.Sigmoid()
        )

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, k) and attention (n, 1, h, w) of maps (n, c, h, w)."""
        responses = self.reduce(self.stage(maps))
        return self.head(responses).mean((2, 3)), self.attend(responses)


class ABN(ImageNetwork):
    """Attention Branch Network: image (n, 3, h, w) in [0, 1] to two answers and an attention map.

    The encoder is cut before its last stage (Inception-v3: after Mixed_6e). Its maps g go to the attention
    branch, and as g * M + g, with the attention map M, through the encoder's own last stage (the perception
    branch), average pooling and a linear layer. Both answers learn, with equal weights; the perception
    branch's counts. The attention branch begins with the encoder's weights of that stage.

    Args:
        encoder: ``inception_v3`` or a timm model whose last stage can run at stride 1, see `stages`.
        weights: of that encoder, see `Encoder`.
        side: as of `ImageNetwork`.
        outputs: k: five grades, or eight lesions.

    Raises:
        UserError: as `Encoder` and `stages` raise.
    """

    def __init__(
        self,
        encoder: str = "inception_v3",
        weights: str | None = None,
        side: int | None = None,
        outputs: int = len(GRADES),
    ) -> None:
        super().__init__(encoder, weights, side, outputs)
        self.attention = AttentionBranch(self.encoder, outputs)

    def load_weights(self, weights: str) -> None:
        """Take the encoder's weights, and those of its last stage for the attention branch too."""
        super().load_weights(weights)
        self.attention.stage.take_weights(self.encoder)

    def forward(self, image: Tensor) -> WithAttention:
        """Logits (n, k) of both branches, and the attention map."""
        before, last = cut(self.encoder)
        maps = through(before, self.encoder.normalised(self.seen(image)))
        attention_logits, attention = self.attention(maps)
        perception = through(last, maps * attention + maps)
        return WithAttention(self.classify(perception), attention_logits, attention)


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
