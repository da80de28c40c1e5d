"""Lesions and what resembles them: how each looks, and how an expert with a web tool would mark it."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from retinalesion.data.synthetic.brush import (
    Canvas,
    Layer,
    Path,
    Vector,
    blob,
    direction,
    mix,
    ribbon,
    stain,
)
from retinalesion.data.synthetic.fundus import Layout, Vessel
from retinalesion.guideline import Quadrants
from retinalesion.lesions import CODES

Image = NDArray[np.float32]


class Pathology:
    """Paints the lesions of one photograph and keeps what was marked.

    Truth is marked by ellipses and polygons set a little loosely around what was painted, since experts
    mark so and lesions lack accurate boundaries (paper, sections 3.1 and 4.1).

    Attributes:
        marked: layer (height, width) per lesion code, 255 where marked.
    """

    def __init__(
        self,
        rng: Generator,
        canvas: Canvas,
        layout: Layout,
        vessels: list[Vessel],
        counts: Mapping[str, int],
        quadrants: Quadrants,
    ) -> None:
        self.rng = rng
        self.canvas = canvas
        self.layout = layout
        self.vessels = vessels
        self.counts = counts
        self.quadrants = quadrants
        self.disc = np.array(layout.disc)
        self.fovea = np.array(layout.fovea)
        self.marked: dict[str, Layer] = {code: canvas.layer() for code in CODES}
        # What hides all beneath it is placed first, so that nothing is marked that cannot be seen.
        self.veils: list[tuple[Vector, float]] = []
        self.preretinal = [self._place_veil(rng.uniform(0.03, 0.075), 1.2) for _ in range(counts["pHE"])]
        self.vitreous = [self._place_veil(rng.uniform(0.07, 0.17), 0.5) for _ in range(counts["vHE"])]

    def paint_beneath(self, image: Image) -> None:
        """What lies beneath the vessels: look-alikes, hard exudates, cotton-wool spots."""
        self._look_alikes(image)
        self._repeat(self._hard_exudate, image, self.counts["HaEx"])
        self._repeat(self._cotton_wool_spot, image, self.counts["CWS"])

    def paint_above(self, image: Image) -> None:
        """What lies among and above the vessels, the deepest first."""
        self._microaneurysms(image)
        self._haemorrhages(image)
        self._repeat(self._new_vessels, image, self.counts["NV"])
        self._repeat(self._fibrous_band, image, self.counts["FiP"])
        for place, radius in self.preretinal:
            self._preretinal_haemorrhage(image, place, radius)
        for place, radius in self.vitreous:
            self._vitreous_haemorrhage(image, place, radius)

    def _repeat(self, paint: Callable[[Image], None], image: Image, count: int) -> None:
        for _ in range(count):
            paint(image)

    # Places

    def _place_veil(self, radius: float, margin: float) -> tuple[Vector, float]:
        place = self._anywhere(radius * margin)
        self.veils.append((place, radius))
        return place, radius

    def _fits(self, place: Vector, margin: float) -> bool:
        """Inside the field, off the disc, and not behind a large haemorrhage."""
        off_disc = np.hypot(*(place - self.disc)) > self.layout.disc_radius + margin
        seen = all(np.hypot(*(place - veil)) > 0.8 * radius + margin for veil, radius in self.veils)
        return bool(self.layout.depth(place) > margin + 0.01 and off_disc and seen)

    def _anywhere(
        self, margin: float, spread: float = 0.19, accept: Callable[[Vector], bool] = lambda _: True
    ) -> Vector:
        """A place that fits, rather near the fovea."""
        for attempt in range(400):
            place = self.fovea + self.rng.normal(0, spread * (1 + attempt / 100), 2)
            if self._fits(place, margin) and accept(place):
                return place
        return self.fovea

    def _beside_vessel(self, margin: float, thick: bool) -> tuple[Vector, float]:
        """A place near a vessel, and the vessel's direction there."""
        chosen = [vessel for vessel in self.vessels if (vessel.widths[0] > 0.006) == thick] or self.vessels
        for _ in range(200):
            vessel = chosen[self.rng.integers(len(chosen))]
            at = int(self.rng.integers(1, len(vessel.path)))
            along = vessel.path[at] - vessel.path[at - 1]
            angle = float(np.arctan2(along[1], along[0]))
            aside = vessel.widths[at] / 2 + margin + abs(self.rng.normal(0, 0.006))
            place = vessel.path[at] + direction(angle + np.pi / 2) * aside * self.rng.choice([-1, 1])
            if self._fits(place, margin):
                return place, angle
        return self._anywhere(margin), 0.0

    # Marking

    def _mark(self, code: str, outline: Path, slack: float = 1.2, ellipses: float = 0.5) -> None:
        """Mark what lies in an outline by an ellipse or a polygon, a little off and on the whole larger."""
        rng = self.rng
        middle = outline.mean(axis=0)
        offsets = outline - middle
        _, axes = np.linalg.eigh(np.cov(offsets.T) + 1e-12 * np.eye(2))
        hand = 0.0012  # no hand is surer than this
        if rng.random() < ellipses:
            half = np.abs(offsets @ axes).max(axis=0) * slack * rng.uniform(0.85, 1.1, 2) + hand
            middle = middle + rng.normal(0, 0.06, 2) @ axes.T * half
            turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            shape = middle + np.stack([half[0] * np.cos(turn), half[1] * np.sin(turn)], axis=1) @ axes.T
        else:
            corners = int(rng.integers(6, 12)) + 6 * bool(np.abs(offsets).max() > 0.03)
            hull = cv2.convexHull(outline.astype(np.float32))[:, 0].astype(np.float64)
            picked = hull[np.unique(np.linspace(0, len(hull), corners, endpoint=False).astype(int))]
            away = picked - middle
            reach = np.hypot(*away.T)[:, None] + 1e-9
            stretch = slack * rng.uniform(0.95, 1.25, (len(picked), 1)) + hand / reach
            shape = middle + away * stretch
        self.canvas.mark(self.marked[code], shape)

    def _mark_band(self, code: str, path: Path, half_width: float) -> None:
        """Mark a long or curved lesion by a polygon with few corners."""
        corners = np.unique(np.linspace(0, len(path) - 1, int(self.rng.integers(6, 10))).astype(int))
        half_widths = half_width * self.rng.uniform(1.0, 1.5, len(corners)) + 0.0012
        self.canvas.mark(self.marked[code], ribbon(path[corners], half_widths))

    # Lesions, each with its own look

    def _microaneurysms(self, image: Image) -> None:
        layer = self.canvas.layer(zoom=2)
        for _ in range(self.counts["MA"]):
            radius = self.rng.uniform(0.0024, 0.0042)
            if self.rng.random() < 0.4:
                place, _ = self._beside_vessel(radius * 1.5, thick=False)
            else:
                place = self._anywhere(radius * 2, spread=0.15)
            outline = blob(self.rng, place, radius, rough=0.08, corners=12)
            self.canvas.fill(layer, outline, self.rng.uniform(0.7, 1.0))
            self._mark("MA", outline, slack=1.35)
        stain(image, self.canvas.blur(self.canvas.reduce(layer), 0.0008), (0.58, 0.30, 0.38))

    def _haemorrhages(self, image: Image) -> None:
        layer = self.canvas.layer(zoom=2)
        crowded = max(self.quadrants) > 12
        taken: list[tuple[Vector, float]] = []
        for quadrant, count in enumerate(self.quadrants):
            for _ in range(count):
                radius = self.rng.uniform(0.005, 0.009) if crowded else self.rng.uniform(0.006, 0.016)
                flame = self.rng.random() < 0.35
                room = radius * (2.2 if flame else 1.5) + 0.002

                def free(place: Vector, quadrant: int = quadrant, room: float = room) -> bool:
                    right, below = place - self.fovea
                    inside = abs(right) > room and abs(below) > room
                    apart = all(np.hypot(*(place - other)) > room + its for other, its in taken)
                    return inside and quadrant == 2 * (below > 0) + (right > 0) and apart

                place = self._anywhere(room, spread=0.15, accept=free)
                taken.append((place, room))
                self.canvas.fill(
                    layer, outline := self._haemorrhage(place, radius, flame), self.rng.uniform(0.75, 1.0)
                )
                self._mark("iHE", outline)
        cover = self.canvas.blur(self.canvas.reduce(layer), 0.0013)
        cover *= np.clip(1 + 0.12 * self.canvas.clouds(self.rng, 120), 0, 1.05)
        stain(image, cover, (0.55, 0.27, 0.35))

    def _haemorrhage(self, place: Vector, radius: float, flame: bool) -> Path:
        if not flame:
            return blob(
                self.rng,
                place,
                radius,
                stretch=self.rng.uniform(1, 1.6),
                angle=self.rng.uniform(0, 3),
                rough=0.25,
            )
        along = float(np.arctan2(*(place - self.disc)[::-1])) + self.rng.normal(0, 0.25)  # nerve fibres
        outline = blob(
            self.rng, place, radius, stretch=self.rng.uniform(2.5, 4.5), angle=along, rough=0.2, corners=40
        )
        frayed = (
            self.rng.normal(0, radius * 0.45, len(outline))
            * np.abs((outline - place) @ direction(along))
            / radius
        )
        return outline + 0.5 * frayed[:, None] * direction(along)

    def _hard_exudate(self, image: Image) -> None:
        rng, layer = self.rng, self.canvas.layer(zoom=2)
        centre = self._anywhere(0.05, spread=0.12)
        if rng.random() < 0.3:  # a circinate ring around what leaks
            around, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.025, 0.055)
            turn = around + np.linspace(0, rng.uniform(3.0, 5.5), 40)
            path = centre + radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
            dots = path[rng.integers(0, len(path), int(rng.integers(25, 50)))] + rng.normal(0, 0.0035, (1, 2))
            dots = dots + rng.normal(0, 0.003, dots.shape)
            self._mark_band("HaEx", path, 0.0065)
        else:
            size = rng.uniform(0.006, 0.024)
            dots = centre + np.clip(
                rng.normal(0, size, (int(rng.integers(6, 26)), 2)), -1.4 * size, 1.4 * size
            )
            path = np.empty((0, 2))
        outlines = []
        for dot in dots:
            radius = float(np.clip(rng.lognormal(np.log(0.0024), 0.45), 0.0012, 0.007))
            outline = blob(
                rng, dot, radius, stretch=rng.uniform(1, 1.8), angle=rng.uniform(0, 3), rough=0.25, corners=12
            )
            self.canvas.fill(layer, outline, rng.uniform(0.75, 1.0))
            outlines.append(outline)
        if not len(path):
            self._mark("HaEx", np.concatenate(outlines), slack=1.05)
        cover = self.canvas.blur(self.canvas.reduce(layer), 0.0006)
        mix(image, cover * np.float32(rng.uniform(0.75, 0.95)), (1.0, rng.uniform(0.80, 0.92), 0.50))

    def _cotton_wool_spot(self, image: Image) -> None:
        rng, layer = self.rng, self.canvas.layer()
        radius = rng.uniform(0.010, 0.022)
        place, along = (
            self._beside_vessel(radius, thick=True) if rng.random() < 0.6 else (self._anywhere(radius), 0.0)
        )
        tufts = [
            blob(
                rng,
                place + rng.normal(0, radius * 0.45, 2),
                radius * rng.uniform(0.5, 0.9),
                stretch=1.5,
                angle=along,
            )
            for _ in range(rng.integers(2, 5))
        ]
        for tuft in tufts:
            self.canvas.fill(layer, tuft)
        self._mark("CWS", np.concatenate(tufts), slack=1.1)
        cover = self.canvas.blur(self.canvas.reduce(layer), 0.004)
        cover *= np.clip(1 + 0.18 * self.canvas.clouds(rng, 110), 0, 1.2)
        mix(image, cover * np.float32(rng.uniform(0.55, 0.8)), (0.93, 0.84, 0.68))

    def _new_vessels(self, image: Image) -> None:
        rng, layer = self.rng, self.canvas.layer(zoom=2)
        size = rng.uniform(0.022, 0.045)
        if rng.random() < 0.4:  # at the disc
            centre = self.disc + direction(rng.uniform(0, 2 * np.pi)) * self.layout.disc_radius * rng.uniform(
                0.5, 1.0
            )
        else:
            centre, _ = self._beside_vessel(size * 0.6, thick=True)
        twigs = []
        for _ in range(int(rng.integers(9, 16))):
            steps = int(rng.integers(18, 45))
            heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(rng.choice([-0.2, 0.2]), 0.35, steps))
            path = centre + rng.normal(0, size * 0.25, 2)
            path = path + 0.0028 * np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
            away = path - centre
            far = np.hypot(*away.T)[:, None] + 1e-9
            path = centre + away * np.minimum(1, size / far)
            self.canvas.stroke(
                layer, path, np.full(steps, rng.uniform(0.0013, 0.0024)), rng.uniform(0.7, 1.0)
            )
            twigs.append(path)
        self._mark("NV", np.concatenate(twigs), slack=1.0)
        stain(image, self.canvas.blur(self.canvas.reduce(layer), 0.0006), (0.72, 0.26, 0.34))

    def _fibrous_band(self, image: Image) -> None:
        rng = self.rng
        trunks = [vessel for vessel in self.vessels if vessel.widths[0] > 0.008 and len(vessel.path) > 25]
        trunk = trunks[rng.integers(len(trunks))]
        length = int(rng.integers(10, 22))
        start = int(rng.integers(2, max(3, len(trunk.path) - length)))
        path = trunk.path[start : start + length] + rng.normal(0, 0.012, 2)
        inside = [place for place in path if self.layout.depth(place) > 0.02]
        path = (
            np.array(inside)
            if len(inside) > 5
            else self._anywhere(0.06) + np.linspace([-0.04, 0], [0.04, 0.01], 12)
        )
        half = rng.uniform(0.008, 0.020)
        swell = half * (
            0.35 + np.sin(np.linspace(0.1, np.pi - 0.1, len(path))) * rng.uniform(0.6, 1.1, len(path))
        )
        body, fibres = self.canvas.layer(), self.canvas.layer(zoom=2)
        self.canvas.fill(body, ribbon(path, swell))
        side = np.gradient(path, axis=0)[:, ::-1] * (-1, 1)
        side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
        for lane in rng.uniform(-1, 1, 9):  # fibres along the band
            wander = lane + np.cumsum(rng.normal(0, 0.12, len(path)))
            self.canvas.stroke(
                fibres,
                path + side * (swell * wander)[:, None],
                np.full(len(path), 0.0022),
                rng.uniform(0.5, 1),
            )
        for _ in range(rng.integers(2, 6)):  # strands that pull at the retina around
            root = path[rng.integers(len(path))]
            strand = root + np.linspace(0, rng.uniform(0.015, 0.04), 8)[:, None] * direction(
                rng.uniform(0, 2 * np.pi)
            )
            self.canvas.stroke(fibres, strand, np.linspace(0.004, 0.001, 8), 0.7)
        self._mark_band("FiP", path, half * 1.15)
        veil = self.canvas.blur(self.canvas.reduce(body), 0.003) * np.float32(rng.uniform(0.55, 0.85))
        mix(image, veil, (0.74, 0.69, 0.58))
        mix(
            image, self.canvas.blur(self.canvas.reduce(fibres), 0.0008) * np.float32(0.75), (0.92, 0.88, 0.78)
        )

    def _preretinal_haemorrhage(self, image: Image, place: Vector, radius: float) -> None:
        """Boat-shaped: blood between retina and vitreous, with a level top."""
        rng, layer = self.rng, self.canvas.layer()
        breadth = 2 * radius
        depth = breadth * rng.uniform(0.35, 0.7)
        turn = np.linspace(0, np.pi, 30)
        bumps = 1 + 0.05 * np.sin(3 * turn + rng.uniform(0, 6)) + 0.03 * np.sin(7 * turn + rng.uniform(0, 6))
        outline = place + np.stack(
            [breadth / 2 * np.cos(turn), depth * np.sin(turn) ** 0.8 * bumps - depth / 2], axis=1
        )
        self.canvas.fill(layer, outline)
        self._mark("pHE", outline, slack=1.0, ellipses=0.1)
        cover = self.canvas.blur(self.canvas.reduce(layer), 0.0015)
        settled = np.clip((self.canvas.y - (place[1] - depth / 2)) / np.float32(depth), 0, 1)  # blood sinks
        mix(image, cover * (np.float32(0.78) + np.float32(0.2) * settled**0.5), (0.36, 0.07, 0.05))

    def _vitreous_haemorrhage(self, image: Image, place: Vector, radius: float) -> None:
        """A dark haze with streaks: blood drifting in the vitreous, out of focus."""
        rng, layer = self.rng, self.canvas.layer()
        outline = blob(rng, place, radius, stretch=rng.uniform(1, 1.7), angle=rng.normal(0, 0.5), rough=0.4)
        self.canvas.fill(layer, outline)
        for _ in range(rng.integers(2, 6)):  # streaks that drift off
            start = outline[rng.integers(len(outline))]
            path = start + np.cumsum(
                0.01 * direction(rng.uniform(0, 6)) + rng.normal(0, 0.004, (10, 2)), axis=0
            )
            self.canvas.stroke(layer, path, np.linspace(0.02, 0.004, 10), 0.8)
        self._mark("vHE", outline, slack=0.95, ellipses=0.2)
        cover = self.canvas.blur(self.canvas.reduce(layer), radius * 0.14)
        cover *= np.clip(
            0.95 + 0.12 * self.canvas.clouds(rng, 9) + 0.08 * self.canvas.clouds(rng, 24), 0.3, 1.1
        )
        stain(image, np.clip(cover * np.float32(rng.uniform(0.75, 0.95)), 0, 1), (0.30, 0.13, 0.15))
        mix(image, np.float32(0.3) * np.clip(cover, 0, 1), (0.30, 0.08, 0.05))

    def _look_alikes(self, image: Image) -> None:
        """Drusen, pigment and naevi: never marked, so that colour alone does not tell a lesion."""
        rng = self.rng
        if rng.random() < 0.35:
            drusen = self.canvas.layer()
            for _ in range(rng.integers(6, 40)):
                self.canvas.fill(
                    drusen,
                    blob(rng, self._anywhere(0.01, spread=0.07), rng.uniform(0.002, 0.005), rough=0.05),
                )
            cover = self.canvas.blur(self.canvas.reduce(drusen), 0.002)
            mix(image, cover * np.float32(rng.uniform(0.35, 0.6)), (0.93, 0.70, 0.42))
        if rng.random() < 0.35:
            pigment = self.canvas.layer()
            for _ in range(rng.integers(1, 9)):
                self.canvas.fill(
                    pigment, blob(rng, self._anywhere(0.01, spread=0.2), rng.uniform(0.002, 0.006), rough=0.4)
                )
            stain(image, self.canvas.blur(self.canvas.reduce(pigment), 0.0012), (0.42, 0.45, 0.50))
        if rng.random() < 0.1:
            naevus = self.canvas.layer()
            self.canvas.fill(
                naevus, blob(rng, self._anywhere(0.05, spread=0.25), rng.uniform(0.02, 0.05), rough=0.1)
            )
            stain(image, self.canvas.blur(self.canvas.reduce(naevus), 0.006), (0.72, 0.74, 0.80))
