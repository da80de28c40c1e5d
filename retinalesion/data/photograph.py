"""What a source yields: a record of each photograph, and on request its pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from retinalesion.data.names import eye_of, is_id, of_a_person
from retinalesion.errors import UserError
from retinalesion.geometry import Disc, Point
from retinalesion.lesions import CODES, GRADES, NO_GRADE, NO_OEDEMA, OEDEMA

Half = Literal["", "train", "test"]
Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Photograph:
    """What is known of one photograph before its pixels are read.

    Attributes:
        id: unique in the store; letters, digits, ``_``, ``-`` and ``.`` only (it names files).
        name: the name under which the set publishes it.
        annotated: codes of the lesions that experts looked for. Others are unknown, not absent.
        grade: 0 to 4, or -1 where there is none.
        oedema: risk of macular oedema, 0 to 2, or -1 where nobody said.
        patient: empty where unknown.
        eye: ``left``, ``right`` or empty; `listed` brings other words for them to these.
        half: the published half it belongs to; empty where the set has no published split.
        group: name of what must stand on one side of any split, where the set hides its patients.
        file: where its pixels are; None for drawn photographs.
        masks: mask file per lesion code; an annotated lesion without a file is absent.
        disc: optic disc, where a table gives it.
        fovea: fovea, where a table gives it.
        disc_mask: mask file of the optic disc, where the set has one.
    """

    id: str
    name: str
    annotated: frozenset[str] = frozenset()
    grade: int = NO_GRADE
    patient: str = ""
    eye: str = ""
    half: Half = ""
    group: str = ""
    file: Path | None = None
    masks: Mapping[str, Path] = field(default_factory=dict)
    disc: Disc | None = None
    fovea: Point | None = None
    disc_mask: Path | None = None
    oedema: int = NO_OEDEMA


@dataclass(frozen=True)
class Pixels:
    """The pixels of one photograph with what experts marked in it.

    Attributes:
        rgb: uint8 (height, width, 3).
        planes: bool (height, width) per code of a lesion that is present.
        ignored: bool (height, width) per code, where some pixels must not count.
        sha256: hex digest of the original file (of the drawn pixels for drawn photographs).
        disc: optic disc, where only pixels tell (a mask); else what the record said.
    """

    rgb: NDArray[np.uint8]
    planes: Mapping[str, Bits]
    ignored: Mapping[str, Bits]
    sha256: str
    disc: Disc | None = None


class Source(Protocol):
    """A set of photographs in some layout. Picklable, since photographs are read in parallel."""

    name: str

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for store.json: licence, assumptions made, what was left out and why."""

    def photographs(self) -> list[Photograph]:
        """Every photograph of the set, in a fixed order, without reading pixels.

        Raises:
            UserError: the folder or its tables are not this layout.
        """

    def read(self, photograph: Photograph) -> Pixels:
        """Pixels and masks of one photograph, at its own size.

        Raises:
            PhotographError: a file of it cannot be used; the message names the file and the remedy.
        """


class Listing(NamedTuple):
    """The photographs of a source, checked, each patient spelled in one way; and what is to say of them."""

    photographs: list[Photograph]
    notes: list[str]


def listed(source: Source) -> Listing:
    """Every photograph of a source.

    Raises:
        UserError: there is none, two would share an id, or a record says what cannot be.
    """
    records = source.photographs()
    if not records:
        raise UserError(f"{source.name}: no photographs found there.")
    seen: dict[str, Photograph] = {}
    for record in records:
        # Ids name files, and some file systems do not tell A from a.
        other = seen.setdefault(record.id.casefold(), record)
        if other is not record:
            raise UserError(
                f"Two photographs would be called {record.id}: {other.file or other.name} and "
                f"{record.file or record.name}. Rename one of them."
            )
        if wrong := _wrong_with(record):
            raise UserError(f"{record.file or record.name or source.name}: {wrong}")
    spellings: dict[str, set[str]] = {}
    for record in records:
        spellings.setdefault(of_a_person(record.patient), set()).add(record.patient)
    chosen = {patient: min(some, key=lambda text: (len(text), text)) for patient, some in spellings.items()}
    several = sorted(" = ".join(sorted(some)) for some in spellings.values() if len(some) > 1)
    notes = [f"patients spelled in several ways, each taken for one: {'; '.join(several)}"] if several else []
    return Listing(
        [
            replace(record, patient=chosen[of_a_person(record.patient)], eye=eye_of(record.eye) or "")
            for record in records
        ],
        [*source.notes, *notes],
    )


def _wrong_with(record: Photograph) -> str:
    if not is_id(record.id):
        return (
            f"{record.id!r} cannot be an id, since it names files: letters a to z, digits, '_', '-' and '.', "
            "no dot first, no more than 200, and no device of Windows."
        )
    if record.grade != NO_GRADE and record.grade not in range(len(GRADES)):
        return f"{record.id} has grade {record.grade}; there are 0 to {len(GRADES) - 1}, {NO_GRADE} for none."
    if record.oedema != NO_OEDEMA and record.oedema not in range(len(OEDEMA)):
        return f"{record.id} has oedema {record.oedema}; there are 0 to 2, {NO_OEDEMA} where nobody said."
    if eye_of(record.eye) is None:
        return f"{record.id} has eye {record.eye!r}, which is neither left nor right."
    if unknown := {*record.annotated, *record.masks} - set(CODES):
        return f"{record.id} names the lesions {', '.join(sorted(unknown))}; there are {', '.join(CODES)}."
    return ""
