"""A photograph with its lesions drawn in, for eyes: overlays, the key to their colours, panels.

Numpy arrays in and out, so that any viewer, file or logger can take them.
"""

from collections.abc import Collection, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from retinalesion.lesions import CODES, LESIONS

Picture = NDArray[np.uint8]

_PAPER = (24, 24, 24)
_INK = (235, 235, 235)


def overlay(rgb: Picture, planes: NDArray[np.bool_], *, fill: float = 0.15) -> Picture:
    """Draw every lesion's colour over a photograph.

    Each region gets a thin line just outside its edge, so that even a microaneurysm of one pixel stays
    visible itself, and a faint tint inside. Lesions later in the list, the larger ones, are drawn first.

    Args:
        rgb: uint8 (height, width, 3).
        planes: bool (8, height, width), in the order of `LESIONS`; they may overlap.
        fill: share of the colour inside, 0 to 1.

    Returns:
        uint8 (height, width, 3), a new picture.

    Raises:
        ValueError: the shapes do not belong together.
    """
    height, width = rgb.shape[:2]
    if rgb.shape != (height, width, 3) or planes.shape != (len(LESIONS), height, width):
        raise ValueError(f"a picture {rgb.shape} and planes {planes.shape} do not belong together")
    drawn = rgb.copy()
    line = max(1, round(max(height, width) / 550))
    gap = _round_brush(1)
    border = _round_brush(line)
    for lesion, plane in reversed(list(zip(LESIONS, planes, strict=True))):
        if not plane.any():
            continue
        colour = np.array(lesion.colour, np.float32)
        drawn[plane] = np.rint(drawn[plane] * (1 - fill) + colour * fill).astype(np.uint8)
        inner = cv2.dilate(plane.astype(np.uint8), gap)
        drawn[(cv2.dilate(inner, border) - inner) == 1] = lesion.colour
    return drawn


def _round_brush(radius: int) -> Picture:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(kernel, np.uint8)


def key(width: int, lesions: Collection[str] = CODES) -> Picture:
    """A strip that names each lesion beside its colour.

    Args:
        width: of the strip, pixels; the lesions wrap into as many rows as needed.
        lesions: codes to name.

    Returns:
        uint8 (height, width, 3).
    """
    return _key(width, _text_size(width), lesions)


def _key(width: int, size: int, lesions: Collection[str] = CODES) -> Picture:
    font = ImageFont.load_default(size)
    entries = [lesion for lesion in LESIONS if lesion.code in lesions]
    row, swatch = round(size * 1.9), size
    places: list[tuple[int, int]] = []
    x, y = size // 2, 0
    for lesion in entries:
        length = round(swatch * 1.5 + font.getlength(lesion.code) + size)
        if x + length > width and x > size // 2:
            x, y = size // 2, y + row
        places.append((x, y))
        x += length
    strip = Image.new("RGB", (width, y + row), _PAPER)
    draw = ImageDraw.Draw(strip)
    for lesion, (x, y) in zip(entries, places, strict=True):
        top = y + (row - swatch) // 2
        draw.rectangle((x, top, x + swatch, top + swatch), fill=lesion.colour, outline=_INK)
        draw.text((x + round(swatch * 1.5), y + row // 2), lesion.code, _INK, font, anchor="lm")
    return np.asarray(strip).copy()


def panel(
    rgb: Picture,
    truth: NDArray[np.bool_] | None = None,
    prediction: NDArray[np.bool_] | None = None,
    *,
    title: str = "",
) -> Picture:
    """A photograph, what experts marked and what a network found, side by side above the key.

    Args:
        rgb: uint8 (height, width, 3).
        truth: bool (8, height, width); left out where there is none.
        prediction: likewise.
        title: above the photograph, such as its id and grade.

    Returns:
        uint8, one picture.
    """
    views: list[tuple[str, Picture]] = [(title or "photograph", rgb)]
    views += [
        (name, overlay(rgb, planes))
        for name, planes in (("truth", truth), ("prediction", prediction))
        if planes is not None
    ]
    gap = np.full((rgb.shape[0], max(2, rgb.shape[1] // 100), 3), _PAPER, np.uint8)
    columns: list[Picture] = []
    heads: list[Picture] = []
    for name, view in views:
        columns += [view, gap]
        heads += [_heading(name, rgb.shape[1]), gap[:1].repeat(_heading_height(rgb.shape[1]), axis=0)]
    body = np.hstack(columns[:-1])
    return np.vstack([np.hstack(heads[:-1]), body, _key(body.shape[1], _text_size(rgb.shape[1]))])


def stack(pictures: Sequence[Picture]) -> Picture:
    """Pictures one below the other; narrower ones are filled up on the right.

    Raises:
        ValueError: there is none.
    """
    width = max(picture.shape[1] for picture in pictures)
    rows = []
    for picture in pictures:
        row = np.full((picture.shape[0], width, 3), _PAPER, np.uint8)
        row[:, : picture.shape[1]] = picture
        rows.append(row)
    return np.vstack(rows)


def _text_size(width: int) -> int:
    return int(np.clip(width / 48, 11, 28))


def _heading_height(width: int) -> int:
    return round(_text_size(width) * 1.6)


def _heading(text: str, width: int) -> Picture:
    strip = Image.new("RGB", (width, _heading_height(width)), _PAPER)
    font = ImageFont.load_default(_text_size(width))
    ImageDraw.Draw(strip).text((_text_size(width) // 2, strip.height // 2), text, _INK, font, anchor="lm")
    return np.asarray(strip).copy()
