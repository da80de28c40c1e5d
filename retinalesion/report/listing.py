"""What `analyze` is given, as a list of photographs under unique ids."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from retinalesion.data.decode import SUFFIXES
from retinalesion.data.store import BEGUN, Store, require_finished
from retinalesion.errors import UserError
from retinalesion.reading.stream import Item
from retinalesion.report.folder import LINES, MARK, BatchFolder

_SYSTEMS = frozenset({"@eaDir", "$RECYCLE.BIN", "__MACOSX"})  # thumbnails, what was deleted, forks of files


def listed(photographs: Path | str | Sequence[Path | str], split: str, out: Path) -> list[Item]:
    """What to read, under unique ids; pictures of earlier analyses are no photographs.

    Args:
        photographs: files, folders (searched through) or stores.
        split: of stores; ``all`` for all.
        out: where results will go.

    Raises:
        UserError: there is nothing of that name, or no photograph in it.
    """
    named = [photographs] if isinstance(photographs, (Path, str)) else photographs
    items = list(_listed([Path(name) for name in named], split, out))
    if not items:
        raise UserError("no photographs named. Name files, folders or stores.")
    return items


def digest_of(items: Sequence[Item]) -> str:
    """By it a list is known again: names, sizes and times of files, and the stores' fingerprints."""
    digest, stores = hashlib.sha256(), dict[Path, str]()
    for item in items:
        if item.store and item.store not in stores:
            stores[item.store] = Store(item.store).fingerprint
        try:
            held = Path(item.file).stat() if not item.store else None
            told = (held.st_size, held.st_mtime_ns) if held else stores.get(item.store or Path())
        except OSError:  # it cannot be read either
            told = None
        digest.update(repr((item.id, item.file, told)).encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def _listed(named: Sequence[Path], split: str, out: Path) -> Iterator[Item]:
    taken: set[str] = set()
    for path in named:
        if (path / "store.json").is_file():
            store = Store(path)
            rows = [row for row in store.rows if split in (row.split, "all")]
            if not rows:
                raise UserError(f"{path}: no photographs in split {split}.")
            for row in rows:
                yield Item(_unique(row.id, taken), row.name, path, row)
        elif path.is_dir():
            for begun in path.rglob(BEGUN):
                require_finished(begun.parents[1])
            ours = {out.resolve(), *(lines.parent.resolve() for lines in path.rglob(LINES))}
            ours |= {mark.parent.resolve() for mark in path.rglob(MARK) if BatchFolder(mark.parent).is_ours}
            found = (file for file in path.rglob("*") if _is_photograph(file, path))
            # Of its folder: a file may be a link to itself, which is told when it is read.
            files = sorted(file for file in found if ours.isdisjoint(_with_all_above(file.parent.resolve())))
            if not files:
                known = ", ".join(sorted(SUFFIXES))
                raise UserError(f"{path}: no photographs in this folder ({known}).")
            for file in files:
                yield Item(_unique(file.stem, taken), str(file))
        elif path.exists():
            yield Item(_unique(path.stem, taken), str(path))
        else:
            raise UserError(f"{path}: no such file or folder.")


def _with_all_above(folder: Path) -> list[Path]:
    return [folder, *folder.parents]


def _is_photograph(file: Path, folder: Path) -> bool:
    """Whether a file of a folder is one by its name, and in no hidden folder nor one of a system."""
    if file.suffix.lower() not in SUFFIXES or file.is_dir():
        return False
    return not any(part.startswith(".") or part in _SYSTEMS for part in file.relative_to(folder).parts)


def _unique(name: str, taken: set[str]) -> str:
    """An id that may name files, and that no other photograph of the batch has, upper case or lower."""
    plain = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip(".")[:80] or "photograph"
    id, count = plain, 1
    while id.casefold() in taken:
        count += 1
        id = f"{plain}-{count}"
    taken.add(id.casefold())
    return id
