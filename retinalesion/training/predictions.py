"""What `predict` leaves: lesion planes at the photograph's own size, overlays, one row per photograph."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.field import from_square
from retinalesion.data.store import Box, Row, Store, write_png
from retinalesion.lesions import CODES, NO_GRADE
from retinalesion.pictures import key, overlay
from retinalesion.training.checkpoints import output_folder
from retinalesion.training.metrics import THRESHOLD
from retinalesion.training.tables import gather, write_csv

FULL = 65535  # what probability 1 is in a 16-bit picture


class PredictionWriter(Callback):
    """Write what a lesion network finds in each photograph, one photograph at a time.

    All goes to the folder ``predict`` of the run (the trainer's ``default_root_dir``)::

        predictions.csv            a row per photograph, written last
        planes/ID.png              own size, 8-bit grey, bit j = lesion j (bit 0 = MA), as in a store
        overlays/ID.png            the store's square with the lesions drawn in
        key.png                    the overlays' colours
        probabilities/ID_MA.png    own size, 16-bit grey, probability times 65535; only if asked for

    Probabilities are enlarged to the photograph's own pixels and cut at 0.5 after. In the table, per lesion:
    ``present`` (1 or 0, or ``not learned``), the highest ``probability``, marked ``pixels`` and connected
    ``regions``, all counted at own size, so that they agree with each other and with the planes: a lesion is
    present where its map exceeds 0.5 somewhere (Eq. 1), and a pixel of ``probabilities`` above 32767 is one
    of ``planes``. A photograph predicted again is replaced; the table lists the latest prediction only.

    The command line adds it; in a notebook: ``Trainer(callbacks=[PredictionWriter()])``, where
    ``return_predictions=False`` keeps the maps of a large set out of memory. Batches that do not come from a
    `FundusDataModule` are left alone, for nothing tells their photographs' own size.

    Args:
        probabilities: write the map of every learned lesion too.
    """

    def __init__(self, probabilities: bool = False) -> None:
        self.probabilities = probabilities
        self.folder = Path()
        self.store: Store | None = None
        self.photographs: dict[str, Row] = {}
        self.cells: list[dict[str, Any]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find store and folder; an older table would not speak of what comes now."""
        datamodule: Any = getattr(trainer, "datamodule", None)
        self.store = datamodule.store if isinstance(datamodule, FundusDataModule) else None
        self.photographs = {row.id: row for row in self.store.rows} if self.store else {}
        self.folder, self.cells = output_folder(trainer) / "predict", []
        if trainer.is_global_zero:
            self.table.unlink(missing_ok=True)

    @property
    def table(self) -> Path:
        """The row per photograph."""
        return self.folder / "predictions.csv"

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
        network: Any = pl_module.network
        for id, maps in zip(outputs["id"], outputs["lesions"], strict=True):
            if id in self.photographs:
                row = self.photographs[id]
                self._draw(row, maps.cpu().numpy())
                self.cells.append(self._measure(row, maps.cpu().numpy(), network.learned_codes))

    def _draw(self, row: Row, maps: NDArray[np.float32]) -> None:
        assert self.store is not None
        side = self.store.side
        planes = np.stack([from_square(map, Box(0, 0, side), (side, side)) > THRESHOLD for map in maps])
        write_png(self.folder / "overlays" / f"{row.id}.png", overlay(self.store.image(row.id), planes))

    def _measure(self, row: Row, maps: NDArray[np.float32], learned: tuple[str, ...]) -> dict[str, Any]:
        """Write what has the photograph's own size, and return its row."""
        size = (row.height, row.width)
        packed = np.zeros(size, np.uint8)
        cells: dict[str, Any] = {"id": row.id, "grade": "" if row.grade == NO_GRADE else row.grade}
        for j, code in enumerate(CODES):
            figures = [f"{code}_{name}" for name in ("present", "probability", "pixels", "regions")]
            if code not in learned:
                cells |= dict(zip(figures, ("not learned", "", "", ""), strict=True))
                continue
            probability = from_square(maps[j], row.box, size)
            plane = probability > THRESHOLD
            packed |= plane.astype(np.uint8) << j
            regions = cv2.connectedComponents(plane.view(np.uint8), connectivity=8)[0] - 1
            values = (int(regions > 0), f"{probability.max():.4f}", int(plane.sum()), regions)
            cells |= dict(zip(figures, values, strict=True))
            if self.probabilities:
                # halves go down, so that the map above one half is the plane
                sixteen_bit = np.ceil(probability * FULL - 0.5).astype(np.uint16)
                write_png(self.folder / "probabilities" / f"{row.id}_{code}.png", sixteen_bit)
        write_png(self.folder / "planes" / f"{row.id}.png", packed)
        return cells

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the rows of all processes and write the table."""
        cells = sorted(gather(self.cells), key=lambda row: str(row["id"]))
        if trainer.is_global_zero and self.store is not None and cells:
            network: Any = pl_module.network
            write_png(self.folder / "key.png", key(self.store.side, network.learned_codes))
            write_csv(self.table, cells)
            rank_zero_info(f"{len(cells)} photographs, their lesions drawn in and counted: {self.folder}")
