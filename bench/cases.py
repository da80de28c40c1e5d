"""Read every photograph once, by the network that saw neither it nor its group; keep two tables of numbers.

python bench/cases.py STORE RUNS OUT --others FOLDER --originals FOLDER [--anatomy FOLDER] [--cameras STORE]
    [--network lnet|sian] [--only SET ...]

STORE and RUNS are those of bench/folds.py, --anatomy those of bench/anatomy.py; --cameras is a store of the
same photographs whose cameras' spots are known. Sets: `idrid`, all of the store; `others`, photographs of
other cameras, by each of the networks; `box`, the same by the model in the box; and the six of
bench/simulated.py over the graded photographs, made of --originals. Each set and fold is a file of lines in
OUT/lines; what is there is not read again: the same command goes on. A set that is whole comes into
OUT/SET/photographs.csv and OUT/SET/regions.csv.xz.
"""

import argparse
import csv
import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from simulated import CAMERAS, Simulated

from retinalesion.data.decode import read_photograph
from retinalesion.data.field import View
from retinalesion.data.splits import folds_of, groups_in
from retinalesion.data.spots import spots_in
from retinalesion.data.store import Row, Store, truth_of
from retinalesion.files import append_text
from retinalesion.fitting.cases import Case
from retinalesion.fitting.hits import hits_of
from retinalesion.fitting.tables import write_tables
from retinalesion.geometry import DISC_SHARE
from retinalesion.lesions import CODES, NO_GRADE
from retinalesion.networks.checkpoint import read_checkpoint
from retinalesion.networks.tables import trained_from
from retinalesion.reading.anatomy import UNKNOWN
from retinalesion.reading.findings import field_pixels
from retinalesion.reading.reader import Reader, Seen, Subject, use_threads
from retinalesion.reading.reading import Reading
from retinalesion.report.analyze import box

SIDE = 1344  # at which the model in the box reads
BOX = -1  # instead of a fold: the model in the box
OTHERS = {"hrf": "Canon", "chase": "Nidek", "fives": "FIVES", "hygd": "Topcon"}


class Task(NamedTuple):
    """A photograph to be read in a fold."""

    row: Row | None
    file: Path | None
    fold: int


class Work:
    """What all sets share."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.store = Store(given.store)
        self.folds = folds_of(self.store, given.folds)
        self.groups = self._groups()
        self.spots = spots_in(Store(given.cameras)) if given.cameras else {}
        self.reader, self.camera = cache(self._reader), cache(Simulated.of)

    def _reader(self, fold: int) -> Reader:
        if fold == BOX:
            return Reader.from_checkpoint(box(), device="cpu")
        file = self.given.runs / f"fold-{fold}" / self.given.network / "checkpoints" / "last.ckpt"
        anatomy = self.given.anatomy / f"fold-{fold}.safetensors" if self.given.anatomy else None
        return Reader(trained_from(read_checkpoint(file)), side=SIDE, anatomy=anatomy)

    def _groups(self) -> dict[str, str]:
        return {id: group[0] for group in groups_in(self.store, self.folds) for id in group}

    def tasks(self, name: str, fold: int) -> list[Task]:
        """The photographs of a set that the network of a fold reads."""
        if name in ("others", "box"):
            return [Task(None, file, fold) for file in sorted(self.given.others.glob("photographs/*.jpg"))]
        rows = [row for row in self.store.rows if self.folds.get(row.id) == fold]
        if name == "idrid":
            return [Task(row, None, fold) for row in rows]
        files = {file.stem: file for file in self.given.originals.rglob("IDRiD_*.jpg")}
        graded = [row for row in rows if row.id.startswith("B_")]
        return [Task(row, files[Path(row.name).stem], fold) for row in graded]

    def case(self, name: str, task: Task) -> Case:
        """A photograph, read."""
        reader = self.reader(task.fold)
        if name in ("others", "box"):
            assert task.file
            return self._other(reader, task.file, task.fold)
        assert task.row
        spots = self.spots.get(task.row.id, ())
        if name == "idrid":
            # Disc and fovea as the network sees them, not as a table tells: that is what a user gets.
            subject = Subject.of_row(task.row)._replace(anatomy=UNKNOWN)
            return self._graded(reader.look(self.store.view(task.row), subject, spots), task, name)
        assert task.file
        camera = self.camera(self.given.others / "photographs" / f"{name}.jpg")
        rgb, scale = camera.photographed(read_photograph(task.file))
        spots = [spot.scaled(scale, scale) for spot in spots]
        subject = Subject.of_row(task.row)._replace(anatomy=UNKNOWN)
        return self._graded(reader.look(View.of(rgb, SIDE), subject, spots), task, name, truth=False)

    def _graded(self, seen: Seen, task: Task, name: str, truth: bool = True) -> Case:
        row = task.row
        assert row
        # Healthy ones count as annotated in the store; as regions they are told by their grade.
        looked = row.annotated if row.id.startswith("A_") or any(row.pixels.values()) else frozenset()
        reading, hits, marked = seen.reading, {}, frozenset[str]()
        if truth and looked:
            planes, _ = truth_of(self.store, row)
            assert planes is not None
            diameter = reading.disc and reading.disc.diameter
            usual = math.sqrt(4 / math.pi * DISC_SHARE * field_pixels(reading.box, seen.view.size))
            hits = hits_of(reading.findings, seen.planes, seen.view, planes, looked, diameter or usual)
            marked = frozenset(code for code in CODES if row.pixels.get(code))
        reading = replace(
            reading,
            # Part A's are graded photographs at another size: what is judged is judged once.
            truth_grade=None if row.grade == NO_GRADE or row.id.startswith("A_") else row.grade,
            truth_oedema=None if row.oedema < 0 else row.oedema,
        )
        return Case(
            reading,
            self.groups[row.id],
            task.fold,
            name,
            str(row.camera or ""),
            hits,
            looked if truth else frozenset(),
            marked,
        )

    def _other(self, reader: Reader, file: Path, fold: int) -> Case:
        brand = file.stem.split("_")[0]
        grade = self.grades.get(file.stem, "")
        seen = reader.read(file, file.stem)
        reading = replace(seen.reading, file=file.name, truth_grade=int(grade) if grade else None)
        group = file.stem if brand != "chase" else file.stem[:-1]
        return Case(reading, group, fold, f"others by {fold}", OTHERS[brand])

    @property
    def grades(self) -> dict[str, str]:
        """Of other cameras' photographs."""
        with (self.given.others / "grades.csv").open() as lines:
            return {row["id"]: row["grade"] for row in csv.DictReader(lines)}


def line_of(case: Case) -> str:
    """A case as a line."""
    plain = case._asdict() | {
        "reading": case.reading.as_dict(),
        "annotated": sorted(case.annotated),
        "marked": sorted(case.marked),
    }
    return json.dumps(plain) + "\n"


def case_of(line: str) -> Case:
    """The reverse of `line_of`."""
    plain = json.loads(line)
    plain["reading"] = Reading.from_dict(plain["reading"])
    plain["hits"] = {int(number): hit for number, hit in plain["hits"].items()}
    return Case(**{**plain, "annotated": frozenset(plain["annotated"]), "marked": frozenset(plain["marked"])})


def lines_in(file: Path) -> list[str]:
    """The whole lines of a file; what was cut off is cut away."""
    if not file.exists():
        return []
    text = file.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole, "utf-8")
    return whole.splitlines()


def main() -> None:
    """Read what is not read yet, then write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--others", type=Path, required=True)
    parser.add_argument("--originals", type=Path, required=True)
    parser.add_argument("--anatomy", type=Path)
    parser.add_argument("--cameras", type=Path)
    parser.add_argument("--network", default="sian", choices=("lnet", "sian"))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=("idrid", "others", "box", *CAMERAS))
    given = parser.parse_args()
    use_threads(1)
    work = Work(given)
    for name in given.only:
        cases, complete = [], True
        for fold in (BOX,) if name == "box" else range(given.folds):
            checkpoint = given.runs / f"fold-{fold}" / given.network / "finished"
            part = "box" if fold == BOX else f"fold-{fold}"
            file = given.out / "lines" / name / f"{part}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            lines, tasks = lines_in(file), work.tasks(name, fold)
            if len(lines) < len(tasks) and fold != BOX and not checkpoint.is_file():
                print(
                    f"{name}, fold {fold}: {len(tasks) - len(lines)} wait for {checkpoint.parent}", flush=True
                )
                complete = False
                continue
            for task in tasks[len(lines) :]:
                lines.append(line_of(work.case(name, task)))
                append_text(file, lines[-1])
            print(f"{name}, fold {fold}: {len(lines)}", flush=True)
            cases += map(case_of, lines)
        if complete:
            write_tables(given.out / name, cases)


if __name__ == "__main__":
    main()
