"""SiAN: a grader whose maps are weighed by the lesion maps of a side branch (paper, section 3.2, Fig. 3)."""

from pathlib import Path
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retinalesion.lesions import CODES
from retinalesion.networks.classifier import Grader
from retinalesion.networks.segmenter import Segmenter, padded
from retinalesion.networks.segmenters import lesion_net_from

HIDDEN = 64  # maps between the two convolutions of Eq. 7

Attention = Literal["conv", "max"]
Fusion = Literal["features", "input"]
Reduction = Literal["max", "area"]


class SiANOutput(NamedTuple):
    """Logits of one pass: ``lesions`` (n, 8, h, w) and ``grade`` (n, 5)."""

    lesions: Tensor
    grade: Tensor


class SiAN(Grader):
    """Side-Attention Net: image (n, 3, h, w) in [0, 1] to lesion maps and grade in one pass.

    The side branch sees the image as it comes, the main branch at ``side``. Lesion maps are brought to the
    main branch's maps by adaptive max pooling, so that a microaneurysm survives. The weight maps multiply the
    encoder's last maps (Eq. 5), or the image. What the paper leaves open: 64 maps between the two
    convolutions of Eq. 7, ReLU after the first and nothing after the second, whose bias begins at 1 and whose
    weights begin small, so that training starts from the plain grader.

    Args:
        lesion_net: the side branch.
        encoder: of the main branch, see `Encoder`.
        weights: of that encoder.
        side: of the main branch; None for the image's own.
        attention: ``conv`` is Eq. 7, ``max`` the channel-wise maximum of Eq. 6.
        fusion: at the last ``features`` or at the ``input`` (Table 7).
        reduction: how lesion maps are brought down, by ``max`` or ``area``.
        freeze: the side branch stays as it is: no gradient, and in eval mode whatever a caller does.

    Raises:
        UserError: as `Encoder` raises.
    """

    def __init__(
        self,
        lesion_net: Segmenter,
        encoder: str = "inception_v3",
        weights: str | None = None,
        side: int | None = None,
        attention: Attention = "conv",
        fusion: Fusion = "features",
        reduction: Reduction = "max",
        freeze: bool = True,
    ) -> None:
        super().__init__(encoder, weights, side)
        self.lesion_net, self.fusion, self.reduction, self.freeze = lesion_net, fusion, reduction, freeze
        self.weigh: nn.Module = ChannelMaximum()
        if attention == "conv":
            made = self.encoder.channels[-1] if fusion == "features" else 3
            last = nn.Conv2d(HIDDEN, made, 3, padding=1)
            nn.init.normal_(last.weight, std=0.01)
            nn.init.ones_(last.bias)  # type: ignore[arg-type]
            self.weigh = nn.Sequential(nn.Conv2d(len(CODES), HIDDEN, 3, padding=1), nn.ReLU(), last)
        lesion_net.requires_grad_(not freeze)
        self.train(self.training)

    @classmethod
    def from_lesion_net(cls, checkpoint: Path | str, encoder: str = "inception_v3", **others: object) -> Self:
        """A SiAN on the lesion network of a checkpoint.

        Args:
            checkpoint: of a `SegmentationTask`.
            encoder: of the main branch.
            others: as the constructor takes them.

        Raises:
            UserError: the checkpoint is missing, cut off or of something else.
        """
        return cls(lesion_net_from(checkpoint), encoder, **others)  # type: ignore[arg-type]

    def train(self, mode: bool = True) -> Self:
        """Training mode, of which a frozen side branch hears nothing."""
        super().train(mode)
        if self.freeze:
            self.lesion_net.eval()
        return self

    def forward(self, image: Tensor) -> SiANOutput:
        """Logits of lesions (n, 8, h, w) and grade (n, 5)."""
        if self.freeze and self.lesion_net.training:  # set by a caller, on the branch itself
            self.lesion_net.eval()
        height, width = image.shape[-2:]
        image = padded(image)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            lesions: Tensor = self.lesion_net(image)
        probability, seen = lesions.sigmoid(), self.seen(image)
        if self.fusion == "input":
            maps = self.encoder(seen * self.weigh(self._brought_to(seen, probability)))[-1]
        else:
            maps = self.encoder(seen)[-1]
            maps = maps * self.weigh(self._brought_to(maps, probability))
        return SiANOutput(lesions[..., :height, :width], self.grade(maps))

    def _brought_to(self, maps: Tensor, probability: Tensor) -> Tensor:
        """Lesion maps (n, 8, h, w) at the height and width of other maps."""
        size = maps.shape[-2:]
        if self.reduction == "max":
            return F.adaptive_max_pool2d(probability, size)
        return F.interpolate(probability, size=size, mode="area")


class ChannelMaximum(nn.Module):
    """Eq. 6: one weight map for all, the maximum over lesions; (n, 8, h, w) to (n, 1, h, w)."""

    def forward(self, lesions: Tensor) -> Tensor:
        """The maximum."""
        return lesions.amax(1, keepdim=True)
