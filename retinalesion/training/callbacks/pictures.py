"""Pictures of a validation, for eyes and for any logger that takes pictures."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from retinalesion.data.field import to_square
from retinalesion.files import write_png
from retinalesion.geometry import Box
from retinalesion.lesions import CODES
from retinalesion.pictures import Picture, panel, stack
from retinalesion.training.callbacks.checkpoints import output_folder
from retinalesion.training.contract import Drawn
from retinalesion.training.metrics import found_in

COUNT = 4
LARGEST = 512  # side of a view; a run logs many


@dataclass(frozen=True)
class View:
    """A photograph of a validation, at a side fit for panels.

    Brought down, a pixel is marked where any of its area is, so that no microaneurysm gets lost.

    Attributes:
        id: of the photograph.
        rgb: uint8 (side, side, 3).
        truth: bool (8, side, side).
        prediction: likewise.
        annotated: codes of the lesions that experts looked for.
    """

    id: str
    rgb: Picture
    truth: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    annotated: frozenset[str]

    @classmethod
    def of(cls, id: str, image: Tensor, planes: Tensor, valid: Tensor, logits: Tensor) -> "View":
        """From one photograph of a batch."""
        rgb = (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        side = rgb.shape[0]
        box, smaller = Box(0, 0, side), min(side, LARGEST)

        def brought_down(stacked: Tensor) -> NDArray[np.bool_]:
            marked = stacked.byte().cpu().numpy() * np.uint8(255)
            return np.stack([to_square(plane, box, smaller) for plane in marked]) > 0

        return cls(
            id=id,
            rgb=to_square(rgb, box, smaller),
            truth=brought_down(planes),
            prediction=brought_down(found_in(logits)),
            annotated=frozenset(code for code, some in zip(CODES, valid.any(2).any(1), strict=True) if some),
        )

    def panel(self) -> Picture:
        """Photograph, truth and prediction side by side."""
        return panel(self.rgb, self.truth, self.prediction, title=self.id)

    def masks(self, learned: tuple[str, ...]) -> dict[str, Any]:
        """Truth and prediction as wandb takes masks: since planes overlap, a key for each lesion."""
        kinds = (("truth", self.truth, self.annotated), ("prediction", self.prediction, learned))
        return {
            f"{kind} {code}": {"mask_data": planes[j].astype(np.uint8), "class_labels": {1: code}}
            for kind, planes, known in kinds
            for j, code in enumerate(CODES)
            if code in known
        }


class ValidationPanels(Callback):
    """After each validation: its first photographs with truth and prediction.

    They go to every logger that takes pictures: to one with ``log_image`` (wandb) as ``val/panels``, and as
    ``val/photographs`` under masks that can be switched on and off, a key each for ``truth MA``,
    ``prediction MA`` and so on; to one whose experiment has ``add_image`` (TensorBoard) as ``val/panels``.
    With any logger or none, those of the latest validation are ``panels.png`` in the run's folder, or in
    its folder ``validate`` after the command of that name.
    """

    def __init__(self) -> None:
        self.views: list[View] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self.views = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first photographs of the first process."""
        if not trainer.is_global_zero or trainer.sanity_checking or len(self.views) == COUNT:
            return
        parts = (batch["id"], batch["image"], batch["planes"], batch["valid"], outputs["logits"])
        self.views += [View.of(*one) for one in zip(*parts, strict=True) if one[0]][: COUNT - len(self.views)]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, write and log."""
        folder = output_folder(trainer)
        if not self.views:
            return
        panels = [view.panel() for view in self.views]
        place = folder if trainer.state.fn == "fit" else folder / "validate"
        write_png(place / "panels.png", stack(panels))
        network = cast(Drawn, pl_module).network
        ids = [view.id for view in self.views]
        masks = [view.masks(network.learned_codes) for view in self.views]
        step = trainer.global_step
        for logger in trainer.loggers:
            taking: Any = logger
            if hasattr(taking, "log_image"):
                photographs = [view.rgb for view in self.views]
                taking.log_image("val/panels", panels, step=step, caption=ids)
                taking.log_image("val/photographs", photographs, step=step, caption=ids, masks=masks)
            elif hasattr(taking.experiment, "add_image"):
                taking.experiment.add_image("val/panels", stack(panels), step, dataformats="HWC")
        self.views = []
