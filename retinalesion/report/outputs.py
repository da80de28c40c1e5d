"""What readings leave on disk, the same from `analyze` and from Lightning's ``predict``.

A folder::

    readings.jsonl             a reading per line, all of it (docs/readings.md)
    readings.csv               a row per photograph
    findings.csv               a row per finding; what lies on the camera's spots has ``counts`` 0
    cameras.json               the cameras' own spots, as ``--camera`` takes them; where they were looked for
    planes/ID.png              own size, 8-bit grey, bit j = lesion j (bit 0 = MA), as in a store
    overlays/ID.png            the field of view with the lesions drawn in
    key.png                    the overlays' colours
    probabilities/ID_MA.png    own size, 16-bit grey, probability times 65535; only if asked for
    report/index.html          the report

A line is written after the photograph's pictures, tables and report from the lines: what they list is there.
"""

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinalesion.data.field import View
from retinalesion.data.spots import FILE, CameraMap, write_cameras
from retinalesion.files import replace_file, write_csv, write_png
from retinalesion.lesions import CODES, GRADES
from retinalesion.pictures import key, overlay
from retinalesion.reading.reader import Seen
from retinalesion.reading.reading import Finding, Reading
from retinalesion.report.folder import LINES
from retinalesion.report.page import write_report
from retinalesion.report.pictures import photograph_folder, write_pictures

FULL = 65535  # what probability 1 is in a 16-bit picture


class Outputs:
    """The folder of a batch of readings.

    Args:
        folder: to write to.
        probabilities: write the map of every learned lesion too.
    """

    def __init__(self, folder: Path, probabilities: bool = False) -> None:
        self.folder, self.probabilities = folder, probabilities

    def write(
        self, seen: Seen, truth: NDArray[np.bool_] | None = None, annotated: Collection[str] = ()
    ) -> Reading:
        """Write the pictures of one photograph.

        Args:
            seen: the photograph.
            truth: what experts marked, bool (8, s, s), in the same square; None where nobody did.
            annotated: codes of the lesions that the experts looked for.

        Returns:
            Its reading.
        """
        reading = seen.reading
        self.draw(reading, seen.view, seen.planes, seen.aside, truth, annotated)
        if self.probabilities:
            for code in reading.learned:
                own = seen.view.at_own_size(seen.maps[CODES.index(code)])
                # Halves go down, so that the map above one half is the plane and what was set aside.
                sixteen_bit = np.ceil(own * FULL - 0.5).astype(np.uint16)
                write_png(self.folder / "probabilities" / f"{reading.id}_{code}.png", sixteen_bit)
        return reading

    def planes_of(self, id: str) -> Path:
        """The picture of what was found in a photograph."""
        return self.folder / "planes" / f"{id}.png"

    def draw(
        self,
        reading: Reading,
        view: View,
        planes: NDArray[np.uint8],
        aside: NDArray[np.bool_],
        truth: NDArray[np.bool_] | None = None,
        annotated: Collection[str] = (),
    ) -> None:
        """Write what was found in one photograph, and draw it; what is there is replaced.

        Args:
            reading: of it.
            view: its field of view.
            planes: what was found, uint8 (height, width), packed, at its own size.
            aside: what lies on the camera's spots, bool (height, width).
            truth: as `write` takes it.
            annotated: likewise.
        """
        found = np.array([view.in_square(planes >> j & 1 > 0) for j in range(len(CODES))])
        grey = view.in_square(aside)
        write_pictures(self.folder / "report", reading.id, view.square, found, truth, annotated, aside=grey)
        write_png(self.folder / "overlays" / f"{reading.id}.png", overlay(view.square, found, aside=grey))
        write_png(self.planes_of(reading.id), planes)

    def forget(self, id: str) -> None:
        """Take away the pictures of a photograph that has no line."""
        self.planes_of(id).unlink(missing_ok=True)
        (self.folder / "overlays" / f"{id}.png").unlink(missing_ok=True)
        for code in CODES:
            (self.folder / "probabilities" / f"{id}_{code}.png").unlink(missing_ok=True)
        shutil.rmtree(photograph_folder(self.folder / "report", id), ignore_errors=True)

    def write_lines(self, readings: Iterable[Reading]) -> None:
        """Write ``readings.jsonl`` at once; what is no Unicode becomes a question mark."""

        def write(beside: Path) -> None:
            with beside.open("w", encoding="utf-8", errors="replace") as out:
                out.writelines(f"{reading.as_json()}\n" for reading in readings)

        replace_file(self.folder / LINES, write)

    def finish(
        self, readings: Sequence[Reading], cameras: Sequence[tuple[CameraMap, NDArray[np.uint8] | None]] = ()
    ) -> Path:
        """Write tables and the report.

        Args:
            readings: of the whole batch, with unique ids; gone through several times, one reading at a time.
            cameras: that took them, where their spots are known or were looked for, and the mean picture of
                each, where there is one.

        Returns:
            The report's page.
        """
        learned = next((reading.learned for reading in readings if reading.learned), ())
        if learned:
            write_png(self.folder / "key.png", key(720, learned))
        rows = (photograph_row(reading) for reading in readings)
        write_csv(self.folder / "readings.csv", rows, PHOTOGRAPH_COLUMNS, spreadsheet=True)
        found = (row for reading in readings for row in finding_rows(reading))
        write_csv(self.folder / "findings.csv", found, FINDING_COLUMNS, spreadsheet=True)
        if cameras:
            write_cameras(self.folder / FILE, [one for one, _ in cameras])
        return write_report(self.folder / "report", readings, cameras)


def photograph_row(reading: Reading) -> dict[str, Any]:
    """A reading as a line of ``readings.csv``; what was not learned is called that, never absent."""
    quality = reading.quality
    cells: dict[str, Any] = {
        "id": reading.id,
        "file": reading.file,
        "gradable": "" if quality is None else int(quality.gradable),
        "grade": _known(reading.grade),
        "referable": "" if reading.referable is None else int(reading.referable),
        "referable_probability": _known(reading.referable_probability),
        "supported": _known(reading.supported),
        "lifted": _known(reading.lifted),
        "agreement": reading.agreement_text,
        "outcome_reason": reading.outcome_reason,
        "quality": "" if quality is None else "; ".join(quality.reasons),
        "truth_grade": _known(reading.truth_grade),
        "on_camera_spots": "" if reading.error else len(reading.camera),
        "error": reading.error,
    }
    graded = reading.grade_probabilities or ("",) * len(GRADES)
    cells |= {f"P({name})": _known(p) for name, p in zip(GRADES, graded, strict=True)}
    return cells | _lesion_cells(reading)


def _lesion_cells(reading: Reading) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for code in CODES:
        figures = [f"{code}_{name}" for name in ("present", "probability", "pixels", "regions")]
        if reading.error:
            values: tuple[Any, ...] = ("", "", "", "")
        elif code not in reading.learned:
            values = ("not learned", "", "", "")
        else:
            found = [finding for finding in reading.findings if finding.lesion == code]
            pixels = sum(finding.pixels for finding in found)
            values = (int(bool(found)), _known(reading.probability[code]), pixels, len(found))
        cells |= dict(zip(figures, values, strict=True))
    return cells


def finding_rows(reading: Reading) -> list[Mapping[str, Any]]:
    """The findings of a photograph as lines of ``findings.csv``: those that count, then the camera's."""
    return [
        {"id": reading.id, **{name: _known(value) for name, value in asdict(finding).items()}, **told}
        for findings, told in (
            (reading.findings, {"counts": 1, "reason": ""}),
            (reading.camera, {"counts": 0, "reason": "on a spot of the camera"}),
        )
        for finding in findings
    ]


def _known(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


PHOTOGRAPH_COLUMNS = tuple(photograph_row(Reading("", "")))
FINDING_COLUMNS = ("id", *(field.name for field in fields(Finding)), "counts", "reason")
