"""Cases drawn by hand: eyes whose findings tell their grade, about as well as real ones do."""

from collections.abc import Callable

import numpy as np
import pytest

from retinalesion.data.quality import LIMITS
from retinalesion.fitting.cases import Case
from retinalesion.geometry import Box, Landmark
from retinalesion.guideline import QUADRANTS
from retinalesion.reading.reading import Finding, Quality, Reading

LEARNED = ("MA", "iHE", "HaEx", "CWS")
TRUE = {"MA": (0, 4, 12, 20, 20), "iHE": (0, 0, 6, 25, 20), "HaEx": (0, 0, 6, 8, 8), "CWS": (0, 0, 1, 3, 3)}
FALSE = {"MA": 3.0, "iHE": 1.5, "HaEx": 1.0, "CWS": 0.5}
SHARES = (0.34, 0.06, 0.33, 0.17, 0.10)


def drawn_finding(rng: np.random.Generator, code: str, number: int, real: bool) -> Finding:
    x, y = rng.uniform(100, 900, 2)
    return Finding(
        lesion=code,
        number=number,
        x=x,
        y=y,
        left=int(x),
        top=int(y),
        width=5,
        height=5,
        pixels=20,
        share=2e-5,
        quadrant=QUADRANTS[2 * (y >= 500) + (x >= 500)],
        disc_diameters=float(np.hypot(x - 500, y - 500) / 150),
        confidence=0.9,
        disc_areas=float(np.exp(rng.normal(-6.5 + 0.9 * real, 0.7))),
        from_disc=1.5,
        from_edge=0.5,
        peak=float(1 / (1 + np.exp(-rng.normal(1.5 + real, 1)))),
        mean=0.7,
        contrast=float(rng.normal(-0.08 - 0.1 * real, 0.05)),
        elongation=1.5,
    )


def drawn_case(rng: np.random.Generator, place: int, grade: int, folds: int = 5) -> Case:
    findings, hits = [], {}
    looked_through = grade >= 2 and place % 4 == 0
    for code in LEARNED:
        many = rng.poisson(TRUE[code][grade] * rng.gamma(2, 0.5))
        for real in (True,) * many + (False,) * rng.poisson(FALSE[code]):
            findings.append(drawn_finding(rng, code, len(findings) + 1, real))
            if looked_through:
                hits[len(findings)] = real
    told = rng.dirichlet(np.ones(5) + 3 * np.eye(5)[grade])
    reading = Reading(
        id=f"p{place}",
        file=f"p{place}.png",
        width=1000,
        height=1000,
        box=Box(0, 0, 1000),
        quality=Quality(True, (), dict.fromkeys(LIMITS, 0.0)),
        disc=Landmark(800, 500, 0.9, 150),
        fovea=Landmark(500, 500, 0.9),
        learned=LEARNED,
        findings=tuple(findings),
        network_probabilities=tuple(told.tolist()),
        truth_grade=grade,
        truth_oedema=0,
    )
    real = frozenset(one.lesion for one in findings if hits.get(one.number))
    annotated = frozenset(LEARNED) if looked_through else frozenset()
    return Case(reading, f"g{place // 3}", place // 3 % folds, "drawn", "c", hits, annotated, real)


@pytest.fixture(scope="session")
def draw() -> Callable[..., list[Case]]:
    def cases(count: int = 200, seed: int = 0) -> list[Case]:
        rng = np.random.default_rng(seed)
        grades = rng.choice(5, count, p=SHARES)
        return [drawn_case(rng, place, int(grade)) for place, grade in enumerate(grades)]

    return cases
