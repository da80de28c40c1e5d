"""Own photographs in a plain layout: pictures, masks per lesion or none, a table of grades or none.

The layout for users stands in docs/folder-layout.md.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retinalesion.data.decode import read_mask, read_photograph, require_same_size, sha256_of
from retinalesion.data.names import eye_of, finder, id_from, printable, told_by
from retinalesion.data.photograph import Photograph, Pixels
from retinalesion.data.sources.layout import Layout
from retinalesion.data.sources.table import Line, Table, read_table
from retinalesion.data.sources.tree import child, entries, pictures, require_folder, stem_of, without
from retinalesion.errors import PhotographError, UserError
from retinalesion.lesions import CODES, NO_GRADE, NO_OEDEMA

_CUT = 128


class FolderSource(Layout):
    """Photographs of one's own.

    ``ROOT/photographs`` holds the pictures (or ROOT itself, where there is nothing else),
    ``ROOT/masks/CODE/STEM.png`` one mask per lesion present, ``ROOT/grades.csv`` the grades.
    A photograph that has a mask for any lesion was looked through for every lesion that has a folder under
    ``masks``; a photograph without any mask is unknown, not free of lesions.
    """

    name = "folder"

    def photographs(self) -> list[Photograph]:
        """Every photograph of the folder.

        Raises:
            UserError: no photographs, two of one id, a mask of no photograph, or a wrong line in the table.
        """
        require_folder(self.root)
        folder = child(self.root, "photographs") or self.root
        files = pictures(folder)
        if not files:
            raise UserError(
                f"{folder}: holds no photograph. Put them into {self.root / 'photographs'}; "
                "docs/folder-layout.md describes the layout."
            )
        find = finder(files)
        masks = _masks(self.root, files, find)
        table = child(self.root, "grades.csv")
        lines = read_table(table) if table else None
        graded = _entries(lines, find) if lines else {}
        if table and not graded.keys() & files.keys():
            raise UserError(
                f"{table}: no line is about a photograph in {folder}. Column 'id' must hold file names, "
                "with or without ending."
            )
        notes = []
        found: list[Photograph] = []
        told = {} if lines and "patient" in lines.columns else {stem: told_by(stem) for stem in files}
        for stem, file in files.items():
            entry = graded.get(stem, _Entry())
            patient, eye = told.get(stem) or (entry.patient, "")
            drawn = {code: there[stem] for code, there in masks.items() if stem in there}
            found.append(
                Photograph(
                    id=id_from(file.stem),
                    name=printable(file.name),
                    annotated=frozenset(masks) if drawn else frozenset(),
                    grade=entry.grade,
                    oedema=entry.oedema,
                    patient=patient,
                    eye=entry.eye or eye,
                    file=file,
                    masks=drawn,
                )
            )
        counts = Counter(photograph.id for photograph in found)
        if twice := [photograph for photograph in found if counts[photograph.id] > 1]:
            raise UserError(
                f"{folder}: {', '.join(p.name for p in twice)} would get the same id {twice[0].id!r}. "
                "Rename them: letters a to z, digits, '_', '-' and '.' tell photographs apart."
            )
        if by_name := [files[stem].stem for stem, names in told.items() if names]:
            notes.append(f"patient and eye by the file's name, since no table has patients: {_some(by_name)}")
        blank = [photograph.id for photograph in found if not photograph.annotated]
        if masks and blank:
            notes.append(f"lesions unknown, no mask in any lesion's folder: {_some(blank)}")
        if strangers := without(graded, files):
            notes.append(f"lines of grades.csv without a photograph, left out: {_some(strangers)}")
        if table and (strangers := without(files, graded)):
            notes.append(f"photographs without a line in grades.csv: {_some(strangers)}")
        if split := [stem for stem in files if stem in graded and graded[stem].votes]:
            votes = [f"{files[stem].stem} ({graded[stem].votes})" for stem in split]
            notes.append(f"no grade, since no more than half of the graders agree: {_some(votes)}")
        self._notes = notes
        return found

    def read(self, photograph: Photograph) -> Pixels:
        """Pixels and lesions of one photograph.

        Raises:
            PhotographError: a file cannot be read, or a mask is of another size or no mask by its values.
        """
        file = photograph.file
        if file is None:
            raise ValueError(f"{photograph.id} is not a photograph of this source")
        rgb = read_photograph(file)
        planes = {}
        for code, path in photograph.masks.items():
            values = read_mask(path, palette=True)
            require_same_size(path, values, file, rgb)
            plane = marked(path, values)
            if plane.any():
                planes[code] = plane
        return Pixels(rgb, planes, {}, sha256_of(file))


def marked(path: Path, values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """What a mask marks: all that is not black if there is one other value, else grey from 128 on.

    Grey in between comes from smooth pencils, enlarging and JPEG.

    Raises:
        PhotographError: several values, all of them dark: more likely numbers of labels than grey.
    """
    there = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    if len(there[there > 0]) < 2:
        return values > 0
    if there[-1] < _CUT:
        raise PhotographError(
            f"{path}: holds the values {', '.join(map(str, there[:6]))}, none of them {_CUT} or more. "
            "If these number several lesions, write one mask per lesion; else save it as black and white."
        )
    return values >= _CUT


class _Entry(NamedTuple):
    """What the table says of a photograph; ``votes`` only where graders did not agree."""

    grade: int = NO_GRADE
    patient: str = ""
    eye: str = ""
    oedema: int = NO_OEDEMA
    votes: str = ""


def _masks(root: Path, files: Mapping[str, Path], find: Callable[[str], str]) -> dict[str, dict[str, Path]]:
    """Mask files by lesion and photograph; a lesion without a folder does not appear."""
    folder = child(root, "masks")
    if folder is None:
        return {}
    codes = {code.casefold(): code for code in CODES}
    masks: dict[str, dict[str, Path]] = {}
    for entry in entries(folder):
        code = codes.get(entry.name.casefold())
        if code and not entry.is_dir():
            raise UserError(f"{entry}: is no folder. Put the masks of {code} into a folder of that name.")
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        if code is None:
            raise UserError(f"{entry}: is no lesion. Name the folder by one of: {', '.join(CODES)}.")
        masks[code] = {}
        for stem, file in pictures(entry).items():
            other = masks[code].setdefault(find(stem), file)
            if other is not file:
                raise UserError(f"{other} and {file} are masks of one photograph. Keep one of them.")
        if strangers := without(masks[code], files):
            # Left out, a misspelt name would turn a lesion into its absence.
            raise UserError(
                f"{masks[code][strangers[0]]}: there is no photograph of that name. "
                "A mask bears the name of its photograph; rename or remove it."
            )
    return masks


def _entries(table: Table, find: Callable[[str], str]) -> dict[str, _Entry]:
    table.require("id")
    graders = [name for name in table.columns if name.startswith(("grade_", "grade "))]
    if ("grade" in table.columns) == bool(graders):
        raise UserError(
            f"{table.path}: needs either one column 'grade' or one per grader, 'grade_1', 'grade_2' "
            f"and so on. The first line names: {', '.join(table.columns)}."
        )
    found: dict[str, _Entry] = {}
    for line in table:
        stem = find(stem_of(line["id"]))
        if not stem:
            raise line.wrong(
                "the cell 'id' is empty. Fill in the name of the photograph, or delete the line."
            )
        if stem in found:
            raise line.wrong(f"{line['id']!r} stands here a second time. Keep one line per photograph.")
        found[stem] = _entry(line, graders or ["grade"])
    return found


def _entry(line: Line, graders: Sequence[str]) -> _Entry:
    eye = eye_of(line.cells.get("eye", ""))
    if eye is None:
        raise line.wrong(f"eye {line['eye']!r} is neither left nor right. Correct it or leave it empty.")
    given = [grade for grade in map(line.grade, graders) if grade != NO_GRADE]
    oedema = line.oedema("oedema") if "oedema" in line.cells else NO_OEDEMA
    entry = _Entry(patient=line.cells.get("patient", ""), eye=eye, oedema=oedema)
    if not given:
        return entry
    grade, votes = Counter(given).most_common(1)[0]
    if 2 * votes > len(given):
        return entry._replace(grade=grade)
    return entry._replace(votes=" ".join(f"DR{grade}" for grade in given))


def _some(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)}: " + ", ".join(map(printable, names[:most])) + more
