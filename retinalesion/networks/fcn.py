"""FCN: score maps of three strides, added (Long et al., CVPR 2015; paper, Table 3)."""

import torch
from torch import Tensor, nn

from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.base import Segmenter, enlarged, lesion_head
from retinalesion.networks.encoder import STRIDES, Encoder

OUTPUT_STRIDES = (32, 16, 8)


class Doubling(nn.ConvTranspose2d):
    """Score maps at twice their side, by a transposed convolution that begins as bilinear interpolation."""

    def __init__(self) -> None:
        super().__init__(len(CODES), len(CODES), 4, stride=2, padding=1, bias=False)
        slope = torch.tensor([0.25, 0.75, 0.75, 0.25])
        with torch.no_grad():
            self.weight.zero_()
            self.weight[range(len(CODES)), range(len(CODES))] = torch.outer(slope, slope)


class FCN(Segmenter):
    """FCN-32s, FCN-16s and FCN-8s.

    A 1x1 convolution scores the encoder's maps at each stride from 32 to the chosen one; the scores are
    doubled by learned transposed convolutions and added. As in the original, added scores begin at zero, and
    the last enlargement, to the image's side, is bilinear and not learned.

    Args:
        stride: 32, 16 or 8, of the finest maps that are scored.
        encoder: see `Encoder`.
        weights: of the encoder, see `Encoder`.

    Raises:
        UserError: the stride is none of these, or as `Encoder` raises.
    """

    def __init__(self, stride: int = 32, encoder: str = "inception_v3", weights: str | None = None) -> None:
        if stride not in OUTPUT_STRIDES:
            raise UserError(f"FCN has output strides {OUTPUT_STRIDES}, not {stride}.")
        super().__init__(Encoder(encoder, weights))
        coarsest, *finer = self.encoder.channels[::-1]
        self.head = lesion_head(coarsest)
        added = [c for c, at in zip(finer, STRIDES[-2::-1], strict=True) if at >= stride]
        self.added = nn.ModuleList(nn.Conv2d(channels, len(CODES), 1) for channels in added)
        self.doublings = nn.ModuleList(Doubling() for _ in added)
        for score in self.added:
            nn.init.zeros_(score.weight)  # type: ignore[arg-type]
            nn.init.zeros_(score.bias)  # type: ignore[arg-type]

    @property
    def last(self) -> nn.Conv2d:
        """That of the finest maps, whose scores are added last."""
        return self.added[-1] if self.added else self.head  # type: ignore[return-value]

    def logits_of(self, image: Tensor) -> Tensor:
        """Logits (n, 8, h, w)."""
        *maps, x = self.encoder(image)
        scores: Tensor = self.head(x)
        for score, double in zip(self.added, self.doublings, strict=True):
            scores = double(scores) + score(maps.pop())
        return enlarged(scores, image)
