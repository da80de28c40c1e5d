"""Image-level networks: an encoder's last maps, averaged, to grades (section 3.2) or lesions (4.2.2)."""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from retinalesion.lesions import GRADES
from retinalesion.networks.encoder import Encoder
from retinalesion.networks.segmenter import padded


class ImageNetwork(nn.Module):
    """What image-level networks share: an encoder at its side, average pooling, one linear layer.

    Args:
        encoder: see `Encoder`.
        weights: of the encoder, see `Encoder`.
        side: the image is brought to this side, by area, before it enters; None leaves it as it comes.
        outputs: how many logits k; five grades, or eight lesions.

    Raises:
        UserError: as `Encoder` raises.
    """

    def __init__(
        self,
        encoder: str = "inception_v3",
        weights: str | None = None,
        side: int | None = None,
        outputs: int = len(GRADES),
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, weights)
        self.side = side
        self.head = nn.Linear(self.encoder.channels[-1], outputs)

    def load_weights(self, weights: str) -> None:
        """Take the encoder's weights, as `Encoder.load_weights` does."""
        self.encoder.load_weights(weights)

    def seen(self, image: Tensor) -> Tensor:
        """The image as the encoder sees it: at ``side``, or padded to a multiple of 32."""
        if self.side is None or self.side == image.shape[-1] == image.shape[-2]:
            return padded(image)
        return padded(F.interpolate(image, size=(self.side, self.side), mode="area"))

    def classify(self, maps: Tensor) -> Tensor:
        """Logits (n, k) of the last maps (n, c, h, w): average pooling and one linear layer."""
        return cast(Tensor, self.head(maps.mean((2, 3))))


class Classifier(ImageNetwork):
    """The plain one: image (n, 3, h, w) in [0, 1] to logits (n, k); arguments as of `ImageNetwork`."""

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, k)."""
        return self.classify(self.encoder(self.seen(image))[-1])
