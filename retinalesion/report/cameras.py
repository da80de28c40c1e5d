"""`find_cameras`: the cameras' own spots from a batch of photographs, for small batches to come."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retinalesion.data.camera import marked
from retinalesion.data.decode import Camera, read_with_camera
from retinalesion.data.spots import (
    FEWEST_GROUPS,
    FEWEST_PHOTOGRAPHS,
    CameraMap,
    read_cameras,
    told,
    write_cameras,
)
from retinalesion.errors import UserError
from retinalesion.files import replace_file
from retinalesion.reading.camera import Cameras
from retinalesion.reading.reader import Reader
from retinalesion.reading.reading import Reading
from retinalesion.report.analyze import box
from retinalesion.report.batch import tracked
from retinalesion.report.listing import listed


def find_cameras(
    photographs: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    checkpoint: Path | str | None = None,
) -> list[CameraMap]:
    """Read photographs and write a map of each camera's own spots, with its mean picture beside.

    Args:
        photographs: files or folders (searched through).
        out: the file to write, which `analyze` takes as ``camera``; a page of the same name shows pictures.
        checkpoint: a run, one of its checkpoints, or an exported file; None for the model in the box.

    Returns:
        The cameras; the file holds those of which there were photographs enough.

    Raises:
        UserError: nothing to read, a store was named, the file holds something else, or no camera has
            photographs enough.
    """
    file = Path(out)
    if file.is_dir():
        raise UserError(f"{file} is a folder. Name a file: --out {file / 'cameras.json'}")
    if file.exists():
        read_cameras(file)  # nothing but an earlier map is replaced
    items = listed(photographs, "all", file)
    if any(item.row for item in items):
        raise UserError("The spots of a store's cameras are found by prepare. Name photographs instead.")
    with TemporaryDirectory(prefix="retinalesion-") as place:
        cameras = Cameras.of_files(Path(place), ((item.id, Path(item.file)) for item in items))
        if max(cameras.photographs.values(), default=0) < FEWEST_PHOTOGRAPHS:
            raise _too_few(cameras.photographs)
        readings: dict[str, Reading] = {}
        reader = Reader.from_checkpoint(checkpoint or box())
        for item in tracked(items, "camera", len(items)):
            try:
                rgb, camera = read_with_camera(Path(item.file))
                seen = reader.see(rgb, item.file, item.id)
            except Exception as error:  # one photograph never stops a batch
                print(f"not read: {error}")
                continue
            cameras.add(camera, seen.reading, rgb, seen.square, seen.faint)
            readings[item.id] = seen.reading
        maps = cameras.maps(readings)
    found = [(one, mean) for one, mean in maps if one.looked]
    if not found:
        raise _too_few({one.camera: one.photographs for one, _ in maps})
    write_cameras(file, [one for one, _ in found])
    _write_page(file.with_suffix(".html"), found)
    return [one for one, _ in maps]


def _write_page(file: Path, found: Sequence[tuple[CameraMap, NDArray[np.uint8]]]) -> None:
    """The pictures as a page of one file, so that no folder of photographs gets a picture more."""
    parts = ["<!DOCTYPE html><meta charset='utf-8'><title>Spots of cameras</title>"]
    for one, mean in found:
        picture = BytesIO()
        Image.fromarray(marked(one, mean)).save(picture, "PNG")
        coded = b64encode(picture.getvalue()).decode()
        parts.append(
            f"<p>{escape(' '.join(told([one])))}</p><img src='data:image/png;base64,{coded}' alt=''>"
        )
    replace_file(file, lambda beside: beside.write_text("\n".join(parts), "utf-8"))


def _too_few(photographs: Mapping[Camera, int]) -> UserError:
    few = [CameraMap(camera, count, count) for camera, count in photographs.items()]
    return UserError(
        "\n".join(told(few))
        or f"No photograph could be read. {FEWEST_PHOTOGRAPHS} photographs of one camera, "
        f"of {FEWEST_GROUPS} patients, are needed."
    )
