"""A small report with every kind of reading."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from retinalesion.data.decode import Camera
from retinalesion.data.spots import CameraMap, Spot
from retinalesion.geometry import Box, Landmark
from retinalesion.lesions import CODES
from retinalesion.reading.reading import BELOW, EvidenceLine, Finding, Quality, Reading
from retinalesion.report.page import write_report
from retinalesion.report.pictures import write_pictures

SIDE = 160
MARKUP = "<img src=x onerror=document.title='caught'>\"'&\u2028</script>"
LEARNED = ("MA", "iHE", "HaEx", "CWS")


RULE = {
    "photographs": 396,
    "groups": 41,
    "source": "IDRiD",
    "sensitivity": [0.95, 0.93, 0.97],
    "specificity": [0.885, 0.85, 0.91],
    "cuts": [0.15, 0.2],
}


class Report(NamedTuple):
    page: Path
    readings: tuple[Reading, ...]
    camera: CameraMap

    @property
    def folder(self) -> Path:
        return self.page.parent


def planes_with(*codes: str, shift: int = 0) -> np.ndarray:
    """A square of one lesion each, side by side."""
    planes = np.zeros((len(CODES), SIDE, SIDE), bool)
    for code in codes:
        left = 20 + 15 * CODES.index(code) + shift
        planes[CODES.index(code), 60:72, left : left + 10] = True
    return planes


# The mean picture is half as large as the photographs.
MEAN = np.full((240, 320), 128, np.uint8)
CAMERA = CameraMap(
    Camera(640, 480, "Fundus 3"),
    photographs=40,
    groups=36,
    spots=(Spot("dark", 199.5, 99.5, 20, -0.034, 12.0, 9), Spot("bright", 399.5, 299.5, 12, 0.011, 5.0)),
)


def finding(code: str, pixels: int = 400, **more) -> Finding:
    given = {"number": 1, "x": 50, "y": 60, "left": 45, "top": 55, "width": 10, "height": 10}
    size = {"pixels": pixels, "share": pixels / 1e6, "disc_areas": pixels / 4e4}
    place = {"quadrant": "upper left", "disc_diameters": None, "confidence": 0.9}
    return Finding(code, **{**given, **size, **place, **more})


def reading(id: str, grade: int | None, *codes: str, **more) -> Reading:
    given = {
        "file": f"photographs/{id}.jpg",
        "width": 640,
        "height": 480,
        "box": Box(80, 0, 480),
        "quality": Quality(True),
        "learned": LEARNED,
        "findings": tuple(finding(code) for code in codes),
        "grade": grade,
        "grade_low": grade,
        "grade_high": grade,
        "grade_probabilities": tuple(0.6 if one == grade else 0.1 for one in range(5)),
        "evidence": tuple(EvidenceLine(f"1 {code} was seen", "supports", 1, (code,)) for code in codes),
        "agreement": "agrees",
        "agreement_text": "the grade agrees",
        "outcome": "refer" if (grade or 0) >= 2 else "no referral",
        "outcome_reason": "by its probability",
        "referable_probability": 0.1 * (grade or 0),
        "rule": RULE,
        "model": "a model",
    }
    return Reading(id, **{**given, **more})


@pytest.fixture(scope="session")
def report(tmp_path_factory) -> Report:
    """With truth, with the camera's spots only, urgent, retake, not opened, unclear, not graded.

    The last is named with markup.
    """
    folder = tmp_path_factory.mktemp("report")
    unreadable = {"quality": Quality(False, ("it is too dark",)), "grade_probabilities": ()}
    unsaid = {"referable_probability": None, "agreement": "not graded"}
    unsure = finding("HaEx", number=9, counts=False, reason=BELOW)
    near = EvidenceLine("3 hard exudates near the fovea", "macula", None, ("HaEx",))
    readings = (
        reading(
            "eye_10",
            2,
            "MA",
            "HaEx",
            truth_grade=3,
            outcome_reason="exudates",
            eye="right",
            disc=Landmark(200, 240, 0.98, 60.0),
            fovea=Landmark(330, 250, 0.9),
            evidence=(
                near,
                *(EvidenceLine(f"1 {code} was seen", "supports", 1, (code,)) for code in ("MA", "HaEx")),
            ),
        ),
        reading("eye_9", 0, camera=(finding("MA", spot=1), finding("MA", spot=1), finding("HaEx", spot=2))),
        reading("eye_8", 4, "iHE", agreement="cannot be judged"),
        reading("dark", None, outcome="retake", outcome_reason="again", evidence=(), **unreadable, **unsaid),
        Reading("broken", "broken.jpg", error="broken.jpg: not a picture"),
        reading(
            "eye_7",
            1,
            "MA",
            grade_low=0,
            grade_high=3,
            outcome="uncertain",
            findings=(finding("MA"), unsure),
            evidence=(EvidenceLine("possible: 1 hard exudate", "possible", None, ("HaEx",)),),
        ),
        reading("eye_6", None, outcome="not assessed", grade_probabilities=(), **unsaid),
        reading(MARKUP, 1, "CWS", file=f"{MARKUP}.jpg", agreement="below evidence"),
    )
    rgb = np.full((SIDE, SIDE, 3), (150, 70, 20), np.uint8)
    for one in readings:
        if not one.error:
            truth = planes_with("MA", shift=4) if one.truth_grade else None
            aside = planes_with(*{found.lesion for found in one.camera}).any(axis=0)
            possible = planes_with(*one.possible)
            drawn = planes_with(*one.present), truth, ("MA", "iHE")
            write_pictures(folder, one.id, rgb, *drawn, possible=possible, aside=aside)
    return Report(write_report(folder, readings, [(CAMERA, MEAN)]), readings, CAMERA)
