"""What looking for the camera's spots costs: seconds and memory of prepare and analyze, with and without.

python bench/camera_cost.py PHOTOGRAPHS [--count 36] [--rounds 2]

Each command is a process of its own, with and without in turn; memory is the largest of its processes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from retinalesion.data.decode import SUFFIXES


def run(*arguments: str) -> tuple[float, float]:
    """Seconds, and MiB at most."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "retinalesion.cli", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)} ended with {status}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--count", type=int, default=36)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    files = sorted(f for f in options.photographs.iterdir() if f.suffix.lower() in SUFFIXES)[: options.count]
    shown = Table(
        "", "with, s", "without, s", "ratio", "with, MiB", "without, MiB", title=f"{len(files)} files"
    )
    with tempfile.TemporaryDirectory() as folder:
        photographs = Path(folder, "photographs")
        photographs.mkdir()
        for file in files:
            (photographs / file.name).symlink_to(file.resolve())
        for name, switches in (
            ("prepare", ([], ["--no-camera"])),
            ("analyze", (["--camera", "auto"], ["--camera", "none"])),
        ):
            taken: list[list[tuple[float, float]]] = [[], []]
            for turn in range(options.rounds):
                for which, switch in enumerate(switches):
                    out = str(Path(folder, f"{name}-{turn}-{which}"))
                    if name == "prepare":
                        taken[which].append(
                            run(name, "folder", str(photographs), out, "--jobs", "1", *switch)
                        )
                    else:
                        taken[which].append(run(name, str(photographs), "--out", out, *switch))
            (a, b), (c, d) = (
                (statistics.median(s for s, _ in some), max(m for _, m in some)) for some in taken
            )
            shown.add_row(name, f"{a:.1f}", f"{c:.1f}", f"{a / c:.2f}", f"{b:.0f}", f"{d:.0f}")
    Console().print(shown)


if __name__ == "__main__":
    main()
