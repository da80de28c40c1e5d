"""Lesion models, networks with maps and classifiers without, by name or out of a checkpoint."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from retinalesion.errors import UserError
from retinalesion.networks.checkpoint import Checkpoint, read_checkpoint
from retinalesion.networks.lesion_classifiers import LESION_CLASSIFIERS, lesion_classifier
from retinalesion.networks.lesion_model import LesionModel
from retinalesion.networks.segmenters import SEGMENTERS, segmenter

Table = Mapping[str, Callable[..., LesionModel]]

LESION_MODELS: Table = {**SEGMENTERS, **LESION_CLASSIFIERS}


def lesion_model(name: str, encoder: str = "inception_v3") -> LesionModel:
    """A lesion model of either kind, with random weights.

    Args:
        name: of `segmenters` or `lesion_classifiers`.
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
        names = Names(settings["lesion_network"], settings.get("lesion_encoder") or "inception_v3")
        place = "lesion_net."
    if names.network not in table:
        why = " (it classifies lesions, but has no maps of them)" if names.network in LESION_MODELS else ""
        raise UserError(
            f"{checkpoint.file}: holds {names.network}, not a lesion network{why}. Train one with: "
            "retinalesion fit --config lnet.yaml"
        )
    return names, place
