"""Samples out of a store: which photograph or crop comes when, in training and in evaluation."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from retinalesion.data.batch import Sample
from retinalesion.data.spots import Spot, spots_drawn
from retinalesion.data.store import Row, Store
from retinalesion.lesions import CODES, NO_GRADE, NO_OEDEMA

BLANK = -1  # in evaluation: no photograph, only there so that all processes have as many batches


@lru_cache(maxsize=4)
def _shuffled(seed: int, turn: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, 0, turn)).permutation(count)


def sample(
    store: Store, row: Row, spots: Sequence[Spot] = (), window: tuple[int, int, int] | None = None
) -> Sample:
    """A photograph, or a square window (left, top, side) of it, as stored: uint8, planes packed.

    What a window has outside the photograph is black and ignored.
    """
    image, planes = store.image(row.id), store.planes(row.id)
    ignored = ignored_pixels(store, row, planes, spots)
    if window is not None:
        image, planes, ignored = (_cut(a, window, f) for a, f in ((image, 0), (planes, 0), (ignored, 255)))
    return {
        "image": torch.from_numpy(image),
        "planes": torch.from_numpy(planes),
        "ignored": torch.from_numpy(ignored),
        "annotated": sum(1 << CODES.index(code) for code in row.annotated),
        "grade": row.grade,
        "oedema": row.oedema,
        "id": row.id,
    }


def ignored_pixels(
    store: Store, row: Row, planes: NDArray[np.uint8], spots: Sequence[Spot]
) -> NDArray[np.uint8]:
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
        return {**sample(self.store, row, self.spots.get(row.id, ()), window), "draw": draw}


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
            return {
                "image": image,
                "planes": square,
                "ignored": square,
                "annotated": 0,
                "grade": NO_GRADE,
                "oedema": NO_OEDEMA,
                "id": "",
            }
        row = self.rows[index]
        spots = self.spots.get(row.id, ())
        if self.apart is None or not spots:
            return sample(self.store, row, spots)
        drawn = spots_drawn(spots, (self.apart, self.apart), row.box)
        return {**sample(self.store, row), "camera": torch.from_numpy(drawn)}


class DrawOrder(DistributedSampler[int]):
    """The draw numbers of this process, batch after batch, from where the trainer stands to the epoch's end.

    The position is the trainer's own count of batches done, which its checkpoints carry: a resumed run goes
    on with the batch after the last one, whatever workers had fetched ahead.

    Lightning puts a sampler of its own round every one that is not a `DistributedSampler`, whoever starts it.

    Args:
        batch_size: draws a batch, in each process.
        batches: an epoch.
        process: rank of this process, and how many there are.
        done: tells how many batches the trainer has finished, counted over resumes.
    """

    def __init__(
        self, batch_size: int, batches: int, process: tuple[int, int], done: Callable[[], int]
    ) -> None:
        self.batch_size, self.batches, self.done = batch_size, batches, done
        rank, processes = process
        draws = range(batches * batch_size * processes)  # of an epoch: their number
        super().__init__(cast("Dataset[int]", draws), processes, rank, shuffle=False)

    def __iter__(self) -> Iterator[int]:
        done = self.done()
        for batch in range(done, (done // self.batches + 1) * self.batches):
            first = (batch * self.num_replicas + self.rank) * self.batch_size
            yield from range(first, first + self.batch_size)


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


def leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C goes to all processes of a terminal, Slurm's SIGTERM to all of a job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
