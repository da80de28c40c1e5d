"""The networks that grade, by name: the only place where a name chooses one."""

from collections.abc import Callable
from typing import Any

from retinalesion.errors import UserError
from retinalesion.networks.abn import ABN
from retinalesion.networks.classifier import Classifier, ImageNetwork
from retinalesion.networks.lesion_concat import LesionConcat
from retinalesion.networks.lesion_model import LesionModel
from retinalesion.networks.lesion_models import Table
from retinalesion.networks.sian import SiAN


def _plain(lesion_net: LesionModel | None, attention: dict[str, Any], **main: Any) -> Classifier:
    return Classifier(**main)


def _abn(lesion_net: LesionModel | None, attention: dict[str, Any], **main: Any) -> ABN:
    return ABN(**main)


def _sian(lesion_net: LesionModel | None, attention: dict[str, Any], **main: Any) -> SiAN:
    return SiAN(_needed(lesion_net, "sian"), **main, **attention)


def _lesion_concat(lesion_net: LesionModel | None, attention: dict[str, Any], **main: Any) -> LesionConcat:
    return LesionConcat(_needed(lesion_net, "lesion-concat"), **main, freeze=attention.get("freeze", True))


def _needed(lesion_net: LesionModel | None, name: str) -> LesionModel:
    if lesion_net is None:
        raise UserError(
            f"{name} needs a lesion network: --model.lesion_net CHECKPOINT, made by: "
            "retinalesion fit --config lnet.yaml"
        )
    return lesion_net


GRADERS: dict[str, Callable[..., ImageNetwork]] = {
    "plain": _plain,
    "sian": _sian,
    "abn": _abn,
    "lesion-concat": _lesion_concat,
}
# Of those that need a lesion model, the ones that will do.
LESION_MODELS_FOR: dict[str, Table] = {"sian": SiAN.takes, "lesion-concat": LesionConcat.takes}


def grader(
    name: str,
    encoder: str = "inception_v3",
    side: int | None = None,
    lesion_net: LesionModel | None = None,
    **attention: Any,
) -> ImageNetwork:
    """A grader, with random weights.

    Args:
        name: a key of the table above.
        encoder: of the main branch, see `retinalesion.networks.encoder.Encoder`.
        side: of the main branch, see `ImageNetwork`.
        lesion_net: the lesion model, where the network has one.
        attention: how it enters, see `SiAN`; of these, Lesion-Concat knows ``freeze``.

    Raises:
        UserError: no network of that name, or it lacks its lesion model.
    """
    if name not in GRADERS:
        raise UserError(f"network {name!r} is unknown. There are: {', '.join(GRADERS)}.")
    return GRADERS[name](lesion_net, attention, encoder=encoder, side=side)
