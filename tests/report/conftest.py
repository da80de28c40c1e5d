"""A small report with every kind of reading in it, and a browser to look at pages with."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from selenium import webdriver

from retinalesion.data.store import Box
from retinalesion.lesions import CODES
from retinalesion.reading.reading import EvidenceLine, Finding, Quality, Reading
from retinalesion.report.page import write_report
from retinalesion.report.pictures import write_pictures

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--force-prefers-reduced-motion"),
)
SIDE = 160
MARKUP = "<img src=x onerror=document.title='caught'>\"'&\u2028</script>"
LEARNED = ("MA", "iHE", "HaEx", "CWS")


class Report(NamedTuple):
    page: Path
    readings: tuple[Reading, ...]

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


def finding(code: str, pixels: int = 400) -> Finding:
    return Finding(code, 50, 60, 45, 55, 10, 10, pixels, pixels / 1e6, "upper left", None, 0.9)


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
        "grade_probabilities": tuple(0.6 if one == grade else 0.1 for one in range(5)),
        "evidence": tuple(EvidenceLine(f"1 {code} was seen", "supports", 1, (code,)) for code in codes),
        "agreement": "agrees",
        "agreement_text": "the grade agrees",
        "referable": (grade or 0) >= 2,
        "referable_probability": 0.1 * (grade or 0),
        "referable_reason": "by its probability",
        "model": "a model",
    }
    return Reading(id, **{**given, **more})


@pytest.fixture(scope="session")
def report(tmp_path_factory) -> Report:
    """With truth, without, ungradable, not opened, named with markup."""
    folder = tmp_path_factory.mktemp("report")
    unreadable = {"quality": Quality(False, ("it is too dark",)), "grade_probabilities": ()}
    readings = (
        reading("eye_10", 2, "MA", "HaEx", truth_grade=3),
        reading("eye_9", 0),
        reading("eye_8", 4, "iHE", agreement="cannot be judged"),
        reading("dark", None, referable=True, agreement="not graded", evidence=(), **unreadable),
        Reading("broken", "broken.jpg", error="broken.jpg: not a picture"),
        reading(MARKUP, 1, "CWS", file=f"{MARKUP}.jpg", agreement="below evidence"),
    )
    rgb = np.full((SIDE, SIDE, 3), (150, 70, 20), np.uint8)
    for one in readings:
        if not one.error:
            truth = planes_with("MA", shift=4) if one.truth_grade else None
            write_pictures(folder, one.id, rgb, planes_with(*one.present), truth, ("MA", "iHE"))
    return Report(write_report(folder, readings), readings)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and chromium-driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()
