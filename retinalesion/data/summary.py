"""What a store holds, in numbers, as tables for the terminal."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from retinalesion.data.store import SPLITS, Store
from retinalesion.files import write_csv
from retinalesion.lesions import GRADES, LESIONS, NO_GRADE, OEDEMA


class Skipped(NamedTuple):
    """A photograph that was left out."""

    id: str
    file: str
    message: str


def print_store(store: Store, console: Console) -> None:
    """Photographs and grades per split; photographs annotated and present and stored pixels per lesion."""
    splits = [split for split in SPLITS if store.split(split)]
    summary = f"{store.path}: {len(store.rows)} photographs, side {store.side}"
    console.print(summary, soft_wrap=True, markup=False)
    photographs = Table("", *splits, "all")
    counts = {split: Counter(row.grade for row in store.split(split)) for split in splits}
    for grade, name in [*enumerate(GRADES), (NO_GRADE, "no grade")]:
        line = [counts[split][grade] for split in splits]
        if sum(line):
            photographs.add_row(name, *map(str, line), str(sum(line)))
    risks = {split: Counter(row.oedema for row in store.split(split)) for split in splits}
    for risk, name in enumerate(OEDEMA):
        line = [risks[split][risk] for split in splits]
        if sum(line):
            photographs.add_row(f"macular oedema: {name}", *map(str, line), str(sum(line)))
    line = [counts[split].total() for split in splits]
    photographs.add_row("all", *map(str, line), str(sum(line)), style="bold")
    for column in photographs.columns[1:]:
        column.justify = "right"
    console.print(photographs)

    lesions = Table("lesion", "annotated in", "present in", "stored pixels")
    for code, name, _ in LESIONS:
        rows = [row for row in store.rows if code in row.annotated]
        present = sum(row.pixels.get(code, 0) > 0 for row in rows)
        cells = (
            (len(rows), present, sum(row.pixels.get(code, 0) for row in rows)) if rows else ("never", "", "")
        )
        lesions.add_row(f"{code} ({name})", *map(str, cells))
    for column in lesions.columns[1:]:
        column.justify = "right"
    console.print(lesions)
    for sentence in _remarks(store):
        console.print(f"- {sentence}", soft_wrap=True, highlight=False, markup=False)


def _remarks(store: Store) -> list[str]:
    twins = [row for row in store.rows if row.twins]
    remarks = [f"{len(twins)} photographs have a twin."] if twins else []
    for grades in store.info.get("twins_graded_differently", []):
        told = ", ".join(f"{id} {GRADES[grade]}" for id, grade in grades.items())
        remarks.append(f"twins with different grades, both kept: {told}")
    remarks += [
        f"second shots of one eye, kept in one split: {first}, {second}"
        for first, second in store.info.get("second_shots", [])
    ]
    return remarks + list(store.info.get("notes", []))


def print_skipped(skipped: Sequence[Skipped], console: Console) -> None:
    """The photographs that were left out, if any, with the reason."""
    if not skipped:
        return
    table = Table("photograph", "why", title=f"left out: {len(skipped)}")
    for id, _, message in skipped:
        table.add_row(id, Text(message))  # brackets in a path are no markup
    console.print(table)


def write_skipped(store: Path, skipped: Sequence[Skipped]) -> None:
    """The same as ``skipped.csv`` of a store; no file where nothing was left out."""
    if skipped:
        write_csv(store / "skipped.csv", [one._asdict() for one in skipped])


def read_skipped(store: Path) -> list[Skipped]:
    """What `write_skipped` wrote."""
    file = store / "skipped.csv"
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return [Skipped(*cells) for cells in list(csv.reader(lines))[1:]]
