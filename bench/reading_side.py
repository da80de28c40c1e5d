"""At which side a lesion network is best to read: pixel F1, AUPR, and healthy photographs with a finding.

python bench/reading_side.py CHECKPOINT STORE [--split val] [--sides 896 1344 1792]

The photographs are brought to each side, and the maps enlarged bilinearly to the side of the store and
scored there. Healthy ones count twice: in the scores, where the store says that nothing is in them, and in
the share of those graded DR0 in which anything at all is found.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import interpolate

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.lesions import CODES
from retinalesion.reading.reader import Reader
from retinalesion.scores import THRESHOLD, Counts, aupr, pixel_f1
from retinalesion.training.metrics import count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("store")
    parser.add_argument("--split", default="val")
    parser.add_argument("--sides", type=int, nargs="+", default=[896, 1344, 1792])
    options = parser.parse_args()

    reader = Reader.from_checkpoint(options.checkpoint)
    learned = [CODES.index(code) for code in reader.model.learned]
    codes = reader.model.learned
    data = FundusDataModule(options.store, evaluate=options.split, workers=0)
    columns = ("side", *(f"F1 {c}" for c in codes), "mean", *(f"AUPR {c}" for c in codes), "mean")
    table = Table(*columns, "DR0 with a finding", "s", title=f"{options.checkpoint}, split {options.split}")
    for side in options.sides:
        reader.side = side
        total: Counts | None = None
        with_finding: list[bool] = []
        seconds: list[float] = []
        for raw in data.test_dataloader():
            batch = data.on_after_batch_transfer(raw, 0)
            grade, known = int(batch["grade"][0]), bool(batch["valid"][0, learned].any())
            if not (known or grade == 0):
                continue
            square = (batch["image"][0].permute(1, 2, 0) * 255).round().byte().numpy()
            begin = time.perf_counter()
            maps = torch.from_numpy(reader.maps_of(square)[0])
            seconds.append(time.perf_counter() - begin)
            if grade == 0:
                with_finding.append(bool((maps[learned] > THRESHOLD).any()))
            if known:
                full = interpolate(maps[None], size=batch["planes"].shape[-2:], mode="bilinear")
                logits = torch.logit(full.double(), 1e-7).float()
                counts = count(logits, batch["planes"], batch["valid"]).to_score()
                total = counts if total is None else total + counts
        assert total is not None
        f1, area = pixel_f1(total)[learned].tolist(), aupr(total)[learned].tolist()
        figures = [*f1, float(np.nanmean(f1)), *area, float(np.nanmean(area))]
        healthy = f"{sum(with_finding)} of {len(with_finding)}"
        table.add_row(
            str(side), *(f"{figure:.3f}" for figure in figures), healthy, f"{np.median(seconds):.2f}"
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
