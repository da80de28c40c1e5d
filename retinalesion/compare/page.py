"""`compare`: tested runs -> the paper's tables as Markdown, as CSV, and as a page to open."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retinalesion import __version__
from retinalesion.compare import text
from retinalesion.compare.judge import compare_runs
from retinalesion.compare.results import Result
from retinalesion.compare.side_by_side import Chosen, Shower, View, side_by_side
from retinalesion.compare.tables import Section, Table
from retinalesion.errors import UserError
from retinalesion.files import replace_file, write_csv
from retinalesion.lesions import LESIONS
from retinalesion.paper import paper
from retinalesion.report.page import environment

FILES = ("tables.md", "tables.csv", "differences.csv", "index.html")


def compare(runs: Sequence[Path], out: Path, chosen: Chosen | None = None) -> list[Table]:
    """Compare runs, and write what follows.

    Args:
        runs: folders of finished, tested runs.
        out: folder for the files named above; those of an earlier comparison are replaced.
        chosen: photographs that the page is to show as each row's first run sees them.

    Returns:
        The tables.

    Raises:
        UserError: a run is missing, untested or damaged; the runs do not belong together; or the folder
            cannot be written.
    """
    folders = list(dict.fromkeys(run.resolve() for run in runs))
    if len(folders) < len(runs):
        raise UserError("a run is named twice. Name each once.")
    tables = compare_runs([Result.read(run) for run in runs])
    firsts: dict[Path, Shower] = {}
    for row in (row for table in tables for row in table.rows):
        firsts.setdefault(row.runs[0].folder, Shower(row.name, row.runs[0].folder_for))
    views = side_by_side(chosen, list(firsts.values())) if chosen else ()
    _write(out / "tables.md", text.markdown(tables))
    write_csv(out / "tables.csv", text.score_lines(tables), spreadsheet=True)
    write_csv(out / "differences.csv", text.difference_lines(tables), DIFFERENCES, spreadsheet=True)
    _write(out / "index.html", page(tables, views))
    return tables


DIFFERENCES = ("table", "score", "first", "second", "value", "low", "high", "p", "corrected p", "said")


def page(tables: Sequence[Table], views: Sequence[View] = ()) -> str:
    """One page of HTML that needs nothing else."""
    return (
        environment()
        .get_template("compare.html")
        .render(
            tables=tables,
            views=views,
            told={table.number: text.told(table) for table in tables},
            scales={(t.number, s.score): Scale.of(s) for t in tables for s in t.sections},
            lesions={lesion.code: lesion for lesion in LESIONS},
            paper=paper(),
            costs=tuple(text.COSTS),
            text=text,
            runs=len({f for table in tables for row in table.rows for run in row.runs for f in run.folders}),
            version=__version__,
        )
    )


class Scale:
    """The axis on which a section draws its last column."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def of(cls, section: Section) -> "Scale":
        """As wide as its figures, to tenths."""
        last = [cells[-1] for cells in section.cells]
        figures = [f for c in last for f in (c.value, c.low, c.high, c.paper) if f is not None]
        low, high = min(figures, default=0.0), max(figures, default=1.0)
        return cls(int(low * 10 - (low < 0)) / 10, min(1.0, int(high * 10 + 1) / 10))

    def place(self, value: float) -> str:
        """Where a figure is, in percent of the width."""
        return f"{100 * (value - self.low) / max(self.high - self.low, 0.1):.2f}"


def _write(file: Path, contents: Any) -> None:
    replace_file(file, lambda beside: beside.write_bytes(contents.encode("utf-8", "replace")))
