"""How much faster is a batch read from the store than from the photographs as published?

python bench/store.py IDRID_FOLDER [--count 6] [--side 896]

One thread, one decoder (the package's own) for both ways. Originals: decode the photograph and its four
masks, find the field, crop, reduce by area, pack. Store: decode both pictures and make the batch. Both end
with the same planes, which is checked.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.field import find_field, grow, plane_to_square, to_square
from retinalesion.data.photograph import Photograph
from retinalesion.data.prepare import prepare
from retinalesion.data.sources.idrid import IdridSource
from retinalesion.data.store import pack


class Some(IdridSource):
    """The first few photographs of the set."""

    count = 6

    def photographs(self) -> list[Photograph]:
        return super().photographs()[: self.count]


def seconds(work: Callable[[], object], times: int) -> float:
    work()
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("idrid", type=Path)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--side", type=int, default=896)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    Some.count = options.count
    source = Some(options.idrid, part="segmentation", half="train")
    photographs = source.photographs()

    with tempfile.TemporaryDirectory() as folder:
        prepare(source, Path(folder) / "store", side=options.side, jobs=1)
        data = FundusDataModule(str(Path(folder) / "store"), evaluate="all", workers=0)
        packed = {}

        def from_originals(index: int) -> None:
            pixels = source.read(photographs[index])
            box = grow(find_field(pixels.rgb), pixels.planes.values())
            square = to_square(pixels.rgb, box, options.side)
            planes = {code: plane_to_square(mask, box, options.side) for code, mask in pixels.planes.items()}
            packed[photographs[index].id] = pack(planes, options.side)
            torch.from_numpy(square)

        samples = data.test_dataloader().dataset
        collate = torch.utils.data.default_collate

        def decode_only(index: int) -> None:
            source.read(photographs[index])

        def from_store(index: int) -> None:
            data.on_after_batch_transfer(collate([samples[index]]), 0)

        ways = {
            "originals: decode only": decode_only,
            "originals to square": from_originals,
            "store to batch": from_store,
        }
        taken = {
            name: [seconds(lambda i=i, w=way: w(i), 3) for i in range(options.count)]
            for name, way in ways.items()
        }
        for row in data.rows("all"):
            assert np.array_equal(packed[row.id], data.store.planes(row.id)), row.id

    table = Table(title=f"{options.count} photographs with masks, side {options.side}, one thread")
    for column in ("way", "seconds a photograph (median)", "times store to batch"):
        table.add_column(column, justify="left" if column == "way" else "right")
    base = statistics.median(taken["store to batch"])
    for name, values in taken.items():
        table.add_row(name, f"{statistics.median(values):.3f}", f"{statistics.median(values) / base:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
