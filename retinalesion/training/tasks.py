"""From the name of a network, or a checkpoint, to the task that trains it."""

from retinalesion.errors import UserError
from retinalesion.networks.checkpoint import Checkpoint
from retinalesion.networks.tables import GRADERS, LESION_CLASSIFIERS
from retinalesion.training.classification import LesionClassificationTask
from retinalesion.training.contract import TestedForGrades, TestedForLesions
from retinalesion.training.grading import GradingTask
from retinalesion.training.segmentation import SegmentationTask
from retinalesion.training.task import Task

# For mypy, which holds the tasks to what callbacks want of them.
_FOR_LESIONS: tuple[type[TestedForLesions], ...] = (SegmentationTask, LesionClassificationTask, GradingTask)
_FOR_GRADES: type[TestedForGrades] = GradingTask


def task_of(network: str) -> type[SegmentationTask] | type[LesionClassificationTask] | type[GradingTask]:
    """The task that trains a network of this name: each name stands in one table, and each has its task."""
    if network in GRADERS:
        return GradingTask
    return LesionClassificationTask if network in LESION_CLASSIFIERS else SegmentationTask


def task_from(checkpoint: Checkpoint) -> Task:
    """The trained task of a checkpoint.

    Args:
        checkpoint: as `retinalesion.networks.checkpoint.read_checkpoint` gives it.

    Raises:
        UserError: it does not hold the network that it names.
    """
    try:
        task = task_of(checkpoint.network)(**checkpoint.settings)
        task.on_load_checkpoint(checkpoint.contents)
        task.load_state_dict(checkpoint.contents["state_dict"], strict=False)
        task.network.load_state_dict(checkpoint.tensors())
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{checkpoint.file}: does not hold the network that it names ({error}).") from error
    return task
