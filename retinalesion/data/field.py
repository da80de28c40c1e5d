"""The field of view: the square around what the camera saw, the way into it, and the way back.

The way in averages over areas; the way back interpolates between pixel centres. Both count a pixel's centre
at half a pixel, so that what goes in and comes back lies where it was.
"""

from collections.abc import Iterable
from typing import NamedTuple, Self, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from retinalesion.data.photograph import Bits
from retinalesion.geometry import Box

Value = TypeVar("Value", np.uint8, np.float32)

_WORKING_SIDE = 512  # the field is found on a small copy: fast, and alike for every resolution
_ALIKE = 20  # grey levels between two corners of one background
_GLOW = 0.15  # of the field's brightness: light that the lens scatters onto the background
_UNLIT = 0.08  # of the field's brightness: a pool of blood reflects more, a notch in the stop less
_NOISE = 2.0  # grey levels beyond the background's own
_ON_RIM = 0.01  # of the radius
_STRAIGHT = 0.2  # of the picture's side on one line: where a disc is cut, no arc
_SMALLEST, _SMALLEST_DISC = 0.1, 0.01  # of the picture, a field that is no disc, and one that is
_AS_IT_IS = 0.9  # a square photograph that the field fills to this share is not cropped again


def find_field(rgb: NDArray[np.uint8]) -> Box:
    """The square around the field of view, the largest where there are several (`View.beside`).

    The background is the colour that corners share; the field is the largest region that differs from it.
    A circle is fitted to its rim, so that shadows, notches, labels and discs cut by the picture's edge do
    not move the square. Without a background the whole photograph is the field.

    Args:
        rgb: uint8 (height, width, 3).

    Returns:
        The box in the photograph's own pixels. It reaches outside where the disc is cut; a photograph that
        is square and already cropped is its own box.
    """
    return _box_and_beside(rgb)[0]


def _box_and_beside(rgb: NDArray[np.uint8]) -> tuple[Box, float]:
    """As `find_field`, and `View.beside`."""
    height, width = rgb.shape[:2]
    whole = _square_around(0.0, 0.0, width, height)
    small = _small(rgb)
    field = _field(small)
    if field is None:
        return whole, 0.0
    to_x, to_y = width / small.shape[1], height / small.shape[0]
    if field.circle is None:
        left, upper, wide, high = cv2.boundingRect(field.mask)
        box = _square_around(left * to_x, upper * to_y, (left + wide) * to_x, (upper + high) * to_y)
    else:
        x, y, radius = field.circle
        left, right = max((x - radius) * to_x, 0), min((x + radius) * to_x, width)
        upper, lower = max((y - radius) * to_y, 0), min((y + radius) * to_y, height)
        box = _square_around(left, upper, right, lower, (x * to_x, y * to_y))
    if height == width and box.side >= _AS_IT_IS * width:
        return whole, field.beside
    return box, field.beside


def lit_field(rgb: NDArray[np.uint8], size: tuple[int, int]) -> Bits:
    """Where lesions may be found: what is lit within the disc of the field, less its rim.

    Letters and dates beside the field are lit too. Where no disc is found, all that is lit.

    Args:
        rgb: a photograph or its field of view, uint8 (h, w, 3).
        size: (height, width) of the result.

    Returns:
        bool (height, width); all of it where no background is found.
    """
    small = _small(rgb)
    lit = _lit_part(small, size)
    field = _field(small)
    if field is None or field.circle is None:
        return lit
    x, y, radius = field.circle
    height, width = small.shape[:2]
    down = (np.arange(size[0]) + 0.5) * height / size[0] - y
    across = (np.arange(size[1]) + 0.5) * width / size[1] - x
    return np.asarray(lit & (down[:, None] ** 2 + across**2 <= ((1 - _ON_RIM) * radius) ** 2))


def lit_part(rgb: NDArray[np.uint8], size: tuple[int, int]) -> Bits:
    """Where the camera saw something, however dark: a picture without its corners and notches.

    Args:
        rgb: a photograph or its field of view, uint8 (h, w, 3).
        size: (height, width) of the result.

    Returns:
        bool (height, width); all of it where no background is found.
    """
    return _lit_part(_small(rgb), size)


def _lit_part(small: NDArray[np.float32], size: tuple[int, int]) -> Bits:
    lit = _lit(small, _UNLIT)
    if lit is None:
        return np.ones(size, np.bool_)
    return np.asarray(cv2.resize(_filled(lit), size[::-1], interpolation=cv2.INTER_NEAREST) > 0)


class View(NamedTuple):
    """What is looked at of a photograph: its field of view as a square, and where that lies in it.

    Attributes:
        square: as networks and pictures show it, uint8 (s, s, 3).
        box: the same in the photograph's own pixels.
        size: height and width of the photograph.
        beside: area of a second field of view beside it, as a share of its own; 0 where there is none, or
            where nobody looked.
    """

    square: NDArray[np.uint8]
    box: Box
    size: tuple[int, int]
    beside: float = 0.0

    @classmethod
    def of(cls, rgb: NDArray[np.uint8], side: int, box: Box | None = None) -> Self:
        """Of a photograph.

        Args:
            rgb: uint8 (height, width, 3).
            side: of the square.
            box: where it is known; None to find it.
        """
        box, beside = (box, 0.0) if box else _box_and_beside(rgb)
        return cls(to_square(rgb, box, side), box, (rgb.shape[0], rgb.shape[1]), beside)

    def lit(self, side: int) -> Bits:
        """Where lesions may be found, bool (side, side), as `lit_field`."""
        return lit_field(self.square, (side, side))

    def at_own_size(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map (m, m) of the square on the photograph's own pixels, as `from_square`."""
        return from_square(plane, self.box, self.size)

    def in_square(self, mask: Bits) -> Bits:
        """A mask (height, width) of the photograph in the square, as `plane_to_square`."""
        return plane_to_square(mask, self.box, self.square.shape[0])


def grow(box: Box, masks: Iterable[Bits]) -> Box:
    """The smallest square that holds the box and every marked pixel."""
    left, upper, right, lower = box.x, box.y, box.x + box.side, box.y + box.side
    for mask in masks:
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if columns.size:
            left, right = min(left, int(columns[0])), max(right, int(columns[-1]) + 1)
            upper, lower = min(upper, int(rows[0])), max(lower, int(rows[-1]) + 1)
    if (left, upper, right, lower) == (box.x, box.y, box.x + box.side, box.y + box.side):
        return box
    return _square_around(left, upper, right, lower)


def to_square(rgb: NDArray[np.uint8], box: Box, side: int) -> NDArray[np.uint8]:
    """The box as a square of ``side`` pixels, by area; black where the box reaches outside.

    Args:
        rgb: uint8 (height, width, 3) or (height, width).
        box: in its pixels.
        side: of the result.
    """
    return _resize(_crop(rgb, box), side)


def plane_to_square(mask: Bits, box: Box, side: int) -> Bits:
    """A mask in the square: a pixel is set where half of its area or more is marked.

    A mask that marks anything stays present: where no pixel reaches half, the one with the largest share
    is set.

    Args:
        mask: bool (height, width).
        box: in its pixels.
        side: of the result.

    Returns:
        bool (side, side).
    """
    crop = _crop(mask.view(np.uint8), box)
    plane: Bits = _resize(crop * np.uint8(255), side) >= 128  # bytes round exact halves up, floats may not
    if not plane.any() and crop.any():
        share = _resize(crop.astype(np.float32), side)
        plane.flat[int(share.argmax())] = True
    return plane


def from_square(
    plane: NDArray[np.float32], box: Box, size: tuple[int, int], fill: float = 0.0
) -> NDArray[np.float32]:
    """A map of the square on the photograph's own pixels, bilinear. Cut at a threshold after, not before.

    Args:
        plane: float32 (side, side), for instance probabilities.
        box: of the photograph.
        size: (height, width) of the photograph.
        fill: outside the box.

    Returns:
        float32 (height, width).
    """
    height, width = size
    enlarged = _resize(np.ascontiguousarray(plane, np.float32), box.side)
    result = np.full((height, width), fill, np.float32)
    upper, lower = max(box.y, 0), min(box.y + box.side, height)
    left, right = max(box.x, 0), min(box.x + box.side, width)
    if upper < lower and left < right:
        inside = enlarged[upper - box.y : lower - box.y, left - box.x : right - box.x]
        result[upper:lower, left:right] = inside
    return result


def _small(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A working copy without grain, float32 (h, w, 3), its longer side at most 512."""
    height, width = rgb.shape[:2]
    scale = min(1.0, _WORKING_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    copy = cv2.medianBlur(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32), 5)
    return np.asarray(copy, np.float32)


def _resize(square: NDArray[Value], side: int) -> NDArray[Value]:
    way = cv2.INTER_AREA if side < square.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (side, side), interpolation=way), square.dtype)


def _crop(picture: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    upper, lower = max(box.y, 0), min(box.y + box.side, height)
    left, right = max(box.x, 0), min(box.x + box.side, width)
    if lower - upper == box.side and right - left == box.side:
        return picture[upper:lower, left:right]
    crop = np.zeros((box.side, box.side, *picture.shape[2:]), picture.dtype)
    crop[upper - box.y : lower - box.y, left - box.x : right - box.x] = picture[upper:lower, left:right]
    return crop


def _square_around(
    left: float, upper: float, right: float, lower: float, centre: tuple[float, float] | None = None
) -> Box:
    """The smallest square that holds a rectangle, its middle as near to ``centre`` as that allows."""
    side = int(np.ceil(max(right - left, lower - upper)))
    x, y = centre or ((left + right) / 2, (upper + lower) / 2)
    x = min(max(x - side / 2, right - side), left)
    y = min(max(y - side / 2, lower - side), upper)
    return Box(round(x), round(y), side)


def _background(small: NDArray[np.float32]) -> tuple[NDArray[np.float32], float] | None:
    """The neutral colour that at least two corners share, and its noise; None where there is none."""
    reach = max(2, min(small.shape[:2]) // 40)
    patches = [
        small[rows, columns].reshape(-1, 3)
        for rows in (slice(None, reach), slice(-reach, None))
        for columns in (slice(None, reach), slice(-reach, None))
    ]
    colours = np.array([np.median(patch, axis=0) for patch in patches], np.float32)
    alike = np.abs(colours[:, None] - colours[None]).max(axis=2) <= _ALIKE
    colour: NDArray[np.float32]
    best = max(range(4), key=lambda corner: (int(alike[corner].sum()), -float(colours[corner].sum())))
    if alike[best].sum() < 2:
        return None
    colour = np.median(colours[alike[best]], axis=0).astype(np.float32)
    if np.ptp(colour) > _ALIKE:
        return None  # retina in the corners: nothing is left to cut off
    around = np.concatenate([patch for patch, same in zip(patches, alike[best], strict=True) if same])
    return colour, float(np.percentile(np.abs(around - colour).max(axis=1), 90))


def _lit(small: NDArray[np.float32], share: float) -> NDArray[np.uint8] | None:
    """What differs from the background by a share of the field's brightness; None without background."""
    found = _background(small)
    if found is None:
        return None
    colour, noise = found
    red, green, blue = (np.abs(small[..., i] - colour[i]) for i in range(3))  # a maximum over so short an
    difference = np.maximum(np.maximum(red, green), blue)  # axis takes ten times as long
    seen = difference > _NOISE + noise
    if not seen.any():
        return None
    return np.asarray(seen & (difference > share * np.median(difference[seen])), np.uint8)


class _Field(NamedTuple):
    """The region that is not background, filled, without what hangs on to it, in the working copy.

    Attributes:
        mask: uint8 (h, w), 0 and 1.
        circle: as `_circle`.
        beside: of a disc, the area of the largest other such region, as a share of its own.
    """

    mask: NDArray[np.uint8]
    circle: tuple[float, float, float] | None
    beside: float


def _field(small: NDArray[np.float32]) -> _Field | None:
    """The largest region that may be a field; None without background."""
    lit = _lit(small, _GLOW)
    if lit is None:
        return None
    solid = _filled(lit)
    reach = max(3, max(solid.shape) // 40) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    solid = np.asarray(
        cv2.morphologyEx(solid, cv2.MORPH_OPEN, disc, borderType=cv2.BORDER_REPLICATE), np.uint8
    )
    count, labels, stats, centres = cv2.connectedComponentsWithStats(solid, connectivity=4)
    if count < 2:
        return None
    areas = stats[:, cv2.CC_STAT_AREA]
    largest = 1 + int(areas[1:].argmax())
    mask = np.asarray(labels == largest, np.uint8)
    circle = _circle(mask)
    if areas[largest] < solid.size * (_SMALLEST if circle is None else _SMALLEST_DISC):
        return None
    if circle is None:
        return _Field(mask, None, 0.0)
    outside = np.hypot(*(centres - circle[:2]).T) > circle[2]
    others = [area for area, away in zip(areas[1:], outside[1:], strict=True) if away]  # without background
    return _Field(mask, circle, float(max(others, default=0) / areas[largest]))


def _filled(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), contours, -1, 1, cv2.FILLED), np.uint8)


def _circle(field: NDArray[np.uint8]) -> tuple[float, float, float] | None:
    """The circle of the camera's stop: centre x, y and radius; None where the rim is not a circle.

    By consensus: circles through three points of the rim, the one that most of the rim lies on, then least
    squares over those points. Always the same draws, so the same photograph has always the same box.
    """
    height, width = field.shape
    contours, _ = cv2.findContours(field, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rim = max(contours, key=len)[:, 0]
    points = rim.astype(np.float64) + 0.5
    free = (points > 2).all(axis=1) & (points < (width - 2, height - 2)).all(axis=1)
    for place, long in zip(rim.T, (height, width), strict=True):
        free &= np.bincount(place)[place] <= _STRAIGHT * long
    points = points[free]
    if len(points) < 50:
        return None
    drawn = points[np.random.default_rng(0).integers(len(points), size=(500, 3))]
    # |p|^2 = 2 x px + 2 y py + k, linear in the centre (x, y) and k = r^2 - x^2 - y^2
    system = np.concatenate([2 * drawn, np.ones((*drawn.shape[:2], 1))], axis=2)
    sane = np.abs(np.linalg.det(system)) > 1.0
    solved = np.linalg.solve(system[sane], (drawn[sane] ** 2).sum(axis=2)[..., None])[..., 0]
    best = max(solved, key=lambda circle: int(_on_rim(points, circle).sum()), default=None)
    if best is None:
        return None
    for _ in range(3):
        rim = points[_on_rim(points, best)]
        if len(rim) < len(points) / 3:
            return None
        best = np.linalg.lstsq(np.c_[2 * rim, np.ones(len(rim))], (rim**2).sum(axis=1), rcond=None)[0]
    x, y, radius = best[0], best[1], float(np.sqrt(best[2] + best[0] ** 2 + best[1] ** 2)) + 0.5
    rows, columns = np.ogrid[:height, :width]
    disc = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= (1 + _ON_RIM) ** 2 * radius**2
    inside = int((disc & (field > 0)).sum())
    if inside < 0.97 * field.sum() or inside < 0.5 * disc.sum():
        return None  # the field is something else, or the circle mostly a guess
    return float(x), float(y), radius


def _on_rim(points: NDArray[np.float64], circle: NDArray[np.float64]) -> NDArray[np.bool_]:
    x, y, rest = circle
    squared = rest + x * x + y * y
    if squared <= 0:
        return np.zeros(len(points), np.bool_)
    radius = np.sqrt(squared)
    near: NDArray[np.bool_] = np.abs(np.hypot(points[:, 0] - x, points[:, 1] - y) - radius) <= max(
        _ON_RIM * radius, 1.0
    )
    return near
