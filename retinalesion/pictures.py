"""A photograph with its lesions drawn in, for eyes: overlays, the key to their colours, panels.

Also a camera's mean picture with its spots ringed and numbered.

Numpy arrays in and out, so that any viewer, file or logger can take them.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from retinalesion.lesions import CODES, LESIONS

Picture = NDArray[np.uint8]

# What lies on the camera's spots: at least 25 apart in CIELAB from all lesions and the retina, for all eyes.
ASIDE = (160, 160, 160)
RINGS = {"dark": (255, 200, 0), "bright": (60, 170, 255)}  # of the camera's spots: apart for all eyes

CASING = (255, 255, 255)

_PAPER = (24, 24, 24)
_INK = (235, 235, 235)
_DARK = 90  # a colour below this brightness is lost on a vessel
_DASH, _DRAWN = 10, 0.6  # length of a dash and its gap in widths of the line, and the share that is drawn
_DIRECTIONS = 16  # in which a number may stand from its spot


def overlay(
    rgb: Picture,
    planes: NDArray[np.bool_],
    *,
    possible: NDArray[np.bool_] | None = None,
    aside: NDArray[np.bool_] | None = None,
    fill: float = 0.15,
) -> Picture:
    """Draw every lesion's colour over a photograph.

    Each region gets a thin line just outside its edge, so that even a microaneurysm of one pixel stays
    visible itself, and a faint tint inside. Lesions later in the list, the larger ones, are drawn first.

    Args:
        rgb: uint8 (height, width, 3).
        planes: bool (8, height, width), in the order of `LESIONS`; they may overlap.
        possible: what is too unsure to count, likewise: a dashed line without a tint, below what counts.
        aside: what lies on the camera's spots, bool (height, width): drawn below the lesions, in grey.
        fill: share of the colour inside, 0 to 1.

    Returns:
        uint8 (height, width, 3), a new picture.

    Raises:
        ValueError: the shapes do not belong together.
    """
    height, width = rgb.shape[:2]
    for given in (planes,) if possible is None else (planes, possible):
        if rgb.shape != (height, width, 3) or given.shape != (len(LESIONS), height, width):
            raise ValueError(f"a picture {rgb.shape} and planes {given.shape} do not belong together")
    if aside is not None and aside.shape != (height, width):
        raise ValueError(f"a picture {rgb.shape} and what is set aside {aside.shape} do not belong together")
    drawn = rgb.copy()
    layers = [] if aside is None else [(ASIDE, aside, False)]
    for some, dashed in ((possible, True), (planes, False)):
        if some is not None:
            layers += [
                (one.colour, plane, dashed) for one, plane in zip(LESIONS[::-1], some[::-1], strict=True)
            ]
    for colour, plane, dashed in layers:
        if not plane.any():
            continue
        if not dashed:
            tint = np.array(colour, np.float32)
            drawn[plane] = np.rint(drawn[plane] * (1 - fill) + tint * fill).astype(np.uint8)
        line, casing = outline(plane, colour, dashed=dashed)
        if dashed:
            drawn[casing] = CASING
        drawn[line] = colour
    return drawn


def outline(
    plane: NDArray[np.bool_], colour: tuple[int, int, int], *, dashed: bool = False
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The line around each region, and the pale casing of a colour that is dark.

    The line stands a pixel outside the edge, a dashed one two: around a single pixel dashes need the room.

    Args:
        plane: bool (height, width).
        colour: of the line.
        dashed: in at least three dashes around each region.

    Returns:
        Line and casing, bool (height, width); a dark colour would be lost on a vessel without its casing,
        which is empty for others.
    """
    width = max(1, round(max(plane.shape) / 550))
    inner = cv2.dilate(plane.astype(np.uint8), _round_brush(2 if dashed else 1))
    outer = np.asarray(cv2.dilate(inner, _round_brush(width)), np.uint8)
    line = outer - inner
    if dashed:
        line = np.minimum(line, 1 - _gaps(outer, width))
    dark = np.dot(colour, (0.3, 0.59, 0.11)) < _DARK
    casing = cv2.dilate(line, _round_brush(1)) - line if dark else np.zeros_like(line)
    return line > 0, (casing > 0) & (inner == 0)


def _gaps(outer: Picture, width: int) -> Picture:
    """Where the lines around regions are left out, 1; spread evenly along each."""
    gaps = np.zeros_like(outer)
    edges, _ = cv2.findContours(outer, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for edge in edges:
        dashes = max(3, round(len(edge) / (_DASH * width)))
        period = len(edge) / dashes
        gap = max(1.0, (1 - _DRAWN) * period - 2 * (width - 1))  # it widens with what reaches the inner edge
        columns, rows = edge[np.arange(len(edge)) % period < gap, 0].T
        gaps[rows, columns] = 1
    return np.asarray(cv2.dilate(gaps, np.ones((2 * width - 1,) * 2, np.uint8)), np.uint8)


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


def spots_marked(
    mean: Picture, spots: Sequence[tuple[Literal["dark", "bright"], float, float, float]]
) -> Picture:
    """A camera's mean picture with a thin ring around each of its spots, and the spot's number beside it.

    Numbers keep clear of spots and of one another as far as there is room, and within the picture.

    Args:
        mean: uint8 (height, width), 128 where it is as bright as its surroundings.
        spots: kind, column and row of the middle and radius of each, in this picture's pixels, in the order
            of their numbers from 1.

    Returns:
        uint8 (height, width, 3).
    """
    drawn = np.asarray(cv2.cvtColor(mean, cv2.COLOR_GRAY2RGB), np.uint8)
    taken = np.zeros(mean.shape, np.uint8)
    line = max(1, round(max(mean.shape) / 900))
    for kind, x, y, radius in spots:
        middle, ring = (round(x * 16), round(y * 16)), radius + line  # OpenCV counts in sixteenths here
        cv2.circle(drawn, middle, round(ring * 16), RINGS[kind], line, cv2.LINE_AA, shift=4)
        cv2.circle(taken, middle, round((ring + line) * 16), 1, cv2.FILLED, shift=4)
    picture = Image.fromarray(drawn)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(_text_size(mean.shape[1]) * 0.8)
    for number, (kind, x, y, radius) in enumerate(spots, 1):
        left, top, right, bottom = draw.textbbox((0, 0), str(number), font, stroke_width=2)
        size = math.ceil(right - left), math.ceil(bottom - top)
        colour, ring = RINGS[kind], radius + 2 * line
        places = _places_beside(x, y, ring, size, mean.shape)
        at = min(places, key=lambda place: taken[_window(place, size)].sum())  # of equals the nearest
        taken[_window(at, size)] = 1
        to_x, to_y = (
            min(max(middle, edge), edge + length) - middle
            for middle, edge, length in zip((x, y), at, size, strict=True)
        )
        away = math.hypot(to_x, to_y)
        if away > ring + size[1] / 2:  # too far to tell whose it is
            draw.line((x + to_x * ring / away, y + to_y * ring / away, x + to_x, y + to_y), colour, line)
        draw.text((at[0] - left, at[1] - top), str(number), colour, font, stroke_width=2, stroke_fill=_PAPER)
    return np.asarray(picture).copy()


def _places_beside(
    x: float, y: float, radius: float, size: tuple[int, int], shape: tuple[int, ...]
) -> Iterator[tuple[int, int]]:
    """Left and upper edge of a label around a disc, within the picture; the nearest first, then clockwise."""
    for away in range(3):
        for turn in range(_DIRECTIONS):
            angle = math.tau * turn / _DIRECTIONS - math.pi / 4
            across, down = math.cos(angle), math.sin(angle)
            reach = radius + 1 + away * size[1]
            left = x + across * (reach + size[0] / 2) - size[0] / 2
            top = y + down * (reach + size[1] / 2) - size[1] / 2
            yield (
                round(min(max(left, 0), max(shape[1] - size[0], 0))),
                round(min(max(top, 0), max(shape[0] - size[1], 0))),
            )


def _window(place: tuple[int, int], size: tuple[int, int]) -> tuple[slice, slice]:
    return slice(place[1], place[1] + size[1]), slice(place[0], place[0] + size[0])


def _text_size(width: int) -> int:
    return int(np.clip(width / 48, 11, 28))


def _heading_height(width: int) -> int:
    return round(_text_size(width) * 1.6)


def _heading(text: str, width: int) -> Picture:
    strip = Image.new("RGB", (width, _heading_height(width)), _PAPER)
    font = ImageFont.load_default(_text_size(width))
    ImageDraw.Draw(strip).text((_text_size(width) // 2, strip.height // 2), text, _INK, font, anchor="lm")
    return np.asarray(strip).copy()
