"""What every lesion network shares: any side, and maps that know what was learned."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.checkpoint import Checkpoint, read_weights
from retinalesion.networks.encoder import COARSEST, Encoder
from retinalesion.networks.lesion_model import LesionModel

RARE = -3.0  # logit with which training begins: lesions cover less than 1 % of the pixels (section 3.1)


def padded(image: Tensor) -> Tensor:
    """An image (n, c, h, w), its sides brought up to multiples of 32 by black to the right and below."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % COARSEST, 0, -height % COARSEST))


def lesion_head(channels: int) -> nn.Conv2d:
    """The last 1x1 convolution, to eight maps, which begins with a low probability everywhere."""
    head = nn.Conv2d(channels, len(CODES), 1)
    nn.init.constant_(head.bias, RARE)  # type: ignore[arg-type]
    return head


def enlarged(maps: Tensor, like: Tensor) -> Tensor:
    """Maps (n, c, h, w) at the height and width of other maps, bilinear."""
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)


class Segmenter(LesionModel):
    """A lesion network: image (n, 3, h, w) in [0, 1] to logits (n, 8, h, w).

    Subclasses give ``logits_of`` for sides that are multiples of 32, and their ``head`` or another ``last``
    convolution; those with more than one supervised output give ``all_logits_of`` too.
    """

    head: nn.Conv2d

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def last(self) -> nn.Conv2d:
        """The convolution after which maps are only enlarged."""
        return self.head

    def shift(self, by: Tensor) -> None:
        """Add to every logit of each lesion, for good.

        Args:
            by: float (8,).
        """
        with torch.no_grad():
            self.last.bias += by  # type: ignore[operator]

    def logits_of(self, image: Tensor) -> Tensor:
        """Logits (n, 8, h, w) of an image whose sides are multiples of 32."""
        raise NotImplementedError

    def all_logits_of(self, image: Tensor) -> tuple[Tensor, ...]:
        """The same of every output that training supervises, the one that counts first."""
        return (self.logits_of(image),)

    def load_weights(self, weights: str) -> None:
        """Begin with an encoder's weights, or with a whole network of this kind that was trained before.

        Args:
            weights: as `Encoder.load_weights` takes them; of a run, a checkpoint or an exported file the
                whole network is taken.

        Raises:
            UserError: as there; or the checkpoint is of another network.
        """
        given: Any = "imagenet" if weights == "imagenet" else read_weights(weights)
        if not isinstance(given, Checkpoint):
            self.encoder.take(given, weights)
            return
        try:
            self.load_state_dict(given.tensors())
        except RuntimeError as error:
            raise UserError(
                f"weights: {weights}: holds {given.network}, not this network with this encoder "
                f"({' '.join(str(error).split())[:200]})."
            ) from error

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, 8, h, w); -30 for lesions not learned."""
        return self._of_learned(self.logits_of(padded(image)), image)

    def supervised(self, image: Tensor) -> tuple[Tensor, ...]:
        """Logits (n, 8, h, w) of every output that training supervises; the first is what `forward` gives."""
        return tuple(self._of_learned(logits, image) for logits in self.all_logits_of(padded(image)))

    def _of_learned(self, logits: Tensor, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        return self.only_learned(logits[..., :height, :width])
