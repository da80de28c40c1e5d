"""Findings, made by hand or of drawn maps, and rules to judge them by."""

from dataclasses import replace

import numpy as np
import pytest

from retinalesion.data.field import View, to_square
from retinalesion.geometry import Box
from retinalesion.lesions import CODES
from retinalesion.reading.anatomy import UNKNOWN
from retinalesion.reading.findings import Regions, findings_of
from retinalesion.reading.reading import Finding
from retinalesion.reading.rule import Logistic, OperatingPoint, Roc, Rule


@pytest.fixture(scope="session")
def found_in():
    """Findings of maps by lesion, at a photograph's own size; the photograph is grey where none is given."""

    def found(maps, box=None, anatomy=UNKNOWN, rgb=None):
        size = next(iter(maps.values())).shape
        box = box or Box(0, 0, size[1])
        rgb = np.full((*size, 3), 100, np.uint8) if rgb is None else rgb
        planes = np.zeros(size, np.uint8)
        for code, probability in maps.items():
            planes |= (probability > 0.5).astype(np.uint8) << CODES.index(code)
        regions = [Regions.of(code, probability) for code, probability in maps.items()]
        return findings_of(regions, planes, View(to_square(rgb, box, min(box.side, 896)), box, size), anatomy)

    return found


@pytest.fixture(scope="session")
def finding():
    """A finding: ``area`` in disc areas, ``away`` from the fovea in disc diameters."""

    def made(lesion, number=1, confidence=0.9, area=0.01, away=None, quadrant="upper left", pixels=9, **more):
        place = {"x": 0, "y": 0, "left": 0, "top": 0, "width": 3, "height": 3}
        return Finding(
            lesion,
            number,
            **place,
            pixels=pixels,
            share=0.001,
            quadrant=quadrant,
            disc_diameters=away,
            confidence=confidence,
            disc_areas=area,
            peak=confidence,
            **more,
        )

    return made


RULE = Rule(
    second_look={"MA": Logistic(-1.0, {"area": 0.5, "contrast": -2.0})},
    points={"MA": OperatingPoint(0.6), "iHE": OperatingPoint(0.5, 0.002, 2)},
    macula=OperatingPoint(0.7, 0.001),
    referable=Logistic(-2.0, {"iHE number": 2.0, "HaEx near fovea": 0.5, "MA area": 0.1}),
    steps=tuple(Logistic(bias, {"MA best": 1.0, "iHE area": 0.5}) for bias in (-1.0, -0.5, -2.0, -2.0)),
    low=-1.5,
    high=0.5,
    roc=Roc((-3.0, -2.0, -1.0, 0.0, 1.0), (1.0, 0.98, 0.94, 0.85, 0.6), (0.1, 0.4, 0.7, 0.9, 0.97)),
    prevalence=0.3,
    told={"photographs": 396, "sensitivity": [0.95, 0.91, 0.98]},
)


@pytest.fixture(scope="session")
def rule():
    """A rule, with other parts than the usual ones where they are given."""
    return lambda **parts: replace(RULE, **parts)
