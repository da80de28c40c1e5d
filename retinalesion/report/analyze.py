"""`analyze`: photographs of any size to readings, tables and the report. One bad file never stops a batch."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retinalesion.data.decode import SUFFIXES, Camera, camera_of, read_photograph, read_with_camera
from retinalesion.data.field import to_square
from retinalesion.data.spots import FILE, CameraMap, Spot, read_cameras, spots_in, told
from retinalesion.data.store import Row, Store, unpack
from retinalesion.errors import PhotographError, UserError
from retinalesion.files import read_png
from retinalesion.reading.camera import Cameras, set_aside
from retinalesion.reading.reader import Reader, Subject, concluded, see
from retinalesion.reading.reading import Reading
from retinalesion.report.outputs import LINES, Outputs

Item = tuple[str, Path | tuple[Store, Row]]  # id, and a file or a row of a store

BOX = Path(__file__).parents[1] / "weights" / "box.safetensors"


def analyze(
    photographs: Path | str | Sequence[Path | str],
    out: Path | str = "analysis",
    *,
    checkpoint: Path | str | None = None,
    split: str = "all",
    probabilities: bool = False,
    camera: Path | str = "auto",
) -> list[Reading]:
    """Read photographs, and write tables, pictures and a report.

    Args:
        photographs: files, folders (searched through) or stores.
        out: folder for what `retinalesion.report.outputs` lists; an earlier analysis there is replaced.
        checkpoint: of a run, or a portable one; None for the model in the box.
        split: of stores, the photographs to read: ``train``, ``val``, ``test`` or ``all``.
        probabilities: write 16-bit pictures of every lesion's map too.
        camera: what lies on the cameras' own spots does not count: of stores those that are known there, and
            of other photographs those that the batch itself shows (``auto``), or those of a file that
            ``retinalesion camera`` or an earlier analysis made. ``none``: nobody looks for such spots.

    Returns:
        A reading per photograph, in order; of a file that could not be opened, one that says why.

    Raises:
        UserError: nothing to read, no such checkpoint, the folder holds something else, or a photograph is of
            none of the file's cameras.
    """
    outputs = Outputs(Path(out), probabilities)
    outputs.require_ours()
    work = listed(photographs, split, Path(out))
    stores = {item[0].path: item[0] for _, item in work if isinstance(item, tuple)}
    stored = {path: spots_in(store) if camera != "none" else {} for path, store in stores.items()}
    files = [item for _, item in work if isinstance(item, Path)]
    used = _known_maps(camera, files, list(stores.values()))
    known = {one.camera: one.spots for one in used} if camera != "auto" else {}
    reader = Reader.from_checkpoint(checkpoint or box())
    outputs.begin()
    cameras = Cameras.of_files(files) if camera == "auto" else None
    seen: dict[str, _Read] = {}
    try:
        for id, item in tracked(work, "analyze"):
            if isinstance(item, Path):
                seen[id] = _read_file(reader, outputs, id, item, known, cameras)
            else:
                store, row = item
                spots = stored[store.path].get(row.id, ())
                seen[id] = _read_row(reader, outputs, id, store, row, spots)
    except KeyboardInterrupt:  # what has been read is kept
        Console(stderr=True).print(f"Stopped after {len(seen)} of {len(work)} photographs.")
        if not seen:
            raise
    readings = {id: one.reading for id, one in seen.items()}
    maps = cameras.maps(readings) if cameras else []
    if len(files) > 1:
        for sentence in told([one for one, _ in maps]):
            Console(stderr=True).print(sentence, markup=False, highlight=False, soft_wrap=True)
    readings |= _freed(reader, outputs, seen, {one.camera: one.spots for one, _ in maps if one.spots})
    outputs.finish(list(readings.values()), [*((one, None) for one in used), *maps])
    return list(readings.values())


class _Read(NamedTuple):
    """A photograph that was read: what it takes to set findings aside afterwards."""

    reading: Reading
    file: Path | None = None
    camera: Camera | None = None
    faint: Mapping[str, float] = {}


def _read_file(
    reader: Reader,
    outputs: Outputs,
    id: str,
    file: Path,
    known: Mapping[Camera, Sequence[Spot]],
    cameras: Cameras | None,
) -> _Read:
    try:
        rgb, camera = read_with_camera(file)
    except PhotographError as error:
        return _Read(reader.unread(file, id, error))
    seen = reader.see(rgb, str(file), id, known.get(camera, ()))
    if cameras and seen.reading.quality and seen.reading.quality.gradable:
        cameras.add(camera, id, rgb, seen.square)
    return _Read(outputs.write(seen), file, camera, seen.faint)


def _read_row(
    reader: Reader, outputs: Outputs, id: str, store: Store, row: Row, spots: Sequence[Spot]
) -> _Read:
    try:
        square, truth = store.image(row.id), truth_of(store, row)
    except UserError as error:
        return _Read(reader.unread(row.name, id, error))
    subject = Subject.of_row(row)._replace(id=id)
    seen = see(subject, square, *reader.maps_of(square), reader.model, spots)
    return _Read(outputs.write(seen, *truth))


def _freed(
    reader: Reader, outputs: Outputs, seen: Mapping[str, _Read], spots: Mapping[Camera, Sequence[Spot]]
) -> dict[str, Reading]:
    """Readings without what lies on spots that are known only now; their pictures are drawn anew."""
    readings: dict[str, Reading] = {}
    drawing = True
    for id, read in seen.items():
        if read.file is None or read.camera is None or read.camera not in spots:
            continue
        planes = read_png(outputs.planes_of(id), cv2.IMREAD_GRAYSCALE)
        reading, planes, aside = set_aside(read.reading, planes, spots[read.camera], read.faint)
        if not reading.camera:
            continue
        readings[id] = reading = concluded(reading, reader.model)
        try:
            if drawing:
                square = to_square(read_photograph(read.file), reading.box, reader.side)
                outputs.draw(reading, square, planes, aside)
        except PhotographError as error:  # gone since it was read
            Console(stderr=True).print(f"not drawn anew: {error}", markup=False, soft_wrap=True)
        except KeyboardInterrupt:  # tables and report come all the same
            Console(stderr=True).print("Stopped: the pictures still show what lies on the camera's spots.")
            drawing = False
    return readings


def _known_maps(camera: Path | str, files: Sequence[Path], stores: Sequence[Store]) -> list[CameraMap]:
    """The maps that are known before anything is read: of a file, else of the stores.

    Raises:
        UserError: no such file, or a photograph is of none of its cameras, or a store brings its own.
    """
    if camera == "none":
        return []
    if camera == "auto":
        kept = [store.path / FILE for store in stores if (store.path / FILE).is_file()]
        return [one for file in kept for one in read_cameras(file)]
    if stores:
        raise UserError(
            f"{stores[0].path}: the spots of a store's cameras are found by prepare. Leave --camera out."
        )
    maps = [one for one in read_cameras(Path(camera)) if one.looked]
    known = [one.camera for one in maps]
    for file in files:
        with suppress(PhotographError):  # told when it is read
            if (own := camera_of(file)) not in known:
                cameras = "; ".join(map(str, known)) or "none"
                raise UserError(
                    f"{camera} is no map of the camera of {file} ({own}). It holds: {cameras}. "
                    "Name the map of that camera, leave --camera out, or switch off with --camera none."
                )
    return maps


def tracked(work: Sequence[Item], title: str) -> Iterator[Item]:
    """The same, with a bar that shows how far it is."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(work, description="")


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


def listed(photographs: Path | str | Sequence[Path | str], split: str, out: Path) -> list[Item]:
    """What to read, under unique ids; pictures of earlier analyses are no photographs.

    Args:
        photographs: files, folders (searched through) or stores.
        split: of stores; ``all`` for all.
        out: where results will go.

    Raises:
        UserError: there is nothing of that name, or no photograph in it.
    """
    named = [photographs] if isinstance(photographs, (Path, str)) else photographs
    return list(_listed([Path(name) for name in named], split, out))


def _listed(named: Sequence[Path], split: str, out: Path) -> Iterator[Item]:
    taken: set[str] = set()
    for path in named:
        if (path / "store.json").is_file():
            store = Store(path)
            rows = [row for row in store.rows if split in (row.split, "all")]
            if not rows:
                raise UserError(f"{path}: no photographs in split {split}.")
            for row in rows:
                yield _unique(row.id, taken), (store, row)
        elif path.is_dir():
            ours = {out.resolve(), *(lines.parent.resolve() for lines in path.rglob(LINES))}
            found = (file for file in path.rglob("*") if _is_photograph(file))
            files = sorted(file for file in found if ours.isdisjoint(file.resolve().parents))
            if not files:
                known = ", ".join(sorted(SUFFIXES))
                raise UserError(f"{path}: no photographs in this folder ({known}).")
            for file in files:
                yield _unique(file.stem, taken), file
        elif path.exists():
            yield _unique(path.stem, taken), path
        else:
            raise UserError(f"{path}: no such file or folder.")


def _is_photograph(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def _unique(name: str, taken: set[str]) -> str:
    """An id that may name files, and that no other photograph of the batch has, upper case or lower."""
    plain = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip(".")[:80] or "photograph"
    id, count = plain, 1
    while id.casefold() in taken:
        count += 1
        id = f"{plain}-{count}"
    taken.add(id.casefold())
    return id


def truth_of(store: Store, row: Row) -> tuple[NDArray[np.bool_] | None, frozenset[str]]:
    """What experts marked in a photograph of a store, bool (8, side, side), and what they looked for."""
    return (unpack(store.planes(row.id)) if row.annotated else None), row.annotated
