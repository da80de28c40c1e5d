"""From file to reading: seconds a photograph, what share of them is the network, and its memory.

python bench/reading.py PHOTOGRAPH [--runs 5] [--side 896] [--checkpoint FILE]

Without a checkpoint, random weights: SiAN on L-Net-16s with Inception-v3 in both branches at 896, as in the
paper (which states 1.5 GB on a GPU), and with EfficientNet-Lite0. Memory is the peak of a process of its own
that makes one pass without gradient, less what it held before the network was built.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from networks import peak
from rich.console import Console
from rich.table import Table

from retinalesion.reading.reader import Reader, Seen
from retinalesion.report.outputs import Outputs
from retinalesion.training.grading import GradingTask

ENCODERS = ("inception_v3", "tf_efficientnet_lite0")


def reader_of(name: str, side: int) -> Reader:
    if Path(name).is_file():
        reader = Reader.from_checkpoint(name)
        reader.side = side or reader.side
        return reader
    task = GradingTask("sian", name, None, lesion_network="lnet-16s", lesion_encoder=name)
    return Reader(task.to("cuda" if torch.cuda.is_available() else "cpu"), side)


def memory(name: str, side: int) -> float:
    """MiB of network and one pass."""
    before = peak()
    reader_of(name, side).maps_of(np.zeros((side, side, 3), np.uint8))
    return peak() - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--side", type=int, default=896)
    parser.add_argument("--checkpoint", type=Path)
    options = parser.parse_args()
    names = (str(options.checkpoint),) if options.checkpoint else ENCODERS
    columns = ("SiAN", "MiB", "network, s", "file to reading, s", "share of the network", "with all files, s")
    title = f"{options.photograph.name}, side {options.side}, {torch.get_num_threads()} threads"
    shown = Table(*columns, title=title)
    for name in names:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            taken = pool.apply(memory, (name, options.side))
        reader = reader_of(name, options.side)
        passes, readings, all_of_it = [], [], []
        for _ in range(options.runs + 1):
            begin = time.perf_counter()
            seen = reader.read(options.photograph, "p")
            read = time.perf_counter()
            assert isinstance(seen, Seen)
            reader.maps_of(seen.square)
            passed = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                outputs = Outputs(Path(folder))
                outputs.finish([outputs.write(seen)])
            written = time.perf_counter()
            readings.append(read - begin)
            passes.append(passed - read)
            all_of_it.append(read - begin + written - passed)
        one, whole, files = (statistics.median(times[1:]) for times in (passes, readings, all_of_it))
        cells = (f"{taken:.0f}", f"{one:.2f}", f"{whole:.2f}", f"{one / whole:.0%}", f"{files:.2f}")
        shown.add_row(Path(name).name, *cells)
    Console().print(shown)


if __name__ == "__main__":
    main()
