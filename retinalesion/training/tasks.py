"""From the name of a network, or a checkpoint, to the task that trains it."""

from collections.abc import Mapping
from typing import Any

from retinalesion.errors import UserError
from retinalesion.networks.graders import GRADERS
from retinalesion.networks.lesion_classifiers import LESION_CLASSIFIERS
from retinalesion.training.classification import LesionClassificationTask
from retinalesion.training.grading import GradingTask
from retinalesion.training.segmentation import SegmentationTask
from retinalesion.training.task import Task


def task_of(network: str) -> type[SegmentationTask] | type[LesionClassificationTask] | type[GradingTask]:
    """The task that trains a network of this name: each name stands in one table, and each has its task."""
    if network in GRADERS:
        return GradingTask
    return LesionClassificationTask if network in LESION_CLASSIFIERS else SegmentationTask


def task_from(checkpoint: Mapping[str, Any]) -> Task:
    """The trained task of a checkpoint.

    Args:
        checkpoint: as `retinalesion.training.checkpoints.load_checkpoint` returns it.

    Raises:
        UserError: of another format, or it does not hold the network that it names.
    """
    settings = {key: value for key, value in checkpoint["hyper_parameters"].items() if key[0] != "_"}
    try:
        task = task_of(settings["network"])(**settings)
        task.on_load_checkpoint(dict(checkpoint))
        task.load_state_dict(checkpoint["state_dict"], strict=False)
        missing = set(task.network.state_dict()) - {
            key.removeprefix("network.") for key in checkpoint["state_dict"]
        }
    except (TypeError, RuntimeError) as error:
        raise UserError(f"This checkpoint does not hold the network that it names ({error}).") from error
    if missing:
        raise UserError(f"This checkpoint lacks {len(missing)} tensors of its network: it is cut off.")
    return task
