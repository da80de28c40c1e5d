"""A small report with every kind of reading, tested runs made by hand, a browser to look at pages with."""

import csv
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from selenium import webdriver

from retinalesion.data.decode import Camera
from retinalesion.data.spots import CameraMap, Spot
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


def finding(code: str, pixels: int = 400, spot: int | None = None) -> Finding:
    return Finding(code, 50, 60, 45, 55, 10, 10, pixels, pixels / 1e6, "upper left", None, 0.9, spot)


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
    """With truth, with the camera's spots only, without, ungradable, not opened, named with markup."""
    folder = tmp_path_factory.mktemp("report")
    unreadable = {"quality": Quality(False, ("it is too dark",)), "grade_probabilities": ()}
    readings = (
        reading("eye_10", 2, "MA", "HaEx", truth_grade=3),
        reading("eye_9", 0, camera=(finding("MA", spot=1), finding("MA", spot=1), finding("HaEx", spot=2))),
        reading("eye_8", 4, "iHE", agreement="cannot be judged"),
        reading("dark", None, referable=True, agreement="not graded", evidence=(), **unreadable),
        Reading("broken", "broken.jpg", error="broken.jpg: not a picture"),
        reading(MARKUP, 1, "CWS", file=f"{MARKUP}.jpg", agreement="below evidence"),
    )
    rgb = np.full((SIDE, SIDE, 3), (150, 70, 20), np.uint8)
    for one in readings:
        if not one.error:
            truth = planes_with("MA", shift=4) if one.truth_grade else None
            aside = planes_with(*{found.lesion for found in one.camera}).any(axis=0)
            write_pictures(folder, one.id, rgb, planes_with(*one.present), truth, ("MA", "iHE"), aside)
    return Report(write_report(folder, readings, [(CAMERA, MEAN)]), readings, CAMERA)


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


def _make_run(folder, settings, seed=0, lift=0.0, learned=LEARNED, photographs=24, **about):
    """A tested run: lesions found the better, the higher the lift; or grades, by a network that grades."""
    random = np.random.default_rng([seed, *str(settings).encode()])
    (folder / "test").mkdir(parents=True)
    config = {
        "seed_everything": seed,
        "model": {"encoder": "inception_v3", "weights": f"/somewhere/{seed}/imagenet.pth", **settings},
        "data": {"store": f"/somewhere/{seed}", "side": settings.get("side", 896), "seed": seed},
        "trainer": {"max_steps": -1},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
    report = {"photographs": photographs, "side": 896, "trained on store": "f00d", **about}
    ids = [f"eye_{i:02}" for i in range(photographs)]
    if settings["network"] in ("plain", "sian", "abn", "lesion-concat"):
        truth = np.arange(photographs) % 5
        said = np.where(random.random(photographs) < 0.5 + lift, truth, (truth + 1) % 5)
        rows = [
            dict(zip(("id", "grade", "said"), cells, strict=True))
            for cells in zip(ids, truth, said, strict=True)
        ]
        _write_rows(folder / "test" / "grades.csv", rows)
        (folder / "test" / "grades.json").write_text(json.dumps(report), "utf-8")
        return folder
    marked = np.random.default_rng(1).integers(100, 3000, (photographs, len(CODES)))
    ease = np.random.default_rng(2).uniform(0.4, 0.6, marked.shape)
    hits = (marked * np.clip(ease + lift + random.normal(0, 0.01, marked.shape), 0, 1)).astype(int)
    rows = []
    for i, id in enumerate(ids):
        row = {"id": id, "grade": ""}
        for j, code in enumerate(CODES):
            if code in LEARNED and settings["network"].startswith("lesions-"):
                row[f"{code}_present"] = int(i % 3 > 0)
            elif code in LEARNED:
                row |= {f"{code}_hits": hits[i, j], f"{code}_alarms": 500}
                row |= {f"{code}_misses": marked[i, j] - hits[i, j]}
            row[f"{code}_probability"] = f"{0.9 - 0.6 * (i % 4 == 0):.4f}"
        rows.append(row)
    _write_rows(folder / "test" / "photographs.csv", rows)
    lesions = [{"lesion": code, "learned": code in learned, "AUPR": 0.5 + lift} for code in CODES]
    (folder / "test" / "summary.json").write_text(json.dumps({**report, "lesions": lesions}), "utf-8")
    return folder


def _write_rows(file, rows):
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="session")
def make_run():
    """Makes the folder of a tested run."""
    return _make_run


@pytest.fixture(scope="session")
def write_rows():
    """Writes a table of a run."""
    return _write_rows
