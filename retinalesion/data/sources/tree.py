"""Folders as they come out of archives: case of names, doubled top folders and stray files do not matter."""

import os
from collections.abc import Collection
from pathlib import Path

from retinalesion.data.decode import SUFFIXES
from retinalesion.data.names import folded, is_id
from retinalesion.errors import UserError

_DEPTH = 3


def require_folder(root: Path) -> Path:
    """The folder that the user named.

    Raises:
        UserError: there is no such folder.
    """
    if not root.is_dir():
        kind = "is a file, not a folder" if root.exists() else "no such folder"
        raise UserError(f"{root}: {kind}. Name the folder into which the set was unpacked.")
    return root


def child(folder: Path, name: str) -> Path | None:
    """The entry of this name in a folder, whatever its case; None where there is none."""
    exact = folder / name
    if exact.exists():
        return exact
    if not folder.is_dir():
        return None
    return next((entry for entry in entries(folder) if folded(entry.name) == folded(name)), None)


def descendant(folder: Path, *names: str) -> Path | None:
    """`child` of `child` and so on; None where one is missing."""
    for name in names:
        found = child(folder, name)
        if found is None:
            return None
        folder = found
    return folder


def find_folder(root: Path, name: str, holding: str = "") -> Path | None:
    """The uppermost folder of this name (that holds an entry named so), at most a few levels down.

    Archives and mirrors wrap a set into one more folder, sometimes of the same name.
    """
    level = [root]
    for _ in range(_DEPTH):
        for folder in level:
            if folder.resolve().name.casefold() == name.casefold() and (
                not holding or child(folder, holding)
            ):
                return folder
        below = [entry for folder in level for entry in entries(folder) if entry.is_dir()]
        level = [
            folder for folder in below if os.access(folder, os.R_OK | os.X_OK)
        ]  # lost+found and the like
    return None


def pictures(folder: Path) -> dict[str, Path]:
    """Picture files of a folder by folded stem, in order; hidden and other files are left out.

    What bears a picture's name and is none (a link that leads nowhere, a pipe) is there too, to be told when
    it is read.

    Raises:
        UserError: two files would get the same id, or one a name that cannot be an id.
    """
    found: dict[str, Path] = {}
    for entry in entries(folder):
        if entry.suffix.lower() not in SUFFIXES or entry.name.startswith(".") or entry.is_dir():
            continue
        other = found.setdefault(folded(entry.stem), entry)
        if other is not entry:
            raise UserError(
                f"{entry}: has the same name as {other.name}, but for its ending or case. "
                "Rename one of the two: the name without its ending is the photograph's id."
            )
    return found


def stem_of(name: str) -> str:
    """Folded stem of a name in a table, which may or may not bear a picture's ending."""
    path = Path(name)
    return folded(path.stem if path.suffix.lower() in SUFFIXES else name)


def require_id(text: str, path: Path) -> str:
    """A text as an id, which also names files.

    Raises:
        UserError: it holds other characters than letters, digits, ``_``, ``-``, ``.``, or names no file.
    """
    if not is_id(text):
        raise UserError(
            f"{path}: the name {text!r} cannot be an id. "
            "Rename the file (and its masks): letters a to z, digits, '_', '-', '.' only, at most 200."
        )
    return text


def without(found: Collection[str], known: Collection[str]) -> list[str]:
    """Stems found that nothing known explains, in order."""
    return sorted(set(found) - set(known))


def entries(folder: Path) -> list[Path]:
    """What a folder holds, in order.

    Raises:
        UserError: it cannot be listed, or is none.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be listed ({error.strerror}). Check that you may read this folder."
        ) from error
