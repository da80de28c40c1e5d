"""Photographs of one camera as another would have taken them, to see whether a rule travels.

Of one named photograph of the other camera are taken: the mean and the spread of its colours in Lab, its
pixels per degree, and the quality of its JPEG. No training uses these photographs, and no augmentation works
this way.
"""

import io
from pathlib import Path
from typing import NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retinalesion.data.decode import read_photograph
from retinalesion.data.field import find_field, lit_field

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]

DEGREES = {"hrf": 45, "chase": 30, "fives": 50, "hygd": 45, "idrid": 50}  # of the field of view
# Fixed before anything was read: Canon, a small Canon, Nidek, FIVES, and of Topcon a bright and a dark one.
CAMERAS = ("hrf_03_h", "hrf_12_h", "chase_Image_05R", "fives_28_A", "hygd_190_0", "hygd_248_0")


class Simulated(NamedTuple):
    """What is taken of another camera's photograph.

    Attributes:
        name: of the photograph.
        mean: of Lab in the lit field, (3,).
        spread: likewise.
        per_degree: pixels.
        quality: of its JPEG, 1 to 100.
    """

    name: str
    mean: Floats
    spread: Floats
    per_degree: float
    quality: int

    @classmethod
    def of(cls, file: Path) -> Self:
        """Of a photograph whose name begins with its set."""
        rgb = read_photograph(file)
        mean, spread = _colours(rgb)
        degrees = DEGREES[file.stem.split("_")[0]]
        return cls(file.stem, mean, spread, find_field(rgb).side / degrees, _quality(file))

    def photographed(self, rgb: Picture) -> tuple[Picture, float]:
        """A photograph of IDRiD as this camera would have taken it, and by what its sides were scaled."""
        scale = self.per_degree / (find_field(rgb).side / DEGREES["idrid"])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        sized = np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=how), np.uint8)
        mean, spread = _colours(sized)
        lab = cv2.cvtColor(sized.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        lab = (lab - mean) / spread * self.spread + self.mean
        moved = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB).clip(0, 1) * 255
        lit = lit_field(sized, sized.shape[:2])
        coloured = np.where(lit[..., None], moved, sized).round().astype(np.uint8)
        coded = io.BytesIO()
        Image.fromarray(coloured).save(coded, "JPEG", quality=self.quality)
        return np.asarray(Image.open(coded).convert("RGB"), np.uint8), scale


def _colours(rgb: Picture) -> tuple[Floats, Floats]:
    """Mean and spread of Lab in the lit field."""
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[lit_field(rgb, rgb.shape[:2])]
    return lab.mean(0), np.maximum(lab.std(0), 1e-3)


def _quality(file: Path) -> int:
    """Of the standard tables, the quality whose first table is nearest to the file's."""
    with Image.open(file) as opened:
        own = np.array(opened.quantization[0], np.float64)

    def table(quality: int) -> NDArray[np.float64]:
        coded = io.BytesIO()
        Image.new("RGB", (8, 8)).save(coded, "JPEG", quality=quality)
        with Image.open(coded) as made:
            return np.array(made.quantization[0], np.float64)

    return min(range(1, 101), key=lambda quality: float(np.abs(table(quality) - own).sum()))
