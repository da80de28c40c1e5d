"""From a batch of lesion maps to counts over the set and a row per photograph."""

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from retinalesion.data.spots import regions_on
from retinalesion.lesions import CODES
from retinalesion.training import metrics
from retinalesion.training.metrics import Counts
from retinalesion.training.tables import PhotographRow


class LesionCounts(Metric):
    """`Counts` added up over batches and processes."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        shapes: dict[str, tuple[int, ...]] = {"hits": (), "alarms": (), "misses": ()}
        shapes |= {"image": (2, 2), "histogram": (2, metrics.STEPS)}
        for name, shape in shapes.items():
            self.add_state(name, torch.zeros(len(CODES), *shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, counts: Counts) -> None:
        """Add the counts of a batch."""
        for name, value in vars(counts).items():
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> Counts:
        """All counts so far."""
        return Counts(**{field.name: getattr(self, field.name) for field in fields(Counts)})


def count_photographs(
    batch: dict[str, Any], logits: Tensor, totals: LesionCounts, kind: type[PhotographRow] = PhotographRow
) -> list[PhotographRow]:
    """Add a batch to the counts of a set, photograph by photograph.

    What lies on the camera's spots, where the batch tells them, is left out of what was found.

    Args:
        batch: of `FundusDataModule`.
        logits: (n, 8, h, w).
        totals: to add to.
        kind: of the rows.

    Returns:
        A row for each photograph; blanks, which only even out processes, have none.
    """
    if "camera" in batch:
        logits = without_spots(logits, batch["camera"])
    rows = []
    for i, id in enumerate(batch["id"]):
        one = slice(i, i + 1)
        counts = metrics.count(logits[one], batch["planes"][one], batch["valid"][one])
        totals.update(counts)
        if id:
            row = kind(
                id=id,
                grade=int(batch["grade"][i]),
                annotated=tuple(batch["valid"][i].any(2).any(1).tolist()),
                hits=tuple(counts.hits.tolist()),
                alarms=tuple(counts.alarms.tolist()),
                misses=tuple(counts.misses.tolist()),
                probability=tuple(logits[i].amax((1, 2)).float().sigmoid().tolist()),
            )
            rows.append(row)
    return rows


def without_spots(logits: Tensor, spots: Tensor) -> Tensor:
    """Lesion maps without the regions that lie on spots of the camera (`regions_on`).

    Args:
        logits: (n, 8, h, w).
        spots: bool (n, 8, h, w), by the lesions that each is taken for.

    Returns:
        Logits with the lowest value there; a copy.
    """
    logits = logits.clone()
    found = logits > 0
    for i, j in (found & spots).flatten(2).any(2).nonzero().tolist():
        plane, on_spots = (maps[i, j].cpu().numpy() for maps in (found, spots))
        labels, _, on = regions_on(plane, on_spots)
        taken = torch.from_numpy(np.isin(labels, on)).to(logits.device)
        logits[i, j] = logits[i, j].masked_fill(taken, metrics.LOWEST)
    return logits
