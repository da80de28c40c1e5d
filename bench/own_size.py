"""Pixel F1 and AUPR of a checkpoint at the store's side, at 896 and at the photographs' own size.

python bench/own_size.py CHECKPOINT STORE IDRID_FOLDER [--split val] [--out FILE.csv]

The network sees the store's photographs. Its maps are enlarged bilinearly to the photograph's own pixels, or
brought to 896 by area, and compared with the experts' masks there. Each with and without averaging over the
mirror images.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.field import from_square, plane_to_square
from retinalesion.data.sources.idrid import IdridSource
from retinalesion.data.store import Row
from retinalesion.lesions import CODES
from retinalesion.scores import Counts, aupr, pixel_f1
from retinalesion.training.metrics import count
from retinalesion.training.segmentation import SegmentationTask

PAPER_SIDE = 896


def counted(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> Counts:
    logit = torch.logit(torch.from_numpy(probability).double(), 1e-7).float()[None, None]
    plane = torch.from_numpy(truth)[None, None]
    return count(logit, plane, torch.ones_like(plane)).to_score()


def at_896(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    reduced = torch.nn.functional.interpolate(
        torch.from_numpy(probability)[None, None], size=(PAPER_SIDE, PAPER_SIDE), mode="area"
    )
    return np.asarray(reduced[0, 0], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("store")
    parser.add_argument("idrid", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--out", type=Path, help="one row per photograph, lesion and way")
    options = parser.parse_args()

    task = SegmentationTask.load_from_checkpoint(
        options.checkpoint, map_location="cpu", weights_only=True
    ).eval()
    data = FundusDataModule(options.store, evaluate=options.split, workers=0)
    source = IdridSource(options.idrid, part="segmentation")
    photographs = {photograph.id: photograph for photograph in source.photographs()}
    rows: dict[str, Row] = {row.id: row for row in data.rows(options.split)}
    totals: dict[tuple[str, str], Counts] = {}
    lines: list[list[object]] = []
    for raw in data.test_dataloader():
        batch = data.on_after_batch_transfer(raw, 0)
        row = rows[batch["id"][0]]
        pixels = source.read(photographs[row.id])
        absent = np.zeros(pixels.rgb.shape[:2], bool)
        for flips in (False, True):
            task.flips = flips
            with torch.inference_mode():
                maps = task.flipped(batch["image"]).sigmoid()[0].numpy()
            for code in task.network.learned_codes:
                own, j = pixels.planes.get(code, absent), CODES.index(code)
                ways = {
                    f"store's {data.side}": (maps[j], batch["planes"][0, j].numpy()),
                    "896": (at_896(maps[j]), plane_to_square(own, row.box, PAPER_SIDE)),
                    "own size": (from_square(maps[j], row.box, own.shape), own),
                }
                for way, (probability, truth) in ways.items():
                    place = (f"{way}, flips" if flips else way, code)
                    counts = counted(probability, truth)
                    totals[place] = totals[place] + counts if place in totals else counts
                    lines.append([row.id, place[0], code, *counts.pixels[0].tolist()])
        print(f"{len(lines)} rows", file=sys.stderr)

    table = Table(title=f"{options.checkpoint}, {len(rows)} photographs of split {options.split}")
    codes = task.network.learned_codes
    for column in ("scored at", *(f"F1 {c}" for c in codes), "mean", *(f"AUPR {c}" for c in codes), "mean"):
        table.add_column(column)
    for way in dict.fromkeys(way for way, _ in totals):
        f1 = [pixel_f1(totals[way, code]).item() for code in codes]
        area = [aupr(totals[way, code]).item() for code in codes]
        figures = [*f1, float(np.nanmean(f1)), *area, float(np.nanmean(area))]
        table.add_row(way, *(f"{figure:.3f}" for figure in figures))
    Console(width=140).print(table)
    if options.out:
        with options.out.open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([["id", "scored at", "lesion", "hits", "alarms", "misses"], *lines])


if __name__ == "__main__":
    main()
