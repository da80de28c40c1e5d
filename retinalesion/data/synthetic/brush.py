"""Drawing in lengths of photograph widths, so that a scene looks the same at every size."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Vector = NDArray[np.float64]  # (2,): x to the right, y down, in photograph widths
Path = NDArray[np.float64]  # (n, 2)
Layer = NDArray[np.uint8]  # (height, width): coverage, 0 to 255
Map = NDArray[np.float32]  # (height, width)

_SHIFT = 4  # OpenCV draws at sixteenths of a pixel


class Canvas:
    """A pixel grid over a scene.

    Attributes:
        width: pixels.
        height: pixels.
        x: float32 (height, width), column of each pixel's centre in photograph widths.
        y: likewise its row.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        columns = (np.arange(width, dtype=np.float32) + 0.5) / width
        rows = (np.arange(height, dtype=np.float32) + 0.5) / width
        self.x: Map = np.tile(columns, (height, 1))
        self.y: Map = np.tile(rows[:, None], (1, width))

    def layer(self, zoom: int = 1) -> Layer:
        """An empty layer; with a zoom of 2, to draw lines thinner than a pixel and reduce them afterwards."""
        return np.zeros((self.height * zoom, self.width * zoom), np.uint8)

    def reduce(self, layer: Layer) -> Map:
        """A layer of any zoom as coverage 0 to 1 at the canvas's own size."""
        small = cv2.resize(layer, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32) / np.float32(255)

    def _to_pixels(self, points: Path, layer: Layer) -> NDArray[np.int32]:
        scale = layer.shape[1]
        return np.asarray(np.rint((points * scale - 0.5) * 2**_SHIFT), np.int32)

    def fill(self, layer: Layer, outline: Path, value: float = 1.0) -> None:
        """Fill a closed outline, with a smooth edge."""
        points = self._to_pixels(outline, layer)
        cv2.fillPoly(layer, [points], round(255 * value), cv2.LINE_AA, _SHIFT)

    def mark(self, layer: Layer, outline: Path) -> None:
        """Fill a closed outline, edge included, all or nothing: the smallest leaves a pixel."""
        cv2.fillPoly(layer, [self._to_pixels(outline, layer)], 255, cv2.LINE_8, _SHIFT)

    def stroke(self, layer: Layer, path: Path, widths: NDArray[np.float64], value: float = 1.0) -> None:
        """Draw a line of changing width; one thinner than a pixel becomes fainter instead."""
        points = self._to_pixels(path, layer).tolist()
        for start, end, width in zip(points[:-1], points[1:], widths[1:] * layer.shape[1], strict=True):
            shade = round(255 * value * min(1.0, float(width)))
            cv2.line(layer, start, end, shade, max(1, round(float(width))), cv2.LINE_AA, _SHIFT)

    def blur(self, values: Map, radius: float) -> Map:
        """Gaussian blur; radius in photograph widths."""
        sigma = radius * self.width
        if sigma < 0.2:
            return values
        zoom = max(1, int(sigma / 4))  # a wide blur at a smaller size looks the same and costs little
        size = (max(8, self.width // zoom), max(8, self.height // zoom))
        small = cv2.resize(values, size, interpolation=cv2.INTER_AREA) if zoom > 1 else values
        small = cv2.GaussianBlur(small, (0, 0), sigma / zoom)
        if zoom > 1:
            small = cv2.resize(small, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(small, np.float32)

    def clouds(self, rng: Generator, cells: int) -> Map:
        """Smooth noise of deviation about 1, with so many cells across the width."""
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        square = cv2.resize(grid, (self.width, self.width), interpolation=cv2.INTER_CUBIC)
        return np.asarray(square[: self.height], np.float32) * np.float32(1.3)


def _touched(cover: Map) -> tuple[slice, slice]:
    """The rows and columns where there is any cover: most lesions are small."""
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    if not len(rows):
        return slice(0), slice(0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def mix(image: NDArray[np.float32], cover: Map, colour: tuple[float, float, float]) -> None:
    """Paint an opaque colour where ``cover`` is 1, in place."""
    area = _touched(cover)
    image[area] += cover[area][..., None] * (np.asarray(colour, np.float32) - image[area])


def stain(image: NDArray[np.float32], cover: Map, transmitted: tuple[float, float, float]) -> None:
    """Lay something translucent (blood) over the image, in place."""
    area = _touched(cover)
    image[area] *= 1 - cover[area][..., None] * (1 - np.asarray(transmitted, np.float32))


def direction(angle: float) -> Vector:
    """The unit vector of an angle in radians, clockwise from the right as seen in the picture."""
    return np.array([np.cos(angle), np.sin(angle)])


def blob(
    rng: Generator,
    centre: Vector,
    radius: float,
    *,
    stretch: float = 1.0,
    angle: float = 0.0,
    rough: float = 0.15,
    corners: int = 24,
) -> Path:
    """A closed outline around a centre.

    Args:
        rng: random numbers.
        centre: of the outline.
        radius: mean radius of an unstretched one.
        stretch: length over breadth, the area kept.
        angle: direction of the length, radians.
        rough: deviation of the radius from a circle's, as a share.
        corners: points of the outline.
    """
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    bumps = np.zeros(corners)
    for wave in range(2, 7):
        bumps += rng.normal() / wave * np.cos(wave * turn + rng.uniform(0, 2 * np.pi))
    radii = radius * np.clip(1 + rough * bumps, 0.3, 2.0)
    along, across = radii * np.cos(turn) * stretch**0.5, radii * np.sin(turn) / stretch**0.5
    outline: Path = (
        centre + along[:, None] * direction(angle) + across[:, None] * direction(angle + np.pi / 2)
    )
    return outline


def ribbon(path: Path, half_widths: NDArray[np.float64]) -> Path:
    """The closed outline of a band along a path."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    side = np.stack([-along[:, 1], along[:, 0]], axis=1) * half_widths[:, None]
    return np.concatenate([path + side, (path - side)[::-1]])
