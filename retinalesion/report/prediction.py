"""Lightning's ``predict`` writes readings too: on one process or many, each photograph once."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from retinalesion.data.spots import Spot, spots_in
from retinalesion.data.store import Row, Store, truth_of
from retinalesion.files import locked
from retinalesion.networks.base import Answers
from retinalesion.reading.reader import AnatomyReader, Model, Subject, Told, see, unpacked
from retinalesion.reading.reading import Reading
from retinalesion.report.folder import BatchFolder
from retinalesion.report.outputs import Outputs
from retinalesion.training.callbacks.checkpoints import output_folder
from retinalesion.training.callbacks.tested import gather
from retinalesion.training.contract import data_of


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
        self.model: Model | None = None
        self.anatomy: AnatomyReader | None = None
        self.store: Store | None = None
        self.photographs: dict[str, Row] = {}
        self.spots: Mapping[str, Sequence[Spot]] = {}
        self.readings: list[Reading] = []
        self.held = ExitStack()  # the folder, by the first process

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find store and folder; what an earlier prediction left would not belong to this one.

        Raises:
            UserError: as `Model.of` raises; or the folder holds something else or is in use.
        """
        self.model = Model.of(cast(Told, pl_module).trained)
        self.anatomy = AnatomyReader(device=pl_module.device)
        data = data_of(trainer)
        self.store = data.store if data else None
        self.photographs = {row.id: row for row in self.store.rows} if self.store else {}
        self.spots = spots_in(self.store) if self.store else {}
        folder = BatchFolder(output_folder(trainer) / "predict")
        self.outputs = Outputs(folder.path, self.probabilities)
        self.readings = []
        if not self.store:
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
        """Write the photographs of a batch; blanks, which only even out processes, have no id."""
        for place, id in enumerate(outputs["id"]):
            if id in self.photographs:
                assert self.store is not None
                assert self.outputs is not None
                assert self.model is not None
                assert self.anatomy is not None
                row = self.photographs[id]
                answers = Answers(**{part: outputs.get(part) for part in Answers._fields})
                maps, grades = unpacked(answers, place, batch["image"].shape[-1])
                subject, spots = Subject.of_row(row), self.spots.get(id, ())
                view = self.store.view(row)
                seen = see(subject, view, maps, grades, self.model, spots, self.anatomy.look(view))
                self.readings.append(self.outputs.write(seen, *truth_of(self.store, row)))

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
