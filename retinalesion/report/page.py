"""The report: one self-contained folder of HTML that opens from disk, without a server or a network.

``index.html`` holds the list and what is said of cameras; their pictures lie in ``cameras``. What belongs to
one photograph lies in a folder of its own: pictures, and ``reading.js``, which the page loads when that
photograph is opened. It is a plain script that calls a function, since a page opened from disk may load
scripts and pictures but neither data files nor modules.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from retinalesion.data.camera import marked
from retinalesion.data.spots import CLEAN, CameraMap, told
from retinalesion.files import finite, replace_file, write_png
from retinalesion.lesions import GRADES, LESIONS
from retinalesion.pictures import ASIDE, RINGS, Picture
from retinalesion.reading.reading import Reading
from retinalesion.report.facts import in_short, percent, told_of
from retinalesion.report.pictures import photograph_folder, pictures_of
from retinalesion.report.rows import GRADE_NAMES, Rows, details_of, facets_of

_HERE = Path(__file__).parent


def write_report(
    folder: Path, readings: Sequence[Reading], cameras: Sequence[tuple[CameraMap, Picture | None]] = ()
) -> Path:
    """Write the report of a batch; written again into the same folder, it takes the place of the old one.

    Pictures are those that `pictures.write_pictures` has put there before; a reading without is shown in
    words.

    Args:
        folder: for the report; made if it is not there.
        readings: with unique ids, in the order of the list.
        cameras: that took the photographs, and the mean picture of each, uint8 (h, w), of any size; None
            where only the map is known.

    Returns:
        The page to open.

    Raises:
        UserError: the folder cannot be written.
    """
    rows = Rows(readings, lambda reading: pictures_of(folder, reading.id))
    models, rules, referenced, macula = set(), set(), False, False
    for row in rows:
        call = f"report.receive({script(row.name)}, {script(details_of(row, rows.pictures(row.reading)))});\n"
        _write(photograph_folder(folder, row.reading.id) / "reading.js", [call])
        models.add(row.reading.model)
        if row.cuts:
            rules.add((in_short(row.reading.rule), *told_of(row.reading.rule)))
        referenced |= bool(row.reference)
        macula |= any(line.role == "macula" for line in row.reading.evidence)
    for source in sorted((_HERE / "static").iterdir()):
        replace_file(folder / "page" / source.name, partial(shutil.copyfile, source))
    looked = [(camera, mean) for camera, mean in cameras if camera.looked]
    shutil.rmtree(folder / "cameras", ignore_errors=True)
    for number, (camera, mean) in enumerate(looked, 1):
        if mean is not None:
            write_png(folder / "cameras" / f"{number}.png", marked(camera, mean))
    page = (
        environment()
        .get_template("index.html")
        .generate(  # piece by piece
            percent=percent,
            rows=rows,
            facets=facets_of(rows),
            lesions=LESIONS,
            grades=tuple(zip(GRADES, GRADE_NAMES, strict=True)),
            referenced=referenced,
            models=sorted(filter(None, models)),
            rules=sorted(rules),
            macula=macula,
            cameras=looked,
            count=len(cameras),
            clean=CLEAN,
            too_few=told([camera for camera, _ in cameras if not camera.looked]),
            spots=sum(len(camera.spots) for camera, _ in looked),
            colours={"aside": ASIDE, **RINGS},
        )
    )
    _write(folder / "index.html", page)
    return folder / "index.html"


def environment() -> Environment:
    """Templates, and the style sheets that a page may take into itself."""
    return Environment(
        loader=FileSystemLoader([_HERE / "templates", _HERE / "static"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def script(value: Any) -> str:
    """A value as JavaScript that may stand anywhere, in a script element too: all ASCII, no markup."""
    text = json.dumps(finite(value), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _write(file: Path, pieces: Iterable[str]) -> None:
    def write(beside: Path) -> None:
        # A file name need not be valid Unicode; it must not stop a report.
        with beside.open("w", encoding="utf-8", errors="replace", newline="") as out:
            out.writelines(pieces)

    replace_file(file, write)
