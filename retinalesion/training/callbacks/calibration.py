"""At the end of a run, a probability of 0.5 becomes the cut that suits each lesion best."""

from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from retinalesion import scores
from retinalesion.data.datamodule import FundusDataModule
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.base import Segmenter
from retinalesion.training.contract import callbacks_of, data_of
from retinalesion.training.counts import LesionCounts, as_read
from retinalesion.training.metrics import count
from retinalesion.training.schedule import AveragedWeights


class Calibration(Callback):
    """Shift each lesion's logits so that 0.5 is where the training photographs have their best pixel F1.

    Crops around lesions show a rare lesion far more often than photographs do, and Dice over a batch does not
    hear of false alarms where the lesion is absent: the network then marks too much of one and too little of
    another. Here it reads the training photographs whole, and the shift goes into the bias of its last
    convolution. Photographs held back are not looked at, and mirror images neither: on IDRiD they moved the
    cuts by less than 0.08, for four times the time. It looks at pixel F1 alone: a network that finds little
    will mark more, also in photographs without the lesion.

    It happens after the last step of a run of a fixed length, to the averaged weights: what is validated and
    saved from then on has it.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See that there are photographs to read, and weights to shift.

        Raises:
            UserError: the fit was given loaders alone, or averages weights in another way.
        """
        if not any(isinstance(callback, AveragedWeights) for callback in callbacks_of(trainer)):
            raise UserError("calibrate shifts the averaged weights: leave WeightAveraging to the task.")
        if data_of(trainer) is None:
            raise UserError("calibrate reads whole training photographs: give the fit a FundusDataModule.")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Calibrate where this step was the last."""
        data = data_of(trainer)
        if trainer.global_step < trainer.max_steps or data is None:
            return
        averaged = next(one for one in callbacks_of(trainer) if isinstance(one, AveragedWeights))
        with averaged.in_place(pl_module), trainer.precision_plugin.val_step_context():
            calibrate(cast(Segmenter, pl_module.network), data)


@torch.no_grad()
def calibrate(network: Segmenter, data: FundusDataModule) -> None:
    """Shift the logits of a network by what the whole photographs of ``train`` ask for.

    Args:
        network: in eval mode.
        data: at the side at which the network will be used.
    """
    rank_zero_info(f"Calibrating on the {len(data.rows('train'))} training photographs.")
    device = network.learned.device
    totals = LesionCounts().to(device)
    for raw in data.evaluation_dataloader("train"):
        batch = data.on_after_batch_transfer(data.transfer_batch_to_device(raw, device, 0), 0)
        logits = as_read(batch, network(batch["image"]))
        totals.update(count(logits, batch["planes"], batch["valid"], batch["id"]))
    cuts = scores.best_cut(totals.compute())
    network.shift(torch.from_numpy(-cuts).to(device, torch.float32))
    shifts = [f"{code} {-cut:+.2f}" for code, cut in zip(CODES, cuts.tolist(), strict=True) if cut]
    rank_zero_info(f"Logits shifted: {', '.join(shifts) or 'none'}.")
