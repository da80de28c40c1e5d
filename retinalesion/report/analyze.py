"""`analyze`: photographs of any size to readings, tables and the report. One bad file never stops a batch."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from retinalesion import __version__
from retinalesion.data.decode import camera_of, sha256_of
from retinalesion.data.spots import FILE, read_cameras, spots_in, write_cameras
from retinalesion.data.store import Store
from retinalesion.errors import PhotographError, UserError
from retinalesion.files import locked
from retinalesion.networks.checkpoint import find
from retinalesion.reading.camera import Cameras
from retinalesion.reading.stream import Item, Readings
from retinalesion.reading.verdict import AS_FITTED, Wish
from retinalesion.reading.workers import Cluster, Processes, Workers, cores
from retinalesion.report.batch import Batch, Known, say
from retinalesion.report.folder import LINES, MARK, BatchFolder
from retinalesion.report.job import Job
from retinalesion.report.listing import digest_of, listed
from retinalesion.report.outputs import Outputs
from retinalesion.report.parts import Part, all_read, parts_in

LIMITS = {"sensitivity": (0.5, 0.999), "prevalence": (0.001, 0.9)}  # of what may be wished
_PATIENCE = 600  # seconds, for other parts of a batch to let go of the folder

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
    workers: int = 1,
    cluster: str | None = None,
    part: str | None = None,
    sensitivity: float | None = None,
    prevalence: float | None = None,
) -> Readings:
    """Read photographs, and write tables, pictures and a report.

    A line of ``readings.jsonl`` is there as soon as a photograph has been read. Whatever ends a batch, the
    same call goes on with it; what has been read is not read again. Stopped from the keyboard, it writes
    tables and report of what there is, and raises all the same.

    Args:
        photographs: files, folders (searched through) or stores.
        out: folder for what `retinalesion.report.outputs` lists; an earlier analysis there is replaced when
            this one is whole, and stays in ``earlier`` until then.
        checkpoint: a run, one of its checkpoints, or an exported file; None for the model in the box.
        split: of stores, the photographs to read: ``train``, ``val``, ``test`` or ``all``.
        probabilities: write 16-bit pictures of every lesion's map too.
        camera: what lies on the cameras' own spots does not count: of stores those that are known there, and
            of other photographs those that the batch itself shows (``auto``), or those of a file that
            ``retinalesion camera`` or an earlier analysis made. ``none``: nobody looks for such spots.
        fresh: begin anew, even where just this is finished or half done.
        device: ``cpu``, ``cuda`` or ``mps``; None for a GPU where there is one.
        workers: processes that share the photographs; each opens the network, and they share the cores. A
            script that asks for several needs ``if __name__ == "__main__":``.
        cluster: address of a Dask scheduler whose workers share the photographs, on a disk that all see.
        part: such as ``2/8``, to read the second of eight parts. The one that ends last, or the same call
            without ``part``, puts all together.
        sensitivity: 0.5 to 0.999, from which referral is to be considered: it moves the lower cut of the
            checkpoint's rule; None to leave it as it was fitted.
        prevalence: 0.001 to 0.9, share of referable eyes where the photographs were taken: probabilities are
            told for there; None for where the rule was fitted.

    Returns:
        A reading per photograph, in order, each read from ``readings.jsonl`` when it is asked for; of a file
        that could not be opened, one that says why. Those of the part as long as others are not there.

    Raises:
        UserError: nothing to read, no such checkpoint or device, the folder holds something else or is in
            use or half full of another analysis, it cannot be written, workers are gone, or a photograph is
            of none of the file's cameras.
    """
    outputs = Outputs(Path(out).absolute(), probabilities)
    folder = BatchFolder(Path(out))
    own = Part.named(part) if part else None
    require_cores(workers)
    folder.require_ours()
    wish = _wish(sensitivity, prevalence)
    items = listed(photographs, split, Path(out))
    known = known_spots(camera, items)
    weights = find(checkpoint) if checkpoint else box()
    files = [(item.id, Path(item.file)) for item in items if not item.row]
    cameras = Cameras.of_files(folder.work.absolute(), files) if camera == "auto" else None
    job = Job(weights, device, outputs, known.by_camera, cameras, wish)
    if job.reader.model.rule is None and wish != AS_FITTED:  # and all else that is wrong with the checkpoint
        raise UserError(
            f"{weights}: --sensitivity and --prevalence move the cuts of a rule, and this checkpoint has "
            "none. Leave them out, or fit a rule to it: retinalesion calibrate"
        )
    asked = {
        "photographs": f"{len(items)}: {digest_of(items)}",
        "checkpoint": sha256_of(weights),
        "camera": camera if camera in ("auto", "none") else repr(known.maps),
        "probabilities": probabilities,
        "version": __version__,
        **{name: value for name, value in asdict(wish).items() if value is not None},
    }
    batch = Batch(folder, outputs, job, items, known, own)
    if own is None:
        with locked(folder.path), ExitStack() as parts:
            for one in parts_in(folder.work):
                parts.enter_context(locked(one.folder(folder.work)))
            if not _is_whole(batch, asked, fresh):
                _begin(batch, asked, fresh)
                batch.run(workers_for(job, workers, cluster))
        return Readings(folder.path / LINES)
    with _patient(folder.path):
        if _is_whole(batch, asked, fresh):
            return Readings(folder.path / LINES)
        _begin(batch, asked, fresh)
    with locked(own.folder(folder.work)):
        batch.run(workers_for(job, workers, cluster))
    with _patient(folder.path):
        if all_read(folder.work, len(items)) and not folder.is_whole(asked):
            batch._replace(part=None).run(nullcontext())
    return Readings(folder.path / LINES if folder.is_whole(asked) else batch.lines)


def _wish(sensitivity: float | None, prevalence: float | None) -> Wish:
    """What is wished, within its limits.

    Raises:
        UserError: beyond them.
    """
    wish = Wish(sensitivity, prevalence)
    for name, (least, most) in LIMITS.items():
        value = getattr(wish, name)
        if value is not None and not least <= value <= most:
            raise UserError(f"--{name} {value:g}: name a share from {least} to {most}.")
    return wish


def require_cores(workers: int) -> None:
    """See that there are not more processes than cores.

    Raises:
        UserError: there are.
    """
    if not 1 <= workers <= cores():
        raise UserError(f"--workers {workers}: name 1 to {cores()}, as many as this machine gives cores.")


def workers_for(job: Job, count: int, cluster: str | None = None) -> AbstractContextManager[Workers | None]:
    """Who reads: this process alone, several, or a cluster; as `analyze` takes them.

    Raises:
        UserError: there is no such cluster.
    """
    if cluster:
        return Cluster(job, cluster, job.outputs.folder / MARK)
    return nullcontext() if count == 1 else Processes(job, count)


def _is_whole(batch: Batch, asked: Mapping[str, Any], fresh: bool) -> bool:
    whole = batch.folder.is_whole(asked) and not fresh
    if whole:
        batch.folder.clear_away()
        say(f"All {len(batch.items)} photographs were read before; --fresh reads them again.")
    return whole


def _begin(batch: Batch, asked: Mapping[str, Any], fresh: bool) -> None:
    folder, part = batch.folder, batch.part
    if part and fresh:
        raise UserError("--fresh would take away what other parts have read. Name a new folder with --out.")
    if folder.begin(asked, fresh):
        say(f"The earlier analysis waits in {folder.path / 'earlier'} until this one is whole.")
    others = {one.of for one in parts_in(folder.work)}
    if part and others - {part.of}:
        raise UserError(
            f"{folder.path} was begun in {max(others)} parts. Name one of these, or another --out."
        )
    if batch.known.maps:
        write_cameras(folder.path / FILE, batch.known.maps)


@contextmanager
def _patient(folder: Path) -> Iterator[None]:
    """Have the folder to oneself; other parts have it for moments, or to put all together."""
    until = time.monotonic() + _PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except UserError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
        yield


def known_spots(camera: Path | str, items: Sequence[Item]) -> Known:
    """The maps that are known before anything is read: of a file, else of the stores.

    Raises:
        UserError: no such file, or a photograph is of none of its cameras, or a store brings its own.
    """
    stores = list(dict.fromkeys(item.store for item in items if item.store))
    if camera == "none":
        return Known([], {}, {store: {} for store in stores})
    if camera == "auto":
        kept = [store / FILE for store in stores if (store / FILE).is_file()]
        stored = {store: spots_in(Store(store)) for store in stores}
        return Known([one for file in kept for one in read_cameras(file)], {}, stored)
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
    return Known(maps, known, {})


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
