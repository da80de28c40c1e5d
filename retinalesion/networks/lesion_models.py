"""Lesion models, networks with maps and classifiers without, by name or out of a checkpoint."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from retinalesion.errors import UserError
from retinalesion.networks.encoder import under
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
        checkpoint: of a run.
        table: of the models that will do.

    Raises:
        UserError: missing, cut off, or of something else.
    """
    return _read(checkpoint, table)[0]


def lesion_model_from(checkpoint: Path | str, table: Table = SEGMENTERS) -> LesionModel:
    """The trained lesion model of a checkpoint.

    Args:
        checkpoint: of a `SegmentationTask`, or of a `LesionClassificationTask`.
        table: of the models that will do.

    Raises:
        UserError: missing, cut off, or of something else.
    """
    names, state = _read(checkpoint, table)
    model = lesion_model(*names)
    model.load_state_dict(under("network.", state))
    return model


def _read(checkpoint: Path | str, table: Table) -> tuple[Names, dict[str, torch.Tensor]]:
    if not Path(checkpoint).is_file():
        raise UserError(f"{checkpoint}: no such checkpoint of a lesion network.")
    try:
        contents = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        settings = contents["hyper_parameters"]
        names, state = Names(settings["network"], settings["encoder"]), contents["state_dict"]
    except Exception as error:  # torch raises many kinds for files that are no checkpoints
        raise UserError(f"{checkpoint}: cut off, or not a checkpoint of retinalesion.") from error
    if names.network not in table:
        why = " (it classifies lesions, but has no maps of them)" if names.network in LESION_MODELS else ""
        raise UserError(
            f"{checkpoint}: holds {names.network}, not a lesion network{why}. Train one with: "
            "retinalesion fit --config lnet.yaml"
        )
    return names, state
