"""A batch in parts: each reads its share, on whatever machine, and the last one puts them together."""

import re
from pathlib import Path
from typing import NamedTuple, Self

from retinalesion.errors import UserError
from retinalesion.reading.stream import Readings
from retinalesion.report.folder import LINES

_NAME = re.compile(r"part-(\d+)-of-(\d+)")


class Part(NamedTuple):
    """One part of a batch.

    Attributes:
        number: from 1.
        of: how many there are.
    """

    number: int
    of: int

    @classmethod
    def named(cls, text: str) -> Self:
        """As typed: ``2/8``.

        Raises:
            UserError: it is none.
        """
        match = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
        part = cls(int(match[1]), int(match[2])) if match else None
        if part is None or not 1 <= part.number <= part.of:
            raise UserError(f"--part {text}: type it as 2/8, the second of eight parts.")
        return part

    def __str__(self) -> str:
        return f"part {self.number} of {self.of}"

    def share(self, count: int) -> range:
        """Which of so many photographs are its own."""
        return range(count * (self.number - 1) // self.of, count * self.number // self.of)

    def folder(self, work: Path) -> Path:
        """Where its lines lie."""
        return work / f"part-{self.number}-of-{self.of}"


def parts_in(work: Path) -> list[Part]:
    """The parts that were begun, in order."""
    found = list(work.iterdir()) if work.is_dir() else []
    return sorted(Part(int(m[1]), int(m[2])) for entry in found if (m := _NAME.fullmatch(entry.name)))


def kept_in(work: Path, count: int) -> list[tuple[int, Readings]]:
    """What was read by parts: the place of the first photograph, and readings; in order.

    Args:
        work: the batch's folder for what is unfinished.
        count: of the whole batch.
    """
    parts = ((part, Readings(part.folder(work) / LINES)) for part in parts_in(work))
    return [(part.share(count).start, readings) for part, readings in parts if readings]


def all_read(work: Path, count: int) -> bool:
    """Whether parts hold a reading of every photograph."""
    return sum(len(readings) for _, readings in kept_in(work, count)) == count
