"""Figures of a rule as a table for the terminal."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from retinalesion.fitting.figures import Figure

SHOWN = {
    "AUROC": "AUROC of referable",
    "kappa": "kappa of the grade",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "specificity, DR0": "specificity, DR0",
    "specificity, DR1": "specificity, DR1",
    "uncertain": "uncertain",
    "retake": "retake",
    "calibration slope": "calibration slope",
}
COUNTED = "Uncertain and retake count as referred. Referable: DR2 or worse, or macular oedema at risk."


def show(columns: Mapping[str, Mapping[str, Sequence[float | None]]], title: str) -> None:
    """Print figures side by side.

    Args:
        columns: by heading: figures by name, each as value, low and high end of its interval.
        title: above them.
    """
    shown = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
    shown.add_column("")
    for heading in columns:
        shown.add_column(heading, justify="right", no_wrap=True)
    for name, words in SHOWN.items():
        shown.add_row(words, *(str(Figure(*figures[name])) for figures in columns.values()))
    console = Console()
    console.print(shown)
    console.print(COUNTED)


def show_outcomes(outcomes: Mapping[str, Mapping[str, int]]) -> None:
    """Print how many photographs of each true grade got each outcome.

    Args:
        outcomes: by grade: numbers by outcome.
    """
    names = list(dict.fromkeys(name for counts in outcomes.values() for name in counts))
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("", *names):
        shown.add_column(heading, justify="right")
    for grade, counts in outcomes.items():
        shown.add_row(grade, *(str(counts.get(name, 0)) for name in names))
    console = Console()
    console.print("By the checkpoint's rule; rows: true grade, columns: outcome.")
    console.print(shown)
