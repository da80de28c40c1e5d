"""The store, format 1: a folder of prepared photographs that any viewer and any spreadsheet can open."""

import csv
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from retinalesion import __version__
from retinalesion.errors import UserError
from retinalesion.files import read_png, replace_file, write_csv
from retinalesion.geometry import Box, Disc, Point
from retinalesion.lesions import CODES, NO_GRADE

FORMAT = 1
Split = Literal["train", "val", "test", "none"]
SPLITS: tuple[Split, ...] = ("train", "val", "test", "none")


@dataclass(frozen=True)
class Row:
    """One photograph of a store, as in ``photographs.csv``.

    Attributes:
        width: of the original, pixels.
        height: of the original, pixels.
        box: the crop that became the square.
        disc: optic disc in the original's pixels.
        fovea: fovea in the original's pixels.
        twins: ids of photographs that show the same.
        sha256: of the original file.
        pixels: stored pixels per annotated lesion.
        camera: number of its camera in cameras.json, from 1; 0 where that camera's spots are not known.
        group: of photographs that must stand on one side of any split, where the set hides its patients.
    """

    id: str
    name: str
    split: Split
    width: int
    height: int
    box: Box
    sha256: str
    patient: str = ""
    eye: str = ""
    grade: int = NO_GRADE
    annotated: frozenset[str] = frozenset()
    disc: Disc | None = None
    fovea: Point | None = None
    twins: tuple[str, ...] = ()
    pixels: dict[str, int] = field(default_factory=dict)
    camera: int = 0
    group: str = ""


COLUMNS = (
    *("id", "name", "patient", "eye", "group", "split", "grade", "annotated", "width", "height"),
    *("crop_x", "crop_y", "crop_side", "disc_x", "disc_y", "disc_diameter", "fovea_x", "fovea_y"),
    *("twins", "camera", "sha256", *(f"pixels_{code}" for code in CODES)),
)


def _encode(row: Row) -> dict[str, str]:
    def number(value: float) -> str:
        return "" if value != value else f"{value:g}"

    cells = {
        **{
            key: str(getattr(row, key))
            for key in ("id", "name", "patient", "eye", "group", "split", "width", "height")
        },
        "grade": "" if row.grade == NO_GRADE else str(row.grade),
        "annotated": " ".join(code for code in CODES if code in row.annotated),
        **{f"crop_{key}": str(value) for key, value in row.box._asdict().items()},
        "twins": " ".join(row.twins),
        "camera": str(row.camera or ""),
        "sha256": row.sha256,
        **{f"pixels_{code}": str(count) for code, count in row.pixels.items()},
    }
    if row.disc:
        cells |= {f"disc_{key}": number(value) for key, value in row.disc._asdict().items()}
    if row.fovea:
        cells |= {f"fovea_{key}": number(value) for key, value in row.fovea._asdict().items()}
    return cells


def _decode(cells: dict[str, str]) -> Row:
    disc = Disc(*(float(cells[f"disc_{key}"] or "nan") for key in Disc._fields)) if cells["disc_x"] else None
    fovea = Point(float(cells["fovea_x"]), float(cells["fovea_y"])) if cells["fovea_x"] else None
    split = cells["split"]
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, not one of {', '.join(SPLITS)}")
    annotated = frozenset(cells["annotated"].split())
    if unknown := annotated - set(CODES):
        raise ValueError(f"annotated names {', '.join(sorted(unknown))}, not among {', '.join(CODES)}")
    return Row(
        id=cells["id"],
        name=cells["name"],
        split=split,
        width=int(cells["width"]),
        height=int(cells["height"]),
        box=Box(*(int(cells[f"crop_{key}"]) for key in Box._fields)),
        sha256=cells["sha256"],
        patient=cells["patient"],
        eye=cells["eye"],
        grade=int(cells["grade"] or NO_GRADE),
        annotated=annotated,
        disc=disc,
        fovea=fovea,
        twins=tuple(cells["twins"].split()),
        pixels={code: int(cells[f"pixels_{code}"]) for code in CODES if cells[f"pixels_{code}"]},
        camera=int(cells.get("camera") or 0),  # stores of earlier versions have neither
        group=cells.get("group", ""),
    )


def pack(planes: dict[str, NDArray[np.bool_]], side: int) -> NDArray[np.uint8]:
    """Planes as one grey picture: bit j is lesion j, bit 0 is MA. Lesions left out are empty."""
    packed = np.zeros((side, side), np.uint8)
    for code, plane in planes.items():
        packed |= plane.astype(np.uint8) << CODES.index(code)
    return packed


def unpack(packed: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The reverse of `pack`: bool (8, side, side)."""
    planes: NDArray[np.bool_] = (
        packed[None] >> np.arange(len(CODES), dtype=np.uint8)[:, None, None]
    ) & 1 == 1
    return planes


def fingerprint(rows: Iterable[Row], truth: dict[str, str]) -> str:
    """Of ids, originals, splits and truth, not of the side: runs at 448 and 896 may be compared.

    Args:
        rows: of the store.
        truth: by id, a digest of the masks at the photograph's own size.
    """
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row.id):
        annotated = " ".join(sorted(row.annotated))
        cells = (row.id, row.sha256, row.split, row.grade, annotated, truth.get(row.id, ""))
        digest.update("\t".join(map(str, cells)).encode() + b"\n")
    return digest.hexdigest()[:16]


class Store:
    """A finished store, opened for reading.

    Attributes:
        path: its folder.
        info: what store.json says.
        rows: its photographs, in order of id.
    """

    def __init__(self, path: Path | str) -> None:
        """Open a store.

        Raises:
            UserError: no store there, unfinished, of another format version, or damaged.
        """
        self.path = Path(path)
        self.info: dict[str, Any] = self._read_info()
        self.side: int = self.info["side"]
        self.fingerprint: str = self.info["fingerprint"]
        self.rows: tuple[Row, ...] = self._read_rows()

    def _read_info(self) -> dict[str, Any]:
        file = self.path / "store.json"
        if not file.is_file():
            raise UserError(
                f"{self.path}: no finished store here (store.json is missing). "
                f"Make one with: retinalesion prepare SOURCE FOLDER {self.path}"
            )
        try:
            info = json.loads(file.read_text("utf-8"))
            version = info["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: damaged ({error}). Prepare the store again.") from error
        if version != FORMAT:
            raise UserError(
                f"{file}: format {version}, but this version of retinalesion reads format {FORMAT}. "
                "Prepare the store again, or install the version that made it "
                f"({info.get('version', 'unknown')}; here: {__version__})."
            )
        if missing := {"side", "lesions", "fingerprint", "source", "seed"} - info.keys():
            raise UserError(f"{file}: {', '.join(sorted(missing))} missing. Prepare the store again.")
        if tuple(info["lesions"]) != CODES:
            raise UserError(f"{file}: lesions {info['lesions']} instead of {list(CODES)}. Prepare it again.")
        return info  # type: ignore[no-any-return]

    def _read_rows(self) -> tuple[Row, ...]:
        file = self.path / "photographs.csv"
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                return tuple(_decode(cells) for cells in csv.DictReader(lines))
        except FileNotFoundError as error:
            raise UserError(f"{file}: missing. Prepare the store again.") from error
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{file}: damaged ({error}). Prepare the store again.") from error

    def split(self, name: Split) -> tuple[Row, ...]:
        """The photographs of one split."""
        return tuple(row for row in self.rows if row.split == name)

    def image(self, id: str) -> NDArray[np.uint8]:
        """RGB, uint8 (side, side, 3)."""
        return read_png(self.path / "photographs" / f"{id}.png", cv2.IMREAD_COLOR_RGB)

    def planes(self, id: str) -> NDArray[np.uint8]:
        """Packed planes, uint8 (side, side)."""
        return read_png(self.path / "planes" / f"{id}.png", cv2.IMREAD_GRAYSCALE)

    def ignored(self, id: str) -> NDArray[np.uint8] | None:
        """Packed ignored pixels, uint8 (side, side); None where nothing is ignored."""
        file = self.path / "ignored" / f"{id}.png"
        return read_png(file, cv2.IMREAD_GRAYSCALE) if file.exists() else None


def truth_of(store: Store, row: Row) -> tuple[NDArray[np.bool_] | None, frozenset[str]]:
    """What experts marked in a photograph of a store, bool (8, side, side), and what they looked for."""
    return (unpack(store.planes(row.id)) if row.annotated else None), row.annotated


def write_tables(path: Path, rows: Iterable[Row], info: dict[str, Any]) -> None:
    """Finish a store: ``photographs.csv``, then ``store.json``, whose presence says that all is there."""
    ordered = sorted(rows, key=lambda row: row.id)
    write_csv(path / "photographs.csv", [_encode(row) for row in ordered], COLUMNS)
    contents = {"format": FORMAT, "version": __version__, "lesions": list(CODES), **info}
    text = json.dumps(contents, indent=2, ensure_ascii=False) + "\n"
    replace_file(path / "store.json", lambda beside: beside.write_text(text, "utf-8"))
