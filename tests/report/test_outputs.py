"""What readings leave on disk agrees with itself, whatever the size of the photograph."""

import csv

import cv2
import numpy as np
import pytest

from retinalesion.data.field import View
from retinalesion.data.quality import LIMITS
from retinalesion.geometry import Box
from retinalesion.lesions import CODES
from retinalesion.reading.reader import Model, Subject, see
from retinalesion.report.outputs import Outputs
from retinalesion.report.pictures import pictures_of

ANY = {name: (-float("inf"), float("inf")) for name in LIMITS}


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
    with (tmp_path / "readings.csv").open(newline="", encoding="utf-8-sig") as lines:
        (row,) = csv.DictReader(lines)
    assert {code for code in CODES if row[f"{code}_present"] == "1"} == marked
