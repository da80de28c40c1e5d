"""Readings of the batches that Lightning predicts or tests, where they come from a store."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer

from retinalesion.data.spots import Spot, spots_in
from retinalesion.data.store import Row
from retinalesion.networks.base import Answers
from retinalesion.reading.reader import AnatomyReader, Model, Seen, Subject, Told, see, unpacked
from retinalesion.training.contract import data_of


class BatchReader:
    """Makes readings of what a task says of batches. Those of other loaders than ours are left alone.

    Args:
        trainer: that gives the batches.
        task: that says something of them.
        device: where disc and fovea are looked for.

    Raises:
        UserError: as `Model.of` and `AnatomyReader` raise.
    """

    def __init__(self, trainer: Trainer, task: Told, device: torch.device) -> None:
        self.model = Model.of(task.trained)
        self.anatomy = AnatomyReader(device=device)
        data = data_of(trainer)
        self.store = data.store if data else None
        self._rows = {row.id: row for row in self.store.rows} if self.store else {}
        self._spots: Mapping[str, Sequence[Spot]] = spots_in(self.store) if self.store else {}

    def seen(self, said: Mapping[str, Any], side: int) -> Iterator[tuple[Row, Seen]]:
        """The photographs of a batch; blanks, which only even out processes, have no id.

        Args:
            said: of the batch: ``id``, and the parts of `Answers`.
            side: of its images.
        """
        for place, id in enumerate(said["id"]):
            if self.store and id in self._rows:
                row = self._rows[id]
                answers = Answers(**{part: said.get(part) for part in Answers._fields})
                maps, grades = unpacked(answers, place, side)
                subject, spots = Subject.of_row(row), self._spots.get(id, ())
                view = self.store.view(row)
                yield row, see(subject, view, maps, grades, self.model, spots, self.anatomy.look(view))
