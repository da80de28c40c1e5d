"""IDRiD (Porwal et al., Data 3(3):25, 2018): parts A (segmentation), B (grading) and, if there, C.

Known traps: masks are palette TIFFs of 0 and 1, one is RGBA; a missing mask file means absent; the test
half of part B counts from 001 again; the label files bear stray spaces and empty columns. Disc and fovea are
given in pixels of the published size, whatever the size of the photographs that are there.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from retinalesion.data.decode import read_mask, read_photograph, require_same_size, sha256_of, size_of
from retinalesion.data.names import folded
from retinalesion.data.photograph import Photograph, Pixels
from retinalesion.data.sources.layout import Layout
from retinalesion.data.sources.table import Table, read_table
from retinalesion.data.sources.tree import (
    child,
    descendant,
    find_folder,
    pictures,
    require_folder,
    require_id,
    stem_of,
    without,
)
from retinalesion.errors import UserError
from retinalesion.geometry import Disc, Point
from retinalesion.lesions import NO_OEDEMA

Part = Literal["both", "segmentation", "grading"]
Halves = Literal["both", "train", "test"]

_PARTS = {"segmentation": "A. Segmentation", "grading": "B. Disease Grading"}
_LOCALIZATION = "C. Localization"
_PHOTOGRAPHS = "1. Original Images"
_HALVES: dict[Literal["train", "test"], str] = {"train": "a. Training Set", "test": "b. Testing Set"}
_MASKS = "2. All Segmentation Groundtruths"
_LESIONS = {
    "MA": ("1. Microaneurysms", "MA"),
    "iHE": ("2. Haemorrhages", "HE"),
    "HaEx": ("3. Hard Exudates", "EX"),
    "CWS": ("4. Soft Exudates", "SE"),
}
_DISC = ("5. Optic Disc", "OD")
_OEDEMA = "risk of macular edema"
_LABELS = {"train": "training labels", "test": "testing labels"}
_MARKUPS = {"train": "training set", "test": "testing set"}
_CENTRES = "centres.csv"
_PUBLISHED_SIZE = (4288, 2848)
_BLOCK = 10  # numbers; patients are not told, but fellow eyes stand side by side


class IdridSource(Layout):
    """The Indian Diabetic Retinopathy Image Dataset in its published folders.

    Ids keep part and half, since names recur: ``A_train_IDRiD_01``, ``B_test_IDRiD_001``. Photographs of part
    A are annotated for MA, iHE, HaEx and CWS and have no grade of their own; those of part B have a grade, a
    risk of macular oedema and no annotation. ``both`` takes whatever is there of the two. Ten consecutive
    numbers of part B are a group: no patient is named, but of neighbouring numbers many are fellow eyes.
    """

    name = "idrid"

    def __init__(self, root: Path | str, part: Part = "both", half: Halves = "both") -> None:
        """Name what to read; nothing is opened yet.

        Args:
            root: the folder that holds ``A. Segmentation`` and ``B. Disease Grading``, or one of them.
            part: which part.
            half: which published half.

        Raises:
            UserError: no such part or half.
        """
        if part not in get_args(Part) or half not in get_args(Halves):
            wrong, known = (part, Part) if part not in get_args(Part) else (half, Halves)
            raise UserError(f"IDRiD has no {wrong!r}; choose one of {', '.join(get_args(known))}.")
        super().__init__(root)
        self.part = part
        self.half = half

    def photographs(self) -> list[Photograph]:
        """Every photograph of the parts and halves asked for.

        Raises:
            UserError: the folder does not hold what was asked for, or a label file is wrong.
        """
        require_folder(self.root)
        notes = [
            "IDRiD, (c) Prasanna Porwal, Samiksha Pachade, Manesh Kokare, CC BY 4.0; "
            "Porwal et al., Data 3(3):25, 2018, https://doi.org/10.3390/data3030025",
        ]
        found: list[Photograph] = []
        for part, title in _PARTS.items():
            if self.part not in (part, "both"):
                continue
            folder = find_folder(self.root, title, _PHOTOGRAPHS)
            if folder is None:
                if self.part == part:
                    raise self._missing(f"{title}/{_PHOTOGRAPHS}")
                notes.append(f"{title}: not there, left out")
                continue
            for half, name in _HALVES.items():
                if self.half not in (half, "both"):
                    continue
                photographs = descendant(folder, _PHOTOGRAPHS, name)
                if photographs is None:
                    if self.half == half and self.part == part:
                        raise self._missing(f"{title}/{_PHOTOGRAPHS}/{name}")
                    notes.append(f"{title}, {name}: not there, left out")
                    continue
                read = self._segmentation if part == "segmentation" else self._grading
                found += read(folder, photographs, half, notes)
        if not found:
            raise self._missing(f"{_PARTS['segmentation']}/{_PHOTOGRAPHS}/{_HALVES['train']}")
        self._notes = notes
        return found

    def read(self, photograph: Photograph) -> Pixels:
        """Pixels, lesions and the optic disc of one photograph.

        Raises:
            PhotographError: a file cannot be read, or a mask is of another size.
        """
        file = photograph.file
        if file is None:
            raise ValueError(f"{photograph.id} is not a photograph of this source")
        rgb = read_photograph(file)

        def marked(path: Path) -> NDArray[np.bool_]:
            values = read_mask(path)
            require_same_size(path, values, file, rgb)
            return values > 0

        planes = {code: marked(path) for code, path in photograph.masks.items()}
        drawn = photograph.disc_mask
        disc = (_disc_of(marked(drawn)) if drawn else None) or photograph.disc
        planes = {code: plane for code, plane in planes.items() if plane.any()}
        return Pixels(rgb, planes, {}, sha256_of(file), disc)

    def _segmentation(
        self, folder: Path, photographs: Path, half: Literal["train", "test"], notes: list[str]
    ) -> Iterator[Photograph]:
        masks: dict[str, dict[str, Path]] = {}
        for code, (title, _) in _LESIONS.items():
            drawn = descendant(folder, _MASKS, _HALVES[half], title)
            if drawn is None:
                # Without the folder every photograph would pass for free of this lesion.
                raise self._missing(f"{folder.name}/{_MASKS}/{_HALVES[half]}/{title}")
            masks[code] = pictures(drawn)
        title, disc = _DISC
        drawn = descendant(folder, _MASKS, _HALVES[half], title)
        discs = pictures(drawn) if drawn else {}
        files = pictures(photographs)
        for code, (title, suffix) in _LESIONS.items():
            known = {folded(f"{stem}_{suffix}") for stem in files}
            if strangers := without(masks[code], known):
                notes.append(f"{title}, {half}: masks without a photograph, left out: {', '.join(strangers)}")
        for stem, file in files.items():
            named = {code: folded(f"{stem}_{suffix}") for code, (_, suffix) in _LESIONS.items()}
            yield Photograph(
                id=require_id(f"A_{half}_{file.stem}", file),
                name=file.name,
                annotated=frozenset(_LESIONS),
                half=half,
                file=file,
                masks={code: masks[code][name] for code, name in named.items() if name in masks[code]},
                disc_mask=discs.get(folded(f"{stem}_{disc}")),
            )

    def _grading(
        self, folder: Path, photographs: Path, half: Literal["train", "test"], notes: list[str]
    ) -> Iterator[Photograph]:
        labels = self._labels(folder, half)
        files = pictures(photographs)
        discs, foveas = self._places(half, files, notes)
        if strangers := without(labels, files):
            notes.append(f"{folder.name}, {half}: {len(strangers)} labels without a photograph, left out")
        if strangers := without(files, labels):
            notes.append(f"{folder.name}, {half}: photographs without a label: {', '.join(strangers)}")
        for stem, file in files.items():
            photograph = Photograph(
                id=require_id(f"B_{half}_{file.stem}", file),
                name=file.name,
                half=half,
                group=_block_of(stem, half),
                file=file,
            )
            if stem in labels:
                grade, oedema = labels[stem]
                photograph = replace(photograph, grade=grade, oedema=oedema)
            if stem in discs:
                photograph = replace(photograph, disc=Disc(*discs[stem], math.nan))
            yield replace(photograph, fovea=foveas.get(stem))

    def _labels(self, folder: Path, half: str) -> dict[str, tuple[int, int]]:
        """Grade and risk of macular oedema by folded stem."""
        table = self._table(child(folder, "2. Groundtruths"), _LABELS[half])
        if table is None:
            raise self._missing(f"{folder.name}/2. Groundtruths/... {_LABELS[half]}.csv")
        labels: dict[str, tuple[int, int]] = {}
        for line in table.require("image name", "retinopathy grade"):
            stem = stem_of(line["image name"])
            if not stem:
                raise line.wrong("no image name. Fill it in or delete the line.")
            oedema = line.oedema(_OEDEMA) if _OEDEMA in table.columns else NO_OEDEMA
            label = (line.grade("retinopathy grade"), oedema)
            if labels.setdefault(stem, label) != label:
                raise line.wrong(f"{line['image name']} stands twice, with different labels. Keep one.")
        return labels

    def _places(
        self, half: str, files: dict[str, Path], notes: list[str]
    ) -> tuple[dict[str, Point], dict[str, Point]]:
        """Centres of disc and fovea in own pixels, of photographs that keep the published aspect."""
        told = self._published_places(half)
        if told is None:
            return {}, {}
        title, discs, foveas = told
        scales = {stem: _scale_of(size_of(files[stem])) for stem in files if stem in {*discs, *foveas}}
        if others := [files[stem].name for stem, scale in scales.items() if not scale]:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            notes.append(
                f"{title}, {half}: not taken for {others[0]}{more}, since what has not the published aspect "
                "(4288 x 2848) may be cropped"
            )
        if any(scales.values()):
            notes.append(f"disc and fovea, {half}: from {title}, taken to show the photographs of part B")

        def scaled(points: dict[str, Point]) -> dict[str, Point]:
            there = {
                stem: (points[stem], scale) for stem, scale in scales.items() if scale and stem in points
            }
            return {stem: point.scaled(scale) for stem, (point, scale) in there.items()}

        return scaled(discs), scaled(foveas)

    def _published_places(self, half: str) -> tuple[str, dict[str, Point], dict[str, Point]] | None:
        """Centres at the published size: of part C, which numbers as part B does, else of a plain table.

        The table has no halves: it is of the training half, since the test half counts from 001 again.
        """
        folder = find_folder(self.root, _LOCALIZATION, "2. Groundtruths")
        if folder is not None:
            places = []
            for title in ("1. Optic Disc Center Location", "2. Fovea Center Location"):
                table = self._table(descendant(folder, "2. Groundtruths", title), _MARKUPS[half])
                places.append({} if table is None else _points(table))
            return _LOCALIZATION, places[0], places[1]
        plain = child(self.root, _CENTRES)
        if plain is None or half != "train":
            return None
        table = read_table(plain)
        disc, fovea = (
            _points_in(table.require("id", *columns), "id", *columns)
            for columns in (("disc_x", "disc_y"), ("fovea_x", "fovea_y"))
        )
        return _CENTRES, disc, fovea

    @staticmethod
    def _table(folder: Path | None, words: str) -> Table | None:
        names = sorted(folder.glob("*.*")) if folder else []
        chosen = [path for path in names if path.suffix.lower() == ".csv" and words in path.stem.casefold()]
        chosen = [path for path in chosen if not path.name.startswith(".")]
        if len(chosen) > 1:
            raise UserError(
                f"{folder}: several tables of {words}: {', '.join(p.name for p in chosen)}. Keep one."
            )
        return read_table(chosen[0]) if chosen else None

    def _missing(self, what: str) -> UserError:
        return UserError(
            f"{self.root}: does not hold {what}. Name the folder into which IDRiD's archives were unpacked, "
            "with their folders as published."
        )


def _block_of(stem: str, half: str) -> str:
    number = stem.rpartition("_")[2]
    return f"{half} {(int(number) - 1) // _BLOCK}" if number.isdecimal() else ""


def _points(table: Table) -> dict[str, Point]:
    columns = {name.replace(" ", "").replace("-", ""): name for name in table.columns}
    if not {"imageno", "xcoordinate", "ycoordinate"} <= columns.keys():
        table.require("image no", "x- coordinate", "y - coordinate")
    return _points_in(table, columns["imageno"], columns["xcoordinate"], columns["ycoordinate"])


def _points_in(table: Table, name: str, x: str, y: str) -> dict[str, Point]:
    return {
        stem_of(line[name]): Point(line.number_in(x), line.number_in(y))
        for line in table
        if line[name] and line[x]
    }


def _scale_of(size: tuple[int, int]) -> float:
    """Of a photograph against the published size; 0 where its aspect is another."""
    scale = size[0] / _PUBLISHED_SIZE[0]
    return scale if abs(size[1] - scale * _PUBLISHED_SIZE[1]) <= 1 else 0.0


def _disc_of(mask: NDArray[np.bool_]) -> Disc | None:
    """Centre of gravity, and the diameter of a circle of the same area."""
    rows, columns = np.nonzero(mask)
    if not rows.size:
        return None
    return Disc(float(columns.mean()), float(rows.mean()), 2 * math.sqrt(rows.size / math.pi))
