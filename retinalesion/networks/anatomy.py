"""Where disc and fovea are, whether they are in sight at all, and how large the disc is.

Not of the paper: an ImageNet encoder cut at stride 16 and a small head. Each landmark is one choice among the
cells of a map at stride 8 and one more answer, "not in sight".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retinalesion.errors import UserError
from retinalesion.geometry import USUAL_DISC
from retinalesion.networks.checkpoint import read_part, write_part
from retinalesion.networks.encoder import Encoder

SIDE = 192  # of the square that it sees
KIND = "anatomy"  # of file
SHIPPED = Path(__file__).parents[1] / "weights" / "anatomy.safetensors"

_ENCODER, _STAGES = "tf_efficientnet_lite0", 5
_CHANNELS = 4 * 40 + 112  # of the features: maps at stride 8, four cells in one, and maps at stride 16
_REACH = 2  # cells around the likeliest that count for its place and certainty
# The fovea beside the disc and below it, in disc diameters: mean in IDRiD, and thrice the deviation there, so
# that it decides only where the picture leaves a doubt, as in a macula full of exudates.
_BESIDE, _BELOW = (2.47, 0.48), (0.28, 0.56)


class Choices(NamedTuple):
    """Logits of one pass.

    Attributes:
        cells: of disc and fovea, (n, 2, h, w), at stride 8.
        absent: that they are not in sight, (n, 2).
        diameter: of the disc as a share of the side, (n,); no logit.
    """

    cells: Tensor
    absent: Tensor
    diameter: Tensor

    def log_shares(self) -> Tensor:
        """Logarithms of probability, (n, 2, h w + 1), "not in sight" last."""
        return torch.cat([self.cells.flatten(2), self.absent[..., None]], 2).log_softmax(2)

    def in_cells(self) -> Tensor:
        """Probabilities of the cells, (n, 2, h, w); what they lack of 1 is "not in sight"."""
        return self.log_shares().exp()[..., :-1].reshape(self.cells.shape)


class Sightings(NamedTuple):
    """What `sightings` makes of choices.

    Attributes:
        places: of disc and fovea, column and row as shares of the side, (n, 2, 2).
        certainties: probability of that place and its neighbours, (n, 2).
        diameter: of the disc as a share of the side, (n,).
    """

    places: Tensor
    certainties: Tensor
    diameter: Tensor


class AnatomyNet(nn.Module):
    """Image float32 (n, 3, 192, 192) in [0, 1] to `Choices`.

    Args:
        weights: of the encoder, as `Encoder` takes them.

    Raises:
        UserError: as `Encoder` raises.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        whole = Encoder(_ENCODER, weights)
        self.register_buffer("mean", whole.mean)
        self.register_buffer("deviation", whole.deviation)
        body = whole.body
        self.stem = nn.Sequential(body.conv_stem, body.bn1)
        self.stages = nn.ModuleList(body.blocks[:_STAGES])
        self.head = AnatomyHead()

    def features(self, image: Tensor) -> Tensor:
        """What the encoder says at strides 8 and 16, (n, 272, h / 16, w / 16)."""
        maps, kept = self.stem((image - self.mean) / self.deviation), []
        for stage in self.stages:
            maps = stage(maps)
            kept.append(maps)
        return torch.cat([F.pixel_unshuffle(kept[2], 2), kept[4]], 1)

    def forward(self, image: Tensor) -> Choices:
        """Of an image whose sides are multiples of 16."""
        choices: Choices = self.head(self.features(image))
        return choices

    def look(self, image: Tensor) -> "Sightings":
        """What it sees in an image and in its mirror image, put together."""
        return sightings(self.head(self.features(image)), self.head(self.features(image.flip(3))))


class AnatomyHead(nn.Module):
    """Features (n, 272, h, w) to `Choices` among 2 h x 2 w cells."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.first = nn.Conv2d(_CHANNELS, width, 1)
        self.looks = nn.Sequential(*(_Look(width, dilation) for dilation in (1, 2, 3, 1)))
        self.overall = nn.Linear(width, width)
        self.cells, self.size = nn.Conv2d(width, 2 * 4, 1), nn.Conv2d(width, 1, 1)
        self.absent = nn.Linear(2 * width, 2)

    def forward(self, features: Tensor) -> Choices:
        """Of features (n, 272, h, w)."""
        maps = self.first(features)
        overall = F.relu(self.overall(maps.mean((2, 3))))
        maps = self.looks(maps + overall[..., None, None])
        cells = F.pixel_shuffle(self.cells(maps), 2)
        weight = F.avg_pool2d(cells[:, :1].flatten(2).softmax(2).view_as(cells[:, :1]), 2, divisor_override=1)
        diameter = USUAL_DISC * (weight * self.size(maps)).sum((1, 2, 3)).exp()
        absent = self.absent(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))
        return Choices(cells, absent, diameter)


class _Look(nn.Module):
    """What lies around each cell, added to it."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = maps + self.steps(maps)
        return out


def sightings(choices: Choices, mirrored: Choices | None = None) -> Sightings:
    """The likeliest place of disc and fovea: centre of gravity of its cell and the two rings around it.

    Args:
        choices: of n pictures.
        mirrored: of the same, mirrored, where probabilities of both shall count alike.
    """
    shares, diameter = choices.in_cells(), choices.diameter
    if mirrored is not None:
        shares = (shares + mirrored.in_cells().flip(3)) / 2
        diameter = (diameter * mirrored.diameter).sqrt()
    disc, fovea = shares[:, :1], shares[:, 1:]
    found = _likeliest(disc, disc)
    both = (found, _likeliest(_by_the_disc(fovea, *found, diameter), fovea))
    places, certainties = (torch.cat(one, 1) for one in zip(*both, strict=True))
    return Sightings(places, certainties, diameter)


def _likeliest(shares: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest place (n, 1, 2) by probabilities of cells (n, 1, h, w), and what is seen there (n, 1)."""
    height, width = shares.shape[-2:]
    size = 2 * _REACH + 1
    mass = F.avg_pool2d(shares, size, 1, _REACH, divisor_override=1)
    best = mass.flatten(2).argmax(2)
    rows, columns = torch.arange(height, device=best.device), torch.arange(width, device=best.device)
    near = ((rows - (best // width)[..., None]).abs() <= _REACH)[..., None] & (
        (columns - (best % width)[..., None]).abs() <= _REACH
    )[..., None, :]
    weight = shares * near
    weight = weight / weight.sum((2, 3), keepdim=True).clamp(min=1e-12)
    x = (weight.sum(2) * (columns + 0.5)).sum(2) / width
    y = (weight.sum(3) * (rows + 0.5)).sum(2) / height
    return torch.stack([x, y], 2), (seen * near).sum((2, 3))


def _by_the_disc(shares: Tensor, place: Tensor, certainty: Tensor, diameter: Tensor) -> Tensor:
    """Weights of the fovea's cells (n, 1, h, w): more where eyes have it, as sure as the disc is."""
    height, width = shares.shape[-2:]
    rows, columns = (torch.arange(n, device=shares.device) + 0.5 for n in (height, width))
    beside = (columns / width - place[..., :1]).abs() / diameter[:, None, None]
    below = (rows / height - place[..., 1:]) / diameter[:, None, None]
    across, down = (
        ((at - mean) / spread) ** 2 for at, (mean, spread) in ((beside, _BESIDE), (below, _BELOW))
    )
    return shares * torch.exp(-(down[..., None] + across[..., None, :]) / 2 * certainty[..., None, None])


def anatomy_loss(choices: Choices, places: Tensor, diameter: Tensor, trust: Tensor) -> Tensor:
    """Cross-entropy of the choice, plus the disc's diameter by its logarithm.

    Args:
        choices: of n pictures.
        places: of disc and fovea as shares of the side, (n, 2, 2); outside of 0 to 1 where not in sight, NaN
            where it is not known.
        diameter: of the disc as a share of the side, (n,).
        trust: weight of each diameter, (n,).
    """
    height, width = choices.cells.shape[-2:]
    known = ~places[..., 0].isnan()
    x, y = places.nan_to_num(-1).unbind(2)
    inside = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
    rows, columns = (torch.arange(n, device=x.device) + 0.5 for n in (height, width))
    across = torch.exp(-((columns - x[..., None] * width) ** 2) / 2)  # a deviation of one cell
    down = torch.exp(-((rows - y[..., None] * height) ** 2) / 2)
    cells = (down[..., None] * across[..., None, :]).flatten(2) * inside[..., None]
    cells = cells / cells.sum(2, keepdim=True).clamp(min=1e-12)
    target = torch.cat([cells, (~inside).to(cells)[..., None]], 2)
    choice = -(target * choices.log_shares()).sum(2)
    trust = trust * (known & inside)[:, 0]
    size = ((choices.diameter / diameter).log().abs() * trust).sum() / trust.sum().clamp(min=1e-12)
    return (choice * known).sum() / known.sum().clamp(min=1) + size


def write_anatomy(network: AnatomyNet, file: Path, about: Mapping[str, Any]) -> None:
    """Write a file to give away, in float16.

    Args:
        network: trained.
        file: to write, ``.safetensors``.
        about: what trained it, plain values.

    Raises:
        UserError: the place cannot be written or is full.
    """
    write_part(network.state_dict(), file, KIND, about)


def read_anatomy(file: Path | str = SHIPPED) -> AnatomyNet:
    """A trained network, ready to look; the one of the package where no other is named.

    Raises:
        UserError: missing, cut off, not finite, or a file of something else.
    """
    tensors = read_part(file, KIND)
    network = AnatomyNet()
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(
            f"{file}: its weights do not fit this version's {KIND} network. Take the version that wrote it."
        ) from error
    return network.eval()
