"""From tested runs to Tables 3 to 7 of the paper, with intervals and what may be said of differences."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from retinalesion import scores
from retinalesion.compare.folds import pooled
from retinalesion.compare.results import GradeTest, LesionTest, Result, require_comparable
from retinalesion.compare.statistics import ENOUGH_SEEDS, Scored, difference, holm
from retinalesion.compare.tables import Cell, Row, Section, Table, Verdict
from retinalesion.lesions import CODES, GRADES
from retinalesion.paper import PaperTable, Published, mean_of, paper
from retinalesion.scores import Array

DIGITS = 3  # of scores as shown; what is equal in them is equally good
TITLES = {
    "pixel F1": "Pixel F1, pooled over the photographs",
    "pixel F1 per photograph": "Pixel F1 of each photograph, their mean",
    "AUPR": "AUPR, over all pixels",
    "image F1": "Image F1",
    "kappa": "Quadratic weighted kappa",
}
# The scores of each table; differences are judged by those that the paper has.
SCORES = {
    3: ("pixel F1", "pixel F1 per photograph", "AUPR"),
    4: ("pixel F1", "image F1"),
    5: ("image F1",),
    6: ("kappa",),
    7: ("kappa",),
}
JUDGED = ("pixel F1", "image F1", "kappa")
BOUNDS = {"kappa": (-1.0, 1.0)}

# Of the figures of a rule, those that are told.
_OF_RULES = ("sensitivity", "specificity", "specificity, DR0", "specificity, DR1", "uncertain")


def compare_runs(results: Sequence[Result]) -> list[Table]:
    """The tables that runs fill, in the paper's order.

    Args:
        results: finished, tested runs; those of folds are put together (`pooled`).

    Raises:
        UserError: they cannot stand in one table, see `require_comparable`.
    """
    results = pooled(results)
    require_comparable(results)
    tables = [_table(table, [run for run in results if _belongs(run, table)]) for table in paper().tables]
    return [table for table in tables if table is not None]


def _belongs(run: Result, table: PaperTable) -> bool:
    """As a row of the paper; else, with a name of its own, in the table of what it was tested for."""
    served = paper().rows_of(run.settings)
    if served:
        return table.number in served
    if isinstance(run.test, GradeTest):
        return table.number == 6
    return table.number == 5 or (table.number == 3 and run.test.pixels is not None)


def _table(table: PaperTable, results: list[Result]) -> Table | None:
    if not results:
        return None
    rows, shared = _rows(table, results)
    columns, learned = _columns(table, results)
    told = [score for score in SCORES[table.number] if all(_has(run, score) for run in results)]
    published = paper().elsewhere if table.number == 3 and _is_fitting(results) else None
    groups = _groups(results)
    sections = [_section(score, rows, columns, groups, published) for score in told]
    return Table(
        table.number,
        table.caption,
        tuple(rows),
        tuple(_corrected(sections)),
        tuple(_notes(results, rows, shared, learned, groups)),
        published,
    )


def _groups(results: list[Result]) -> tuple[str, ...]:
    """Of the photographs, which all runs share: as the first run that knows any has them."""
    known = (run.test.groups for run in results if run.test.groups != run.test.ids)
    return next(known, results[0].test.ids)


def _has(run: Result, score: str) -> bool:
    if isinstance(run.test, GradeTest):
        return score == "kappa"
    if score == "AUPR" and run.parts:
        return False  # of all pixels of a test together
    return score == "image F1" or (score != "kappa" and run.test.pixels is not None)


def _is_fitting(results: list[Result]) -> bool:
    """Whether IDRiD's published figures say anything here."""
    elsewhere = paper().elsewhere
    four = [code in elsewhere.lesions for code in CODES]
    return any(run.tested_on.get("source") == elsewhere.source for run in results) or all(
        run.lesions is not None and run.lesions.learned.tolist() == four for run in results
    )


def _columns(table: PaperTable, results: list[Result]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of a table, and the lesions that all of its networks know; means are over these."""
    tests = [run.test for run in results if isinstance(run.test, LesionTest)]
    if not tests:
        return ("kappa",), ()
    common = np.logical_and.reduce([test.learned for test in tests])
    learned = tuple(code for code, known in zip(CODES, common, strict=True) if known)
    return ((*learned, "mean") if table.number != 4 else ("mean",)), learned


def _rows(table: PaperTable, results: list[Result]) -> tuple[list[Row], dict[str, Any]]:
    """Rows in the paper's order, then one's own; and in what all of them depart from the paper."""
    groups: dict[str, list[Result]] = {}
    for run in results:
        groups.setdefault(_key(run.settings), []).append(run)
    served = [
        (runs, next((row for row in table.rows if row.is_served_by(runs[0].settings)), None))
        for runs in groups.values()
    ]
    served.sort(key=lambda one: table.rows.index(one[1]) if one[1] else len(table.rows))
    departs = [paper().departures(runs[0].settings, row) for runs, row in served]
    shared = {key: value for key, value in departs[0].items() if all(d.get(key) == value for d in departs)}
    rows = []
    for (runs, row), one in zip(served, departs, strict=True):
        own = {key: value for key, value in one.items() if key not in shared}
        name = (row.name if row else paper().name_of(runs[0].settings)) + _folds_in(runs[0])
        rows.append(Row(name, tuple(runs), _said(own), row, _cost(runs)))
    return _told_apart(rows), shared


def _folds_in(run: Result) -> str:
    if run.fold is None:
        return ""
    here = len(run.parts)
    return f", {run.fold.count} folds" if here == run.fold.count else f", {here} of {run.fold.count} folds"


def _key(settings: Any) -> str:
    return repr(sorted(settings.items(), key=lambda item: str(item[0])))


def _told_apart(rows: list[Row]) -> list[Row]:
    """Rows of one name get that of their first run added, or its folder's where that tells nothing either."""
    told = rows
    for of_run in (lambda run: run.name, lambda run: str(run.folder)):
        names = [row.name for row in told]
        told = [
            replace(row, name=f"{given.name} [{of_run(row.runs[0])}]") if names.count(row.name) > 1 else row
            for row, given in zip(told, rows, strict=True)
        ]
    return told


def _said(settings: dict[str, Any]) -> str:
    words = {True: "yes", False: "no", None: "none"}

    def word(value: Any) -> str:
        return words[value] if value is None or isinstance(value, bool) else str(value)

    return ", ".join(f"{key.replace('_', ' ')} {word(value)}" for key, value in settings.items())


def _cost(runs: list[Result]) -> dict[str, float]:
    names = dict.fromkeys(name for run in runs for name in run.cost)
    return {name: float(np.mean([run.cost[name] for run in runs if name in run.cost])) for name in names}


def _section(
    score: str,
    rows: list[Row],
    columns: tuple[str, ...],
    groups: tuple[str, ...],
    published: Published | None,
) -> Section:
    learned = [j for j, code in enumerate(CODES) if code in columns]
    if columns == ("mean",):
        learned = [j for j in range(len(CODES)) if all(_learned(run)[j] for row in rows for run in row.runs)]
    scored = [_scored(score, row, groups) for row in rows]
    cells = [
        [_cell(score, column, one, learned, row) for column in columns]
        for one, row in zip(scored, rows, strict=True)
    ]
    for place in range(len(columns)):
        shown = [None if (v := line[place].value) is None else round(v, DIGITS) for line in cells]
        known = {value for value in shown if value is not None}
        for line, value in zip(cells, shown, strict=True):
            best = len(known) > 1 and value == max(known)  # where all are equal, none is
            line[place] = replace(line[place], best=best)
    judged = score in JUDGED
    parts = learned if score != "kappa" else [0]
    figures = published.figures.get(score, {}) if published else {}
    return Section(
        score,
        TITLES[score],
        columns,
        tuple(tuple(line) for line in cells),
        tuple(figures.get(column) for column in columns) if figures else (),
        tuple(_verdicts(score, rows, [one.only(parts) for one in scored])) if judged else (),
    )


def _learned(run: Result) -> list[bool]:
    known: list[bool] = run.lesions.learned.tolist() if run.lesions else [False] * len(CODES)
    return known


def _scored(score: str, row: Row, groups: tuple[str, ...]) -> Scored:
    """A row's runs, scored; parts are all eight lesions, or the one of kappa."""
    tests = [run.test for run in row.runs]
    if score == "AUPR":  # of all pixels together: no photographs to draw
        seeds = np.stack([test.aupr for test in tests if isinstance(test, LesionTest)])
        return Scored(seeds, np.full((1, len(CODES)), np.nan), 0)
    counts = np.stack([_counts(score, test) for test in tests])
    how = {"pixel F1 per photograph": _mean, "kappa": _kappa}
    return Scored.of(counts, how.get(score, scores.f1), groups)


def _mean(sums: Array) -> Array:
    """The mean per lesion of totals and numbers (..., k, 2)."""
    return scores.quotient(sums[..., 0], sums[..., 1])


def _kappa(confusions: Array) -> Array:
    """Kappa as a score of one part, (..., 1)."""
    return scores.kappa(confusions)[..., None]


def _counts(score: str, test: LesionTest | GradeTest) -> Array:
    """What each photograph adds, (P, ...)."""
    if isinstance(test, GradeTest):
        size = len(GRADES)
        cells = np.eye(size**2)[size * test.grade + test.said]
        return np.asarray(cells.reshape(-1, size, size), np.float64)
    if score == "image F1":
        hits, alarms, misses = (
            test.present & test.found,
            ~test.present & test.found,
            test.present & ~test.found,
        )
        return np.asarray(np.stack([hits, alarms, misses], -1) * test.annotated[..., None], np.float64)
    assert test.pixels is not None
    if score == "pixel F1":
        return test.pixels
    single = scores.f1(test.pixels)
    return np.stack([np.nan_to_num(single), ~np.isnan(single)], -1)


def _cell(score: str, column: str, scored: Scored, learned: list[int], row: Row) -> Cell:
    if column == "mean":
        one = scored.over(learned)
    else:
        one = scored.only([CODES.index(column) if column in CODES else 0])
    value = float(one.value[0])
    if value != value:
        return Cell(paper=_paper_figure(row, score, column, learned))
    low = high = None
    if one.groups:
        bounds = BOUNDS.get(score, (0.0, 1.0))
        low, high = (float(np.clip(end, *bounds)) for end in one.interval(0))
    return Cell(value, low, high, _paper_figure(row, score, column, learned))


def _paper_figure(row: Row, score: str, column: str, learned: list[int]) -> float | None:
    figures = row.paper.figures.get(score) if row.paper else None
    if figures is None:
        return None
    if column == "mean":
        return mean_of(figures, tuple(CODES[j] for j in learned))
    return figures.get(column)


def _verdicts(score: str, rows: list[Row], scored: list[Scored]) -> list[Verdict]:
    found = []
    for (row, one), (other, two) in combinations(zip(rows, scored, strict=True), 2):
        apart = difference(one, two)
        if apart.value != apart.value:
            continue
        if apart.value < 0:
            row, other, apart = other, row, apart.turned()
        found.append(Verdict(score, row.name, other.name, apart, len(row.runs[0].test.ids)))
    return found


def _corrected(sections: list[Section]) -> list[Section]:
    """Correct the p values of a table for being so many."""
    known = [v.difference.p for s in sections for v in s.verdicts if v.difference.p is not None]
    corrected = iter(holm(known))
    return [
        replace(
            section,
            verdicts=tuple(
                verdict if verdict.difference.p is None else replace(verdict, corrected=next(corrected))
                for verdict in section.verdicts
            ),
        )
        for section in sections
    ]


def _fold_notes(results: list[Result]) -> list[str]:
    notes = [f"{missing}." for missing in dict.fromkeys(run.missing for run in results) if missing]
    notes = [note[0].upper() + note[1:] for note in notes]
    dealt = dict.fromkeys(run.fold.assignment for run in results if run.fold)
    if len(dealt) > 1:
        notes.append(
            f"Folds of {len(dealt)} assignments ({', '.join(dealt)}), each a row: runs of different "
            "assignments are not put together."
        )
    if dealt and any(isinstance(run.test, LesionTest) and run.test.pixels is not None for run in results):
        notes.append("AUPR is of all pixels of a test together; those of folds make none of all.")
    return notes


def _rule_notes(results: list[Result]) -> list[str]:
    """What each checkpoint's rule does; of folds, each, for every one has a rule of its own."""
    notes = []
    for run in (part for result in results for part in result.parts or (result,)):
        told = []
        for name in (one for one in _OF_RULES if run.rule.get(one, (None,))[0] is not None):
            value, low, high = run.rule[name]
            bounds = scores.interval_text(low, high)
            told.append(f"{name} {value:.2f}" + (f" ({bounds})" if bounds else ""))
        if told:
            notes.append(f"By the rule of {run.name}, uncertain and retake referred: {'; '.join(told)}.")
    return notes


def _notes(
    results: list[Result],
    rows: list[Row],
    shared: dict[str, Any],
    learned: tuple[str, ...],
    groups: tuple[str, ...],
) -> list[str]:
    about = results[0].tested_on
    part = "every photograph by the network of its fold," if results[0].fold else f"part {about.get('part')}"
    where = f", {part} of a store of {about['source']}" if about else ""
    notes = [f"{len(results[0].test.ids)} photographs{where}; trained on store {results[0].store}."]
    notes += _fold_notes(results)
    notes += _rule_notes(results)
    if isinstance(results[0].test, LesionTest) and len(learned) < len(CODES):
        notes.append(
            f"Lesions learned: {', '.join(learned)}. Means are over these; so are the paper's, where it has "
            "figures of single lesions, and else over all eight."
        )
    seeds = sorted({len(row.runs) for row in rows})
    several = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    over = scores.over(groups) + (", and over seeds where there are several" if seeds[-1] > 1 else "")
    notes.append(f"Seeds a row: {several}. Intervals: 95 %, over {over}.")
    if len(rows) > 1 and seeds[0] < ENOUGH_SEEDS:
        notes.append(
            f"With fewer than {ENOUGH_SEEDS} seeds a row, a difference is one between these very runs: "
            "another seed may turn it."
        )
    notes.append(f"The paper's figures are of {paper().photographs}.")
    if shared:
        notes.append(f"All rows, unlike the paper's: {_said(shared)}.")
    return notes
