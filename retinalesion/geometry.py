"""Places in a photograph, in its own pixels."""

from dataclasses import dataclass
from typing import NamedTuple, Self

# Where no optic disc is seen it has its usual size: the mean of the 54 that IDRiD's experts drew.
USUAL_DISC = 0.154  # diameter as a share of the side of the square around the field of view
DISC_SHARE = 0.0260  # area as a share of the field of view as far as it lies in the photograph


class Point(NamedTuple):
    """A place in the photograph's own pixels: column ``x``, row ``y``."""

    x: float
    y: float

    def scaled(self, scale: float) -> Self:
        """The same place where the photograph is so many times as large; a pixel's centre is at a half."""
        return type(self)((self.x + 0.5) * scale - 0.5, (self.y + 0.5) * scale - 0.5)


class Disc(NamedTuple):
    """The optic disc in the photograph's own pixels; ``diameter`` is NaN where only the centre is known."""

    x: float
    y: float
    diameter: float

    def scaled(self, scale: float) -> Self:
        """As `Point.scaled`."""
        return type(self)(*Point(self.x, self.y).scaled(scale), self.diameter * scale)


@dataclass(frozen=True)
class Landmark:
    """Disc or fovea as a photograph shows it, in its own pixels.

    Attributes:
        x: column of its centre.
        y: row of its centre.
        certainty: that it is there, 0 to 1; 1 where a table or a mask tells it.
        diameter: of the disc; None of the fovea, and where it is not known.
    """

    x: float
    y: float
    certainty: float = 1.0
    diameter: float | None = None

    @property
    def point(self) -> Point:
        """Its centre."""
        return Point(self.x, self.y)


class Box(NamedTuple):
    """A square in the photograph's own pixels: left column, upper row, side. It may reach outside."""

    x: int
    y: int
    side: int
