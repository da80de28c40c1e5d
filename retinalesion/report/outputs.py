"""What readings leave on disk, the same from `analyze` and from Lightning's ``predict``.

A folder::

    readings.jsonl             a reading per line, all of it (docs/readings.md)
    readings.csv               a row per photograph
    findings.csv               a row per finding; ``counts`` is 0 where it does not count, with the ``reason``
    cameras.json               the cameras' own spots, as ``--camera`` takes them; where they were looked for
    planes/ID.png              own size, 8-bit grey, bit j = lesion j (bit 0 = MA), as in a store
    overlays/ID.png            the field of view with the lesions drawn in, dashed where they do not count
    key.png                    the overlays' colours
    probabilities/ID_MA.png    own size, 16-bit grey, probability times 65535; only if asked for
    report/index.html          the report

A line is written after the photograph's pictures, tables and report from the lines: what they list is there.
"""

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import cv2
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

# Columns of each lesion; ``pixels`` and ``regions`` are of all that was found.
LESION_FIGURES = ("present", "possible", "probability", "counting_pixels", "pixels", "counting", "regions")
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
        own = _possible(reading, planes)
        counting, possible = (
            np.array([view.in_square(packed >> j & 1 > 0) for j in range(len(CODES))])
            for packed in (planes & ~own, own)
        )
        grey = view.in_square(aside)
        write_pictures(
            self.folder / "report",
            reading.id,
            view.square,
            counting,
            truth,
            annotated,
            possible=possible,
            aside=grey,
        )
        drawn = overlay(view.square, counting, possible=possible, aside=grey)
        write_png(self.folder / "overlays" / f"{reading.id}.png", drawn)
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


def _possible(reading: Reading, planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What of the planes belongs to findings that do not count, packed alike."""
    possible = np.zeros_like(planes)
    for code in {finding.lesion for finding in reading.findings if not finding.counts}:
        bit = np.uint8(1 << CODES.index(code))
        plane = planes & bit
        if code in reading.present:
            _, labels, stats, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
            sure = {_place(one) for one in reading.counting if one.lesion == code}
            keep = [(left, top, pixels) in sure for left, top, _, _, pixels in stats.tolist()]
            plane[np.array(keep)[labels]] = 0
        possible |= plane
    return possible


def _place(finding: Finding) -> tuple[int, int, int]:
    """By it a region is known again: corner of its rectangle and area."""
    return finding.left, finding.top, finding.pixels


def photograph_row(reading: Reading) -> dict[str, Any]:
    """A reading as a line of ``readings.csv``; what was not learned is called that, never absent."""
    quality = reading.quality
    cells: dict[str, Any] = {
        "id": reading.id,
        "file": reading.file,
        "patient": reading.patient,
        "eye": reading.eye,
        "date": reading.date,
        "outcome": _known(reading.outcome),
        "outcome_reason": reading.outcome_reason,
        "referable": _known(reading.referable),
        "referable_probability": _known(reading.referable_probability),
        "grade": _known(reading.grade),
        "grade_low": _known(reading.grade_low),
        "grade_high": _known(reading.grade_high),
    }
    graded = reading.grade_probabilities or ("",) * len(GRADES)
    cells |= {f"P({name})": _known(p) for name, p in zip(GRADES, graded, strict=True)}
    cells |= {
        "supported": _known(reading.supported),
        "lifted": _known(reading.lifted),
        "agreement": reading.agreement_text,
        "gradable": "" if quality is None else _known(quality.gradable),
        "quality": "" if quality is None else "; ".join(quality.reasons),
        "truth_grade": _known(reading.truth_grade),
        "truth_oedema": _known(reading.truth_oedema),
        "on_camera_spots": "" if reading.error else len(reading.camera),
        "error": reading.error,
    }
    return cells | _lesion_cells(reading)


def _lesion_cells(reading: Reading) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for code in CODES:
        figures = [f"{code}_{name}" for name in LESION_FIGURES]
        if reading.error:
            values: tuple[Any, ...] = ("",) * len(figures)
        elif code not in reading.learned:
            values = ("not learned", *("",) * (len(figures) - 1))
        else:
            found = [finding for finding in reading.findings if finding.lesion == code]
            counting = [finding for finding in found if finding.counts]
            values = (
                int(bool(counting)),
                int(bool(found) and not counting),
                _known(reading.probability[code]),
                *(sum(one.pixels for one in some) for some in (counting, found)),
                *(len(some) for some in (counting, found)),
            )
        cells |= dict(zip(figures, values, strict=True))
    return cells


def finding_rows(reading: Reading) -> Iterator[Mapping[str, Any]]:
    """The findings of a photograph as lines of ``findings.csv``: the eye's, then the camera's."""
    for finding in (*reading.findings, *reading.camera):
        yield {"id": reading.id, **{name: _known(value) for name, value in asdict(finding).items()}}


def _known(value: Any) -> Any:
    """As a cell: flags are 1 and 0, and nothing is empty."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


PHOTOGRAPH_COLUMNS = tuple(photograph_row(Reading("", "")))
FINDING_COLUMNS = ("id", *(field.name for field in fields(Finding)))
