"""Lightning's ``predict`` writes readings too: on one process or many, each photograph once."""

from contextlib import ExitStack
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from retinalesion.data.store import truth_of
from retinalesion.files import locked
from retinalesion.reading.reader import Told
from retinalesion.reading.reading import Reading
from retinalesion.report.batches import BatchReader
from retinalesion.report.folder import BatchFolder
from retinalesion.report.outputs import Outputs
from retinalesion.training.callbacks.checkpoints import output_folder
from retinalesion.training.callbacks.tested import gather


class ReadingWriter(Callback):
    """Write what a network says of each photograph, one at a time, to ``predict`` of the run.

    The folder is as `retinalesion.report.outputs` describes it. Each process writes the pictures of its
    share; the first one gathers the readings and writes tables and report. The command line adds this
    callback; in a notebook: ``Trainer(callbacks=[ReadingWriter()])``, where ``return_predictions=False``
    keeps the maps of a large set out of memory. Batches that do not come from a `FundusDataModule` are left
    alone, for nothing tells their photographs' own size.

    Args:
        probabilities: write the map of every learned lesion too.
    """

    def __init__(self, probabilities: bool = False) -> None:
        self.probabilities = probabilities
        self.outputs: Outputs | None = None
        self.reader: BatchReader | None = None
        self.readings: list[Reading] = []
        self.held = ExitStack()  # the folder, by the first process

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find store and folder; what an earlier prediction left would not belong to this one.

        Raises:
            UserError: as `Model.of` raises; or the folder holds something else or is in use.
        """
        self.reader = BatchReader(trainer, cast(Told, pl_module), pl_module.device)
        folder = BatchFolder(output_folder(trainer) / "predict")
        self.outputs = Outputs(folder.path, self.probabilities)
        self.readings = []
        if not self.reader.store:
            return
        folder.require_ours()  # in every process, or one would wait for the others
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            self.held.enter_context(locked(folder.path))
            folder.begin({"run": str(folder.path.parent)}, fresh=True)
        trainer.strategy.barrier()  # no process writes before the first has cleared the folder

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the photographs of a batch."""
        assert self.reader
        assert self.outputs
        for row, seen in self.reader.seen(outputs, batch["image"].shape[-1]):
            assert self.reader.store
            self.readings.append(self.outputs.write(seen, *truth_of(self.reader.store, row)))

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the readings of all processes; write tables and report."""
        readings = sorted(gather(self.readings), key=lambda reading: reading.id)
        if trainer.is_global_zero and self.outputs and readings:
            self.outputs.write_lines(readings)
            page = self.outputs.finish(readings)
            BatchFolder(self.outputs.folder).finish()
            rank_zero_info(f"{len(readings)} photographs read: {page}")
        self.held.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let go of the folder."""
        self.held.close()
