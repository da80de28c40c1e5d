"""One photograph of a store in the making: its pictures, and what it contributes to the tables."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from retinalesion.data.decode import Camera
from retinalesion.data.field import find_field, grow, plane_to_square, to_square
from retinalesion.data.originals import Original, originals_of
from retinalesion.data.photograph import Photograph, Pixels, Source
from retinalesion.data.store import PICTURES, UNFINISHED, pack, picture, stored_of
from retinalesion.data.survey import entering, relative_file
from retinalesion.data.twins import VIEW_SIDE, view_of
from retinalesion.files import replace_file, write_png
from retinalesion.geometry import Box, Disc
from retinalesion.lesions import CODES


@dataclass(frozen=True)
class Outcome:
    """What one photograph contributes to the tables; kept beside until the store is finished."""

    width: int
    height: int
    box: Box
    sha256: str
    truth: str
    pixels: dict[str, int]
    disc: Disc | None
    originals: dict[str, Original]
    stored: tuple[str, ...]


def prepare_one(source: Source, record: Photograph, path: Path, side: int, camera: Camera | None) -> Outcome:
    """Read a photograph, write its pictures into the store, and keep beside them what it contributes.

    Args:
        source: to read from.
        record: of the photograph.
        path: of the store.
        side: of its pictures.
        camera: into whose mean the photograph enters, if any.

    Raises:
        PhotographError: as the source raises.
        UserError: the store cannot be written.
    """
    originals = originals_of(record)  # before it is read: what changes meanwhile is told next time
    pixels = source.read(record)
    field = find_field(pixels.rgb)
    box = grow(field, [*pixels.planes.values(), *pixels.ignored.values()])
    square = to_square(pixels.rgb, box, side)
    planes = {code: plane_to_square(mask, box, side) for code, mask in pixels.planes.items()}
    ignored = {code: plane_to_square(mask, box, side) for code, mask in pixels.ignored.items() if mask.any()}
    files = [picture(path, which, record.id) for which in range(len(PICTURES))]
    write_png(files[0], square)
    write_png(files[1], pack(planes, side))
    if ignored:
        write_png(files[2], pack(ignored, side))
    else:
        files[2].unlink(missing_ok=True)  # of a mask that has changed since an earlier try
    write_png(path / UNFINISHED / f"{record.id}.png", view_of(to_square(pixels.rgb, field, VIEW_SIDE)))
    relative = entering(pixels.rgb, camera)
    if relative is not None:
        write_png(relative_file(path, record.id), relative)
    empty = np.zeros(0, np.bool_)
    outcome = Outcome(
        width=pixels.rgb.shape[1],
        height=pixels.rgb.shape[0],
        box=box,
        sha256=pixels.sha256,
        truth=_truth_of(pixels),
        pixels={code: int(planes.get(code, empty).sum()) for code in CODES if code in record.annotated},
        disc=pixels.disc or record.disc,
        originals=originals,
        stored=stored_of(path, record.id),
    )
    # Last: it says that the photograph is done.
    text = json.dumps(asdict(outcome))
    replace_file(_file_of(path, record.id), lambda beside: beside.write_text(text, "utf-8"))
    return outcome


def _file_of(path: Path, id: str) -> Path:
    return path / UNFINISHED / f"{id}.json"


def _truth_of(pixels: Pixels) -> str:
    digest = hashlib.sha256()
    for kind, masks in (("marked", pixels.planes), ("ignored", pixels.ignored)):
        for code in sorted(code for code, mask in masks.items() if mask.any()):
            digest.update(f"{kind} {code} {masks[code].shape}".encode())
            digest.update(np.packbits(masks[code]).tobytes())
    return digest.hexdigest()


def outcome_at(path: Path, id: str) -> Outcome | None:
    """What `prepare_one` kept of a photograph; None where it was not done, or the file is damaged."""
    try:
        cells = json.loads(_file_of(path, id).read_text("utf-8"))
        disc = Disc(*cells.pop("disc")) if cells["disc"] else cells.pop("disc")
        originals = {what: Original(*one) for what, one in cells.pop("originals").items()}
        cells |= {"box": Box(*cells["box"]), "stored": tuple(cells["stored"])}
        return Outcome(**cells, disc=disc, originals=originals)
    except (OSError, ValueError, KeyError, TypeError):
        return None
