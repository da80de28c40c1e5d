"""Store to batch: `FundusDataModule`."""

import math
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, Literal, cast

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from retinalesion.data.augment import ZOOM, augment, resize, unpack, window_of
from retinalesion.data.batch import Batch, Packed, Sample
from retinalesion.data.splits import folds_of
from retinalesion.data.spots import Spot, spots_drawn, spots_in
from retinalesion.data.store import Row, Store
from retinalesion.errors import UserError
from retinalesion.lesions import CODES, NO_GRADE

BLANK = -1  # in evaluation: no photograph, only there so that all processes have as many batches
MOST_IMBALANCE = 100.0  # of weights for marked pixels


@lru_cache(maxsize=4)
def _shuffled(seed: int, turn: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, 0, turn)).permutation(count)


def _sample(
    store: Store, row: Row, spots: Sequence[Spot] = (), window: tuple[int, int, int] | None = None
) -> Sample:
    """A photograph, or a square window (left, top, side) of it, as stored: uint8, planes packed.

    What a window has outside the photograph is black and ignored.
    """
    image, planes = store.image(row.id), store.planes(row.id)
    ignored = _ignored(store, row, planes, spots)
    if window is not None:
        image, planes, ignored = (_cut(a, window, f) for a, f in ((image, 0), (planes, 0), (ignored, 255)))
    return {
        "image": torch.from_numpy(image),
        "planes": torch.from_numpy(planes),
        "ignored": torch.from_numpy(ignored),
        "annotated": sum(1 << CODES.index(code) for code in row.annotated),
        "grade": row.grade,
        "id": row.id,
    }


def _ignored(store: Store, row: Row, planes: NDArray[np.uint8], spots: Sequence[Spot]) -> NDArray[np.uint8]:
    """Packed ignored pixels: the experts' own, and the camera's spots, unless they marked something there."""
    ignored = store.ignored(row.id)
    if ignored is None:
        ignored = np.zeros_like(planes)
    size = (store.side, store.side)
    return ignored | (spots_drawn(spots, size, row.box) & ~planes) if spots else ignored


def _cut(pixels: NDArray[np.uint8], window: tuple[int, int, int], fill: int) -> NDArray[np.uint8]:
    left, top, side = window
    inside = pixels[max(top, 0) : top + side, max(left, 0) : left + side]
    height, width = inside.shape[:2]
    above, before = max(-top, 0), max(-left, 0)
    edges = (above, side - height - above, before, side - width - before)
    return np.asarray(cv2.copyMakeBorder(inside, *edges, cv2.BORDER_CONSTANT, value=(fill,) * 3), np.uint8)


class Draws(Dataset[Sample]):
    """Training samples by their position in the draw order: the same position, the same sample.

    Args:
        store: to read from.
        rows: photographs to draw.
        spots: of each photograph's camera, by id.
        seed: of the order and of the places of crops.
        window: side of the square to cut, in the store's pixels; None for whole photographs.
        crop: side of the crop within it, likewise: around a lesion it lies off the middle by up to a quarter.
        lesion_crops: share of the windows that are cut around a lesion's pixel: a lesion drawn first, then a
            photograph that has it, so that rare lesions are seen as often as common ones.
    """

    def __init__(
        self,
        store: Store,
        rows: Sequence[Row],
        spots: Mapping[str, Sequence[Spot]],
        seed: int,
        window: int | None = None,
        crop: float = 0.0,
        lesion_crops: float = 0.0,
    ) -> None:
        self.store, self.rows, self.spots, self.seed = store, rows, spots, seed
        self.window, self.crop, self.lesion_crops = window, crop, lesion_crops
        having = {code: [row for row in rows if row.pixels.get(code)] for code in CODES}
        self.having = {code: some for code, some in having.items() if some}

    def __getitem__(self, draw: int) -> Sample:
        turn, place = divmod(draw, len(self.rows))
        row = self.rows[_shuffled(self.seed, turn, len(self.rows))[place]]
        window = None
        if self.window is not None:
            random = np.random.default_rng((self.seed, 2, draw))
            side = self.store.side
            centre = random.uniform(0.15, 0.85, 2) * side  # corners of the square hold no retina
            if self.having and random.random() < self.lesion_crops:
                code = random.choice(list(self.having))
                row = self.having[code][random.integers(len(self.having[code]))]
                marked = np.flatnonzero(self.store.planes(row.id) & (1 << CODES.index(code)))
                y, x = divmod(int(random.choice(marked)), side)
                centre = np.array([x, y]) + random.uniform(-0.25, 0.25, 2) * self.crop
            left, top = (centre - self.window / 2).round().astype(int).tolist()
            window = (left, top, self.window)
        return {**_sample(self.store, row, self.spots.get(row.id, ()), window), "draw": draw}


class Photographs(Dataset[Sample]):
    """Whole photographs in order, for evaluation.

    Args:
        store: to read from.
        rows: photographs to read.
        spots: of each photograph's camera, by id.
        apart: side at which spots are given as planes of their own, ``camera``; None to ignore what is there.
    """

    def __init__(
        self, store: Store, rows: Sequence[Row], spots: Mapping[str, Sequence[Spot]], apart: int | None
    ) -> None:
        self.store, self.rows, self.spots, self.apart = store, rows, spots, apart

    def __getitem__(self, index: int) -> Sample:
        if index == BLANK:
            square = torch.zeros(self.store.side, self.store.side, dtype=torch.uint8)
            image = square[..., None].expand(-1, -1, 3)
            return Sample(image=image, planes=square, ignored=square, annotated=0, grade=NO_GRADE, id="")
        row = self.rows[index]
        spots = self.spots.get(row.id, ())
        if self.apart is None or not spots:
            return _sample(self.store, row, spots)
        drawn = spots_drawn(spots, (self.apart, self.apart), row.box)
        return {**_sample(self.store, row), "camera": torch.from_numpy(drawn)}


class DrawOrder(DistributedSampler[int]):
    """The draw numbers of this process, batch after batch, from where the trainer stands to the epoch's end.

    The position is the trainer's own count of batches done, which its checkpoints carry: a resumed run goes
    on with the batch after the last one, whatever workers had fetched ahead.

    Lightning puts a sampler of its own round every one that is not a `DistributedSampler`, whoever starts it.
    """

    def __init__(self, datamodule: "FundusDataModule") -> None:
        self.datamodule, (rank, processes) = datamodule, datamodule.process
        draws = range(datamodule.batches * datamodule.batch_size * processes)  # of an epoch: their number
        super().__init__(cast("Dataset[int]", draws), processes, rank, shuffle=False)

    def __iter__(self) -> Iterator[int]:
        size, batches = self.datamodule.batch_size, self.datamodule.batches
        done = self.datamodule.batches_done
        for batch in range(done, (done // batches + 1) * batches):
            first = (batch * self.num_replicas + self.rank) * size
            yield from range(first, first + size)


class Share(DistributedSampler[int]):
    """Every so manieth of a number of photographs, and blanks where other processes have one more.

    A `DistributedSampler`, so that Lightning leaves it alone; but none is repeated, as those do.

    Args:
        count: of photographs.
        processes: that share them.
        rank: of this one.
    """

    def __init__(self, count: int, processes: int, rank: int) -> None:
        super().__init__(cast("Dataset[int]", range(count)), processes, rank, shuffle=False)
        self.count = count

    def __iter__(self) -> Iterator[int]:
        padded = [*range(self.count), *[BLANK] * (self.total_size - self.count)]
        return iter(padded[self.rank :: self.num_replicas])


class TrainingLoader(DataLoader[Sample]):
    """A loader that Lightning may resume in mid-epoch; `DrawOrder` knows where, so there is no state."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the trainer counts."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do: the trainer counts."""


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C goes to all processes of a terminal, Slurm's SIGTERM to all of a job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class FundusDataModule(LightningDataModule):
    """Batches out of a store.

    A batch is a dict: ``image`` float32 (n, 3, s, s) RGB in [0, 1]; ``planes`` bool (n, 8, s, s); ``valid``
    bool (n, 8, s, s), annotated and not ignored and inside the photograph; ``grade`` int64 (n,), -1 where
    there is none; ``id`` list of str, empty for the blanks that even out processes in evaluation.

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
            ignored = _ignored(self.store, row, self.store.planes(row.id), self.spots.get(row.id, ()))
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
        return {**how, "worker_init_fn": _leave_signals_to_the_trainer}

    def train_dataloader(self) -> TrainingLoader:
        """Endless draws, `batches` batches an epoch."""
        window, ratio = None, self.store.side / self.side
        if self.crop is not None:
            window = math.ceil(window_of(self.crop, self.zoom) * ratio)
        crop = (self.crop or 0) * ratio
        rows = self.rows("train")
        draws = Draws(self.store, rows, self.spots, self.seed, window, crop, self.lesion_crops)
        order = DrawOrder(self)
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
            "id": batch["id"],
        }
        if "camera" in batch:
            made["camera"] = unpack(batch["camera"][:, None])
        return made
