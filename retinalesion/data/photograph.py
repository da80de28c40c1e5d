"""What a source yields: a record of each photograph, and on request its pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from retinalesion.geometry import Disc, Point
from retinalesion.lesions import NO_GRADE

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
        patient: empty where unknown.
        eye: ``left``, ``right`` or empty.
        half: the published half it belongs to; empty where the set has no published split.
        group: name of what must stand on one side of any split, where the set hides its patients.
        file: where its pixels are; None for drawn photographs.
        masks: mask file per lesion code; an annotated lesion without a file is absent.
        disc: optic disc, where a table gives it.
        fovea: fovea, where a table gives it.
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
