"""The tables of `compare` for the terminal, as Markdown and as CSV."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from retinalesion.compare.tables import Row, Section, Table, Verdict
from retinalesion.paper import paper
from retinalesion.scores import interval_text

COSTS = {"parameters": (1e6, " M"), "multiply-adds": (1e9, " G"), "seconds a photograph": (1, " s")}


def cost_text(row: Row, name: str) -> str:
    """A cost in a unit for people; empty where it is not known."""
    if name not in row.cost:
        return ""
    unit, letter = COSTS[name]
    return f"{row.cost[name] / unit:.3g}{letter}"


def score_text(value: float | None) -> str:
    """A score, three digits; -0.0002 is 0.000."""
    return "" if value is None else f"{round(value, 3) + 0.0:.3f}"


def name_text(row: Row) -> str:
    """Its name, with the number of runs where there are several."""
    return row.name if len(row.runs) == 1 else f"{row.name} ({len(row.runs)} seeds)"


def told(table: Table) -> list[Verdict]:
    """The verdicts that a short account needs: those on the highest row of each score."""
    leaders = {}
    for section in table.sections:
        means = [cells[-1].value or 0 for cells in section.cells]
        leaders[section.score] = table.rows[means.index(max(means))].name
    return [v for v in table.verdicts if leaders[v.score] in (v.first, v.second)]


def show(tables: Sequence[Table], console: Console | None = None) -> None:
    """Print them."""
    console = console or Console()
    noted: set[str] = set()
    for table in tables:
        console.print(f"\n[bold]Table {table.number}. {escape(table.caption)}[/bold]", highlight=False)
        for section in table.sections:
            console.print(_rich(table, section))
        for verdict in told(table):
            style = "bold" if verdict.better else None
            console.print(f"- {verdict.text}", style=style, markup=False, highlight=False)
        for note in table.notes:
            if note not in noted:
                console.print(note, style="dim", markup=False, highlight=False)
        noted |= set(table.notes)
    every = (row for table in reversed(tables) for row in reversed(table.rows) if row.cost)
    rows = {row.runs[0].folder: row for row in every}
    if rows:
        console.print("\n[bold]Cost[/bold]")
        costs = RichTable("", *COSTS, box=box.SIMPLE_HEAD)
        for row in reversed(rows.values()):
            costs.add_row(escape(row.name), *(cost_text(row, name) for name in COSTS))
        console.print(costs)


def _rich(table: Table, section: Section) -> RichTable:
    shown = RichTable(title=section.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("", overflow="fold", min_width=14)
    for column in section.columns:
        shown.add_column(column, justify="right", no_wrap=True)
    if any(cells[-1].low is not None for cells in section.cells):
        shown.add_column("95 %", justify="right", no_wrap=True)
    wide = len(section.columns) > 6  # all eight lesions: without the 0 before the point, 80 columns hold them

    def score(value: float | None) -> str:
        return score_text(value).removeprefix("0") if wide else score_text(value)

    for row, cells in zip(table.rows, section.cells, strict=True):
        scores = [f"[bold]{score(cell.value)}[/bold]" if cell.best else score(cell.value) for cell in cells]
        interval = interval_text(cells[-1].low, cells[-1].high)
        shown.add_row(escape(name_text(row)), *scores, interval.replace(" to ", "-") if wide else interval)
        if any(cell.paper is not None for cell in cells):
            shown.add_row("  paper", *(score(cell.paper) for cell in cells), style="dim")
    if table.published and section.published:
        shown.add_row(f"{table.published.name} *", *map(score, section.published), style="dim")
        shown.caption = f"* {table.published.protocol}"
    return shown


def markdown(tables: Sequence[Table]) -> str:
    """All tables, with a sentence for each pair of rows."""
    lines = ["# Comparison", "", f"Figures called paper: {_plain(paper().source)}.", ""]
    for table in tables:
        lines += [f"## Table {table.number}. {_plain(table.caption)}", ""]
        for section in table.sections:
            lines += [f"### {_plain(section.title)}", "", *_markdown_table(table, section), ""]
        if table.verdicts:
            lines += ["### Differences", ""]
            lines += [
                f"- {'**' if v.better else ''}{_plain(v.text)}{'**' if v.better else ''}"
                for v in table.verdicts
            ]
            lines.append("")
        lines += [*(f"- {_plain(note)}" for note in table.notes)]
        lines += [f"- {_plain(row.name)}: {_plain(row.departs)}." for row in table.rows if row.departs]
        lines += ["- Bold: the highest of its column, which says nothing of differences.", ""]
    return "\n".join(lines)


def _markdown_table(table: Table, section: Section) -> Iterator[str]:
    with_interval = any(cells[-1].low is not None for cells in section.cells)
    names = ["", *section.columns, *(["95 %"] if with_interval else []), *COSTS]
    yield f"| {' | '.join(names)} |"
    yield f"|---|{'---:|' * (len(names) - 1)}"
    blank = [""] * (len(COSTS) + with_interval)
    for row, cells in zip(table.rows, section.cells, strict=True):
        scores = [f"**{score_text(c.value)}**" if c.best else score_text(c.value) for c in cells]
        interval = [interval_text(cells[-1].low, cells[-1].high)] if with_interval else []
        costs = [cost_text(row, name) for name in COSTS]
        yield f"| {' | '.join([_plain(name_text(row)), *scores, *interval, *costs])} |"
        if any(cell.paper is not None for cell in cells):
            yield f"| {' | '.join(['paper', *(score_text(cell.paper) for cell in cells), *blank])} |"
    if table.published and section.published:
        name = f"{table.published.name} ({table.published.protocol})"
        yield f"| {' | '.join([_plain(name), *map(score_text, section.published), *blank])} |"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    line = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#&~" else sign for sign in line)


def score_lines(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Every figure once, a line each: for spreadsheets and programs."""
    return list(chain.from_iterable(_score_lines(table) for table in tables))


def _score_lines(table: Table) -> Iterator[dict[str, Any]]:
    for section in table.sections:
        for row, cells in zip(table.rows, section.cells, strict=True):
            about = {"table": table.number, "row": row.name, "seeds": len(row.runs)}
            for column, cell in zip(section.columns, cells, strict=True):
                figures = {"value": cell.value, "from": cell.low, "to": cell.high, "paper": cell.paper}
                yield {
                    **about,
                    "score": section.score,
                    "of": column,
                    **{name: score_text(value) for name, value in figures.items()},
                    "best": "yes" if cell.best else "",
                }
        for column, value in zip(section.columns, section.published, strict=False):
            if table.published and value is not None:
                about = {"table": table.number, "row": table.published.name, "score": section.score}
                yield {**about, "of": column, "value": score_text(value)}
    for row in table.rows:
        about = {"table": table.number, "row": row.name, "seeds": len(row.runs)}
        for name, value in row.cost.items():
            yield {**about, "score": name, "value": f"{value:.6g}"}


def difference_lines(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Every pair of rows, a line each."""
    return [
        {
            "table": table.number,
            "score": verdict.score,
            "first": verdict.first,
            "second": verdict.second,
            **{name: score_text(getattr(verdict.difference, name)) for name in ("value", "low", "high")},
            "p": "" if verdict.difference.p is None else f"{verdict.difference.p:.4f}",
            "corrected p": "" if verdict.corrected is None else f"{verdict.corrected:.4f}",
            "said": verdict.text,
        }
        for table in tables
        for verdict in table.verdicts
    ]
