"""`analyze`: photographs of any size to readings, tables and the report. One bad file never stops a batch."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retinalesion.data.decode import SUFFIXES
from retinalesion.data.store import Row, Store, unpack
from retinalesion.errors import UserError
from retinalesion.reading.reader import Reader, Seen, Subject, see
from retinalesion.reading.reading import Reading
from retinalesion.report.outputs import LINES, Outputs

BOX = Path(__file__).parents[1] / "weights" / "box.safetensors"


def analyze(
    photographs: Path | str | Sequence[Path | str],
    out: Path | str = "analysis",
    *,
    checkpoint: Path | str | None = None,
    split: str = "all",
    probabilities: bool = False,
) -> list[Reading]:
    """Read photographs, and write tables, pictures and a report.

    Args:
        photographs: files, folders (searched through) or stores.
        out: folder for what `retinalesion.report.outputs` lists; an earlier analysis there is replaced.
        checkpoint: of a run, or a portable one; None for the model in the box.
        split: of stores, the photographs to read: ``train``, ``val``, ``test`` or ``all``.
        probabilities: write 16-bit pictures of every lesion's map too.

    Returns:
        A reading per photograph, in order; of a file that could not be opened, one that says why.

    Raises:
        UserError: nothing to read, no such checkpoint, or the folder holds something else.
    """
    named = [photographs] if isinstance(photographs, (Path, str)) else list(photographs)
    outputs = Outputs(Path(out), probabilities)
    outputs.require_ours()
    work = list(_work([Path(name) for name in named], split, Path(out)))
    reader = Reader.from_checkpoint(checkpoint or box())
    outputs.begin()
    readings: list[Reading] = []
    columns = (TextColumn("analyze"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            for id, item in progress.track(work, description=""):
                readings.append(_read(reader, outputs, id, item))
    except KeyboardInterrupt:  # what has been read is kept
        Console(stderr=True).print(f"Stopped after {len(readings)} of {len(work)} photographs.")
        if not readings:
            raise
    outputs.finish(readings)
    return readings


def box() -> Path:
    """The model in the box.

    Raises:
        UserError: this build has none.
    """
    if not BOX.is_file():
        raise UserError(
            "this build of retinalesion has no model in the box. Name one: --checkpoint "
            "runs/NAME/checkpoints/best.ckpt"
        )
    return BOX


def _work(named: Sequence[Path], split: str, out: Path) -> Iterator[tuple[str, Path | tuple[Store, Row]]]:
    """What to read, under unique ids; pictures of earlier analyses are no photographs.

    Raises:
        UserError: there is nothing of that name, or no photograph in it.
    """
    taken: set[str] = set()
    for path in named:
        if (path / "store.json").is_file():
            store = Store(path)
            rows = [row for row in store.rows if split in (row.split, "all")]
            if not rows:
                raise UserError(f"{path}: no photographs in split {split}.")
            for row in rows:
                yield _unique(row.id, taken), (store, row)
        elif path.is_dir():
            ours = {out.resolve(), *(lines.parent.resolve() for lines in path.rglob(LINES))}
            found = (file for file in path.rglob("*") if _is_photograph(file))
            files = sorted(file for file in found if ours.isdisjoint(file.resolve().parents))
            if not files:
                known = ", ".join(sorted(SUFFIXES))
                raise UserError(f"{path}: no photographs in this folder ({known}).")
            for file in files:
                yield _unique(file.stem, taken), file
        elif path.exists():
            yield _unique(path.stem, taken), path
        else:
            raise UserError(f"{path}: no such file or folder.")


def _is_photograph(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def _unique(name: str, taken: set[str]) -> str:
    """An id that may name files, and that no other photograph of the batch has, upper case or lower."""
    plain = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip(".")[:80] or "photograph"
    id, count = plain, 1
    while id.casefold() in taken:
        count += 1
        id = f"{plain}-{count}"
    taken.add(id.casefold())
    return id


def _read(reader: Reader, outputs: Outputs, id: str, item: Path | tuple[Store, Row]) -> Reading:
    if isinstance(item, Path):
        seen = reader.read_or_tell(item, id)
        return outputs.write(seen) if isinstance(seen, Seen) else seen
    store, row = item
    try:
        square, truth = store.image(row.id), truth_of(store, row)
    except UserError as error:
        return Reading(id=id, file=row.name, model=reader.model.name, error=str(error))
    subject = Subject.of_row(row)._replace(id=id)
    return outputs.write(see(subject, square, *reader.maps_of(square), reader.model), *truth)


def truth_of(store: Store, row: Row) -> tuple[NDArray[np.bool_] | None, frozenset[str]]:
    """What experts marked in a photograph of a store, bool (8, side, side), and what they looked for."""
    return (unpack(store.planes(row.id)) if row.annotated else None), row.annotated
