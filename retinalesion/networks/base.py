"""What all networks share: lesion models, image-level networks, and what each of them answers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retinalesion.errors import UserError
from retinalesion.lesions import CODES, GRADES
from retinalesion.networks.checkpoint import Checkpoint, read_weights
from retinalesion.networks.encoder import COARSEST, Encoder

NOT_LEARNED = -30.0  # logit: probability 1e-13
RARE = -3.0  # logit with which training begins: lesions cover less than 1 % of the pixels (section 3.1)


class LesionsAndGrade(NamedTuple):
    """Logits of one pass: ``lesions`` (n, 8, h, w), or (n, 8) of a lesion classifier; ``grade`` (n, 5)."""

    lesions: Tensor
    grade: Tensor


class WithAttention(NamedTuple):
    """One pass of ABN.

    Attributes:
        logits: of the perception branch, the network's answer, (n, k).
        attention_logits: of the attention branch, (n, k).
        attention: the map, 0 to 1, (n, 1, h, w), at stride 16 of the image as the network sees it.
    """

    logits: Tensor
    attention_logits: Tensor
    attention: Tensor


Output = Tensor | LesionsAndGrade | WithAttention


def answer(out: Output) -> Tensor:
    """The logits that count."""
    return taught(out)[0]


def taught(out: Output) -> tuple[Tensor, ...]:
    """The logits that a loss is taken of, the answer first; the loss is the sum."""
    if isinstance(out, LesionsAndGrade):
        return (out.grade,)
    if isinstance(out, WithAttention):
        return out.logits, out.attention_logits
    return (out,)


def attention_of(out: Output) -> Tensor | None:
    """ABN's attention map (n, 1, h, w); None of other networks."""
    return out.attention if isinstance(out, WithAttention) else None


def maps_in(out: Output) -> Tensor | None:
    """Logits of a grader's lesion maps (n, 8, h, w); a lesion classifier's are none."""
    return out.lesions if isinstance(out, LesionsAndGrade) and out.lesions.ndim == 4 else None


class LesionModel(nn.Module):
    """Base of lesion networks and lesion classifiers; the first, where a class has several.

    Attributes:
        learned: bool (8,), lesions that training taught; all, until `learn_only` says otherwise.
    """

    learned: Tensor

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.register_buffer("learned", torch.ones(len(CODES), dtype=torch.bool))

    def learn_only(self, codes: Iterable[str]) -> None:
        """Say which lesions the training set teaches; all others get probability 0 from now on."""
        chosen = set(codes)
        self.learned.copy_(torch.tensor([code in chosen for code in CODES]))

    @property
    def learned_codes(self) -> tuple[str, ...]:
        """Codes of the lesions that this network knows."""
        return tuple(code for code, known in zip(CODES, self.learned.tolist(), strict=True) if known)

    def only_learned(self, logits: Tensor) -> Tensor:
        """Logits (n, 8) or (n, 8, h, w), those of lesions not learned put to -30."""
        return torch.where(self.learned.view(1, -1, *[1] * (logits.ndim - 2)), logits, NOT_LEARNED)


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


class LesionClassifier(LesionModel, Classifier):
    """The plain classifier for lesions: image (n, 3, h, w) in [0, 1] to logits (n, 8).

    Args:
        encoder: see `retinalesion.networks.encoder.Encoder`.

    Raises:
        UserError: as `Encoder` raises.
    """

    def __init__(self, encoder: str = "inception_v3") -> None:
        super().__init__(encoder, outputs=len(CODES))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, 8); -30 for lesions not learned."""
        return self.only_learned(super().forward(image))


class GuidedGrader(ImageNetwork):
    """A grader with a lesion model at its side, which is frozen in earnest.

    Args:
        lesion_net: the lesion model.
        encoder: of the main branch, see `Encoder`.
        weights: of that encoder.
        side: of the main branch; None for the image's own.
        freeze: the lesion model stays as it is: no gradient, and in eval mode whatever a caller does.

    Raises:
        UserError: as `Encoder` raises.
    """

    def __init__(
        self,
        lesion_net: LesionModel,
        encoder: str = "inception_v3",
        weights: str | None = None,
        side: int | None = None,
        freeze: bool = True,
    ) -> None:
        super().__init__(encoder, weights, side)
        self.lesion_net, self.freeze = lesion_net, freeze
        lesion_net.requires_grad_(not freeze)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training mode, of which a frozen lesion model hears nothing."""
        super().train(mode)
        if self.freeze:
            self.lesion_net.eval()
        return self

    def lesions_in(self, image: Tensor) -> Tensor:
        """What the lesion model says of an image: logits (n, 8, h, w), or (n, 8) of a lesion classifier."""
        if self.freeze and self.lesion_net.training:  # set by a caller, on the model itself
            self.lesion_net.eval()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            return answer(self.lesion_net(image))


class Answers(NamedTuple):
    """What a network says of photographs, as probabilities, float32; None of what it does not say.

    Attributes:
        lesions: maps, (n, 8, h, w).
        grade: of DR0 to DR4, (n, 5).
        present: lesions of the whole photograph, of a network without maps, (n, 8).
        attention: ABN's map, (n, 1, h, w), at stride 16 of the image as the network sees it.
    """

    lesions: Tensor | None = None
    grade: Tensor | None = None
    present: Tensor | None = None
    attention: Tensor | None = None


def answers(network: nn.Module, image: Tensor, flips: bool = False) -> Answers:
    """What a network says of images (n, 3, h, w) in [0, 1].

    Args:
        network: any of this wing.
        image: as it takes them.
        flips: average the logits of a lesion network over the image and its three mirror images.
    """
    if isinstance(network, Segmenter):
        logits = with_mirror_images(network, image) if flips else network(image)
        return Answers(lesions=logits.float().sigmoid())
    out: Output = network(image)
    logits, seen = answer(out).float(), attention_of(out)
    attention = None if seen is None else seen.float()
    if isinstance(network, LesionModel):
        return Answers(present=logits.sigmoid(), attention=attention)
    maps = maps_in(out)
    return Answers(
        lesions=None if maps is None else maps.float().sigmoid(), grade=logits.softmax(1), attention=attention
    )


def with_mirror_images(network: nn.Module, image: Tensor) -> Tensor:
    """Logits (n, 8, h, w) of a lesion network, the mean over an image and its three mirror images."""
    logits: Tensor = network(image)
    for axes in ((3,), (2,), (2, 3)):
        logits = logits + network(image.flip(axes)).flip(axes)
    return logits / 4


def learned_by(network: nn.Module) -> Tensor:
    """Lesions that a network's answers tell of, bool (8,); of a grader, those that its maps show."""
    shown = network.lesion_net if isinstance(network, GuidedGrader) else network
    learned = getattr(shown, "learned", None)
    if learned is None or (shown is not network and not isinstance(shown, Segmenter)):
        return torch.zeros(len(CODES), dtype=torch.bool)
    return cast(Tensor, learned)


@dataclass(frozen=True)
class Trained:
    """A trained network with what has to be known to use it.

    Attributes:
        network: in eval mode.
        name: its own and its encoder's.
        side: of the square that it was trained on, in pixels; 0 where that is not known.
        quality: limits of photographs like those that it was trained on, by figure.
        flips: it answers by mirror images too.
        rule: how its findings are weighed and a verdict is said, as `retinalesion.reading.rule` reads it;
            empty where nothing was fitted.
    """

    network: nn.Module
    name: str
    side: int = 0
    quality: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    flips: bool = False
    rule: Mapping[str, Any] = field(default_factory=dict)

    @property
    def learned(self) -> tuple[str, ...]:
        """Codes of the lesions that its answers tell of."""
        known = learned_by(self.network).tolist()
        return tuple(code for code, yes in zip(CODES, known, strict=True) if yes)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def answers(self, image: Tensor) -> Answers:
        """What it says of images (n, 3, h, w) in [0, 1]."""
        return answers(self.network, image, self.flips)
