"""The lesion networks by name: the only place where a name chooses one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from retinalesion.errors import UserError
from retinalesion.networks.danet import DANet
from retinalesion.networks.deeplab import DeepLabV3Plus
from retinalesion.networks.fcn import FCN
from retinalesion.networks.lnet import LNet
from retinalesion.networks.segmenter import Segmenter
from retinalesion.networks.sliding import PatchFCN
from retinalesion.networks.unet import UNet

SEGMENTERS: dict[str, Callable[..., Segmenter]] = {
    "patch-fcn-32s": PatchFCN,
    "fcn-32s": partial(FCN, 32),
    "fcn-16s": partial(FCN, 16),
    "fcn-8s": partial(FCN, 8),
    "unet": UNet,
    "deeplabv3+": DeepLabV3Plus,
    "danet": DANet,
    "lnet-32s": partial(LNet, 32),
    "lnet-16s": partial(LNet, 16),
    "lnet-8s": partial(LNet, 8),
    "lnet-4s": partial(LNet, 4),
    "lnet-2s": partial(LNet, 2),
}


def segmenter(name: str, encoder: str = "inception_v3", weights: str | None = None) -> Segmenter:
    """A lesion network.

    Args:
        name: a key of the table above.
        encoder: see `retinalesion.networks.encoder.Encoder`.
        weights: of the encoder.

    Raises:
        UserError: no network of that name.
    """
    if name not in SEGMENTERS:
        raise UserError(f"network {name!r} is unknown. There are: {', '.join(SEGMENTERS)}.")
    return SEGMENTERS[name](encoder=encoder, weights=weights)


class Names(NamedTuple):
    """Network and encoder of a lesion network."""

    network: str
    encoder: str


def names_in(checkpoint: Path | str) -> Names:
    """Which lesion network a checkpoint holds.

    Raises:
        UserError: missing, cut off, or of something else.
    """
    return _read(checkpoint)[0]


def lesion_net_from(checkpoint: Path | str) -> Segmenter:
    """The trained lesion network of a checkpoint.

    Args:
        checkpoint: of a `SegmentationTask`.

    Raises:
        UserError: missing, cut off, or of something else.
    """
    names, state = _read(checkpoint)
    network = segmenter(*names)
    network.load_state_dict({key.removeprefix("network."): value for key, value in state.items()})
    return network


def _read(checkpoint: Path | str) -> tuple[Names, dict[str, torch.Tensor]]:
    if not Path(checkpoint).is_file():
        raise UserError(f"{checkpoint}: no such checkpoint of a lesion network.")
    try:
        contents = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        settings = contents["hyper_parameters"]
        names, state = Names(settings["network"], settings["encoder"]), contents["state_dict"]
    except Exception as error:  # torch raises many kinds for files that are no checkpoints
        raise UserError(f"{checkpoint}: cut off, or not a checkpoint of retinalesion.") from error
    if names.network not in SEGMENTERS:
        raise UserError(
            f"{checkpoint}: holds {names.network}, not a lesion network. Train one with: "
            "retinalesion fit --config lnet.yaml"
        )
    return names, state
