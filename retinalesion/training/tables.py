"""What a test leaves: scores per lesion, one row per photograph, and the same as a table to read."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from torch import distributed

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.files import replace_file, write_csv
from retinalesion.lesions import CODES, NO_GRADE
from retinalesion.training import metrics
from retinalesion.training.checkpoints import output_folder
from retinalesion.training.costs import tested_on
from retinalesion.training.metrics import Counts

RESAMPLES = 2000

# Pixel F1 is Table 3 of the paper, image F1 Table 5; always yes is the image F1 of saying present everywhere.
SCORES = {
    "pixel F1": metrics.pixel_f1,
    "IoU": metrics.pixel_iou,
    "AUPR": metrics.aupr,
    "image F1": metrics.image_f1,
    "always yes": metrics.always_yes_f1,
    "specificity": metrics.specificity,
}


class Scores(NamedTuple):
    """Which scores a table has.

    Attributes:
        of: functions of the counts, by name.
        interval: what stands before "from" and "to" of the interval of F1.
        title: what the first columns are, for the terminal.
    """

    of: Mapping[str, Callable[[Counts], torch.Tensor]]
    interval: str
    title: str


BY_PIXEL = Scores(
    SCORES, "F1", "pixel F1 as in Table 3 of the paper, its 95 % interval, image F1 as in Table 5"
)
# Of networks without maps, whose photographs count as one pixel each.
IMAGE_LEVEL = Scores(
    {
        "image F1": metrics.image_f1,
        "always yes": metrics.always_yes_f1,
        "image AUPR": metrics.aupr,
        "specificity": metrics.specificity,
    },
    "image F1",
    "image F1 as in Table 5 of the paper, its 95 % interval",
)


@dataclass(frozen=True)
class PhotographRow:
    """One photograph of a test, per lesion: all from which scores, intervals and comparisons follow.

    Attributes:
        id: of the photograph.
        grade: -1 where there is none.
        annotated: lesions with valid pixels.
        hits: valid pixels marked and found.
        alarms: valid pixels found and not marked.
        misses: valid pixels marked and not found.
        probability: the map's maximum (Eq. 1).
    """

    id: str
    grade: int
    annotated: tuple[bool, ...]
    hits: tuple[int, ...]
    alarms: tuple[int, ...]
    misses: tuple[int, ...]
    probability: tuple[float, ...]

    def cells(self) -> dict[str, Any]:
        """As a line of ``photographs.csv``; what was not annotated is empty."""
        cells: dict[str, Any] = {"id": self.id, "grade": "" if self.grade == NO_GRADE else self.grade}
        for j, code in enumerate(CODES):
            if self.annotated[j]:
                cells |= {f"{code}_hits": self.hits[j], f"{code}_alarms": self.alarms[j]}
                cells |= {f"{code}_misses": self.misses[j]}
            cells[f"{code}_probability"] = f"{self.probability[j]:.4f}"
        return cells


class ImageRow(PhotographRow):
    """One photograph of a test without maps: it counts as one pixel of each lesion."""

    def cells(self) -> dict[str, Any]:
        """As a line of ``photographs.csv``; whether present is empty where it was not annotated."""
        cells: dict[str, Any] = {"id": self.id, "grade": "" if self.grade == NO_GRADE else self.grade}
        for j, code in enumerate(CODES):
            if self.annotated[j]:
                cells[f"{code}_present"] = self.hits[j] + self.misses[j]
            cells[f"{code}_probability"] = f"{self.probability[j]:.4f}"
        return cells


def interval(rows: Sequence[PhotographRow], learned: Sequence[bool]) -> NDArray[np.float64]:
    """Bootstrap of F1 over photographs.

    Args:
        rows: of the test.
        learned: lesions that enter the mean.

    Returns:
        (2, 9): 2.5th and 97.5th percentile per lesion, and of their mean in the last column.
    """
    counts = np.array([[row.hits, row.alarms, row.misses] for row in rows], np.float64)
    drawn = np.random.default_rng(0).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), RESAMPLES)
    hits, alarms, misses = np.moveaxis(np.tensordot(drawn, counts, 1), 1, 0)
    with np.errstate(invalid="ignore"):
        score = 2 * hits / (2 * hits + alarms + misses)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of lesions without a score
        mean = np.nanmean(score[:, np.array(learned)], axis=1)
        return np.nanpercentile(np.c_[score, mean], (2.5, 97.5), axis=0)


def healthy_figures(rows: Sequence[PhotographRow], learned: Sequence[bool]) -> dict[str, Any]:
    """On photographs graded DR0: how many, and the share in which any learned lesion was found."""
    healthy = [row for row in rows if row.grade == 0]
    found = [
        any(p > metrics.THRESHOLD for p, known in zip(row.probability, learned, strict=True) if known)
        for row in healthy
    ]
    return {
        "DR0 photographs": len(healthy),
        "share with any finding": float(np.mean(found)) if found else None,
    }


def lesion_rows(
    counts: Counts, rows: Sequence[PhotographRow], learned: Sequence[bool], kind: Scores = BY_PIXEL
) -> list[dict[str, Any]]:
    """A row per lesion and one for the mean over lesions learned. Scores without a value are None."""
    bounds = interval(rows, learned)
    low, high = (f"{kind.interval} {end}" for end in ("from", "to"))
    scores = {name: score(counts).tolist() for name, score in kind.of.items()}
    table: list[dict[str, Any]] = []
    for j, code in enumerate(CODES):
        present = int(counts.image[j, 1].sum())
        row: dict[str, Any] = {"lesion": code, "learned": learned[j]}
        row |= {"photographs": int(counts.image[j].sum()), "present": present}
        if learned[j]:
            row |= {name: known(values[j]) for name, values in scores.items()}
            row |= {low: known(bounds[0, j]), high: known(bounds[1, j])}
        table.append(row)
    mean: dict[str, Any] = {"lesion": "mean", "learned": True}
    which = torch.tensor(learned)
    mean |= {name: known(metrics.mean_over(torch.tensor(v), which)) for name, v in scores.items()}
    mean |= {low: known(bounds[0, -1]), high: known(bounds[1, -1])}
    return [*table, mean]


def known(value: float) -> float | None:
    """A score for a table, four digits; None for one without a value."""
    return None if value != value else round(float(value), 4)


def write(
    folder: Path, table: Sequence[Mapping[str, Any]], rows: Sequence[PhotographRow], about: Mapping[str, Any]
) -> None:
    """``lesions.csv``, ``photographs.csv`` and ``summary.json`` into a folder."""
    write_csv(folder / "lesions.csv", list(table))
    write_csv(folder / "photographs.csv", [row.cells() for row in rows])
    text = json.dumps({**about, "lesions": list(table)}, indent=2) + "\n"
    replace_file(folder / "summary.json", lambda beside: beside.write_text(text, "utf-8"))


def show(table: Sequence[Mapping[str, Any]], about: Mapping[str, Any], kind: Scores = BY_PIXEL) -> None:
    """Print the scores."""
    unknown = [row["lesion"] for row in table if not row["learned"]]
    shown = Table(
        title=f"{about['photographs']} photographs, side {about['side']}, {about['network']}\n{kind.title}",
        caption=f"not learned by this model: {', '.join(unknown)}" if unknown else None,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # so that 80 columns hold it
    )
    for name in ("lesion", "present", *kind.of, "interval"):
        justify: Literal["left", "right"] = "left" if name == "lesion" else "right"
        shown.add_column(name.replace(" ", "\n"), justify=justify, no_wrap=True)
    for row in table:
        if row["learned"]:
            present = f"{row['present']} of {row['photographs']}" if "present" in row else ""
            scores = [_shown(row.get(name), 3) for name in kind.of]
            bounds = "-".join(_shown(row[f"{kind.interval} {end}"], 2) for end in ("from", "to"))
            style = "bold" if row["lesion"] == "mean" else None
            shown.add_row(row["lesion"], present, *scores, bounds, style=style)
    console = Console()
    console.print(shown)
    if with_spots := about.get("photographs with known camera spots"):
        console.print(
            f"Of {with_spots} photographs the camera's own spots are known; what is found there is left out."
        )
    if about["DR0 photographs"]:
        share = about["share with any finding"]
        console.print(f"DR0 photographs: {about['DR0 photographs']}; any finding in {share:.1%} of them.")


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _photographs_with_spots(trainer: Trainer, rows: Sequence[PhotographRow]) -> int:
    """How many of the tested photographs are of a camera whose spots are known."""
    datamodule = getattr(trainer, "datamodule", None)
    spots = datamodule.spots if isinstance(datamodule, FundusDataModule) else {}
    return sum(bool(spots.get(row.id)) for row in rows)


def gather(mine: list[Any]) -> list[Any]:
    """The items of all processes, on all processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return mine
    shares: list[list[Any]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(shares, mine)
    return [item for share in shares for item in share]


class TestTables(Callback):
    """After ``test``: the tables of lesion maps in the terminal, in ``test`` of the run, and in the loggers.

    The task offers ``rows`` (of this process), ``counts`` (a metric over all processes), ``learned``,
    ``cost``, and in ``scores`` which ones a table has.
    """

    __test__ = False  # no test of ours, whatever its name says to pytest

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather, score, write and print."""
        task: Any = pl_module
        rows = sorted(gather(task.rows), key=lambda row: row.id)
        if not rows:  # of a network without lesion maps
            return
        counts, learned = task.counts.compute(), task.learned.tolist()
        counts = Counts(**{name: value.cpu() for name, value in vars(counts).items()})
        table = lesion_rows(counts, rows, learned, task.scores)
        about = {
            "photographs": len(rows),
            "side": task.seen_side,
            "network": f"{task.hparams['network']} on {task.hparams['encoder']}",
            "stage": task.stage,
            "trained on store": task.store_fingerprint,
            "tested on": tested_on(trainer),
            **task.cost,
            "threshold": metrics.THRESHOLD,
            "photographs with known camera spots": _photographs_with_spots(trainer, rows)
            if task.scores is BY_PIXEL
            else 0,
            **healthy_figures(rows, learned),
        }
        for row in table:
            for name in task.scores.of:
                if row.get(name) is not None:
                    task.log_score(f"test/{name}/{row['lesion']}", row[name])
        folder = output_folder(trainer) / "test"
        if trainer.is_global_zero:
            write(folder, table, rows, about)
            show(table, about, task.scores)
            rank_zero_info(f"Tables and rows per photograph: {folder}")
