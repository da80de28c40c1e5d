"""What the camera's own spots are worth on IDRiD: places found on four fifths, used on the fifth.

retinalesion analyze PHOTOGRAPHS --out ANALYSIS --camera none
python bench/camera_folds.py ANALYSIS LABELS.csv [--out FOLDER]

The analysis is of graded photographs of one camera; the table of labels is IDRiD's (name, grade). Folds take
blocks of ten consecutive numbers, in which fellow eyes stand side by side. Intervals are bootstraps over the
same blocks, paired. As a control the same spots are put 25 pixels aside, on all four sides: so many findings
would be lost there by chance.
"""

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from retinalesion.data.camera import BESIDE_FINDINGS, MeanPicture, relative_to_surroundings
from retinalesion.data.decode import camera_of, read_photograph
from retinalesion.data.spots import Spot
from retinalesion.files import write_csv
from retinalesion.reading.camera import recurring, set_aside
from retinalesion.reading.conclusion import concluded
from retinalesion.reading.reader import Reader
from retinalesion.reading.reading import Reading
from retinalesion.report.analyze import box
from retinalesion.scores import Array, bootstrap, percentiles

FOLDS, BLOCK, ASIDE = 5, 10, 25
DARK = ("MA", "iHE")


class Case(NamedTuple):
    id: str
    grade: int
    block: int
    before: Reading
    after: Reading
    by_chance: float  # findings set aside by the spots put beside their places


def cases(analysis: Path, grades: dict[str, int]) -> tuple[list[Case], list[tuple[Spot, ...]]]:
    lines = (analysis / "readings.jsonl").read_text("utf-8").splitlines()
    readings = [one for one in map(Reading.from_dict, map(json.loads, lines)) if one.id in grades]
    relatives = {one.id: relative_to_surroundings(read_photograph(Path(one.file))) for one in readings}
    camera = camera_of(Path(readings[0].file))
    block = {one.id: (int("".join(filter(str.isdigit, one.id))) - 1) // BLOCK for one in readings}
    model = Reader.from_checkpoint(box()).model
    found, kept = [], []
    for fold in range(FOLDS):
        mean, learned_on = MeanPicture(), [one for one in readings if block[one.id] % FOLDS != fold]
        for one in learned_on:
            mean.add(relatives[one.id])
        candidates = mean.spots(camera, BESIDE_FINDINGS)
        spots = recurring(candidates, camera, mean.values()[1], [[one] for one in learned_on])
        kept.append(spots)
        for one in readings:
            if block[one.id] % FOLDS == fold:
                planes = cv2.imread(str(analysis / "planes" / f"{one.id}.png"), cv2.IMREAD_GRAYSCALE)
                faint = dict.fromkeys(one.probability, 0.0)
                after = concluded(set_aside(one, planes, spots, faint)[0], model.rule)
                beside = [
                    [spot._replace(x=spot.x + x, y=spot.y + y) for spot in spots]
                    for x, y in ((ASIDE, 0), (-ASIDE, 0), (0, ASIDE), (0, -ASIDE))
                ]
                chance = [len(set_aside(one, planes, some, faint)[0].camera) for some in beside]
                found.append(
                    Case(one.id, grades[one.id], block[one.id], one, after, sum(chance) / len(chance))
                )
    return sorted(found), kept


def has(*codes: str) -> Callable[[Reading], bool]:
    return lambda reading: any(finding.lesion in codes for finding in reading.findings)


def share(some: Sequence[Case], what: Callable[[Reading], bool]) -> list[str]:
    """Before, after and the difference, each with its interval."""
    values = np.array([(what(case.before), what(case.after)) for case in some], float)
    values = np.c_[values, values[:, 1] - values[:, 0]]
    blocks = [case.block for case in some]
    drawn = bootstrap(np.stack([values, np.ones_like(values)], axis=-1), blocks, mean_of_sums)
    bounds = [percentiles(one) for one in drawn.T]
    means = values.mean(axis=0)
    return [f"{m:.3f} ({a:.3f} to {b:.3f})" for m, (a, b) in zip(means, bounds, strict=True)]


def mean_of_sums(sums: Array) -> Array:
    return sums[..., 0] / sums[..., 1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("analysis", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--out", type=Path, help="folder for a row per photograph")
    options = parser.parse_args()
    with options.labels.open(encoding="utf-8-sig", newline="") as lines:
        rows = [row for row in list(csv.reader(lines))[1:] if row and row[0]]
    found, kept = cases(options.analysis, {row[0]: int(row[1]) for row in rows})
    healthy, ill = [c for c in found if c.grade == 0], [c for c in found if c.grade >= 2]
    well = [c for c in found if c.grade < 2]
    console = Console(width=120)
    console.print(
        f"{len(found)} photographs; spots on four fifths each: {', '.join(map(str, map(len, kept)))}"
    )
    shown = Table("", "photographs", "before", "after", "difference")
    for title, some, what in (
        ("DR0 with an iHE", healthy, has("iHE")),
        ("DR0 with an MA", healthy, has("MA")),
        ("DR0 with an MA or iHE", healthy, has(*DARK)),
        ("DR0 with anything", healthy, lambda reading: bool(reading.findings)),
        ("referred, of DR2 or worse (sensitivity)", ill, lambda reading: bool(reading.referable)),
        ("not referred, of DR0 and DR1 (specificity)", well, lambda reading: not reading.referable),
    ):
        shown.add_row(title, str(len(some)), *share(some, what))
    console.print(shown)
    shown = Table(
        "a photograph of", "photographs", "found", "set aside", "MA, iHE", "by chance, beside the spots"
    )
    for grade in range(5):
        some = [c for c in found if c.grade == grade]
        aside = [sum(f.lesion == code for c in some for f in c.after.camera) / len(some) for code in DARK]
        shown.add_row(
            f"DR{grade}",
            str(len(some)),
            f"{np.mean([len(c.before.findings) for c in some]):.1f}",
            f"{np.mean([len(c.after.camera) for c in some]):.2f}",
            ", ".join(f"{one:.2f}" for one in aside),
            f"{np.mean([c.by_chance for c in some]):.2f}",
        )
    console.print(shown)
    if options.out:
        write_csv(
            options.out / "photographs.csv",
            [
                {"id": c.id, "grade": c.grade, "block": c.block}
                | {
                    f"{code}_{when}": sum(f.lesion == code for f in one.findings)
                    for code in c.before.learned
                    for when, one in (("before", c.before), ("after", c.after))
                }
                | {"refer_before": int(bool(c.before.referable)), "refer_after": int(bool(c.after.referable))}
                | {"by_chance": c.by_chance}
                for c in found
            ],
        )


if __name__ == "__main__":
    main()
