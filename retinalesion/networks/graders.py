"""The image-level networks by name: the only place where a name chooses one."""

from collections.abc import Callable
from typing import Any

from retinalesion.errors import UserError
from retinalesion.networks.classifier import Classifier, Grader
from retinalesion.networks.segmenter import Segmenter
from retinalesion.networks.sian import SiAN


def _plain(lesion_net: Segmenter | None, attention: dict[str, Any], **main: Any) -> Classifier:
    return Classifier(**main)


def _sian(lesion_net: Segmenter | None, attention: dict[str, Any], **main: Any) -> SiAN:
    if lesion_net is None:
        raise UserError(
            "sian needs a lesion network: --model.lesion_net CHECKPOINT, made by: "
            "retinalesion fit --config lnet.yaml"
        )
    return SiAN(lesion_net, **main, **attention)


GRADERS: dict[str, Callable[..., Grader]] = {"plain": _plain, "sian": _sian}
NEED_LESION_NET = frozenset({"sian"})


def grader(
    name: str,
    encoder: str = "inception_v3",
    side: int | None = None,
    lesion_net: Segmenter | None = None,
    **attention: Any,
) -> Grader:
    """An image-level network, with random weights.

    Args:
        name: a key of the table above.
        encoder: of the main branch, see `retinalesion.networks.encoder.Encoder`.
        side: of the main branch, see `Grader`.
        lesion_net: the side branch, where the network has one.
        attention: how the side branch enters, see `SiAN`.

    Raises:
        UserError: no network of that name, or it lacks its lesion network.
    """
    if name not in GRADERS:
        raise UserError(f"network {name!r} is unknown. There are: {', '.join(GRADERS)}.")
    return GRADERS[name](lesion_net, attention, encoder=encoder, side=side)
