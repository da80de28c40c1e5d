"""Store to batch: `FundusDataModule`."""

import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from retinalesion.data.augment import ZOOM, augment, resize, unpack, window_of
from retinalesion.data.batch import Batch, Packed, Sample
from retinalesion.data.draws import (
    DrawOrder,
    Draws,
    Photographs,
    Share,
    TrainingLoader,
    ignored_pixels,
    leave_signals_to_the_trainer,
)
from retinalesion.data.splits import Fold, assignment_of, folds_of
from retinalesion.data.spots import Spot, spots_in
from retinalesion.data.store import Row, Store
from retinalesion.errors import UserError
from retinalesion.lesions import CODES, NO_GRADE

MOST_IMBALANCE = 100.0  # of weights for marked pixels


class FundusDataModule(LightningDataModule):
    """Batches out of a store.

    A batch is a dict: ``image`` float32 (n, 3, s, s) RGB in [0, 1]; ``planes`` bool (n, 8, s, s); ``valid``
    bool (n, 8, s, s), annotated and not ignored and inside the photograph; ``grade`` int64 (n,), -1 where
    there is none; ``oedema`` int64 (n,), the risk of macular oedema, 0 to 2, -1 where nobody said; ``id``
    list of str, empty for the blanks that even out processes in evaluation.

    Args:
        store: folder of prepared photographs.
        side: of the square that the network sees, at most the store's; None for the store's.
        crop: train on crops of this side, cut out of the square; None for whole photographs.
        lesion_crops: share of the crops that are cut around a lesion, for small sets.
        zoom: smallest and largest enlargement of a training sample; whole photographs are never reduced.
        sharpness: half of the training samples lose resolution, down to this share of it, so that photographs
            of small cameras look familiar; 1 leaves all as they are.
        batch_size: training samples a batch, in each process.
        batches: training batches from one validation to the next, however small the set.
        truth: what a photograph must have to be used: ``planes`` (a lesion was annotated) or ``grade``.
        evaluate: the split that ``test`` and ``predict`` use; None for ``test``, or with folds for ``val``.
        folds: parts of ``train`` and ``val`` together, by patient and group; 0 leaves the store's splits.
        fold: the part, from 0, that validates; all others train.
        workers: loading processes; None chooses by cores and device.
        seed: of the draw order, crops and augmentation.
    """

    def __init__(
        self,
        store: str | None = None,
        side: int | None = None,
        crop: int | None = None,
        lesion_crops: float = 0.0,
        zoom: tuple[float, float] = ZOOM,
        sharpness: float = 1.0,
        batch_size: int = 8,
        batches: int = 1000,
        truth: Literal["planes", "grade"] = "planes",
        evaluate: Literal["train", "val", "test", "all"] | None = None,
        folds: int = 0,
        fold: int | None = None,
        workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= lesion_crops <= 1:
            raise UserError(f"lesion_crops is a share from 0 to 1, not {lesion_crops}.")
        if lesion_crops and crop is None:
            raise UserError("lesion_crops needs a crop: set data.crop to the side of the crops.")
        if not 0.1 <= zoom[0] <= 1 <= zoom[1] <= 10:
            raise UserError(f"zoom names the smallest (0.1 to 1) and the largest (1 to 10), not {zoom}.")
        if not 0.1 <= sharpness <= 1:
            raise UserError(f"sharpness is a share from 0.1 to 1, not {sharpness}.")
        if (fold is None) if folds else (fold is not None):
            raise UserError("folds and fold belong together: data.folds 5 and data.fold 0 to 4.")
        if fold is not None and not 0 <= fold < folds:
            raise UserError(f"fold is one of 0 to {folds - 1} where folds is {folds}, not {fold}.")
        numbers = {"side": side, "crop": crop, "batch_size": batch_size, "batches": batches}
        for name, number in numbers.items():
            if number is not None and number < 1:
                raise UserError(f"{name} must be 1 or more, not {number}.")
        self.path, self.crop, self.lesion_crops = store, crop, lesion_crops
        self.zoom, self.sharpness = zoom, sharpness
        self.requested_side, self.batch_size, self.batches = side, batch_size, batches
        self.truth, self.workers, self.seed = truth, workers, seed
        self.folds, self.fold = folds, fold
        self.evaluate = evaluate or ("val" if folds else "test")
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """The store, opened on first use.

        Raises:
            UserError: none named, or as `Store` raises.
        """
        if self._store is None:
            if self.path is None:
                raise UserError("No store named. Add --data.store STORE (made by: retinalesion prepare).")
            store = Store(self.path)
            side = self.requested_side or store.side
            if side > store.side:
                raise UserError(
                    f"side {side} is larger than the store's {store.side}. "
                    f"Prepare the store with --side {side}, or ask for a smaller side."
                )
            if self.crop is not None and self.crop > side:
                raise UserError(
                    f"crop {self.crop} is larger than side {side}. Ask for a smaller one: --data.crop {side}."
                )
            self._store = store
        return self._store

    @cached_property
    def spots(self) -> Mapping[str, Sequence[Spot]]:
        """Of each photograph's camera, by id; read once."""
        return spots_in(self.store)

    @property
    def side(self) -> int:
        """Side of the square that the network sees."""
        return self.requested_side or self.store.side

    def rows(self, split: str, *, truth: bool = True) -> list[Row]:
        """The photographs of a split (or ``all``) that have the truth asked for.

        Args:
            split: its name.
            truth: False for those without it too: a prediction needs none.

        Raises:
            UserError: there is none.
        """
        rows = [row for row in self.store.rows if split in (self._split_of(row), "all")]
        if truth:
            rows = [r for r in rows if (r.annotated if self.truth == "planes" else r.grade != NO_GRADE)]
        if not rows:
            need = "annotated lesions" if self.truth == "planes" else "a grade"
            remedy = (
                "Photographs with it must be of 3 patients or more (of 2, where the set has a published test "
                "half); what prepare said of the splits stands in store.json."
                if split == "val"
                else "For test and predict, another split can be named with --data.evaluate."
            )
            raise UserError(
                f"{self.path}: split {split} has no photograph{f' with {need}' if truth else ''}. {remedy}"
            )
        return rows

    @cached_property
    def fold_of(self) -> Mapping[str, int]:
        """The fold of each photograph of ``train`` and ``val``, by id; empty without folds."""
        return folds_of(self.store, self.folds) if self.folds else {}

    @cached_property
    def assigned(self) -> Fold | None:
        """The fold that validates, and how all were dealt; None without folds."""
        if self.fold is None:
            return None
        return Fold(self.folds, self.fold, assignment_of(self.store, self.fold_of))

    def _split_of(self, row: Row) -> str:
        if row.id not in self.fold_of:
            return row.split
        return "val" if self.fold_of[row.id] == self.fold else "train"

    @property
    def learned(self) -> tuple[str, ...]:
        """Lesions annotated and present in at least one training photograph."""
        rows = self.rows("train")
        return tuple(code for code in CODES if any(row.pixels.get(code) for row in rows))

    @property
    def imbalance(self) -> tuple[float, ...]:
        """Of every lesion, pixels not marked to pixels marked in the training split, 100 at most (Table 4).

        Ignored pixels and photographs in which the lesion was not annotated do not count.
        """
        rows, marked, valid = self.rows("train"), dict.fromkeys(CODES, 0), dict.fromkeys(CODES, 0)
        for row in rows:
            ignored = ignored_pixels(self.store, row, self.store.planes(row.id), self.spots.get(row.id, ()))
            for code in row.annotated:
                bit = 1 << CODES.index(code)
                valid[code] += self.store.side**2 - int(np.count_nonzero(ignored & bit))
                marked[code] += row.pixels.get(code, 0)
        return tuple(
            min((valid[code] - marked[code]) / marked[code], MOST_IMBALANCE) if marked[code] else 1.0
            for code in CODES
        )

    @property
    def process(self) -> tuple[int, int]:
        """Rank of this process, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    @property
    def batches_done(self) -> int:
        """Training batches that the trainer has finished, counted over resumes."""
        if not self.trainer:
            return 0
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress
        return int(progress.total.processed)

    def setup(self, stage: str) -> None:
        """Open the store and see that it holds what this stage needs."""
        splits = {"fit": ("train", "val"), "validate": ("val",)}.get(stage, (self.evaluate,))
        for split in splits:
            self.rows(split, truth=stage != "predict")

    def _loader_options(self) -> dict[str, Any]:
        cuda = torch.cuda.is_available()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # Without a GPU the network itself keeps the cores busy, and one process reads fast enough.
        workers = self.workers if self.workers is not None else min(8 if cuda else 1, cores - 1)
        if workers:
            # The cores are taken; and here, since a forked worker that sets it waits for threads left behind.
            cv2.setNumThreads(1)
        how: dict[str, Any] = {"num_workers": workers, "pin_memory": cuda, "persistent_workers": workers > 0}
        return {**how, "worker_init_fn": leave_signals_to_the_trainer}

    def train_dataloader(self) -> TrainingLoader:
        """Endless draws, `batches` batches an epoch."""
        window, ratio = None, self.store.side / self.side
        if self.crop is not None:
            window = math.ceil(window_of(self.crop, self.zoom) * ratio)
        crop = (self.crop or 0) * ratio
        rows = self.rows("train")
        draws = Draws(self.store, rows, self.spots, self.seed, window, crop, self.lesion_crops)
        order = DrawOrder(self.batch_size, self.batches, self.process, lambda: self.batches_done)
        return TrainingLoader(draws, self.batch_size, sampler=order, **self._loader_options())

    def evaluation_dataloader(
        self, split: str, *, truth: bool = True, apart: bool = False
    ) -> DataLoader[Sample]:
        """Whole photographs of a split, one at a time, each in one process only.

        Args:
            split: its name.
            truth: False for those without it too.
            apart: the camera's spots are not ignored but told, ``camera`` bool (1, 8, s, s) in batches of
                photographs that have some, so that what is found there can be left out.
        """
        rows, (rank, processes) = self.rows(split, truth=truth), self.process
        photographs = Photographs(self.store, rows, self.spots, self.side if apart else None)
        share = Share(len(rows), processes, rank)
        return DataLoader(photographs, sampler=share, **self._loader_options())

    def val_dataloader(self) -> DataLoader[Sample]:
        """Whole photographs of ``val``."""
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> DataLoader[Sample]:
        """Whole photographs of the split to evaluate."""
        return self.evaluation_dataloader(self.evaluate, apart=True)

    def predict_dataloader(self) -> DataLoader[Sample]:
        """Whole photographs of the split to evaluate, with truth or without."""
        return self.evaluation_dataloader(self.evaluate, truth=False)

    def on_after_batch_transfer(self, batch: Packed, dataloader_idx: int) -> Batch:
        """Unpack, bring to the side, augment when training; all on the device."""
        image = batch["image"].permute(0, 3, 1, 2).float() / 255
        planes, kept = batch["planes"][:, None], ~batch["ignored"][:, None]
        whole = round(image.shape[-1] * self.side / self.store.side)
        image, planes, kept = resize(image, planes, kept, whole)
        if "draw" in batch:
            cut = self.crop is not None
            side = self.crop or self.side
            how = (batch["draw"], self.seed, side, cut, self.zoom, self.sharpness)
            image, planes, kept = augment(image, planes, kept, *how)
        valid = unpack(kept & batch["annotated"].to(torch.uint8).view(-1, 1, 1, 1))
        planes = unpack(planes)
        made: Batch = {
            "image": image,
            "planes": planes,
            "valid": valid,
            "grade": batch["grade"],
            "oedema": batch["oedema"],
            "id": batch["id"],
        }
        if "camera" in batch:
            made["camera"] = unpack(batch["camera"][:, None])
        return made
