"""`analyze` of many photographs: what memory grows by, and what two workers save.

python bench/analyze.py memory [--counts 100 400]
python bench/analyze.py workers PHOTOGRAPHS [--count 12] [--workers 1 2] [--rounds 2] [--checkpoint FILE]

Memory: the peak of a process of its own that reads so many small photographs of one camera, with 400 findings
in each and a network that costs nothing; tables, report and the search for the camera's spots are in it.
Workers: seconds of the command, start and all, in turn.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from retinalesion.data.decode import SUFFIXES
from retinalesion.data.quality import LIMITS
from retinalesion.lesions import CODES
from retinalesion.reading.reader import Model, Reader
from retinalesion.report.analyze import analyze

SIDE = 160
ANY = {name: (-float("inf"), float("inf")) for name in LIMITS}


class Dots(Reader):
    """Finds every bright dot."""

    def __init__(self) -> None:
        self.side, self.anatomy, self.model = SIDE, None, Model("dots", ("MA",), ANY)

    def maps_of(self, square: NDArray[np.uint8]) -> tuple[NDArray[np.float32], tuple[float, ...]]:
        maps = np.zeros((len(CODES), SIDE, SIDE), np.float32)
        maps[0] = square[..., 1] > 200
        return maps, ()


def draw(folder: Path, count: int) -> None:
    """Waves of its own in each, and 400 dots."""
    for number in range(count):
        random = np.random.default_rng(number)
        waves = cv2.resize(random.uniform(60, 120, (7, 7)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        eye = np.repeat(waves.astype(np.uint8)[..., None], 3, axis=2)
        eye[4::8, 4::8] = 255
        cv2.imwrite(str(folder / f"p{number:05}.png"), eye)


def peak(count: int) -> tuple[float, int]:
    """MiB of this process at most, and findings."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "eyes").mkdir()
        draw(Path(place) / "eyes", count)
        Reader.from_checkpoint = lambda *_, **__: Dots()  # type: ignore[method-assign, assignment]
        readings = analyze(Path(place) / "eyes", Path(place) / "out", checkpoint=__file__)
        findings = sum(len(reading.findings) + len(reading.camera) for reading in readings)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, findings


def memory(counts: list[int]) -> list[float]:
    """MiB at most for each number of photographs, in processes of their own."""
    shown, peaks = Table("photographs", "findings", "peak, MiB", title="Memory of analyze"), []
    for count in counts:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            most, findings = pool.apply(peak, (count,))
        peaks.append(most)
        shown.add_row(str(count), str(findings), f"{most:.1f}")
    Console().print(shown)
    return peaks


def seconds(photographs: Path, out: Path, workers: int, checkpoint: Path | None) -> float:
    words = [sys.executable, "-m", "retinalesion.cli", "analyze", str(photographs), "--out", str(out)]
    words += ["--workers", str(workers), *(("--checkpoint", str(checkpoint)) if checkpoint else ())]
    begin = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def times(options: argparse.Namespace) -> None:
    files = sorted(f for f in options.photographs.iterdir() if f.suffix.lower() in SUFFIXES)[: options.count]
    taken: dict[int, list[float]] = {workers: [] for workers in options.workers}
    with tempfile.TemporaryDirectory() as place:
        eyes = Path(place, "eyes")
        eyes.mkdir()
        for file in files:
            (eyes / file.name).symlink_to(file.resolve())
        for turn in range(options.rounds):
            for workers, some in taken.items():
                some.append(seconds(eyes, Path(place, f"{turn}-{workers}"), workers, options.checkpoint))
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    shown = Table("workers", "seconds", "ratio", "each", title=f"{len(files)} photographs, load {load}")
    first = statistics.median(taken[options.workers[0]])
    for workers, some in taken.items():
        middle = statistics.median(some)
        each = " ".join(f"{one:.1f}" for one in some)
        shown.add_row(str(workers), f"{middle:.1f}", f"{middle / first:.2f}", each)
    Console().print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_subparsers(dest="what", required=True)
    grows = what.add_parser("memory")
    grows.add_argument("--counts", type=int, nargs="+", default=[100, 400])
    saves = what.add_parser("workers")
    saves.add_argument("photographs", type=Path)
    saves.add_argument("--count", type=int, default=12)
    saves.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    saves.add_argument("--rounds", type=int, default=2)
    saves.add_argument("--checkpoint", type=Path)
    options = parser.parse_args()
    if options.what == "memory":
        memory(options.counts)
    else:
        times(options)


if __name__ == "__main__":
    main()
