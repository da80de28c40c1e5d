"""The tables that photographs are read into once, a row a photograph and a row a region."""

import csv
import lzma
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from retinalesion.data.quality import LIMITS
from retinalesion.errors import UserError
from retinalesion.files import replace_file
from retinalesion.fitting.cases import Case
from retinalesion.geometry import Box, Landmark
from retinalesion.lesions import CODES, GRADES
from retinalesion.reading.reading import Finding, Quality, Reading
from retinalesion.reading.rule import logistic, logit_of

PHOTOGRAPHS, REGIONS = "photographs.csv", "regions.csv.xz"
_DIGITS, _COARSE = 4, 3  # significant, of a photograph's figures and of a region's
_SPOT = "spot"
# What a rule says is not kept, for it is said anew; nor what nothing is fitted on.
_LEFT_OUT = {"confidence", "counts", "reason", "share", "left", "top", "width", "height"}
_KEPT = tuple(one.name for one in fields(Finding) if one.name not in _LEFT_OUT)
_WHOLE = {"number", "pixels", "neighbours", "other", _SPOT}
_AS_LOGIT = ("peak", "mean")  # so that a few digits tell near-certain ones apart


def write_tables(folder: Path, cases: Sequence[Case]) -> None:
    """Both tables, whole or not at all.

    Args:
        folder: for them.
        cases: with unique ids within a set.
    """

    def photographs(beside: Path) -> None:
        with beside.open("w", encoding="utf-8", newline="") as out:
            _write(out, (_photograph(case) for case in cases))

    def regions(beside: Path) -> None:
        with lzma.open(beside, "wt", preset=9, encoding="utf-8", newline="") as out:
            _write(out, (row for case in cases for row in _regions(case)))

    replace_file(folder / PHOTOGRAPHS, photographs)
    replace_file(folder / REGIONS, regions)


def read_tables(folder: Path) -> list[Case]:
    """The reverse of `write_tables`.

    Raises:
        UserError: a table is missing or is not such a one.
    """
    try:
        with lzma.open(folder / REGIONS, "rt", encoding="utf-8", newline="") as lines:
            regions: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
            for row in csv.DictReader(lines):
                regions[row["set"], row["id"]].append(row)
        with (folder / PHOTOGRAPHS).open(encoding="utf-8", newline="") as lines:
            return [_case(row, regions[row["set"], row["id"]]) for row in csv.DictReader(lines)]
    except (OSError, KeyError, ValueError, lzma.LZMAError) as error:
        raise UserError(f"{folder}: does not hold the tables of cases ({error}).") from error


def _write(out: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    writer = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(out, tuple(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)


def _photograph(case: Case) -> dict[str, Any]:
    reading = case.reading
    quality = reading.quality or Quality(False)
    cells: dict[str, Any] = {
        "set": case.set,
        "id": reading.id,
        "camera": case.camera,
        "group": case.group,
        "fold": case.fold if case.fold >= 0 else "",
        "grade": _plain(reading.truth_grade),
        "oedema": _plain(reading.truth_oedema),
        "annotated": " ".join(code for code in CODES if code in case.annotated),
        "marked": " ".join(code for code in CODES if code in case.marked),
        "learned": " ".join(reading.learned),
        "width": reading.width,
        "height": reading.height,
        **{f"box_{name}": value for name, value in reading.box._asdict().items()},
        "gradable": int(quality.gradable),
        "eye": reading.eye,
    }
    for name in ("disc", "fovea"):
        place: Landmark | None = getattr(reading, name)
        for key in ("x", "y", "certainty", "diameter"):
            cells[f"{name}_{key}"] = "" if place is None else _plain(getattr(place, key))
    cells |= {name: _plain(quality.figures.get(name)) for name in LIMITS}
    network = reading.network_probabilities or (None,) * len(GRADES)
    return cells | {f"P({name})": _plain(p) for name, p in zip(GRADES, network, strict=True)}


def _regions(case: Case) -> Iterable[dict[str, Any]]:
    for finding in (*case.reading.findings, *case.reading.camera):
        values = asdict(finding)
        values |= {name: float(logit_of(values[name])) for name in _AS_LOGIT}
        values |= {name: round(values[name]) for name in ("x", "y")}
        hit = case.hits.get(finding.number)
        yield {
            "set": case.set,
            "id": case.reading.id,
            **{name: _plain(values[name], _COARSE) for name in _KEPT},
            "hit": "" if hit is None else int(hit),
        }


def _case(row: Mapping[str, str], regions: Sequence[Mapping[str, str]]) -> Case:
    findings = [_finding(one) for one in regions]
    figures = {name: float(row[name]) for name in LIMITS if row[name]}
    network = tuple(float(row[f"P({name})"]) for name in GRADES if row[f"P({name})"])
    gradable = row["gradable"] == "1"
    reading = Reading(
        id=row["id"],
        file=row["id"],
        eye=row["eye"],
        width=int(row["width"]),
        height=int(row["height"]),
        box=Box(*(int(row[f"box_{name}"]) for name in Box._fields)),
        quality=Quality(gradable, () if gradable else ("it cannot be read",), figures),
        disc=_landmark(row, "disc"),
        fovea=_landmark(row, "fovea"),
        learned=tuple(row["learned"].split()),
        findings=tuple(one for one in findings if one.spot is None),
        camera=tuple(one for one in findings if one.spot is not None),
        network_probabilities=network,
        truth_grade=int(row["grade"]) if row["grade"] else None,
        truth_oedema=int(row["oedema"]) if row["oedema"] else None,
    )
    return Case(
        reading,
        row["group"],
        int(row["fold"]) if row["fold"] else -1,
        row["set"],
        row["camera"],
        {int(one["number"]): one["hit"] == "1" for one in regions if one["hit"]},
        frozenset(row["annotated"].split()),
        frozenset(row["marked"].split()),
    )


def _finding(row: Mapping[str, str]) -> Finding:
    values: dict[str, Any] = {}
    for name in _KEPT:
        text = row[name]
        if name in ("lesion", "quadrant"):
            values[name] = text
        elif not text:
            values[name] = None
        else:
            values[name] = int(text) if name in _WHOLE else float(text)
    values |= {name: float(logistic(values[name])) for name in _AS_LOGIT}
    return Finding(**values, left=0, top=0, width=0, height=0, share=0.0, confidence=values["peak"])


def _landmark(row: Mapping[str, str], name: str) -> Landmark | None:
    if not row[f"{name}_x"]:
        return None
    x, y, certainty = (float(row[f"{name}_{key}"]) for key in ("x", "y", "certainty"))
    return Landmark(x, y, certainty, float(row[f"{name}_diameter"]) if row[f"{name}_diameter"] else None)


def _plain(value: Any, digits: int = _DIGITS) -> Any:
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return "" if value is None else value
