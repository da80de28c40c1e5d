"""Finished, tested runs as `compare` needs them, out of the files that ``fit`` and ``test`` left."""

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from retinalesion.data.splits import Fold
from retinalesion.errors import UserError
from retinalesion.lesions import CODES, GRADES, NO_GRADE
from retinalesion.scores import THRESHOLD

LARGEST = 64 * 2**20  # bytes; the rows of a hundred thousand photographs are half of it
# What makes two runs different settings; seeds, places and what only costs time are none.
_DATA = ("crop", "lesion_crops", "zoom", "sharpness", "batch_size", "batches", "truth")
_TRAINER = (
    "max_steps",
    "max_epochs",
    "max_time",
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
)
_NOT_SETTINGS = ("weights", "lesion_net", "side")
T = TypeVar("T")


@dataclass(frozen=True)
class LesionTest:
    """What a network said of lesions, photograph by photograph.

    Attributes:
        ids: of the photographs, in order.
        groups: of each, over which intervals are taken; its id where the test tells none.
        learned: bool (8,), lesions that the network knows.
        annotated: bool (P, 8).
        present: bool (P, 8), where annotated.
        found: bool (P, 8), where annotated.
        pixels: hits, alarms and misses (P, 8, 3), 0 where not annotated; None of a network without maps.
        aupr: (8,) over all pixels, NaN where there is none.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    learned: NDArray[np.bool_]
    annotated: NDArray[np.bool_]
    present: NDArray[np.bool_]
    found: NDArray[np.bool_]
    pixels: NDArray[np.float64] | None
    aupr: NDArray[np.float64]

    @property
    def truth(self) -> tuple[Any, ...]:
        """What two tests must share to be comparable: photographs and what experts marked in them."""
        return (self.ids, self.annotated.tobytes(), (self.annotated & self.present).tobytes())

    @property
    def answers(self) -> bytes:
        """What it said, to tell networks apart."""
        return b"".join(part.tobytes() for part in (self.found, self.pixels, self.aupr) if part is not None)


@dataclass(frozen=True)
class GradeTest:
    """What a network said of grades, of the photographs that have one.

    Attributes:
        ids: of the photographs, in order.
        groups: of each, over which intervals are taken; its id where the test tells none.
        grade: int (P,), true.
        said: int (P,).
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    grade: NDArray[np.int64]
    said: NDArray[np.int64]

    @property
    def truth(self) -> tuple[Any, ...]:
        """What two tests must share to be comparable."""
        return (self.ids, self.grade.tobytes())

    @property
    def answers(self) -> bytes:
        """What it said, to tell networks apart."""
        return self.said.tobytes()


@dataclass(frozen=True)
class Result:
    """A finished, tested run.

    Attributes:
        name: of its folder.
        folder: where it is.
        settings: all in which it may differ from other runs but its seeds.
        seeds: of weights, and of the order and augmentation of photographs; None of an exported file, which
            does not tell.
        store: fingerprint of the store that trained it.
        tested_on: store, source and part, where the test says so.
        lesions: None of a grader.
        grades: None of a lesion network.
        cost: parameters, multiply-adds, seconds a photograph, where the test says so.
        fold: that it was tested on, and how all were dealt; None of a test of no fold.
        parts: the tests of single folds that it was put together from (`retinalesion.compare.folds`).
        rule: what the checkpoint's rule was worth, by name of the figure: value, low and high end of its
            interval, None where there is none; empty without a rule.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any]
    seeds: tuple[Any, Any]
    store: str
    tested_on: Mapping[str, Any]
    lesions: LesionTest | None
    grades: GradeTest | None
    cost: Mapping[str, float]
    fold: Fold | None = None
    parts: tuple["Result", ...] = ()
    rule: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Of all runs that it is of."""
        return tuple(run.folder for run in self.parts) or (self.folder,)

    def folder_for(self, id: str) -> Path:
        """The run that tells most honestly of a photograph: of folds, the one that was tested on it."""
        return next((run.folder for run in self.parts if id in run.test.ids), self.folder)

    @property
    def missing(self) -> str:
        """Which folds of its assignment are not in it, in words; empty where none is."""
        if self.fold is None:
            return ""
        there = {run.fold.fold for run in self.parts if run.fold}
        gone = [fold for fold in range(self.fold.count) if fold not in there]
        if not gone:
            return ""
        sizes = self.tested_on["folds"].get("photographs")
        photographs = f"{sum(sizes[fold] for fold in gone)} photographs" if sizes else "their photographs"
        which, are = ("fold", "is") if len(gone) == 1 else ("folds", "are")
        numbers = ", ".join(map(str, gone))
        return f"{which} {numbers} of {self.fold.count} {are} missing: {photographs} are not in this"

    @property
    def test(self) -> LesionTest | GradeTest:
        """What it was tested for: a grader for grades, whatever maps it has."""
        test = self.grades or self.lesions
        assert test is not None
        return test

    @classmethod
    def read(cls, folder: Path) -> "Result":
        """Read a run.

        Args:
            folder: of the run, with ``config.yaml`` (that in ``test`` goes before it) and ``test``; or with
                all of these files in itself.

        Raises:
            UserError: no run, not tested, or a file is damaged.
        """
        if not folder.is_dir():
            raise UserError(f"{folder}: no such run.")
        files = folder / "test" if (folder / "test").is_dir() else folder
        configs = [file for place in (files, folder) if (file := place / "config.yaml").is_file()]
        if not configs:
            raise UserError(f"{folder}: not a run (config.yaml is missing). Runs are in runs/NAME.")
        again = f"retinalesion test --run {folder}"
        reports = [file for name in ("grades.json", "summary.json") if (file := files / name).is_file()]
        if not reports:
            raise UserError(f"{folder}: not tested yet. Test it with: {again}")
        config = _read(configs[0], _config, "The run has to be trained again.")
        report = _read(reports[0], _report, f"Test again: {again}")
        lesions = grades = None
        if reports[0].name == "grades.json":
            grades = _read(files / "grades.csv", _grades, f"Test again: {again}")
            tested: LesionTest | GradeTest = grades
        else:
            rows = partial(_lesions, report=report)
            tested = lesions = _read(files / "photographs.csv", rows, f"Test again: {again}")
        if report.get("photographs") != len(tested.ids):
            raise UserError(
                f"{files}: {reports[0].name} speaks of {report.get('photographs')} photographs, the rows of "
                f"{len(tested.ids)}. Test again: {again}"
            )
        settings, seeds = _settings_of(config, report)
        numbers = ("parameters", "multiply-adds", "seconds a photograph")
        return cls(
            name=folder.resolve().name,
            folder=folder,
            settings=settings,
            seeds=seeds,
            store=str(report.get("trained on store") or ""),
            tested_on=report.get("tested on") or {},
            lesions=lesions,
            grades=grades,
            cost={name: float(report[name]) for name in numbers if _is_number(report.get(name))},
            fold=_fold(report.get("tested on") or {}),
            rule=_rule(report),
        )


def _read(file: Path, parse: Callable[[str], T], remedy: str) -> T:
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"larger than {LARGEST >> 20} MB")
        return parse(file.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"{file}: missing. {remedy}") from error
    except KeyError as error:
        raise UserError(f"{file}: {error} is missing in it. {remedy}") from error
    except (ValueError, TypeError, csv.Error, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file}: damaged ({' '.join(str(error).split())[:200]}). {remedy}") from error


def _config(text: str) -> dict[str, Any]:
    config = _mapping(yaml.safe_load(text))
    for group in ("model", "data", "trainer"):
        _mapping(config.get(group) or {})
    config["model"]["network"]  # without which a run is none
    return config


def _report(text: str) -> dict[str, Any]:
    report = _mapping(json.loads(text))
    _fold(_mapping(report.get("tested on") or {}))
    _rule(report)
    return report


def _rule(report: Mapping[str, Any]) -> dict[str, tuple[float | None, ...]]:
    figures = _mapping(_mapping(report.get("rule") or {}).get("figures") or {})
    for name, parts in figures.items():
        if not (
            isinstance(parts, list) and len(parts) == 3 and all(p is None or _is_number(p) for p in parts)
        ):
            raise ValueError(f"{name} of the rule is no figure with its interval")
    return {name: tuple(parts) for name, parts in figures.items()}


def _fold(tested_on: Mapping[str, Any]) -> Fold | None:
    if "folds" not in tested_on:
        return None
    fold, photographs = Fold.told(tested_on["folds"]), tested_on["folds"].get("photographs")
    if photographs is not None and [type(one) for one in photographs] != [int] * fold.count:
        raise ValueError(f"{photographs} are no photographs of {fold.count} folds")
    return fold


def _mapping(contents: Any) -> dict[str, Any]:
    if not isinstance(contents, dict):
        raise ValueError("holds no settings by name")
    return contents


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _settings_of(
    config: Mapping[str, Any], report: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[Any, Any]]:
    """What makes the run what it is, and its seeds."""
    model, data, trainer = (config.get(group) or {} for group in ("model", "data", "trainer"))
    settings = {key: value for key, value in model.items() if key not in _NOT_SETTINGS}
    settings["side"] = model.get("side") or data.get("side")
    settings["read at"] = report.get("side")
    if model.get("weights"):
        settings["weights"] = Path(str(model["weights"])).name  # the place is no setting
    settings |= {key: data[key] for key in _DATA if key in data}
    settings |= {key: trainer[key] for key in _TRAINER if trainer.get(key) not in (None, -1)}
    return settings, (config.get("seed_everything"), data.get("seed"))


def _rows(text: str) -> list[dict[str, str]]:
    rows = list(csv.DictReader(text.splitlines()))
    if not rows:
        raise ValueError("no photographs in it")
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("a line is cut off or has too many cells")
    rows.sort(key=lambda row: row["id"])
    if len({row["id"] for row in rows}) < len(rows):
        raise ValueError("a photograph stands in it twice")
    return rows


def _lesions(text: str, report: Mapping[str, Any]) -> LesionTest:
    rows = _rows(text)
    summary = {line["lesion"]: line for line in report["lesions"]}
    annotated, present, found = (np.zeros((len(rows), len(CODES)), np.bool_) for _ in range(3))
    pixels = np.zeros((len(rows), len(CODES), 3))
    with_maps = any(f"{code}_hits" in rows[0] for code in CODES)
    for i, row in enumerate(rows):
        for j, code in enumerate(CODES):
            if with_maps and row.get(f"{code}_hits"):
                pixels[i, j] = [_count(row[f"{code}_{part}"]) for part in ("hits", "alarms", "misses")]
                hits, alarms, misses = pixels[i, j]
                annotated[i, j], present[i, j], found[i, j] = True, hits + misses > 0, hits + alarms > 0
            elif not with_maps and row.get(f"{code}_present"):
                annotated[i, j], present[i, j] = True, _count(row[f"{code}_present"]) > 0
                found[i, j] = float(row[f"{code}_probability"]) > THRESHOLD
    known = [summary[code] for code in CODES]
    aupr = [float(line["AUPR"]) if _is_number(line.get("AUPR")) else np.nan for line in known]
    return LesionTest(
        ids=tuple(row["id"] for row in rows),
        groups=_groups(rows),
        learned=np.array([line["learned"] is True for line in known]),
        annotated=annotated,
        present=present,
        found=found,
        pixels=pixels if with_maps else None,
        aupr=np.array(aupr),
    )


def _grades(text: str) -> GradeTest:
    rows = [row for row in _rows(text) if row["grade"] not in ("", str(NO_GRADE))]
    if not rows:
        raise ValueError("no photograph in it has a grade")
    grade, said = (np.array([_count(row[key], len(GRADES)) for row in rows]) for key in ("grade", "said"))
    return GradeTest(tuple(row["id"] for row in rows), _groups(rows), grade, said)


def _groups(rows: list[dict[str, str]]) -> tuple[str, ...]:
    return tuple(row.get("group") or row["id"] for row in rows)  # tests of earlier versions tell none


def _count(cell: str, below: int | None = None) -> int:
    number = int(cell)
    if number < 0 or (below is not None and number >= below):
        raise ValueError(f"{cell} is no number that a test writes there")
    return number


def require_comparable(results: list[Result]) -> None:
    """See that runs may stand in one table.

    Raises:
        UserError: they were trained on different stores, tested on different photographs or against different
            truth, or one of them is there twice.
    """
    _require_same(results, "were trained on different stores", lambda run: run.store)
    known = [run for run in results if run.tested_on]
    _require_same(known, "were tested on different stores", lambda run: run.tested_on.get("store"))
    for kind in (LesionTest, GradeTest):
        some = [run for run in results if isinstance(run.test, kind)]
        gone = "; ".join(f"{run.name}: {run.missing}" for run in some if run.missing)
        what = "were tested on different photographs" + (f" ({gone})" if gone else "")
        _require_same(some, what, lambda run: run.test.ids)
        for side in {run.settings["read at"] for run in some}:  # a smaller one may lose a pixel
            alike = [run for run in some if run.settings["read at"] == side]
            _require_same(alike, "were tested against different truth", lambda run: run.test.truth)
    seen: dict[Any, Result] = {}
    for run in results:
        # One without a known seed is known by what it says.
        who: Any = run.test.answers if run.seeds == (None, None) else run.seeds
        other = seen.setdefault((repr(sorted(run.settings.items(), key=str)), who), run)
        if other is not run:
            same = f"seed ({run.seeds[0]})" if who == run.seeds else "answers"
            raise UserError(
                f"{other.folder} and {run.folder} have the same settings and the same {same}: the second "
                "tells nothing new. Leave one of them out."
            )


def _require_same(results: list[Result], what: str, key: Callable[[Result], Any]) -> None:
    if len({key(run) for run in results}) <= 1:
        return
    first = key(results[0])
    other = next(run for run in results if key(run) != first)
    raise UserError(
        f"{results[0].folder} and {other.folder} {what} and cannot stand in one table"
        + (f" ({first} and {key(other)})" if isinstance(first, str) else "")
        + ". Compare them apart, or test both on the same photographs of one store."
    )
