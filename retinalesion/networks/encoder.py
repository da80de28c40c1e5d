"""Any encoder as feature maps at strides 2, 4, 8, 16 and 32: the contracting path (paper, section 3.1)."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import timm
import torch
from huggingface_hub import constants as hub
from huggingface_hub import get_session
from timm.models.inception_v3 import InceptionB, InceptionD, InceptionV3
from torch import Tensor, nn
from torch.nn import functional as F

from retinalesion.errors import UserError
from retinalesion.networks.checkpoint import Checkpoint, read_weights

STRIDES = (2, 4, 8, 16, 32)
COARSEST = 32
PROBE = 64  # side of the image that tells the strides of an encoder's maps
PATIENCE = 5  # seconds until the hub counts as out of reach
HEADS = ("fc.", "AuxLogits.")  # of Inception-v3: no part of a contracting path


class SamePaddedInceptionV3(InceptionV3):
    """timm's Inception-v3 with same padding, so that 896 gives 448, 224, 112, 56 and 28.

    Parameters keep timm's names: its state dict loads key for key. Mixed_6a and Mixed_7a pool with a
    functional call that no attribute reaches, so `run` stands in for their forward.

    Args:
        coarsest: stride of the last maps, see `Encoder`.
    """

    stages = (
        ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"),
        ("Pool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
        ("Pool2", "Mixed_5b", "Mixed_5c", "Mixed_5d"),
        ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
        ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
    )
    channels = (64, 192, 288, 768, 2048)

    def __init__(self, coarsest: int = 32) -> None:
        super().__init__(num_classes=0, aux_logits=False)
        for module in self.modules():
            if isinstance(module, nn.MaxPool2d):
                module.padding = 1
        dilation = 1
        for stage, stride in zip(self.stages, STRIDES, strict=True):
            for place, name in enumerate(stage):
                reduces_no_more = place == 0 and stride > coarsest
                _pad(getattr(self, name), dilation, reduces_no_more)
                dilation *= 2 if reduces_no_more else 1

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps (n, c, s / stride, s / stride) at the five strides, for an image (n, 3, s, s)."""
        maps = []
        for stage in self.stages:
            for name in stage:
                x = run(getattr(self, name), x)
            maps.append(x)
        return maps


def _pad(block: nn.Module, dilation: int, reduces_no_more: bool) -> None:
    """Same padding for a block's convolutions, dilated; those that reduced keep their maps' side if asked."""
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            if reduces_no_more:
                module.stride = (1, 1)
            module.dilation = (dilation, dilation)
            module.padding = tuple(dilation * (size // 2) for size in module.kernel_size)


def run(block: Any, x: Tensor) -> Tensor:
    """What an encoder's block makes of maps; those of Inception-v3 that pool by a call pool same-padded."""
    if isinstance(block, InceptionB):
        last: Any = block.branch3x3
        plain = last(x)
        wide = block.branch3x3dbl_3(block.branch3x3dbl_2(block.branch3x3dbl_1(x)))
    elif isinstance(block, InceptionD):
        last = block.branch3x3_2
        plain = last(block.branch3x3_1(x))
        wide = block.branch7x7x3_2(block.branch7x7x3_1(x))
        wide = block.branch7x7x3_4(block.branch7x7x3_3(wide))
    else:
        return cast(Tensor, block(x))
    return torch.cat([plain, wide, F.max_pool2d(x, 3, last.conv.stride, 1)], 1)


class Encoder(nn.Module):
    """An image as feature maps at strides 2 to 32.

    Normalises by itself: takes RGB in [0, 1] of any side that is a multiple of 32.

    Args:
        name: ``inception_v3`` (the paper's, same-padded) or any timm model with maps at strides 2 to 32.
        weights: None for random weights, ``imagenet`` for timm's (fetched or from its cache), a file with a
            state dict of timm's model of that name (.safetensors, .pth), or a run, one of its checkpoints or
            an exported file, of which the encoder is taken.
        coarsest: 32, or 16 or 8 for dilated networks: stages that would reduce further keep the side, and
            the convolutions after them are dilated instead. The weights are the same.

    Attributes:
        channels: of the five maps, stride 2 first.
        strides: of the five maps.

    Raises:
        UserError: unknown encoder, strides that do not fit, or weights that cannot be had.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, name: str = "inception_v3", weights: str | None = None, coarsest: int = COARSEST
    ) -> None:
        super().__init__()
        self.name = name
        self.strides = tuple(min(stride, coarsest) for stride in STRIDES)
        if not timm.is_model(name):
            near = ", ".join(timm.list_models(f"*{name[:6]}*")[:5]) or "timm.list_models() lists them"
            raise UserError(f"encoder {name!r} is unknown to timm {timm.__version__}. Near: {near}.")
        if name == "inception_v3":
            self.body: Any = SamePaddedInceptionV3(coarsest)
            self.channels: Sequence[int] = SamePaddedInceptionV3.channels
        else:
            self.body = _features(name, self.strides)
            self.channels = self.body.feature_info.channels()
        pretrained: Any = timm.get_pretrained_cfg(name)
        self.register_buffer("mean", torch.tensor(pretrained.mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(pretrained.std).view(1, 3, 1, 1))
        if weights is not None:
            self.load_weights(weights)

    def load_weights(self, weights: str) -> None:
        """Take weights ``imagenet``, of a file, or of the encoder in a run, a checkpoint or an exported file.

        Raises:
            UserError: they cannot be fetched, or the file is missing, damaged or of another model.
        """
        self.take("imagenet" if weights == "imagenet" else read_weights(weights), weights)

    def take(self, given: Literal["imagenet"] | Checkpoint | dict[str, Tensor], called: str) -> None:
        """Take weights that have been read.

        Args:
            given: as `retinalesion.networks.checkpoint.read_weights` gives them, or ImageNet's.
            called: how messages name them.

        Raises:
            UserError: they cannot be fetched, or are of another model.
        """
        try:
            if isinstance(given, Checkpoint):
                self.load_state_dict(given.tensors("encoder."))
                return
            with _heads_unmentioned():
                donor = self._from_hub() if given == "imagenet" else self._from_tensors(given)
        except Exception as error:  # network, cache, file and shape errors of four libraries
            if given == "imagenet":
                raise UserError(
                    f"ImageNet weights of {self.name} could not be fetched ({_in_short(error)}). "
                    "Set weights: FILE to read them from a file, or weights: null for random weights."
                ) from error
            raise UserError(
                f"weights: {called}: not the weights of timm's {self.name} ({_in_short(error)}). "
                "Name the file of that model, imagenet, or null for random weights."
            ) from error
        state = {key: value for key, value in donor.state_dict().items() if not key.startswith(HEADS)}
        self.body.load_state_dict(state)

    def _from_hub(self) -> Any:
        with _no_waiting_for_the_hub():
            return self._donor({})

    def _from_tensors(self, state: dict[str, Tensor]) -> Any:
        # timm is content with part of what feature maps need: a smaller model's file would fill a larger one
        # in part, and any other file of tensors not at all.
        needed = timm.create_model(self.name, num_classes=0).state_dict()
        missing = [key for key in needed if key not in state and not key.endswith("num_batches_tracked")]
        if missing:
            raise ValueError(f"{len(missing)} of {len(needed)} tensors are missing, the first {missing[0]}")
        return self._donor({"state_dict": state})

    def _donor(self, source: dict[str, Any]) -> Any:
        features = self.name != "inception_v3"
        return timm.create_model(
            self.name, pretrained=True, features_only=features, pretrained_cfg_overlay=source
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps (n, c, s / k, s / k) at each of the strides k, of an image (n, 3, s, s) in [0, 1]."""
        return cast(list[Tensor], self.body(self.normalised(image)))

    def normalised(self, image: Tensor) -> Tensor:
        """The image as the body takes it."""
        return (image - self.mean) / self.deviation


def _features(name: str, wanted: tuple[int, ...]) -> Any:
    dilated: dict[str, Any] = {} if wanted[-1] == COARSEST else {"output_stride": wanted[-1]}
    try:
        body: Any = timm.create_model(name, features_only=True, **dilated).eval()
        with torch.no_grad():  # ask the maps themselves: some models pad less than their strides promise
            strides = tuple(PROBE / maps.shape[2] for maps in body(torch.zeros(1, 3, PROBE, PROBE)))
    except Exception as error:  # timm raises many kinds for models that have no maps, or none at this stride
        raise UserError(
            f"encoder {name!r} gives no feature maps ({_in_short(error)}). Try resnet50."
        ) from error
    if strides != wanted:
        shown = ", ".join(f"{stride:.4g}" for stride in strides)
        raise UserError(
            f"encoder {name!r} has maps at strides {shown}, but {', '.join(map(str, wanted))} are needed. "
            "inception_v3, resnet50 or tf_efficientnet_lite0 have them."
        )
    return body.train()


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def _no_waiting_for_the_hub() -> Iterator[None]:
    """Out of reach, the hub is asked for most of a minute. Offline mode takes the cache or fails at once."""
    before = hub.HF_HUB_OFFLINE
    try:
        get_session().head(hub.ENDPOINT, timeout=PATIENCE)
    except Exception:  # of requests or of httpx, as the hub's version has it
        hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


@contextmanager
def _heads_unmentioned() -> Iterator[None]:
    """Keep timm from warning of tensors that feature maps have no use for: the classifier's."""
    log = logging.getLogger("timm.models._builder")

    def is_of_use(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Unexpected keys")

    log.addFilter(is_of_use)
    try:
        yield
    finally:
        log.removeFilter(is_of_use)
