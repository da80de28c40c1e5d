"""Retinal-Lesions v20191227, the paper's own set (section 4.1): eight lesions, already cropped to 896 x 896.

Known traps: masks hold 0, 127 and 255, and 127 is an annotation that does not follow the guideline, left out
of the paper's experiments; a missing mask file means absent; no published split.
"""

import re
from pathlib import Path

import numpy as np

from retinalesion.data.decode import read_mask, read_photograph, require_same_size, sha256_of
from retinalesion.data.names import folded
from retinalesion.data.photograph import Photograph, Pixels
from retinalesion.data.sources.layout import Layout
from retinalesion.data.sources.table import read_table, read_text
from retinalesion.data.sources.tree import (
    child,
    entries,
    find_folder,
    pictures,
    require_folder,
    require_id,
    stem_of,
    without,
)
from retinalesion.errors import PhotographError, UserError
from retinalesion.geometry import Disc, Point
from retinalesion.lesions import CODES

_PHOTOGRAPHS = "images_896x896"
_MASKS = "lesion_segs_896x896"
_GRADES = "dr_grades.csv"
_PLACES = "od_fovea_autoloc.txt"
_STEMS = {
    "MA": "microaneurysm",
    "iHE": "retinal_hemorrhage",
    "HaEx": "hard_exudate",
    "CWS": "cotton_wool_spots",
    "vHE": "vitreous_hemorrhage",
    "pHE": "preretinal_hemorrhage",
    "NV": "neovascularization",
    "FiP": "fibrous_proliferation",
}
_NAME = re.compile(r"(?P<patient>.+)_(?P<eye>left|right)", re.IGNORECASE)
_LESION, _NOT_BY_THE_GUIDELINE = 255, 127


class RetinalLesionsSource(Layout):
    """The Retinal-Lesions set as its release unpacks.

    All eight lesions are annotated in every photograph. The grade is the set's own (``our label``), patient
    and eye come from the name.

    Args:
        root: the folder that holds ``images_896x896``, ``lesion_segs_896x896`` and ``dr_grades.csv``.
    """

    name = "retinal-lesions"

    def photographs(self) -> list[Photograph]:
        """Every photograph of the set.

        Raises:
            UserError: the folder is not this layout, or its tables are wrong.
        """
        photographs = find_folder(require_folder(self.root), _PHOTOGRAPHS)
        top = photographs.parent if photographs else self.root
        masks, table = child(top, _MASKS), child(top, _GRADES)
        if photographs is None or masks is None or table is None:
            raise UserError(
                f"{self.root}: does not hold {_PHOTOGRAPHS}, {_MASKS} and {_GRADES} side by side. "
                "Name the folder into which Retinal-Lesions was unpacked."
            )
        notes = [
            "Retinal-Lesions v20191227, on request from its authors; part of EyePACS (Kaggle 2015)",
            f"grade: the set's 'our label'; mask value {_NOT_BY_THE_GUIDELINE}: ignored pixels",
        ]
        files = pictures(photographs)
        grades = _grades(table)
        discs, foveas = _places(child(top, _PLACES))
        drawn = {folded(entry.name): entry for entry in entries(masks) if entry.is_dir()}
        for what, known in (("grades", grades), ("masks", drawn)):
            if strangers := without(known, files):
                notes.append(f"{what} without a photograph, left out: {', '.join(strangers)}")
        if strangers := without(files, grades):
            notes.append(f"photographs without a grade: {', '.join(strangers)}")
        found = []
        for stem, file in files.items():
            name = _NAME.fullmatch(file.stem)
            if name is None:
                raise UserError(
                    f"{file}: is not named PATIENT_left or PATIENT_right. Take it out of the folder."
                )
            there = pictures(drawn[stem]) if stem in drawn else {}
            if unknown := without(there, _STEMS.values()):
                raise UserError(
                    f"{drawn[stem]}: {', '.join(unknown)} is no lesion of this set. "
                    f"Expected are: {', '.join(_STEMS.values())}."
                )
            found.append(
                Photograph(
                    id=require_id(file.stem, file),
                    name=file.name,
                    annotated=frozenset(CODES),
                    grade=grades.get(stem, -1),
                    patient=name["patient"],
                    eye=name["eye"].lower(),
                    file=file,
                    masks={code: there[title] for code, title in _STEMS.items() if title in there},
                    disc=discs.get(stem),
                    fovea=foveas.get(stem),
                )
            )
        if not found:
            raise UserError(f"{photographs}: holds no photograph. Unpack the set again.")
        self._notes = notes
        return found

    def read(self, photograph: Photograph) -> Pixels:
        """Pixels, lesions and ignored pixels of one photograph.

        Raises:
            PhotographError: a file cannot be read, or a mask is of another size or holds other values.
        """
        file = photograph.file
        if file is None:
            raise ValueError(f"{photograph.id} is not a photograph of this source")
        rgb = read_photograph(file)
        planes, ignored = {}, {}
        for code, path in photograph.masks.items():
            values = read_mask(path)
            require_same_size(path, values, file, rgb)
            plane, unsure = values == _LESION, values == _NOT_BY_THE_GUIDELINE
            strays = (values > 0) & ~plane & ~unsure
            if strays.any():
                some = ", ".join(map(str, np.unique(values[strays])[:5]))
                raise PhotographError(
                    f"{path}: holds values other than 0, {_NOT_BY_THE_GUIDELINE} and {_LESION} ({some}). "
                    "It was changed after its release: unpack it again."
                )
            if plane.any():
                planes[code] = plane
            if unsure.any():
                ignored[code] = unsure
        return Pixels(rgb, planes, ignored, sha256_of(file), photograph.disc)


def _grades(path: Path) -> dict[str, int]:
    grades: dict[str, int] = {}
    for line in read_table(path).require("image id", "our label"):
        stem, grade = stem_of(line["image id"]), line.grade("our label")
        if grades.setdefault(stem, grade) != grade:
            raise line.wrong(f"{line['image id']} stands twice, with different grades. Keep one.")
    return grades


def _places(path: Path | None) -> tuple[dict[str, Disc], dict[str, Point]]:
    """Disc and fovea from the boxes that a detector found, in pixels of the 896 square."""
    discs: dict[str, Disc] = {}
    foveas: dict[str, Point] = {}
    if path is None:
        return discs, foveas
    for number, line in enumerate(read_text(path).splitlines(), 1):
        cells = line.split()
        if not cells or cells[0].startswith("#"):
            continue
        try:
            left, top, right, bottom, fovea_left, fovea_top, fovea_right, fovea_bottom = map(float, cells[1:])
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: not a name and eight numbers. Correct the line, or remove the file."
            ) from error
        stem = stem_of(cells[0])
        if right > left and bottom > top:  # else the detector found nothing
            discs[stem] = Disc((left + right) / 2, (top + bottom) / 2, (right - left + bottom - top) / 2)
        if fovea_right > fovea_left and fovea_bottom > fovea_top:
            foveas[stem] = Point((fovea_left + fovea_right) / 2, (fovea_top + fovea_bottom) / 2)
    return discs, foveas
