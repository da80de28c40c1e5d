"""Files: written beside and renamed, so that nobody ever sees half of one; tables and pictures."""

import csv
import json
import math
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from retinalesion.errors import UserError

try:
    import fcntl
except ImportError:  # no POSIX system: there nobody is held off
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"  # in a folder that somebody works in; says who
HALF = re.compile(r"\..+\.\d+\.part(\.|$)")  # the name of what `replace_file` writes beside
_ATTEMPTS = 100
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_held: set[int] = set()  # descriptors of this process's locks


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside, then rename, so that nobody ever sees half a file.

    Raises:
        UserError: the place cannot be written or is full.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        beside.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):  # what went wrong above must be what is told
            beside.unlink()


def sweep(folder: Path) -> None:
    """Remove what killed writers left beside, and nothing else; the folder must be `locked`."""
    for part in folder.rglob(".*.part*"):
        if HALF.match(part.name):
            with suppress(OSError):
                part.unlink()


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be written ({error.strerror or error}). "
        "Free some space or name a folder that you may write to."
    )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Have a folder to oneself until the block ends; the folder is made where there is none.

    The system lets go of the lock when the process dies, whatever ends it, so that none is ever stale. Where
    a disk knows no locks, as some network file systems, nobody is held off.

    Raises:
        UserError: another process (or another block of this one) has the folder, or it cannot be written.
    """
    file = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _take(file)
    except OSError as error:
        raise _unwritable(file, error) from error
    _held.add(descriptor)
    try:
        since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
        who = f"process {os.getpid()} on {socket.gethostname()}, since {since}\n"
        with suppress(OSError):  # on a full disk it holds all the same
            os.ftruncate(descriptor, 0)
            os.write(descriptor, who.encode())
        yield
    finally:
        if descriptor in _held:
            with suppress(OSError):
                file.unlink()  # while it is still ours
            _held.remove(descriptor)
            os.close(descriptor)


def _take(file: Path) -> int:
    """A descriptor of the lock, ours."""
    for _ in range(_ATTEMPTS):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(descriptor, 200).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            raise UserError(
                f"{file.parent}: in use by {who}. Wait until that has ended, or name another folder."
            ) from None
        except OSError:
            return descriptor  # no locks on this disk
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return descriptor
        os.close(descriptor)  # its holder has let go and removed it just now
    raise UserError(f"{file.parent}: is taken and left all the time. Name another folder.")


def _let_go_in_child() -> None:
    """A forked worker that outlives its parent must not hold the parent's folder."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


def append_text(path: Path, text: str) -> None:
    """Add to a file, all or nothing; what is no Unicode becomes a question mark.

    Raises:
        UserError: as `replace_file` raises.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            before, rest = file.tell(), memoryview(text.encode("utf-8", "replace"))
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise _unwritable(path, error) from error


def write_csv(
    file: Path,
    lines: Iterable[Mapping[str, Any]],
    columns: Sequence[str] = (),
    *,
    spreadsheet: bool = False,
) -> None:
    """Lines as a CSV file, whole or not at all; what is no Unicode becomes a question mark.

    Args:
        file: to write.
        lines: taken one at a time where columns are given.
        columns: by default all the keys that occur, in order.
        spreadsheet: people open it in a spreadsheet. It begins with the mark by which Excel knows UTF-8, and
            a text that Excel would take for a formula (``= + - @``, tab or return first) gets an apostrophe
            before it; numbers never do.

    Raises:
        UserError: as `replace_file` raises.
    """
    if not columns:
        lines = list(lines)
        columns = list(dict.fromkeys(key for line in lines for key in line))

    def write_lines(beside: Path) -> None:
        encoding = "utf-8-sig" if spreadsheet else "utf-8"
        with beside.open("w", encoding=encoding, errors="replace", newline="") as out:
            writer = csv.DictWriter(out, columns, restval="")
            writer.writeheader()
            for line in lines:
                writer.writerow({key: _plain(cell) for key, cell in line.items()} if spreadsheet else line)

    replace_file(file, write_lines)


def _plain(cell: Any) -> Any:
    """The cell, as no formula."""
    if not isinstance(cell, str) or not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def finite(contents: Any) -> Any:
    """Plain contents of a JSON file, with None for numbers that are not finite: JSON knows none."""
    if isinstance(contents, Mapping):
        return {key: finite(value) for key, value in contents.items()}
    if isinstance(contents, (list, tuple)):
        return [finite(value) for value in contents]
    return None if isinstance(contents, float) and not math.isfinite(contents) else contents


def write_json(file: Path, contents: Mapping[str, Any]) -> None:
    """A JSON file for people and programs, whole or not at all; numbers are finite or null.

    Raises:
        UserError: as `replace_file` raises.
    """
    text = json.dumps(finite(contents), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_file(file, lambda beside: beside.write_text(text, "utf-8"))


def write_png(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """A picture as PNG, RGB or grey, 8 or 16 bit, written beside and renamed."""
    if pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not encoded:
        raise UserError(f"{path}: the picture could not be encoded as PNG.")
    replace_file(path, lambda beside: beside.write_bytes(data.tobytes()))


def read_png(path: Path, flag: int) -> NDArray[np.uint8]:
    """A picture of the store, grey or RGB by OpenCV's flag.

    Raises:
        UserError: missing or not a picture.
    """
    pixels = cv2.imread(str(path), flag)
    if pixels is None:
        raise UserError(f"{path}: missing or damaged. Prepare the store again to mend it.")
    return np.asarray(pixels, np.uint8)
