"""Places in a photograph, in its own pixels."""

from typing import NamedTuple


class Point(NamedTuple):
    """A place in the photograph's own pixels: column ``x``, row ``y``."""

    x: float
    y: float


class Disc(NamedTuple):
    """The optic disc in the photograph's own pixels; ``diameter`` is NaN where only the centre is known."""

    x: float
    y: float
    diameter: float


class Box(NamedTuple):
    """A square in the photograph's own pixels: left column, upper row, side. It may reach outside."""

    x: int
    y: int
    side: int
