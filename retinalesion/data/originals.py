"""The files that a store was made of, and whether they are the same: by size and time, else by content."""

import csv
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from types import MappingProxyType
from typing import NamedTuple

from retinalesion.data.decode import sha256_of
from retinalesion.data.photograph import Photograph
from retinalesion.errors import PhotographError, UserError
from retinalesion.files import write_csv

FILE = "originals.csv"


class Original(NamedTuple):
    """A file as it was when it was read; of one that could not be, size -1 and no digest."""

    size: int
    modified: int
    sha256: str


_NONE = Original(-1, 0, "")
Originals = Mapping[str, Original]  # of one photograph, by what they are: photograph, MA, ..., disc


def originals_of(record: Photograph, known: Originals = MappingProxyType({})) -> dict[str, Original]:
    """The files of a photograph as they are.

    Args:
        record: of the photograph.
        known: as they were: what still has the same size and time is not read again.
    """
    return {what: _original(path, known.get(what)) for what, path in files_of(record).items()}


def changed(record: Photograph, now: Originals, known: Originals) -> list[str]:
    """Files of a photograph whose content is not what it was, also those that came or went."""
    files = files_of(record)
    some = [what for what in {**known, **now} if now.get(what, _NONE).sha256 != known.get(what, _NONE).sha256]
    return [str(files.get(what, f"{what} of {record.id}")) for what in some]


def files_of(record: Photograph) -> dict[str, Path]:
    """By what they are: ``photograph``, a lesion's code, ``disc``."""
    files = {"photograph": record.file, **record.masks, "disc": record.disc_mask}
    return {what: file for what, file in files.items() if file}


def _original(path: Path, was: Original | None) -> Original:
    with suppress(OSError, PhotographError):  # told when it is read
        seen = path.stat()
        if was and (seen.st_size, seen.st_mtime_ns) == (was.size, was.modified):
            return was
        if S_ISREG(seen.st_mode):  # reading a pipe would wait for ever
            return Original(seen.st_size, seen.st_mtime_ns, sha256_of(path))
    return _NONE


def write_originals(store: Path, originals: Mapping[str, Originals]) -> None:
    """Keep in a store what it was made of; no file where it was made of none."""
    lines = [
        {"id": id, "what": what, **one._asdict()}
        for id, some in sorted(originals.items())
        for what, one in some.items()
    ]
    if lines:
        write_csv(store / FILE, lines)


def read_originals(store: Path) -> dict[str, dict[str, Original]]:
    """What `write_originals` kept; empty for stores of earlier versions.

    Raises:
        UserError: damaged.
    """
    file = store / FILE
    if not file.is_file():
        return {}
    found: dict[str, dict[str, Original]] = {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            for line in csv.DictReader(lines):
                one = Original(int(line["size"]), int(line["modified"]), line["sha256"])
                found.setdefault(line["id"], {})[line["what"]] = one
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{file}: damaged ({error}). Prepare the store again in another folder.") from error
    return found
