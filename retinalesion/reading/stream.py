"""One reading after another: a line is kept as each photograph ends, and what is kept is not read again.

Nothing here grows with the number of findings: readings lie in their file, and are parsed when asked for.
"""

import json
import os
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

from retinalesion.data.store import Row
from retinalesion.files import append_text
from retinalesion.reading.reading import Reading
from retinalesion.reading.workers import Workers

Result = TypeVar("Result")


class Item(NamedTuple):
    """A photograph that is to be read: a file, or a row of a store.

    Attributes:
        id: unique in a batch.
        file: as it was named; of a store, the photograph's published name.
        store: folder of the store, None for a file.
        row: of the store, None for a file.
    """

    id: str
    file: str
    store: Path | None = None
    row: Row | None = None


class Readings(Sequence[Reading]):
    """The readings of a ``readings.jsonl``, parsed one at a time when they are asked for.

    A last line that was cut off is none.

    Args:
        file: which need not be there; then there are none.

    Raises:
        ValueError: while reading, of a line of another schema.
    """

    def __init__(self, file: Path | str) -> None:
        self.file = Path(file)
        self._ends = array("Q")
        try:
            with self.file.open("rb") as lines:
                end = 0
                for line in lines:
                    end += len(line)
                    if line.endswith(b"\n"):
                        self._ends.append(end)
        except FileNotFoundError:
            return

    @property
    def size(self) -> int:
        """Bytes of all whole lines."""
        return self._ends[-1] if self._ends else 0

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[Reading]:
        if not self._ends:
            return
        with self.file.open("rb") as lines:
            for _ in range(len(self)):
                yield _parsed(lines.readline())

    @overload
    def __getitem__(self, at: int) -> Reading: ...

    @overload
    def __getitem__(self, at: slice) -> list[Reading]: ...

    def __getitem__(self, at: int | slice) -> Reading | list[Reading]:
        places = range(len(self))[at]
        if isinstance(places, range):
            return [self[place] for place in places]
        with self.file.open("rb") as lines:
            lines.seek(self._ends[places - 1] if places else 0)
            return _parsed(lines.readline())

    def __repr__(self) -> str:
        return f"{len(self)} readings in {self.file}"

    def by_id(self, ids: Iterable[str]) -> Mapping[str, Reading]:
        """The same by their ids, which are given in the order of the lines."""
        return _ById(self, {id: place for place, id in enumerate(ids)})


class _ById(Mapping[str, Reading]):
    def __init__(self, readings: Readings, places: Mapping[str, int]) -> None:
        self._readings, self._places = readings, places

    def __getitem__(self, id: str) -> Reading:
        return self._readings[self._places[id]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _parsed(line: bytes) -> Reading:
    return Reading.from_dict(json.loads(line))


class Lines:
    """The file of a batch that is being read: each photograph's line is added as it ends.

    Args:
        file: to go on with; what a killed writer left of a last line is cut away.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        kept = Readings(file)
        self.count = len(kept)
        if file.exists():
            os.truncate(file, kept.size)

    def add(self, reading: Reading) -> None:
        """Add one.

        Raises:
            UserError: the disk is full; nothing of the line is left.
        """
        append_text(self.file, f"{reading.as_json()}\n")
        self.count += 1


def in_order(
    work: Callable[..., Result], items: Iterable[tuple[Any, ...]], workers: Workers | None = None
) -> Iterator[Result]:
    """What ``work`` makes of each of the items, in their order.

    Args:
        work: a method of the job that the workers have.
        items: its arguments; with workers some are taken ahead.
        workers: None to work here.

    Raises:
        UserError: workers are gone; and what ``work`` raises.
    """
    if workers is None:
        for arguments in items:
            yield work(*arguments)
        return
    asked: deque[Future[Result]] = deque()
    try:
        for arguments in items:
            asked.append(workers.submit(work.__name__, *arguments))
            while len(asked) >= workers.ahead:
                yield workers.result(asked.popleft())
        while asked:
            yield workers.result(asked.popleft())
    finally:
        for future in asked:
            future.cancel()
