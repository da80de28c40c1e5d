"""Disc, fovea and eye of a photograph, and what they tell of a place: quadrant, distance, area in disc areas.

What a table or a mask tells counts before what the network sees.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retinalesion.geometry import DISC_SHARE, Box, Disc, Landmark, Point
from retinalesion.guideline import CLINICAL, QUADRANTS, quadrants_of

SEEN = 0.5  # certainty from which disc or fovea counts as seen; chosen out of fold (docs/anatomy.md)


class Sighting(NamedTuple):
    """What the network says of a square, places and lengths as shares of its side.

    Attributes:
        places: of disc and fovea, column and row, 0 to 1.
        certainties: that they are in sight, 0 to 1.
        diameter: of the disc.
    """

    places: Sequence[tuple[float, float]]
    certainties: Sequence[float]
    diameter: float


class Anatomy(NamedTuple):
    """Disc and fovea, where they are known, and the eye.

    Attributes:
        disc: None where it is not seen.
        fovea: likewise.
        eye: ``left``, ``right``, or empty.
    """

    disc: Landmark | None = None
    fovea: Landmark | None = None
    eye: str = ""

    @classmethod
    def told(cls, disc: Disc | None = None, fovea: Point | None = None, eye: str = "") -> Self:
        """What a table or a mask says."""
        return cls(
            disc and Landmark(disc.x, disc.y, 1.0, disc.diameter if disc.diameter > 0 else None),
            fovea and Landmark(fovea.x, fovea.y),
            eye or _eye_between(disc, fovea),
        )

    @classmethod
    def seen(cls, sighting: Sighting, box: Box) -> Self:
        """What the network saw.

        Args:
            sighting: in the square of the field of view.
            box: the same in the photograph's own pixels.
        """
        points = [Point(box.x + x * box.side - 0.5, box.y + y * box.side - 0.5) for x, y in sighting.places]
        diameters = (sighting.diameter * box.side, None)
        disc, fovea = (
            Landmark(*point, certainty, diameter) if certainty >= SEEN else None
            for point, certainty, diameter in zip(points, sighting.certainties, diameters, strict=True)
        )
        return cls(disc, fovea, _eye_between(disc, fovea))

    def before(self, seen: Self) -> Self:
        """What is told, and where nothing is, what is seen; a disc told without its size has the one seen."""
        disc, fovea = self.disc or seen.disc, self.fovea or seen.fovea
        if disc and disc.diameter is None and seen.disc:
            disc = replace(disc, diameter=seen.disc.diameter)
        return type(self)(disc, fovea, self.eye or _eye_between(disc, fovea))

    def quadrants(self, points: ArrayLike, middle: Point) -> list[str]:
        """In which quadrant places lie: in clinical words where fovea and eye are known.

        Args:
            points: float (n, 2), column and row in the photograph's own pixels.
            middle: of the field of view; quadrants go about it where no fovea is known.

        Returns:
            n names, of `guideline.CLINICAL` or `guideline.QUADRANTS`.
        """
        names = CLINICAL[self.eye] if self.fovea and self.eye else QUADRANTS
        about = self.fovea.point if self.fovea else middle
        return [names[place] for place in quadrants_of(points, about)]

    def from_fovea(self, points: ArrayLike) -> NDArray[np.float64]:
        """Distances (n,) of places (n, 2) from the fovea in disc diameters; NaN where that is not known."""
        return self._distances(points, self.fovea)

    def from_disc(self, points: ArrayLike) -> NDArray[np.float64]:
        """Distances (n,) of places (n, 2) from the disc's centre, likewise."""
        return self._distances(points, self.disc)

    def disc_areas(self, pixels: ArrayLike, field_pixels: float) -> NDArray[np.float64]:
        """Areas in areas of the disc: of the one seen, else of a disc of usual share of the field.

        Args:
            pixels: areas, (n,), in the photograph's own pixels.
            field_pixels: area of the field of view.
        """
        known = self.disc and self.disc.diameter
        area = math.pi / 4 * known**2 if known else DISC_SHARE * field_pixels
        return np.asarray(pixels, np.float64) / area

    def _distances(self, points: ArrayLike, place: Landmark | None) -> NDArray[np.float64]:
        offsets = np.asarray(points, np.float64)
        if place is None or self.disc is None or not self.disc.diameter:
            return np.full(len(offsets), math.nan)
        return np.asarray(np.hypot(*(offsets - place.point).T) / self.disc.diameter)


UNKNOWN = Anatomy()


def _eye_between(disc: Point | Disc | Landmark | None, fovea: Point | Landmark | None) -> str:
    """The disc is nasal of the fovea; nothing is said of a picture that is turned on its side."""
    if disc is None or fovea is None or abs(disc.x - fovea.x) <= abs(disc.y - fovea.y):
        return ""
    return "right" if disc.x > fovea.x else "left"
