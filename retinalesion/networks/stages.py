"""An encoder cut before its last stage, no tensor moved; and that stage once more, at stride 1."""

from collections.abc import Iterable
from copy import deepcopy
from itertools import chain

import torch
from timm.models import EfficientNetFeatures, FeatureListNet
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn

from retinalesion.errors import UserError
from retinalesion.networks.encoder import Encoder, SamePaddedInceptionV3, run

Blocks = list[nn.Module]
PROBE = 4  # side of the maps that tell whether a stage keeps their size


def cut(encoder: Encoder) -> tuple[Blocks, Blocks]:
    """The blocks up to stride 16 and those of the last stage, each list in the order in which it runs.

    They are the encoder's own blocks: its state dict stays as it is.

    Raises:
        UserError: the encoder's body does not run block by block.
    """
    body = encoder.body
    if isinstance(body, SamePaddedInceptionV3):
        *before, last = ([getattr(body, name) for name in stage] for stage in body.stages)
        return [*chain(*before)], last
    if isinstance(body, FeatureListNet):
        names = list(body)
        after = names.index(list(body.return_layers)[-2]) + 1
        blocks = list(body.values())
        return blocks[:after], blocks[after:]
    if isinstance(body, (EfficientNetFeatures, MobileNetV3Features)) and body.feature_hooks is None:
        stem = [child for name, child in body.named_children() if name != "blocks"]
        after = sorted(body._stage_out_idx)[-2]
        return [*stem, *body.blocks[:after]], list(body.blocks[after:])
    raise _cannot(encoder)


def through(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Maps after blocks that run one after the other."""
    for block in blocks:
        x = run(block, x)
    return x


class LastStageAtStride1(nn.Module):
    """A copy of an encoder's last stage that keeps the size of maps, (n, c, h, w) to (n, k, h, w).

    Weights and everything else are the encoder's; only the strides of convolutions and pools are 1.

    Raises:
        UserError: the stage cannot be cut off, or does not keep sizes at stride 1.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(deepcopy(block) for block in cut(encoder)[1])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
            elif isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
                if module.kernel_size == module.stride:  # windows side by side: a pixel each is left
                    module.kernel_size = 1
                module.stride = 1
        self.eval()
        try:
            with torch.no_grad():  # ask the maps themselves
                kept = self(torch.zeros(1, encoder.channels[-2], PROBE, PROBE)).shape[2:] == (PROBE, PROBE)
        except Exception:  # blocks that pass on more than one tensor, branches of different sizes
            kept = False
        if not kept:
            raise _cannot(encoder)
        self.train()

    def take_weights(self, encoder: Encoder) -> None:
        """Those that the encoder's last stage has now."""
        for block, original in zip(self.blocks, cut(encoder)[1], strict=True):
            block.load_state_dict(original.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same size."""
        return through(self.blocks, x)


def _cannot(encoder: Encoder) -> UserError:
    return UserError(
        f"encoder {encoder.name!r} has no last stage that can run by itself at stride 1, as abn needs. "
        "inception_v3, resnet50 or tf_efficientnet_lite0 have one."
    )
