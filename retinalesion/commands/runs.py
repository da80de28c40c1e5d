"""The folder of a run, ``runs/NAME/``: its files, and which run is meant where none is named."""

import csv
import itertools
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retinalesion.errors import UserError
from retinalesion.files import locked, replace_file, sweep

if TYPE_CHECKING:  # for commands that need no Lightning
    from lightning.pytorch.loggers import CSVLogger

RUNS = Path("runs")

log = logging.getLogger("retinalesion")


@dataclass(frozen=True)
class Run:
    """A run's folder, there or yet to be made.

    Attributes:
        path: of the folder.
    """

    path: Path

    @classmethod
    def named(cls, name: str) -> "Run":
        """A run by its name under ``runs/`` or by its path."""
        path = Path(name)
        return cls(path if path.is_dir() or len(path.parts) > 1 else RUNS / name)

    @classmethod
    def of(cls, checkpoint: Path) -> "Run":
        """The run of a checkpoint; of a file that lies elsewhere, results go beside it."""
        folder = checkpoint.absolute().parent
        return cls(folder.parent if folder.name == "checkpoints" else folder)

    @classmethod
    def new(cls, make: bool = True) -> "Run":
        """A run named by the time; a job of Slurm keeps its name when it is queued again.

        Args:
            make: make the folder, so that nobody else takes the name.
        """
        if job := os.environ.get("SLURM_JOB_ID"):
            return cls(RUNS / f"slurm-{job}")
        now = name = time.strftime("%Y-%m-%d_%H-%M-%S")
        for number in itertools.count(2):
            run = cls(RUNS / name)
            try:
                if make:
                    run.path.mkdir(parents=True)
                return run
            except FileExistsError:
                name = f"{now}-{number}"
        raise AssertionError("numbers have an end")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the run to oneself; a folder that stays empty is no run.

        Raises:
            UserError: another process trains it, or its folder cannot be written.
        """
        try:
            with locked(self.path):
                sweep(self.path)
                yield
        finally:
            with suppress(OSError):
                self.path.rmdir()
                RUNS.rmdir()

    def require_untrained(self) -> None:
        """See that a fresh fit may have the folder.

        Raises:
            UserError: something was trained there.
        """
        if any(self.checkpoints.glob("*.ckpt")) or self.mark.is_file():
            raise UserError(
                f"{self.path} holds a run. Go on with --resume {self.path}, or name another with --run."
            )
        if self.config.is_file():
            log.info("%s holds a run that ended before its first checkpoint: it begins anew.", self.path)

    @classmethod
    def newest_finished(cls) -> "Run":
        """The run under ``runs/`` that finished last.

        Raises:
            UserError: none has.
        """
        finished = cls.finished()
        if not finished:
            raise UserError(
                f"no finished run in {RUNS.absolute()}. Train one with: retinalesion fit --config lnet.yaml; "
                "or name a run with --run NAME, or a checkpoint with --ckpt_path FILE."
            )
        return finished[0]

    @classmethod
    def finished(cls) -> list["Run"]:
        """Those under ``runs/`` that have ended, the latest first."""
        runs = [cls(mark.parent) for mark in RUNS.glob("*/finished")]
        return sorted(runs, key=lambda run: run.mark.stat().st_mtime_ns, reverse=True)

    @property
    def config(self) -> Path:
        """The config as resolved."""
        return self.path / "config.yaml"

    @property
    def mark(self) -> Path:
        """There once the run has ended: one line that begins with the checkpoint that counts."""
        return self.path / "finished"

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.path / "checkpoints"

    def checkpoint(self, name: str) -> Path:
        """``best`` or ``last``.

        Raises:
            UserError: no such run, or no such checkpoint yet.
        """
        return self._checkpoint(name)

    @property
    def result(self) -> Path:
        """The checkpoint to score and use: the one that the finished run names, else the best so far.

        Raises:
            UserError: as `checkpoint` raises.
        """
        return self._checkpoint(None)

    def _checkpoint(self, name: str | None) -> Path:
        from retinalesion.networks.checkpoint import checkpoint_in  # with torch, which few commands need

        if not self.path.is_dir():
            there = ", ".join(sorted(run.parent.name for run in RUNS.glob("*/config.yaml")))
            raise UserError(f"{self.path}: no such run. In {RUNS.absolute()} there are: {there or 'none'}.")
        return checkpoint_in(self.path, name)

    @property
    def latest(self) -> Path:
        """The checkpoint to go on from: the last one, or what was saved since on Slurm's signal.

        Raises:
            UserError: as `checkpoint` raises.
        """
        last = self.checkpoint("last")
        return max([last, *self.path.glob("hpc_ckpt_*.ckpt")], key=lambda file: file.stat().st_mtime_ns)

    def finish(self, checkpoint: str, steps: int) -> None:
        """Mark the run as finished.

        Args:
            checkpoint: ``best`` or ``last``, whichever counts.
            steps: optimizer steps done.
        """
        line = f"{checkpoint} counts; finished after {steps} steps on {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
        replace_file(self.mark, lambda beside: beside.write_text(line, "utf-8"))

    def go_on_with_metrics(self, logger: "CSVLogger", steps: int) -> None:
        """Keep what ``metrics.csv`` holds up to a resumed checkpoint; the logger would begin anew.

        Args:
            logger: that writes the file.
            steps: optimizer steps in the checkpoint.
        """
        file = self.path / "metrics.csv"
        if not file.is_file():
            return
        with file.open(encoding="utf-8", newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if int(row["step"]) < steps]
        logger.experiment.metrics.extend(rows)
        logger.save()
