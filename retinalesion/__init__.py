"""Segment lesions of diabetic retinopathy in colour fundus photographs, and grade the eye.

Public names are loaded on first use, so that ``import retinalesion`` stays light.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "LNet": "retinalesion.networks.lnet",
    "SiAN": "retinalesion.networks.sian",
    "LesionConcat": "retinalesion.networks.lesion_concat",
    "ABN": "retinalesion.networks.abn",
    "dice_loss": "retinalesion.training.losses",
    "dual_loss": "retinalesion.training.losses",
    "SegmentationTask": "retinalesion.training.segmentation",
    "LesionClassificationTask": "retinalesion.training.classification",
    "GradingTask": "retinalesion.training.grading",
    "TwoStageSchedule": "retinalesion.training.schedule",
    "FundusDataModule": "retinalesion.data.datamodule",
    "prepare": "retinalesion.data.prepare",
    "Store": "retinalesion.data.store",
    "Reader": "retinalesion.reading.reader",
    "Reading": "retinalesion.reading.reading",
    "analyze": "retinalesion.report.analyze",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'retinalesion' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
