"""From a batch of lesion maps to counts over the set and a row per photograph."""

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from retinalesion.data.batch import Batch, Labels
from retinalesion.data.field import lit_field
from retinalesion.data.spots import regions_on
from retinalesion.geometry import USUAL_DISC
from retinalesion.lesions import CODES
from retinalesion.scores import LOWEST, NEAR, STEPS, Counts
from retinalesion.training.froc import Regions, meet
from retinalesion.training.metrics import Counted, count, found_in
from retinalesion.training.rows import PhotographRow


class LesionCounts(Metric):
    """Counts of lesions added up over batches and processes."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        shapes: dict[str, tuple[int, ...]] = {"pixels": (3,), "image": (2, 2), "histogram": (2, STEPS)}
        for name, shape in shapes.items():
            self.add_state(name, torch.zeros(len(CODES), *shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, counted: Counted) -> None:
        """Add the counts of a batch."""
        for name, value in counted._asdict().items():
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> Counts:
        """All counts so far."""
        return Counted(*(getattr(self, name) for name in Counted._fields)).to_score()


def as_read(batch: Batch, logits: Tensor) -> Tensor:
    """Lesion maps as readings have them: nothing outside the lit field, and nothing on the camera's spots.

    Scores of these are scores of what a user gets (`retinalesion.reading.reader.see`).

    Args:
        batch: of `FundusDataModule`, not augmented; spots are left out where it tells them.
        logits: (n, 8, h, w).

    Returns:
        Logits with the lowest value there; a copy. NaN stays NaN wherever it is, so that `count` refuses it.
    """
    logits = within_field(logits, batch["image"])
    return without_spots(logits, batch["camera"]) if "camera" in batch else logits


def count_photographs(
    batch: Labels, logits: Tensor, totals: LesionCounts, kind: type[PhotographRow] = PhotographRow
) -> list[PhotographRow]:
    """Add a batch to the counts of a set, photograph by photograph.

    Args:
        batch: of `FundusDataModule`.
        logits: (n, 8, h, w), maps `as_read`.
        totals: to add to.
        kind: of the rows.

    Returns:
        A row for each photograph; blanks, which only even out processes, have none.

    Raises:
        UserError: as `require_finite_output` raises.
    """
    rows = []
    for i, id in enumerate(batch["id"]):
        one = slice(i, i + 1)
        counted = count(logits[one], batch["planes"][one], batch["valid"][one], [id])
        totals.update(counted)
        if id:
            hits, alarms, misses = (tuple(part) for part in counted.pixels.T.tolist())
            row = kind(
                id=id,
                grade=int(batch["grade"][i]),
                annotated=tuple(batch["valid"][i].any(2).any(1).tolist()),
                hits=hits,
                alarms=alarms,
                misses=misses,
                probability=tuple(logits[one].float().sigmoid().amax((0, 2, 3)).tolist()),
            )
            rows.append(row)
    return rows


def count_regions(batch: Labels, logits: Tensor, learned: Tensor, discs: Mapping[str, float]) -> Regions:
    """How findings and marked regions of a batch meet, over valid pixels of the lesions learned.

    Args:
        batch: of `FundusDataModule`.
        logits: (n, 8, h, w), maps `as_read`.
        learned: bool (8,).
        discs: diameter of the optic disc by id, a share of the square's side; else the usual one.
    """
    regions = Regions.none()
    looked = batch["valid"].flatten(2).any(2) & learned
    for i, id in enumerate(batch["id"]):
        if not id:  # a blank
            continue
        regions.photographs += looked[i].cpu().numpy()
        for j in looked[i].nonzero().flatten().tolist():
            maps, valid = logits[i, j].float(), batch["valid"][i, j]
            planes = [(plane & valid).cpu().numpy() for plane in (found_in(maps), batch["planes"][i, j])]
            left, top, width, height = cv2.boundingRect(np.logical_or(*planes).view(np.uint8))
            if not width:
                continue
            part = (slice(top, top + height), slice(left, left + width))
            found, marked = (np.ascontiguousarray(plane[part]) for plane in planes)
            reach = NEAR * discs.get(id, USUAL_DISC) * logits.shape[-1]
            regions.add(j, meet(maps.cpu().numpy()[part], found, marked, reach))
    return regions


def within_field(logits: Tensor, image: Tensor) -> Tensor:
    """Lesion maps without what lies where the camera saw nothing (`lit_field`).

    Args:
        logits: (n, 8, h, w).
        image: float (n, 3, h, w) in [0, 1], as the network saw it.

    Returns:
        Logits with the lowest value there; a copy.
    """
    pictures = (image * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    size = (logits.shape[-2], logits.shape[-1])
    lit = torch.from_numpy(np.stack([lit_field(rgb, size) for rgb in pictures])).to(logits.device)
    return torch.minimum(logits, torch.where(lit, torch.inf, LOWEST)[:, None].to(logits.dtype))


def without_spots(logits: Tensor, spots: Tensor) -> Tensor:
    """Lesion maps without the regions that lie on spots of the camera (`regions_on`).

    Args:
        logits: (n, 8, h, w).
        spots: bool (n, 8, h, w), by the lesions that each is taken for.

    Returns:
        Logits with the lowest value there; a copy.
    """
    logits = logits.clone()
    found = found_in(logits)
    for i, j in (found & spots).flatten(2).any(2).nonzero().tolist():
        plane, on_spots = (maps[i, j].cpu().numpy() for maps in (found, spots))
        labels, _, on = regions_on(plane, on_spots)
        taken = torch.from_numpy(np.isin(labels, on)).to(logits.device)
        logits[i, j] = logits[i, j].masked_fill(taken, LOWEST)
    return logits
