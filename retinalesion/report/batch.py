"""A batch on its way: read, stopped, gone on with, put together from parts, brought to an end."""

import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import NamedTuple, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retinalesion.data.decode import Camera
from retinalesion.data.spots import CameraMap, Spot, told
from retinalesion.errors import UserError
from retinalesion.files import replace_file
from retinalesion.pictures import Picture
from retinalesion.reading.reading import Reading
from retinalesion.reading.stream import Item, Lines, Readings, in_order
from retinalesion.reading.workers import Workers
from retinalesion.report.folder import LINES, BatchFolder
from retinalesion.report.job import Job
from retinalesion.report.outputs import Outputs
from retinalesion.report.parts import Part, kept_in

Thing = TypeVar("Thing")


class Known(NamedTuple):
    """Spots that are known before anything is read."""

    maps: list[CameraMap]
    by_camera: Mapping[Camera, Sequence[Spot]]
    stored: Mapping[Path, Mapping[str, Sequence[Spot]]]

    def of(self, item: Item) -> Sequence[Spot]:
        """Of a photograph of a store."""
        return self.stored[item.store].get(item.row.id, ()) if item.store and item.row else ()


class Batch(NamedTuple):
    """What is to be read, and where it goes."""

    folder: BatchFolder
    outputs: Outputs
    job: Job
    items: Sequence[Item]
    known: Known
    part: Part | None = None
    command: str = "analyze"

    @property
    def lines(self) -> Path:
        """A line for each photograph that was read."""
        return (self.part.folder(self.folder.work) if self.part else self.folder.path) / LINES

    @property
    def first(self) -> Path:
        """The lines before what lies on the batch's own spots is taken out of them."""
        kept = self.folder.work / LINES
        return kept if kept.exists() else self.folder.path / LINES

    @property
    def share(self) -> range:
        """The places of the photographs that are to be read."""
        count = len(self.items)
        return self.part.share(count) if self.part else range(count)

    def run(self, workers: AbstractContextManager[Workers | None]) -> None:
        """Read what has no line yet, and bring the batch to its end; of a part, the latter comes later.

        Raises:
            UserError: the place cannot be written or is full, or workers are gone.
        """
        try:
            with workers as those:
                self.read(those)
                if not self.part:
                    self.conclude(those)
        except BaseException:  # whatever ends it: what has been read is kept
            self.leave()
            raise

    def read(self, workers: Workers | None) -> None:
        """Read what has no line yet.

        Raises:
            UserError: the place cannot be written or is full.
        """
        if not self.part and self.first.parent == self.folder.work:
            return  # all of it was read, and spots were looked for
        lines = Lines(self.lines)
        rest = self._read(self.share[lines.count :], workers)
        with closing(tracked(rest, str(self.part or self.command), len(self.share), lines.count)) as readings:
            for reading in readings:
                lines.add(reading)

    def _read(self, places: range, workers: Workers | None) -> Iterator[Reading]:
        """In order: what parts have read before is taken from them."""
        kept = [] if self.part else kept_in(self.folder.work, len(self.items))
        at = places.start
        for start, readings in [*kept, (places.stop, [])]:
            tasks = ((item, self.known.of(item)) for item in self.items[at : max(at, start)])
            yield from in_order(self.job.read, tasks, workers)
            at = max(at, start)
            yield from (readings[place] for place in range(at - start, len(readings)))
            at = max(at, start + len(readings))

    def leave(self) -> None:
        """Take away pictures without a line; write the tables if that is possible."""
        lines = self.lines if self.part else self.first
        readings, kept = Readings(lines), kept_in(self.folder.work, len(self.items))
        of_parts = {place for start, some in kept for place in range(start, start + len(some))}
        for place in self.share[len(readings) :]:
            if place not in of_parts and self.outputs.planes_of(self.items[place].id).exists():
                self.outputs.forget(self.items[place].id)
        of = f" of {self.part}" if self.part else ""
        say(f"Stopped: {len(readings)} of {len(self.share)} photographs{of} are read and kept.")
        if readings and not self.part:
            with suppress(UserError, OSError):  # the disk may be full, which is told already
                self.outputs.finish(readings)

    def conclude(self, workers: Workers | None) -> None:
        """Look for the cameras' own spots, take out what lies on them, write tables and report."""
        cameras, lines = self.job.cameras, self.folder.path / LINES
        found: list[tuple[CameraMap, Picture]] = []
        if cameras:
            ids = [item.id for item in self.items]
            found = cameras.maps(Readings(self.first).by_id(ids))
            if sum(not item.row for item in self.items) > 1:
                for sentence in told([one for one, _ in found]):
                    say(sentence)
        spots = {one.camera: one.spots for one, _ in found if one.spots}
        if spots:
            if self.first == lines:
                replace_file(self.folder.work / LINES, partial(shutil.copyfile, lines))
            tasks = zip(self.items, Readings(self.first), repeat(spots), strict=False)
            freed = in_order(self.job.free, tasks, workers)
            self.outputs.write_lines(tracked(freed, "camera's spots", len(self.items)))
        self.outputs.finish(Readings(lines), [*((one, None) for one in self.known.maps), *found])
        self.folder.finish()


def tracked(things: Iterable[Thing], title: str, total: int, done: int = 0) -> Generator[Thing]:
    """The same, with a bar that shows how far it is."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(things, total=total, completed=done, description="")


def say(sentence: str) -> None:
    """Tell who looks on."""
    Console(stderr=True).print(sentence, markup=False, highlight=False, soft_wrap=True)
