"""Source to store: parallel over photographs, atomic, and resumable after any end.

While a store is in the making, the folder ``unfinished`` in it holds what each finished photograph
contributed; ``store.json`` comes last, and then that folder goes.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retinalesion.data.decode import Camera
from retinalesion.data.names import printable
from retinalesion.data.originals import FILE as ORIGINALS
from retinalesion.data.originals import changed, files_of, originals_of, read_originals, write_originals
from retinalesion.data.outcome import Outcome, outcome_at, prepare_one
from retinalesion.data.photograph import Listing, Photograph, Source, listed
from retinalesion.data.splits import make_splits, of_one_patient, too_few
from retinalesion.data.spots import IN_A_STORE
from retinalesion.data.store import (
    BEGUN,
    UNFINISHED,
    Row,
    Store,
    fingerprint,
    write_tables,
)
from retinalesion.data.summary import Skipped, print_skipped, print_store, read_skipped, write_skipped
from retinalesion.data.survey import Survey, keep_maps, relative_file, survey
from retinalesion.data.truth import (
    believed,
    grade_of,
    graded_differently,
    oedema_of,
    of_two_patients,
    places_of,
    take_as_healthy,
    twins_of,
)
from retinalesion.data.twins import Pair, find_pairs
from retinalesion.errors import PhotographError, UserError
from retinalesion.files import LOCK, locked, read_png, write_json
from retinalesion.lesions import CODES

_SMALLEST_SIDE, _LARGEST_SIDE = 32, 8192
# What must agree for a store to be gone on with.
_SAME = ("source", "side", "seed", "healthy", "camera", "records")


class Prepared(NamedTuple):
    """What `prepare` made: the store, and the photographs left out of it."""

    store: Store
    skipped: list[Skipped]


def prepare(
    source: Source,
    store: Path | str,
    *,
    side: int = 896,
    seed: int = 0,
    healthy: bool = False,
    skip_bad: bool = False,
    camera: bool = True,
    jobs: int | None = None,
) -> Prepared:
    """Make a store of a source, or go on with one that was interrupted, or open it if it is finished.

    The fingerprint covers the masks at the photographs' own size, so that it does not depend on ``side``. It
    does depend on ``healthy``, since that changes which lesions count as annotated; the splits do not.

    Args:
        source: photographs with masks and grades.
        store: folder to make; new, empty, or begun with the same arguments.
        side: of the square pictures in pixels; 896 in the paper.
        seed: of the splits.
        healthy: photographs graded DR0, without annotation and without a twin that bears masks or another
            grade, enter as annotated and empty for the lesions that the set annotates.
        skip_bad: leave out photographs that cannot be read, and list them, instead of stopping.
        camera: look for the spots of each camera that has 30 photographs of 15 patients or more; they are
            ignored in training, and left out of what a test finds.
        jobs: processes; as many as there are cores by default.

    Raises:
        PhotographError: a photograph cannot be used, and ``skip_bad`` is off.
        UserError: the source is not what it should be, the folder holds something else, or cannot be written.
    """
    path = Path(store)
    _require_sane(side, seed, jobs)
    listing = listed(source)
    records = listing.photographs
    if healthy and not any(record.annotated for record in records):
        raise UserError(
            "--healthy needs a set with annotated lesions beside its grades: here is none. "
            "Prepare it without --healthy, or name a folder that holds both parts."
        )
    same = {
        "source": source.name,
        "side": side,
        "seed": seed,
        "healthy": healthy,
        "camera": camera,
        "records": _digest_of(listing),
    }
    console = Console()
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file. Name a new folder for the store.")
    if not (path / "store.json").exists():
        with locked(path):
            if not (path / "store.json").exists():  # nobody has just finished it
                _begin(path, same)
                cameras = survey(records) if camera else Survey({}, {})
                outcomes, skipped = _prepare_all(source, records, path, side, cameras, skip_bad, jobs)
                if not outcomes:
                    raise UserError(
                        f"{path}: no photograph could be used, so there is no store. {skipped[0].message}"
                    )
                _finish(path, listing, outcomes, skipped, cameras, same)
                return _shown(Prepared(Store(path), skipped), console)
    prepared = _finished(path, same, records)
    told = f"{path} is finished already, with these arguments; nothing to do."
    if any(map(files_of, records)) and not (path / ORIGINALS).exists():
        told += " An earlier version made it: whether files of the set have changed since is not known."
    console.print(told, soft_wrap=True, markup=False)
    return _shown(prepared, console)


def _shown(prepared: Prepared, console: Console) -> Prepared:
    print_store(prepared.store, console)
    print_skipped(prepared.skipped, console)
    return prepared


# ------------------------------------------------------------------------------------------ before the first


def _require_sane(side: int, seed: int, jobs: int | None) -> None:
    if not _SMALLEST_SIDE <= side <= _LARGEST_SIDE:
        raise UserError(
            f"side is {side}; take {_SMALLEST_SIDE} to {_LARGEST_SIDE} pixels (896 in the paper)."
        )
    if seed < 0:
        raise UserError(f"seed is {seed}; take 0 or more.")
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs is {jobs}; take 1 or more.")


def _digest_of(listing: Listing) -> str:
    """Of all that the source says before pixels are read, places of files apart."""
    digest = hashlib.sha256("\n".join(listing.notes).encode())
    for record in sorted(listing.photographs, key=lambda record: record.id):
        told = replace(record, file=None, masks={}, annotated=frozenset(), disc_mask=None)
        # What records say since later versions counts only where they say it: older stores stay the same set.
        cells = [f"{key.name}={getattr(told, key.name)!r}" for key in fields(told)]
        kept = [cell for cell in cells if cell not in ("group=''", "disc_mask=None", "oedema=-1")]
        listed = (sorted(record.annotated), sorted(record.masks))
        digest.update(f"(Photograph({', '.join(kept)}), {listed[0]!r}, {listed[1]!r})".encode())
    return digest.hexdigest()[:16]


def _finished(path: Path, same: dict[str, Any], records: Sequence[Photograph]) -> Prepared:
    """The store that is there, if it was made of the same files with the same arguments."""
    opened = Store(path)
    _require_same(path, opened.info, same)
    known = read_originals(path)
    now = {record.id: originals_of(record, known.get(record.id, {})) for record in records if known}
    others = [file for r in records if known for file in changed(r, now[r.id], known.get(r.id, {}))]
    if others:
        more = f" and {len(others) - 1} more files" if len(others) > 1 else ""
        raise UserError(
            f"{path} holds a store made before {others[0]}{more} changed. Prepare into another folder, or "
            "delete this one and prepare again; runs trained on this store belong to it as it is."
        )
    if now != known:  # only copied: next time their new times will tell
        with suppress(UserError):
            write_originals(path, now)
    shutil.rmtree(path / UNFINISHED, ignore_errors=True)  # killed between the two last steps
    return Prepared(opened, read_skipped(path))


def _begin(path: Path, same: dict[str, Any]) -> None:
    arguments = path / BEGUN
    if arguments.exists():
        _require_same(path, _read_arguments(arguments), same)
        for leftover in path.glob("*/.*.part*"):
            leftover.unlink(missing_ok=True)
        return
    if any(entry.name not in (UNFINISHED, LOCK) for entry in path.iterdir()):
        raise UserError(f"{path} holds other files and no store. Name a new or an empty folder.")
    write_json(arguments, same)


def _read_arguments(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file}: damaged ({error}). Delete {file.parents[1]} and prepare again.") from error


def _require_same(path: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    words, there = (
        {"records": "photographs, patients, grades or oedema"},
        {"camera": False, **there},
    )  # earlier versions did not look
    differing = [
        f"other {words[key]}" if key in words else f"{key} {there.get(key)} there, {here[key]} here"
        for key in _SAME
        if there.get(key) != here[key]
    ]
    if differing:
        raise UserError(
            f"{path} holds a store made with other arguments ({'; '.join(differing)}). "
            "Name another folder, or delete this one"
            + (", or add --no-camera." if there.get("camera") is False and here["camera"] else ".")
        )


# ------------------------------------------------------------------------------------------- all photographs


def _prepare_all(
    source: Source,
    records: Sequence[Photograph],
    path: Path,
    side: int,
    cameras: Survey,
    skip_bad: bool,
    jobs: int | None,
) -> tuple[dict[str, Outcome], list[Skipped]]:
    outcomes: dict[str, Outcome] = {}
    cameras_of = {id: camera for camera, ids in cameras.averaged.items() for id in ids}
    for record in records:
        known = outcome_at(path, record.id)
        lost = record.id in cameras_of and not cv2.haveImageReader(str(relative_file(path, record.id)))
        if known and not lost:
            now = originals_of(record, known.originals)
            if not changed(record, now, known.originals):
                outcomes[record.id] = known
    left = [(record, cameras_of.get(record.id)) for record in records if record.id not in outcomes]
    skipped: list[Skipped] = []
    columns = (TextColumn("prepare"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(records), completed=len(outcomes))
        # A bad photograph ends the giving out; what is in work then is finished and kept for the next run.
        given = takewhile(lambda _: skip_bad or not skipped, left)
        for id, result in _results(source, given, path, side, min(jobs or joblib.cpu_count(), len(left))):
            if isinstance(result, Outcome):
                outcomes[id] = result
            else:
                skipped.append(result)
            progress.advance(bar)
    if skipped and not skip_bad:
        raise PhotographError(
            f"{skipped[0].message}\nTo leave out what cannot be used and go on: --skip-bad."
        )
    return outcomes, sorted(skipped)


def _results(
    source: Source, records: Iterable[tuple[Photograph, Camera | None]], path: Path, side: int, jobs: int
) -> Iterator[tuple[str, Outcome | Skipped]]:
    if jobs <= 1:
        for record, camera in records:
            yield record.id, _prepare_in_worker(source, record, path, side, camera)
        return
    parallel = joblib.Parallel(jobs, return_as="generator_unordered", batch_size=1)
    try:
        yield from parallel(
            joblib.delayed(_named_in_worker)(source, record, path, side, camera) for record, camera in records
        )
    except TerminatedWorkerError as error:
        raise UserError(
            f"{path}: a process was ended from outside, most likely for want of memory. "
            "Run it again with --jobs 1: it goes on where it stopped."
        ) from error


def _prepare_in_worker(
    source: Source, record: Photograph, path: Path, side: int, camera: Camera | None
) -> Outcome | Skipped:
    try:
        return prepare_one(source, record, path, side, camera)
    except PhotographError as error:
        return Skipped(record.id, printable(str(record.file or "")), printable(str(error)))


def _named_in_worker(
    source: Source, record: Photograph, path: Path, side: int, camera: Camera | None
) -> tuple[str, Outcome | Skipped]:
    cv2.setNumThreads(1)  # the cores are taken by the other photographs
    return record.id, _prepare_in_worker(source, record, path, side, camera)


# -------------------------------------------------------------------------------------------- after the last


def _finish(
    path: Path,
    listing: Listing,
    outcomes: dict[str, Outcome],
    skipped: list[Skipped],
    cameras: Survey,
    same: dict[str, Any],
) -> None:
    records = [record for record in listing.photographs if record.id in outcomes]
    by_id, notes = {record.id: record for record in records}, list(listing.notes)
    pairs = believed(_pairs(path, outcomes), by_id)
    alike = [pair[:2] for pair in pairs]
    maps = keep_maps(path, cameras, by_id, alike + of_one_patient(by_id))
    notes += [f"{one} {IN_A_STORE}" if one.spots else str(one) for one in maps]
    numbers = {one.camera: number for number, one in enumerate(maps, 1)}
    twins = twins_of(by_id, pairs)
    grades = {id: grade_of(id, by_id, twins) for id in by_id}
    annotated = {id: record.annotated for id, record in by_id.items()}
    if same["healthy"]:
        annotated, note = take_as_healthy(by_id, grades, twins)
        notes.append(note)
    splits = make_splits(records, alike, same["seed"])
    if missing := too_few(records, alike):
        notes.append(missing)
    if strange := [f"{a} and {b}" for a, b, _ in pairs if of_two_patients(by_id[a], by_id[b])]:
        notes.append(
            f"show the same, but bear two patients' names, so that no grade is shared: {', '.join(strange)}"
        )
    rows = [
        Row(
            id=record.id,
            name=record.name,
            split=splits[record.id],
            width=outcome.width,
            height=outcome.height,
            box=outcome.box,
            sha256=outcome.sha256,
            patient=record.patient,
            eye=record.eye,
            group=record.group,
            grade=grades[record.id],
            oedema=oedema_of(record.id, by_id, twins),
            annotated=annotated[record.id],
            disc=disc,
            fovea=fovea,
            twins=twins[record.id],
            pixels={code: outcome.pixels.get(code, 0) for code in CODES if code in annotated[record.id]},
            stored=outcome.stored,
            camera=numbers.get(taken_by, 0) if (taken_by := cameras.cameras.get(record.id)) else 0,
        )
        for record in records
        for outcome in [outcomes[record.id]]
        for disc, fovea in [places_of(record.id, by_id, outcomes, twins)]
    ]
    info = {
        **same,
        "notes": notes,
        "twins_graded_differently": graded_differently(by_id, twins),
        "second_shots": [[pair.first, pair.second] for pair in pairs if not pair.twins],
        "fingerprint": fingerprint(rows, {id: outcome.truth for id, outcome in outcomes.items()}),
    }
    write_skipped(path, skipped)
    read = {id: outcome.originals for id, outcome in outcomes.items()}
    left_out = {one.id: originals_of(one) for one in listing.photographs if one.id not in outcomes}
    write_originals(path, {**read, **left_out})
    write_tables(path, rows, info)
    shutil.rmtree(path / UNFINISHED, ignore_errors=True)


def _pairs(path: Path, outcomes: dict[str, Outcome]) -> list[Pair]:
    views = {id: read_png(path / UNFINISHED / f"{id}.png", cv2.IMREAD_GRAYSCALE) for id in outcomes}
    return sorted(find_pairs({id: outcome.sha256 for id, outcome in outcomes.items()}, views))
