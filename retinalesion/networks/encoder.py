"""Any encoder as feature maps at strides 2, 4, 8, 16 and 32: the contracting path (paper, section 3.1)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.models.inception_v3 import InceptionV3
from torch import Tensor, nn
from torch.nn import functional as F

from retinalesion.errors import UserError

STRIDES = (2, 4, 8, 16, 32)
HEADS = ("fc.", "AuxLogits.")  # of Inception-v3: no part of a contracting path


class SamePaddedInceptionV3(InceptionV3):
    """timm's Inception-v3 with same padding, so that 896 gives 448, 224, 112, 56 and 28.

    Parameters keep timm's names: its state dict loads key for key. Mixed_6a and Mixed_7a pool with a
    functional call that no attribute reaches, so their forward stands here.
    """

    stages = (
        ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"),
        ("Pool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
        ("Pool2", "Mixed_5b", "Mixed_5c", "Mixed_5d"),
        ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
        ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
    )
    channels = (64, 192, 288, 768, 2048)

    def __init__(self) -> None:
        super().__init__(num_classes=0, aux_logits=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.padding = tuple(size // 2 for size in module.kernel_size)
            elif isinstance(module, nn.MaxPool2d):
                module.padding = 1

    def _reduce_to_16(self, x: Tensor) -> Tensor:
        block = self.Mixed_6a
        wide = block.branch3x3dbl_3(block.branch3x3dbl_2(block.branch3x3dbl_1(x)))
        return torch.cat([block.branch3x3(x), wide, F.max_pool2d(x, 3, 2, 1)], 1)

    def _reduce_to_32(self, x: Tensor) -> Tensor:
        block = self.Mixed_7a
        plain = block.branch3x3_2(block.branch3x3_1(x))
        wide = block.branch7x7x3_2(block.branch7x7x3_1(x))
        wide = block.branch7x7x3_4(block.branch7x7x3_3(wide))
        return torch.cat([plain, wide, F.max_pool2d(x, 3, 2, 1)], 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps (n, c, s / stride, s / stride) at the five strides, for an image (n, 3, s, s)."""
        reductions = {"Mixed_6a": self._reduce_to_16, "Mixed_7a": self._reduce_to_32}
        maps = []
        for stage in self.stages:
            for name in stage:
                x = reductions.get(name, getattr(self, name))(x)
            maps.append(x)
        return maps


class Encoder(nn.Module):
    """An image as feature maps at strides 2 to 32.

    Normalises by itself: takes RGB in [0, 1] of any side that is a multiple of 32.

    Args:
        name: ``inception_v3`` (the paper's, same-padded) or any timm model with maps at strides 2 to 32.
        weights: None for random weights, ``imagenet`` for timm's (fetched or from its cache), or a file with
            a state dict of timm's model of that name (.safetensors, .pth).

    Attributes:
        channels: of the five maps, stride 2 first.

    Raises:
        UserError: unknown encoder, strides that do not fit, or weights that cannot be had.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str = "inception_v3", weights: str | None = None) -> None:
        super().__init__()
        self.name = name
        if name not in timm.list_models():
            near = ", ".join(timm.list_models(f"*{name[:6]}*")[:5]) or "timm.list_models() lists them"
            raise UserError(f"encoder {name!r} is unknown to timm {timm.__version__}. Near: {near}.")
        if name == "inception_v3":
            self.body: Any = SamePaddedInceptionV3()
            self.channels: Sequence[int] = SamePaddedInceptionV3.channels
        else:
            self.body = self._features(name)
            self.channels = self.body.feature_info.channels()
        pretrained: Any = timm.get_pretrained_cfg(name)
        self.register_buffer("mean", torch.tensor(pretrained.mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(pretrained.std).view(1, 3, 1, 1))
        if weights is not None:
            self.load_weights(weights)

    @staticmethod
    def _features(name: str) -> Any:
        try:
            body: Any = timm.create_model(name, features_only=True)
            strides = tuple(body.feature_info.reduction())
        except Exception as error:  # timm raises many kinds for models that have no maps
            raise UserError(f"encoder {name!r} gives no feature maps ({error}). Try resnet50.") from error
        if strides != STRIDES:
            raise UserError(
                f"encoder {name!r} has maps at strides {strides}, but {STRIDES} are needed. "
                "inception_v3, resnet50 or tf_efficientnet_lite0 have them."
            )
        return body

    def load_weights(self, weights: str) -> None:
        """Take weights ``imagenet`` or from a file.

        Raises:
            UserError: they cannot be fetched, or the file is missing, damaged or of another model.
        """
        if weights != "imagenet" and not Path(weights).is_file():
            raise UserError(
                f"weights: {weights}: no such file. Name a file, imagenet, or null for random weights."
            )
        overlay: dict[str, Any] = (
            {} if weights == "imagenet" else {"pretrained_cfg_overlay": {"file": weights}}
        )
        try:
            donor = timm.create_model(
                self.name, pretrained=True, features_only=self.name != "inception_v3", **overlay
            )
        except Exception as error:  # network, cache, file and shape errors of four libraries
            if weights == "imagenet":
                raise UserError(
                    f"ImageNet weights of {self.name} could not be fetched ({_first_line(error)}). "
                    "Set weights: FILE to read them from a file, or weights: null for random weights."
                ) from error
            raise UserError(
                f"weights: {weights}: not the weights of timm's {self.name} ({_first_line(error)}). "
                "Name the file of that model, imagenet, or null for random weights."
            ) from error
        state = {key: value for key, value in donor.state_dict().items() if not key.startswith(HEADS)}
        self.body.load_state_dict(state)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps (n, c, s / k, s / k) for strides k of 2, 4, 8, 16, 32, of an image (n, 3, s, s) in [0, 1]."""
        return cast(list[Tensor], self.body((image - self.mean) / self.deviation))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
