"""`analyze`: photographs of any size to readings, tables and the report. One bad file never stops a batch."""

import shutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import NamedTuple, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retinalesion import __version__
from retinalesion.data.decode import Camera, camera_of, sha256_of
from retinalesion.data.spots import FILE, CameraMap, Spot, read_cameras, spots_in, told, write_cameras
from retinalesion.data.store import Store
from retinalesion.errors import PhotographError, UserError
from retinalesion.files import locked, replace_file
from retinalesion.pictures import Picture
from retinalesion.reading.camera import Cameras
from retinalesion.reading.stream import Item, Lines, Readings, in_order
from retinalesion.report.folder import LINES, BatchFolder
from retinalesion.report.job import Job
from retinalesion.report.listing import digest_of, listed
from retinalesion.report.outputs import Outputs

Thing = TypeVar("Thing")

BOX = Path(__file__).parents[1] / "weights" / "box.safetensors"


def analyze(
    photographs: Path | str | Sequence[Path | str],
    out: Path | str = "analysis",
    *,
    checkpoint: Path | str | None = None,
    split: str = "all",
    probabilities: bool = False,
    camera: Path | str = "auto",
    fresh: bool = False,
    device: str | None = None,
) -> Readings:
    """Read photographs, and write tables, pictures and a report.

    A line of ``readings.jsonl`` is there as soon as a photograph has been read. Whatever ends a batch, the
    same call goes on with it; what has been read is not read again. Stopped from the keyboard, it writes
    tables and report of what there is, and raises all the same.

    Args:
        photographs: files, folders (searched through) or stores.
        out: folder for what `retinalesion.report.outputs` lists; an earlier analysis there is replaced when
            this one is whole, and stays in ``earlier`` until then.
        checkpoint: of a run, or a portable one; None for the model in the box.
        split: of stores, the photographs to read: ``train``, ``val``, ``test`` or ``all``.
        probabilities: write 16-bit pictures of every lesion's map too.
        camera: what lies on the cameras' own spots does not count: of stores those that are known there, and
            of other photographs those that the batch itself shows (``auto``), or those of a file that
            ``retinalesion camera`` or an earlier analysis made. ``none``: nobody looks for such spots.
        fresh: begin anew, even where just this is finished or half done.
        device: ``cpu``, ``cuda`` or ``mps``; None for a GPU where there is one.

    Returns:
        A reading per photograph, in order, each read from ``readings.jsonl`` when it is asked for; of a file
        that could not be opened, one that says why.

    Raises:
        UserError: nothing to read, no such checkpoint or device, the folder holds something else or is in
            use or half full of another analysis, it cannot be written, or a photograph is of none of the
            file's cameras.
    """
    outputs = Outputs(Path(out).absolute(), probabilities)
    folder = BatchFolder(Path(out))
    folder.require_ours()
    items = listed(photographs, split, Path(out))
    known = _known_spots(camera, items)
    weights = Path(checkpoint or box())
    files = [(item.id, Path(item.file)) for item in items if not item.row]
    cameras = Cameras.of_files(folder.work.absolute(), files) if camera == "auto" else None
    job = Job(weights, device, outputs, known.by_camera, cameras)
    _ = job.reader  # before anything is written: it says what is wrong with the checkpoint
    asked = {
        "photographs": f"{len(items)}: {digest_of(items)}",
        "checkpoint": sha256_of(weights) if weights.is_file() else str(weights),
        "camera": camera if camera in ("auto", "none") else repr(known.maps),
        "probabilities": probabilities,
        "version": __version__,
    }
    with locked(Path(out)):
        if folder.is_whole(asked) and not fresh:
            folder.clear_away()
            _say(f"All {len(items)} photographs were read before; --fresh reads them again.")
            return Readings(Path(out) / LINES)
        if folder.begin(asked, fresh):
            _say(f"The earlier analysis waits in {folder.path / 'earlier'} until this one is whole.")
        if known.maps:
            write_cameras(Path(out) / FILE, known.maps)
        batch = _Batch(folder, outputs, job, items, known)
        try:
            batch.read()
            batch.conclude()
        except BaseException:  # whatever ends it: what has been read is kept
            batch.leave()
            raise
    return Readings(Path(out) / LINES)


class _Known(NamedTuple):
    """Spots that are known before anything is read."""

    maps: list[CameraMap]
    by_camera: Mapping[Camera, Sequence[Spot]]
    stored: Mapping[Path, Mapping[str, Sequence[Spot]]]

    def of(self, item: Item) -> Sequence[Spot]:
        """Of a photograph of a store."""
        return self.stored[item.store].get(item.row.id, ()) if item.store and item.row else ()


class _Batch(NamedTuple):
    """What is to be read, and where it goes."""

    folder: BatchFolder
    outputs: Outputs
    job: Job
    items: Sequence[Item]
    known: _Known

    @property
    def first(self) -> Path:
        """The lines before what lies on the batch's own spots is taken out of them."""
        kept = self.folder.work / LINES
        return kept if kept.exists() else self.folder.path / LINES

    def read(self) -> None:
        """Read what has no line yet.

        Raises:
            UserError: the place cannot be written or is full.
        """
        if self.first.parent == self.folder.work:
            return  # all of it was read, and spots were looked for
        lines = Lines(self.first)
        tasks = ((item, self.known.of(item)) for item in self.items[lines.count :])
        read = in_order(self.job.read, tasks)
        with closing(tracked(read, "analyze", len(self.items), lines.count)) as readings:
            for reading in readings:
                lines.add(reading)

    def leave(self) -> None:
        """Take away pictures without a line; write the tables if that is possible."""
        readings = Readings(self.first)
        for item in self.items[len(readings) : len(readings) + 1]:
            self.outputs.forget(item.id)
        _say(f"Stopped: {len(readings)} of {len(self.items)} photographs are read and kept.")
        if readings:
            with suppress(UserError, OSError):  # the disk may be full, which is told already
                self.outputs.finish(readings)

    def conclude(self) -> None:
        """Look for the cameras' own spots, take out what lies on them, write tables and report."""
        cameras, lines = self.job.cameras, self.folder.path / LINES
        found: list[tuple[CameraMap, Picture]] = []
        if cameras:
            ids = [item.id for item in self.items]
            found = cameras.maps(Readings(self.first).by_id(ids))
            if sum(not item.row for item in self.items) > 1:
                for sentence in told([one for one, _ in found]):
                    _say(sentence)
        spots = {one.camera: one.spots for one, _ in found if one.spots}
        if spots:
            if self.first == lines:
                replace_file(self.folder.work / LINES, partial(shutil.copyfile, lines))
            tasks = zip(self.items, Readings(self.first), repeat(spots), strict=False)
            freed = in_order(self.job.free, tasks)
            self.outputs.write_lines(tracked(freed, "camera's spots", len(self.items)))
        self.outputs.finish(Readings(lines), [*((one, None) for one in self.known.maps), *found])
        self.folder.finish()


def _known_spots(camera: Path | str, items: Sequence[Item]) -> _Known:
    """The maps that are known before anything is read: of a file, else of the stores.

    Raises:
        UserError: no such file, or a photograph is of none of its cameras, or a store brings its own.
    """
    stores = list(dict.fromkeys(item.store for item in items if item.store))
    if camera == "none":
        return _Known([], {}, {store: {} for store in stores})
    if camera == "auto":
        kept = [store / FILE for store in stores if (store / FILE).is_file()]
        stored = {store: spots_in(Store(store)) for store in stores}
        return _Known([one for file in kept for one in read_cameras(file)], {}, stored)
    if stores:
        raise UserError(
            f"{stores[0]}: the spots of a store's cameras are found by prepare. Leave --camera out."
        )
    maps = [one for one in read_cameras(Path(camera)) if one.looked]
    known = {one.camera: one.spots for one in maps}
    for item in items:
        with suppress(PhotographError):  # told when it is read
            if (own := camera_of(Path(item.file))) not in known:
                cameras = "; ".join(map(str, known)) or "none"
                raise UserError(
                    f"{camera} is no map of the camera of {item.file} ({own}). It holds: {cameras}. "
                    "Name the map of that camera, leave --camera out, or switch off with --camera none."
                )
    return _Known(maps, known, {})


def tracked(things: Iterable[Thing], title: str, total: int, done: int = 0) -> Generator[Thing]:
    """The same, with a bar that shows how far it is."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(things, total=total, completed=done, description="")


def _say(sentence: str) -> None:
    Console(stderr=True).print(sentence, markup=False, highlight=False, soft_wrap=True)


def box() -> Path:
    """The model in the box.

    Raises:
        UserError: this build has none.
    """
    if not BOX.is_file():
        raise UserError(
            "this build of retinalesion has no model in the box. Name one: --checkpoint "
            "runs/NAME/checkpoints/best.ckpt"
        )
    return BOX
