"""Files: written beside and renamed, so that nobody ever sees half of one; tables and pictures."""

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from retinalesion.errors import UserError


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside, then rename, so that nobody ever sees half a file.

    Raises:
        UserError: the place cannot be written or is full.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        beside.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}). "
            "Free some space or name a folder that you may write to."
        ) from error
    finally:
        with suppress(OSError):  # what went wrong above must be what is told
            beside.unlink()


def write_csv(file: Path, lines: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Lines as a CSV file, whole or not at all; columns are by default all the keys that occur, in order.

    Raises:
        UserError: as `replace_file` raises.
    """
    names = columns or list(dict.fromkeys(key for line in lines for key in line))

    def write_lines(beside: Path) -> None:
        with beside.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, names, restval="")
            writer.writeheader()
            writer.writerows(lines)

    replace_file(file, write_lines)


def write_png(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """A picture as PNG, RGB or grey, 8 or 16 bit, written beside and renamed."""
    if pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not encoded:
        raise UserError(f"{path}: the picture could not be encoded as PNG.")
    replace_file(path, lambda beside: beside.write_bytes(data.tobytes()))


def read_png(path: Path, flag: int) -> NDArray[np.uint8]:
    """A picture of the store, grey or RGB by OpenCV's flag.

    Raises:
        UserError: missing or not a picture.
    """
    pixels = cv2.imread(str(path), flag)
    if pixels is None:
        raise UserError(f"{path}: missing or damaged. Prepare the store again to mend it.")
    return np.asarray(pixels, np.uint8)
