"""SiAN: a grader whose maps are weighed by the lesion maps of a side branch (paper, section 3.2, Fig. 3)."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.base import GuidedGrader, LesionModel, LesionsAndGrade, Segmenter, padded
from retinalesion.networks.encoder import COARSEST

HIDDEN = 64  # maps between the two convolutions of Eq. 7

Attention = Literal["conv", "max"]
Fusion = Literal["features", "input"]
Reduction = Literal["max", "area"]


class SiAN(GuidedGrader):
    """Side-Attention Net: image (n, 3, h, w) in [0, 1] to lesion maps and grade in one pass.

    The side branch sees the image as it comes, the main branch at ``side``. Lesion maps are brought to the
    main branch's maps by adaptive max pooling, so that a microaneurysm survives. The weight maps multiply the
    encoder's last maps (Eq. 5), or the image. What the paper leaves open: 64 maps between the two
    convolutions of Eq. 7, ReLU after the first and nothing after the second, whose bias begins at 1 and whose
    weights begin small, so that training starts from the plain grader.

    Args:
        lesion_net: the side branch, a lesion network.
        encoder: of the main branch, see `Encoder`.
        weights: of that encoder.
        side: of the main branch; None for the image's own.
        attention: ``conv`` is Eq. 7, ``max`` the channel-wise maximum of Eq. 6.
        fusion: at the last ``features`` or at the ``input`` (Table 7).
        reduction: how lesion maps are brought down, by ``max`` or ``area``.
        freeze: the side branch stays as it is: no gradient, and in eval mode whatever a caller does.

    Raises:
        UserError: the side branch has no maps, or as `Encoder` raises.
    """

    def __init__(
        self,
        lesion_net: LesionModel,
        encoder: str = "inception_v3",
        weights: str | None = None,
        side: int | None = None,
        attention: Attention = "conv",
        fusion: Fusion = "features",
        reduction: Reduction = "max",
        freeze: bool = True,
    ) -> None:
        if not isinstance(lesion_net, Segmenter):
            raise UserError(
                "sian weighs by lesion maps, and a lesion classifier has none: give it a lesion network, "
                "made by: retinalesion fit --config lnet.yaml"
            )
        super().__init__(lesion_net, encoder, weights, side, freeze)
        self.fusion, self.reduction = fusion, reduction
        self.weigh: nn.Module = ChannelMaximum()
        if attention == "conv":
            made = self.encoder.channels[-1] if fusion == "features" else 3
            last = nn.Conv2d(HIDDEN, made, 3, padding=1)
            nn.init.normal_(last.weight, std=0.01)
            nn.init.ones_(last.bias)  # type: ignore[arg-type]
            self.weigh = nn.Sequential(nn.Conv2d(len(CODES), HIDDEN, 3, padding=1), nn.ReLU(), last)

    def forward(self, image: Tensor) -> LesionsAndGrade:
        """Logits of lesions (n, 8, h, w) and grade (n, 5)."""
        lesions, seen = self.lesions_in(image), self.seen(image)
        probability = self._as_seen(lesions.sigmoid())
        if self.fusion == "input":
            maps = self.encoder(seen * self.weigh(self._brought_to(seen, probability)))[-1]
        else:
            maps = self.encoder(seen)[-1]
            maps = maps * self.weigh(self._brought_to(maps, probability))
        return LesionsAndGrade(lesions, self.classify(maps))

    def _as_seen(self, probability: Tensor) -> Tensor:
        """Lesion maps (n, 8, h, w) that lie as the main branch's image does: padded where that is."""
        if self.side is None:
            return padded(probability)
        if self.side % COARSEST == 0:  # nothing is padded, and maps are brought down only once
            return probability
        return padded(self._reduced(probability, (self.side, self.side)))

    def _brought_to(self, maps: Tensor, probability: Tensor) -> Tensor:
        """Lesion maps (n, 8, h, w) at the height and width of other maps."""
        return self._reduced(probability, (maps.shape[-2], maps.shape[-1]))

    def _reduced(self, probability: Tensor, size: tuple[int, int]) -> Tensor:
        if self.reduction == "max":
            return F.adaptive_max_pool2d(probability, size)
        return F.interpolate(probability, size=size, mode="area")


class ChannelMaximum(nn.Module):
    """Eq. 6: one weight map for all, the maximum over lesions; (n, 8, h, w) to (n, 1, h, w)."""

    def forward(self, lesions: Tensor) -> Tensor:
        """The maximum."""
        return lesions.amax(1, keepdim=True)
