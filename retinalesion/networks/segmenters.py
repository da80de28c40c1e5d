"""The lesion networks by name: the only place where a name chooses one."""

from collections.abc import Callable
from functools import partial

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
