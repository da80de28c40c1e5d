"""What readings leave on disk agrees with itself, whatever the size of the photograph."""

import csv
import json
import re

import cv2
import numpy as np
import pytest

from retinalesion.data.field import View
from retinalesion.data.quality import LIMITS
from retinalesion.geometry import Box
from retinalesion.lesions import CODES
from retinalesion.reading.reader import Model, Subject, see
from retinalesion.reading.reading import BELOW, Reading
from retinalesion.reading.rule import Logistic, OperatingPoint, Roc, Rule
from retinalesion.reading.stream import Readings
from retinalesion.report.outputs import Outputs
from retinalesion.report.pictures import pictures_of

NONE = Logistic(0.0, {})
ANY = {name: (-float("inf"), float("inf")) for name in LIMITS}


def table(file):
    with file.open(newline="", encoding="utf-8-sig") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("own", [20, 64, 300])
def test_layers_planes_and_tables_agree(tmp_path, own):
    """Of a photograph smaller than the network's side, a spot in a map may be too small to be left."""
    maps = np.zeros((len(CODES), 128, 128), np.float32)
    maps[CODES.index("HaEx"), 40:80, 40:80] = 0.9
    maps[CODES.index("iHE"), 62:64, 20:22] = 0.9  # a third of a pixel at 20
    photograph = np.full((own, own, 3), 120, np.uint8)
    view = View.of(photograph, 128, Box(0, 0, own))
    seen = see(Subject("one", "one.png"), view, maps, (), Model("m", CODES, ANY))
    outputs = Outputs(tmp_path)
    outputs.finish([outputs.write(seen)])
    planes = cv2.imread(str(tmp_path / "planes/one.png"), cv2.IMREAD_GRAYSCALE)
    marked = {code for j, code in enumerate(CODES) if (planes >> j & 1).any()}
    assert marked == ({"HaEx"} if own == 20 else {"HaEx", "iHE"})
    assert set(pictures_of(tmp_path / "report", "one").layers) == marked
    (row,) = table(tmp_path / "readings.csv")
    assert {code for code in CODES if row[f"{code}_present"] == "1"} == marked


def test_what_does_not_count_is_kept_told_and_drawn_dashed(tmp_path):
    """Of two exudates and a haemorrhage only the larger exudate reaches its operating point."""
    maps = np.zeros((len(CODES), 128, 128), np.float32)
    maps[CODES.index("HaEx"), 30:60, 30:60] = maps[CODES.index("HaEx"), 90:94, 90:94] = 0.9
    maps[CODES.index("iHE"), 62:64, 20:22] = 0.7
    view = View.of(np.full((128, 128, 3), 120, np.uint8), 128, Box(0, 0, 128))
    points = {"HaEx": OperatingPoint(0.5, area=0.5), "iHE": OperatingPoint(0.8)}
    model = Model(
        "m", CODES, ANY, Rule({}, points, None, NONE, (NONE,) * 4, 0, 0, Roc((0,), (1,), (0,)), 0.5)
    )
    outputs = Outputs(tmp_path)
    outputs.finish([outputs.write(see(Subject("one", "one.png"), view, maps, (), model))])
    planes = cv2.imread(str(tmp_path / "planes/one.png"), cv2.IMREAD_GRAYSCALE)
    assert [planes[at] > 0 for at in ((45, 45), (92, 92), (63, 21))] == [True, True, True]
    drawn = pictures_of(tmp_path / "report", "one")
    assert (drawn.layers, drawn.possible) == (("HaEx",), ("iHE", "HaEx"))
    tinted = cv2.imread(str(tmp_path / "overlays/one.png"), cv2.IMREAD_COLOR)
    assert [(tinted[at] != 120).any() for at in ((45, 45), (92, 92), (63, 21))] == [True, False, False]
    (row,) = table(tmp_path / "readings.csv")
    figures = ("present", "possible", "counting", "regions", "counting_pixels", "pixels")
    assert [row[f"HaEx_{name}"] for name in figures] == ["1", "0", "1", "2", "900", "916"]
    assert [row[f"iHE_{name}"] for name in figures] == ["0", "1", "0", "1", "0", "4"]
    found = [(one["lesion"], one["counts"], one["reason"]) for one in table(tmp_path / "findings.csv")]
    assert found == [("iHE", "0", BELOW), ("HaEx", "1", ""), ("HaEx", "0", BELOW)]


def test_tables_and_report_of_lines_of_schema_1_are_made_too(tmp_path):
    """As an earlier version left them, in a batch that goes on or is put together anew."""
    finding = {"lesion": "MA", "x": 9.0, "y": 9.0, "left": 8, "top": 8, "width": 3, "height": 3, "pixels": 9}
    finding |= {"share": 0.01, "quadrant": "upper left", "disc_diameters": None, "confidence": 0.8}
    line = {"schema": 1, "id": "one", "file": "one.png", "width": 64, "height": 64}
    line |= {"box": {"x": 0, "y": 0, "side": 64}, "quality": {"gradable": True, "reasons": [], "figures": {}}}
    line |= {
        "learned": ["MA"],
        "probability": {"MA": 0.8},
        "findings": [finding | {"spot": None}],
        "camera": [],
    }
    line |= {"grade": 0, "grade_probabilities": [0.6, 0.1, 0.1, 0.1, 0.1], "supported": 1, "lifted": 1}
    line |= {"evidence": [], "agreement": "below evidence", "agreement_text": "", "referable": False}
    line |= {"referable_probability": 0.3, "referable_reason": "low", "truth_grade": None, "model": "m"}
    line |= {"error": "", "present": ["MA"]}
    new = Reading("two", "two.png", error="no picture").as_json()
    (tmp_path / "readings.jsonl").write_text(f"{json.dumps(line)}\n{new}\n")
    page = Outputs(tmp_path).finish(Readings(tmp_path / "readings.jsonl")).read_text("utf-8")
    assert "no apparent retinopathy" not in re.sub(r"<article.*</article>", "", page, flags=re.DOTALL)
    one, two = table(tmp_path / "readings.csv")
    assert (one["outcome"], one["referable"], one["MA_present"], one["MA_regions"]) == (
        "no referral",
        "0",
        "1",
        "1",
    )
    assert two["error"] == "no picture"
