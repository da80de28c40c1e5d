"""What a test leaves: scores per lesion, one row per photograph, and the same as a table to read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from rich import box
from rich.console import Console
from rich.table import Table

from retinalesion import scores
from retinalesion.files import write_csv, write_json
from retinalesion.lesions import CODES
from retinalesion.scores import Array, Counts, known, over
from retinalesion.training.callbacks.checkpoints import output_folder
from retinalesion.training.callbacks.froc_tables import froc_lines, froc_rows, show_froc
from retinalesion.training.callbacks.tested import discs_of, gather, groups_of, tested_on
from retinalesion.training.contract import TestedForLesions, data_of
from retinalesion.training.counts import count_regions
from retinalesion.training.froc import Regions
from retinalesion.training.rows import BY_PIXEL, PhotographRow, Scores


def interval(rows: Sequence[PhotographRow], learned: Sequence[bool], groups: Sequence[str]) -> Array:
    """95 % interval of F1, by bootstrap over photographs.

    Args:
        rows: of the test.
        learned: lesions that enter the mean.
        groups: of each row, see `scores.resamples`.

    Returns:
        (2, 9): its ends per lesion, and of their mean in the last column.
    """
    counts = np.array([[row.hits, row.alarms, row.misses] for row in rows]).swapaxes(1, 2)
    drawn = scores.bootstrap(counts, groups, scores.f1)
    mean = scores.mean_of_parts(drawn[:, np.array(learned, np.bool_)])
    return np.array([scores.percentiles(one) for one in (*drawn.T, mean)]).T


def healthy_figures(rows: Sequence[PhotographRow], learned: Sequence[bool]) -> dict[str, Any]:
    """On photographs graded DR0: how many, and the share in which any learned lesion was found."""
    healthy = [row for row in rows if row.grade == 0]
    found = [
        any(p > scores.THRESHOLD for p, known in zip(row.probability, learned, strict=True) if known)
        for row in healthy
    ]
    return {
        "DR0 photographs": len(healthy),
        "share with any finding": float(np.mean(found)) if found else None,
    }


def lesion_rows(
    counts: Counts,
    rows: Sequence[PhotographRow],
    learned: Sequence[bool],
    groups: Sequence[str],
    kind: Scores = BY_PIXEL,
) -> list[dict[str, Any]]:
    """A row per lesion and one for the mean over lesions learned. Scores without a value are None."""
    bounds = interval(rows, learned, groups)
    low, high = (f"{kind.interval} {end}" for end in ("from", "to"))
    values = {name: score(counts) for name, score in kind.of.items()}
    table: list[dict[str, Any]] = []
    for j, code in enumerate(CODES):
        present = int(counts.image[j, 1].sum())
        row: dict[str, Any] = {"lesion": code, "learned": learned[j]}
        row |= {"photographs": int(counts.image[j].sum()), "present": present}
        if learned[j]:
            row |= {name: known(of[j]) for name, of in values.items()}
            row |= {low: known(bounds[0, j]), high: known(bounds[1, j])}
        table.append(row)
    mean: dict[str, Any] = {"lesion": "mean", "learned": True}
    mean |= {name: known(scores.mean_over(of, learned)) for name, of in values.items()}
    mean |= {low: known(bounds[0, -1]), high: known(bounds[1, -1])}
    return [*table, mean]


def write(
    folder: Path,
    table: Sequence[Mapping[str, Any]],
    rows: Sequence[PhotographRow],
    groups: Sequence[str],
    about: Mapping[str, Any],
) -> None:
    """``lesions.csv``, ``photographs.csv`` and ``summary.json`` into a folder."""
    write_csv(folder / "lesions.csv", list(table))
    lines = [{**row.cells(), "group": group} for row, group in zip(rows, groups, strict=True)]
    write_csv(folder / "photographs.csv", lines)
    write_json(folder / "summary.json", {**about, "lesions": list(table)})


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
            values = [_shown(row.get(name)) for name in kind.of]
            bounds = scores.interval_text(*(row[f"{kind.interval} {end}"] for end in ("from", "to")))
            style = "bold" if row["lesion"] == "mean" else None
            shown.add_row(row["lesion"], present, *values, bounds.replace(" to ", "-"), style=style)
    console = Console()
    console.print(shown)
    console.print(f"Intervals are over {about['intervals over']}.")
    if with_spots := about.get("photographs with known camera spots"):
        console.print(
            f"Of {with_spots} photographs the camera's own spots are known; what is found there is left out."
        )
    if about["DR0 photographs"]:
        share = about["share with any finding"]
        console.print(f"DR0 photographs: {about['DR0 photographs']}; any finding in {share:.1%} of them.")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _photographs_with_spots(trainer: Trainer, rows: Sequence[PhotographRow]) -> int:
    """How many of the tested photographs are of a camera whose spots are known."""
    data = data_of(trainer)
    return sum(bool(data.spots.get(row.id)) for row in rows) if data else 0


class TestTables(Callback):
    """After ``test``: the tables of lesions in the terminal, in ``test`` of the run, and in the loggers."""

    __test__ = False  # no test of ours, whatever its name says to pytest

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count regions anew."""
        self.regions, self.discs = Regions.none(), discs_of(trainer)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count regions, where there are maps."""
        if isinstance(outputs, Mapping) and "logits" in outputs:
            learned = cast(TestedForLesions, pl_module).learned
            self.regions += count_regions(batch, outputs["logits"], learned, self.discs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather, score, write and print."""
        task = cast(TestedForLesions, pl_module)
        rows = sorted(gather(task.rows), key=lambda row: row.id)
        if not rows:  # of a network without lesion maps
            return
        regions = sum(gather([self.regions]), Regions.none())
        groups, learned = groups_of(trainer, [row.id for row in rows]), task.learned.tolist()
        table = lesion_rows(task.counts.compute(), rows, learned, groups, task.scores)
        about = {
            "photographs": len(rows),
            "side": task.seen_side,
            "network": f"{task.hparams['network']} on {task.hparams['encoder']}",
            "stage": task.stage,
            "trained on store": task.store_fingerprint,
            "tested on": tested_on(trainer),
            **task.cost,
            "threshold": scores.THRESHOLD,
            "intervals over": over(groups),
            "photographs with known camera spots": _photographs_with_spots(trainer, rows)
            if task.scores is BY_PIXEL
            else 0,
            **healthy_figures(rows, learned),
            "FROC": froc_rows(regions),
        }
        for row in table:
            for name in task.scores.of:
                if row.get(name) is not None:
                    task.log_score(f"test/{name}/{row['lesion']}", row[name])
        folder = output_folder(trainer) / "test"
        if trainer.is_global_zero:
            write(folder, table, rows, groups, about)
            show(table, about, task.scores)
            if about["FROC"]:
                write_csv(folder / "froc.csv", froc_lines(regions))
                show_froc(about["FROC"])
            rank_zero_info(f"Tables and rows per photograph: {folder}")
