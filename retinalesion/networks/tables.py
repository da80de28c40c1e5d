"""The only places where a name chooses a network: lesion networks, lesion classifiers, graders."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import channels_last

from retinalesion.errors import UserError
from retinalesion.networks.abn import ABN, LesionABN
from retinalesion.networks.base import (
    Classifier,
    ImageNetwork,
    LesionClassifier,
    LesionModel,
    Segmenter,
    Trained,
)
from retinalesion.networks.checkpoint import Checkpoint, read_checkpoint
from retinalesion.networks.danet import DANet
from retinalesion.networks.deeplab import DeepLabV3Plus
from retinalesion.networks.fcn import FCN
from retinalesion.networks.lesion_concat import LesionConcat
from retinalesion.networks.lnet import LNet
from retinalesion.networks.sian import SiAN
from retinalesion.networks.sliding import PatchFCN
from retinalesion.networks.unet import UNet

ENCODER = "inception_v3"  # the paper's
ATTENTION = ("attention", "fusion", "reduction", "freeze")  # how a lesion model enters a grader

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
LESION_CLASSIFIERS: dict[str, type[LesionClassifier] | type[LesionABN]] = {
    "lesions-plain": LesionClassifier,
    "lesions-abn": LesionABN,
}
Table = Mapping[str, Callable[..., LesionModel]]
LESION_MODELS: Table = {**SEGMENTERS, **LESION_CLASSIFIERS}
# Of the graders that have a lesion model at their side, the ones that will do.
LESION_MODELS_FOR: dict[str, Table] = {"sian": SEGMENTERS, "lesion-concat": LESION_MODELS}


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


def segmenter(name: str, encoder: str = "inception_v3", weights: str | None = None) -> Segmenter:
    """A lesion network.

    Args:
        name: a key of its table above.
        encoder: see `retinalesion.networks.encoder.Encoder`.
        weights: of the encoder.

    Raises:
        UserError: no network of that name.
    """
    if name not in SEGMENTERS:
        graders = f"; of those that grade: {', '.join(GRADERS)}"
        raise UserError(f"network {name!r} is unknown. There are: {', '.join(LESION_MODELS)}{graders}.")
    return SEGMENTERS[name](encoder=encoder, weights=weights)


def lesion_classifier(name: str, encoder: str = "inception_v3") -> LesionClassifier | LesionABN:
    """A lesion classifier, with random weights.

    Args:
        name: a key of its table above.
        encoder: see `retinalesion.networks.encoder.Encoder`.

    Raises:
        UserError: no network of that name.
    """
    if name not in LESION_CLASSIFIERS:
        raise UserError(f"network {name!r} is unknown. There are: {', '.join(LESION_CLASSIFIERS)}.")
    return LESION_CLASSIFIERS[name](encoder)


def grader(
    name: str,
    encoder: str = "inception_v3",
    side: int | None = None,
    lesion_net: LesionModel | None = None,
    **attention: Any,
) -> ImageNetwork:
    """A grader, with random weights.

    Args:
        name: a key of its table above.
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


def grader_of(settings: Mapping[str, Any]) -> ImageNetwork:
    """The grader of a task's settings, with random weights.

    Args:
        settings: as of `retinalesion.training.grading.GradingTask`.

    Raises:
        UserError: as `grader` raises.
    """
    beside = settings.get("lesion_network")
    lesion_net = lesion_model(beside, settings.get("lesion_encoder") or ENCODER) if beside else None
    attention = {name: settings[name] for name in ATTENTION if name in settings}
    return grader(settings["network"], settings["encoder"], settings.get("side"), lesion_net, **attention)


def trained_from(checkpoint: Checkpoint) -> Trained:
    """The trained network of a checkpoint, in eval mode on the CPU, with what has to be known to use it.

    Raises:
        UserError: it does not hold the network that it names.
    """
    name, settings, about = checkpoint.network, checkpoint.settings, checkpoint.about
    try:
        made = grader_of(settings) if name in GRADERS else lesion_model(name, settings["encoder"])
        network = made.to(memory_format=channels_last)  # twice as fast on a CPU
        network.load_state_dict(checkpoint.tensors())
        limits = about.get("quality", {}).items()
        return Trained(
            network.eval(),
            f"{name} on {settings['encoder']}",
            int(about.get("side", 0)),
            {figure: (float(low), float(high)) for figure, (low, high) in limits},
            bool(settings.get("flips")),
            dict(about.get("rule", {})),
        )
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise UserError(f"{checkpoint.file}: does not hold the network that it names ({error}).") from error


def lesion_model(name: str, encoder: str = "inception_v3") -> LesionModel:
    """A lesion model of either kind, with random weights.

    Args:
        name: a key of either table above.
        encoder: see `retinalesion.networks.encoder.Encoder`.

    Raises:
        UserError: no network of that name.
    """
    return (lesion_classifier if name in LESION_CLASSIFIERS else segmenter)(name, encoder)


class Names(NamedTuple):
    """Network and encoder of a lesion model."""

    network: str
    encoder: str


def names_in(checkpoint: Path | str, table: Table = SEGMENTERS) -> Names:
    """Which lesion model a checkpoint holds.

    Args:
        checkpoint: as `lesion_model_from` takes it.
        table: of the models that will do.

    Raises:
        UserError: as `lesion_model_from` raises.
    """
    return _in(read_checkpoint(checkpoint), table)[0]


def lesion_model_from(checkpoint: Path | str, table: Table = SEGMENTERS) -> LesionModel:
    """A trained lesion model.

    Args:
        checkpoint: a run (by name or folder), a checkpoint of one, or an exported file: of a lesion network,
            of a lesion classifier, or of a grader that has either at its side.
        table: of the models that will do.

    Raises:
        UserError: as `retinalesion.networks.checkpoint.read_checkpoint` raises, or of something else.
    """
    read = read_checkpoint(checkpoint, mapped=False)
    names, place = _in(read, table)
    model = lesion_model(*names)
    try:
        model.load_state_dict(read.tensors(place))
    except RuntimeError as error:
        raise UserError(f"{read.file}: does not hold the {names.network} that it names.") from error
    return model


def _in(checkpoint: Checkpoint, table: Table) -> tuple[Names, str]:
    """The lesion model of a checkpoint, and its place there: the network itself, or at a grader's side."""
    settings = checkpoint.settings
    names, place = Names(checkpoint.network, str(settings.get("encoder"))), ""
    if names.network not in LESION_MODELS and settings.get("lesion_network") is not None:
        names = Names(settings["lesion_network"], settings.get("lesion_encoder") or ENCODER)
        place = "lesion_net."
    if names.network not in table:
        why = " (it classifies lesions, but has no maps of them)" if names.network in LESION_MODELS else ""
        raise UserError(
            f"{checkpoint.file}: holds {names.network}, not a lesion network{why}. Train one with: "
            "retinalesion fit --config lnet.yaml"
        )
    return names, place
