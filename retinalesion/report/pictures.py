"""What the report shows of one photograph: the field of view, a thumbnail, a layer per lesion.

Layers are stacked above the photograph by the browser, so that they can be switched and faded one by one.
What the model found is a line with a faint tint, dashed and without the tint where it is too unsure to count;
what experts marked is a flat surface without a line: both at once show at a glance where they meet.
"""

import hashlib
import json
import re
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retinalesion.files import replace_file
from retinalesion.lesions import CODES, LESIONS
from retinalesion.pictures import ASIDE, CASING, Picture, outline

SIDE = 1400  # at most; more would not be seen, and a folder of a thousand stays below a gigabyte
THUMBNAIL = 160
_INDEX = "pictures.json"  # written last: it says that all pictures are there
_NOTHING, _TINT, _LINE, _CASING = range(4)  # colours of a layer
_FOUND_TINT, _TRUTH_TINT, _CASING_TINT = 40, 150, 190  # alpha, of 255


class Pictures(NamedTuple):
    """Which pictures a photograph has.

    Attributes:
        layers: codes of the lesions with a layer of findings that count.
        truth: codes with a layer of what experts marked.
        annotated: codes that experts looked for.
        possible: codes of the lesions with a layer of findings that do not count.
        camera: whether there is a layer of what lies on the camera's spots.
    """

    layers: tuple[str, ...]
    truth: tuple[str, ...]
    annotated: tuple[str, ...]
    possible: tuple[str, ...] = ()
    camera: bool = False


def safe_name(id: str) -> str:
    """A photograph's name in files and links of the report: the id itself, unless it holds odd characters."""
    if re.fullmatch(r"\w[\w.-]{0,99}(?<!\.)", id, re.ASCII):
        return id
    digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return re.sub(r"[^\w-]+", "_", id, flags=re.ASCII)[:60].lstrip("-") + f"-{digest}"


def photograph_folder(report: Path, id: str) -> Path:
    """Where all that belongs to one photograph lies."""
    return report / "photographs" / safe_name(id)


def write_pictures(
    report: Path,
    id: str,
    rgb: Picture,
    planes: NDArray[np.bool_],
    truth: NDArray[np.bool_] | None = None,
    annotated: Collection[str] = CODES,
    *,
    possible: NDArray[np.bool_] | None = None,
    aside: NDArray[np.bool_] | None = None,
) -> None:
    """Write what the report shows of one photograph. `page.write_report` then finds it by the id.

    Args:
        report: folder of the report.
        id: of the reading.
        rgb: the field of view, uint8 (side, side, 3).
        planes: what was found and counts, bool (8, side, side).
        truth: what experts marked, bool (8, side, side); None where nobody did.
        annotated: codes that the experts looked for; of no meaning without truth.
        possible: what was found and does not count, bool (8, side, side); None where all counts.
        aside: what lies on the camera's spots, bool (side, side); None where nobody looked for them.

    Raises:
        ValueError: the shapes do not belong together.
        UserError: the folder cannot be written.
    """
    side = rgb.shape[0]
    for given in (planes, truth, possible):
        if given is None:
            continue
        if rgb.shape != (side, side, 3) or given.shape != (len(CODES), side, side):
            raise ValueError(f"a square {rgb.shape} and planes {given.shape} do not belong together")
    if aside is not None and aside.shape != (side, side):
        raise ValueError(f"a square {rgb.shape} and what is set aside {aside.shape} do not belong together")
    folder = photograph_folder(report, id)
    (folder / _INDEX).unlink(missing_ok=True)
    for layer in folder.glob("*.png"):  # of an earlier drawing
        layer.unlink()
    _write_jpeg(folder / "photograph.jpg", rgb, SIDE, 88)
    _write_jpeg(folder / "thumbnail.jpg", rgb, THUMBNAIL, 80)
    looked_for = tuple(code for code in CODES if truth is not None and code in annotated)
    drawn = Pictures(
        layers=_write_layers(folder, "", planes, CODES),
        truth=() if truth is None else _write_layers(folder, "truth-", truth, looked_for),
        annotated=looked_for,
        possible=() if possible is None else _write_layers(folder, "possible-", possible, CODES),
        camera=aside is not None and bool(aside.any()),
    )
    if aside is not None and drawn.camera:
        _write_layer(folder / "camera.png", _outlined(_reduced(aside), ASIDE))
    text = json.dumps(drawn._asdict())
    replace_file(folder / _INDEX, lambda beside: beside.write_text(text, "utf-8"))


def pictures_of(report: Path, id: str) -> Pictures | None:
    """The pictures that were written of a photograph; None where there are none."""
    try:
        plain = json.loads((photograph_folder(report, id) / _INDEX).read_text("utf-8"))
        camera = bool(plain.pop("camera", False))  # reports of earlier versions tell nothing of it
        return Pictures(**{key: tuple(codes) for key, codes in plain.items()}, camera=camera)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _write_layers(
    folder: Path, prefix: str, planes: NDArray[np.bool_], codes: Collection[str]
) -> tuple[str, ...]:
    written = []
    for lesion, plane in zip(LESIONS, planes, strict=True):
        if lesion.code in codes and plane.any():
            small = _reduced(plane)
            if prefix == "truth-":
                picture = _surface(small, lesion.colour)
            else:
                picture = _outlined(small, lesion.colour, dashed=prefix == "possible-")
            _write_layer(folder / f"{prefix}{lesion.code}.png", picture)
            written.append(lesion.code)
    return tuple(written)


def _write_layer(file: Path, picture: Image.Image) -> None:
    replace_file(file, partial(picture.save, bits=2))


def _reduced(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """At most `SIDE`: a pixel is set where any of its area is marked, so that nothing small is lost."""
    side = plane.shape[0]
    if side <= SIDE:
        return plane
    rows, columns = np.nonzero(plane)
    small = np.zeros((SIDE, SIDE), np.bool_)
    small[rows * SIDE // side, columns * SIDE // side] = True
    return small


def _outlined(plane: NDArray[np.bool_], colour: tuple[int, int, int], *, dashed: bool = False) -> Image.Image:
    layer = np.where(plane, np.uint8(_NOTHING if dashed else _TINT), np.uint8(_NOTHING))
    line, casing = outline(plane, colour, dashed=dashed)
    layer[casing] = _CASING
    layer[line] = _LINE
    return _layer(layer, colour, _FOUND_TINT)


def _surface(plane: NDArray[np.bool_], colour: tuple[int, int, int]) -> Image.Image:
    return _layer(np.where(plane, np.uint8(_TINT), np.uint8(_NOTHING)), colour, _TRUTH_TINT)


def _layer(index: Picture, colour: tuple[int, int, int], tint: int) -> Image.Image:
    picture = Image.fromarray(index)
    picture.putpalette([*colour, *colour, *colour, *CASING])
    picture.info["transparency"] = bytes((0, tint, 255, _CASING_TINT))
    return picture


def _write_jpeg(file: Path, rgb: Picture, side: int, quality: int) -> None:
    if rgb.shape[0] > side:
        rgb = np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    picture = Image.fromarray(rgb)
    replace_file(file, lambda beside: picture.save(beside, quality=quality, progressive=True))
