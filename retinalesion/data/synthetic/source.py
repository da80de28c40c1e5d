"""Synthetic photographs as a source: patients, what is wrong with each eye, and the drawing of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from retinalesion.data.photograph import Photograph, Pixels
from retinalesion.data.synthetic.brush import Canvas
from retinalesion.data.synthetic.fundus import (
    Layout,
    expose,
    grow_vessels,
    paint_retina,
    paint_vessels,
    sample_camera,
    sample_layout,
    visible,
)
from retinalesion.data.synthetic.pathology import Pathology
from retinalesion.errors import PhotographError, UserError
from retinalesion.geometry import Disc, Point
from retinalesion.guideline import Quadrants, weigh
from retinalesion.lesions import CODES

EYES = ("right", "left")
SMALLEST_SIDE = 64
SEVERITIES = (
    0,
    1,
    2,
    3,
    4,
    4,
)  # of six patients in turn; DR4 twice, since half of the lesions occur there only


@dataclass(frozen=True)
class Scene:
    """One eye before it is drawn: everything that a table would say of it.

    Attributes:
        layout: where field, disc and fovea lie.
        counts: lesions to draw, per code.
        quadrants: haemorrhages in each quadrant about the fovea.
    """

    layout: Layout
    counts: Mapping[str, int]
    quadrants: Quadrants

    @property
    def grade(self) -> int:
        """The guideline's grade, lifted by indirect evidence."""
        return weigh({code for code, count in self.counts.items() if count}, self.quadrants).lifted


class SyntheticSource:
    """Drawn photographs of diabetic eyes, two a patient, with the eight lesions marked.

    Everything follows from ``seed`` and the photograph's number alone: neither order nor process matter,
    and a smaller set is the beginning of a larger one.

    Args:
        count: photographs; right and left eyes of patients in turn.
        side: width of a photograph in pixels; the height is up to the camera, 0.82 to 1 of it.
        seed: of all that is drawn.

    Raises:
        UserError: no photographs, or too small ones.
    """

    def __init__(self, count: int = 60, side: int = 640, seed: int = 0) -> None:
        if count < 1:
            raise UserError(f"{count} synthetic photographs were asked for; ask for 1 or more.")
        if side < SMALLEST_SIDE:
            raise UserError(
                f"Synthetic photographs {side} pixels wide are too small: take {SMALLEST_SIDE} or more."
            )
        if seed < 0:
            raise UserError(f"The seed is {seed}; take 0 or more.")
        self.name = "synthetic"
        self.count = count
        self.side = side
        self.seed = seed

    @property
    def notes(self) -> tuple[str, ...]:
        """What these photographs are."""
        return (
            f"{self.count} drawn photographs, seed {self.seed}. No patient stands behind them; "
            "what is learned from them says nothing about eyes.",
            "Grades follow from the lesions drawn, by the guideline, lifted by indirect evidence.",
        )

    def photographs(self) -> list[Photograph]:
        """Every photograph, without drawing it."""
        return [self._record(index) for index in range(self.count)]

    def read(self, photograph: Photograph) -> Pixels:
        """Draw one photograph.

        Raises:
            PhotographError: it is not one of this source.
        """
        try:
            patient, eye = photograph.id.removeprefix("p").split("_")
            index = 2 * int(patient) + EYES.index(eye)
        except ValueError as error:
            raise PhotographError(f"{photograph.id}: not the id of a synthetic photograph.") from error
        scene = self._scene(index)
        canvas = Canvas(self.side, round(self.side * scene.layout.camera.height))
        rng = self._rng(3, index)
        vessels = grow_vessels(rng, scene.layout)
        image = paint_retina(rng, canvas, scene.layout)
        pathology = Pathology(rng, canvas, scene.layout, vessels, scene.counts, scene.quadrants)
        pathology.paint_beneath(image)
        paint_vessels(canvas, vessels, image)
        pathology.paint_above(image)
        rgb = expose(rng, canvas, scene.layout, image)
        field = visible(canvas, scene.layout) > 0.5
        return Pixels(
            rgb=rgb,
            planes={code: (pathology.marked[code] > 0) & field for code in CODES if scene.counts[code]},
            ignored={},
            sha256=hashlib.sha256(rgb.tobytes()).hexdigest(),
            disc=self._record(index).disc,
        )

    def _rng(self, *key: int) -> Generator:
        return np.random.default_rng((self.seed, *key))

    def _record(self, index: int) -> Photograph:
        scene, patient, eye = self._scene(index), f"p{index // 2:03d}", EYES[index % 2]
        layout = scene.layout
        return Photograph(
            id=f"{patient}_{eye}",
            name=f"{patient} {eye}",
            annotated=frozenset(CODES),
            grade=scene.grade,
            patient=patient,
            eye=eye,
            disc=Disc(
                layout.disc[0] * self.side, layout.disc[1] * self.side, 2 * layout.disc_radius * self.side
            ),
            fovea=Point(layout.fovea[0] * self.side, layout.fovea[1] * self.side),
        )

    def _scene(self, index: int) -> Scene:
        """One eye; both eyes of a patient share the camera and are about equally ill."""
        patient = index // 2
        turn, place = divmod(patient, len(SEVERITIES))
        severity = int(self._rng(0, turn).permutation(SEVERITIES)[place])
        rng = self._rng(2, index)
        if index % 2 and rng.random() < 0.3:
            severity = int(np.clip(severity + rng.choice([-1, 1]), 0, 4))
        layout = sample_layout(rng, sample_camera(self._rng(1, patient)), EYES[index % 2])
        quadrants = _sample_quadrants(rng, severity)
        counts = dict.fromkeys(CODES, 0) | _sample_counts(rng, severity, quadrants)
        return Scene(layout, counts, quadrants)


def _sample_quadrants(rng: Generator, severity: int) -> Quadrants:
    """Haemorrhages in each quadrant; in a quarter of severe eyes enough for DR3 by themselves."""
    if severity < 2:
        return (0, 0, 0, 0)
    if severity == 3 and rng.random() < 0.25:
        a, b, c, d = rng.integers(23, 30, 4)
    else:
        a, b, c, d = rng.multinomial(int(rng.integers(2, 8 if severity == 2 else 26)), rng.dirichlet([2] * 4))
    return (int(a), int(b), int(c), int(d))


def _sample_counts(rng: Generator, severity: int, quadrants: Quadrants) -> dict[str, int]:
    """Lesions of every kind for an eye of about this grade; the guideline has the last word."""

    def some(chance: float, least: int, most: int) -> int:
        return int(rng.integers(least, most + 1)) if rng.random() < chance else 0

    if severity == 0:  # healthy; sometimes with what is no sign of retinopathy when alone
        lone = rng.choice(["HaEx", "CWS", "FiP", ""], p=[0.10, 0.07, 0.03, 0.80])
        return {str(lone): 1} if lone else {}
    if severity == 1:
        return {"MA": int(rng.integers(2, 9))}
    counts = {"MA": some(0.9, 3, 6 * severity), "iHE": sum(quadrants), "HaEx": some(0.75, 1, 5)}
    if severity == 3:
        counts["CWS"] = some(0.8 if max(quadrants) > 20 else 1.0, 1, 6)
    if severity == 4:
        counts["CWS"] = some(0.5, 1, 4)
        while not any(counts.get(code) for code in ("NV", "vHE", "pHE", "FiP")):
            counts |= {"NV": some(0.6, 1, 3), "vHE": some(0.4, 1, 2)}
            counts |= {"pHE": some(0.5, 1, 2), "FiP": some(0.6, 1, 2)}
    return counts
