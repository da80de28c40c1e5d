"""The store, format 1: a folder of prepared photographs that any viewer and any spreadsheet can open."""

import csv
import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from retinalesion import __version__
from retinalesion.data.field import View
from retinalesion.data.names import eye_of, is_id
from retinalesion.errors import UserError
from retinalesion.files import read_png, write_csv, write_json
from retinalesion.geometry import Box, Disc, Point
from retinalesion.lesions import CODES, GRADES, NO_GRADE, NO_OEDEMA, OEDEMA

FORMAT = 1
TABLE = "photographs.csv"
UNFINISHED = "unfinished"  # folder of a store in the making
BEGUN = f"{UNFINISHED}/arguments.json"  # what it is made with
PICTURES = ("photographs", "planes", "ignored")  # its folders of pictures, named by id
_LONGEST = 1_000_000  # pixels; of no photograph a side
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
        oedema: risk of macular oedema, 0 to 2; -1 where nobody said.
        stored: `digest_of` its pictures, in order of `PICTURES`; stores of earlier versions have none.
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
    oedema: int = NO_OEDEMA
    stored: tuple[str, ...] = ()


COLUMNS = (
    *("id", "name", "patient", "eye", "group", "split", "grade", "oedema", "annotated", "width", "height"),
    *("crop_x", "crop_y", "crop_side", "disc_x", "disc_y", "disc_diameter", "fovea_x", "fovea_y"),
    *("twins", "camera", "sha256", "stored", *(f"pixels_{code}" for code in CODES)),
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
        "oedema": "" if row.oedema == NO_OEDEMA else str(row.oedema),
        "annotated": " ".join(code for code in CODES if code in row.annotated),
        **{f"crop_{key}": str(value) for key, value in row.box._asdict().items()},
        "twins": " ".join(row.twins),
        "camera": str(row.camera or ""),
        "sha256": row.sha256,
        "stored": " ".join(row.stored),
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
        # Stores of earlier versions lack these.
        camera=int(cells.get("camera") or 0),
        group=cells.get("group", ""),
        oedema=int(cells.get("oedema") or NO_OEDEMA),
        stored=tuple(cells.get("stored", "").split()),
    )


def _wrong_with(row: Row, side: int) -> str:
    """What of a row cannot be, and would fail later or write elsewhere; empty where all can."""
    if not is_id(row.id):
        return f"{row.id!r} cannot be an id, since ids name files"
    if not 0 < row.width <= _LONGEST or not 0 < row.height <= _LONGEST:
        return f"a photograph of {row.width} x {row.height} pixels"
    box = row.box
    apart = box.x >= row.width or box.y >= row.height or min(box.x, box.y) + box.side <= 0
    if not 0 < box.side <= 2 * _LONGEST or apart:
        return f"a crop of {box.side} pixels at {box.x}, {box.y} in {row.width} x {row.height}"
    if row.grade != NO_GRADE and row.grade not in range(len(GRADES)):
        return f"grade {row.grade}, not one of 0 to {len(GRADES) - 1}"
    if row.oedema != NO_OEDEMA and row.oedema not in range(len(OEDEMA)):
        return f"oedema {row.oedema}, not one of 0 to {len(OEDEMA) - 1}"
    if row.eye and eye_of(row.eye) != row.eye:
        return f"eye {row.eye!r}, neither left nor right"
    if any(not 0 <= count <= side * side for count in row.pixels.values()):
        return f"a count of pixels that no square of {side} has"
    places = (*(row.disc or ())[:2], *(row.fovea or ()))
    if not all(map(math.isfinite, places)) or (row.disc and row.disc.diameter <= 0):
        return "a disc or fovea at no place"
    return "" if row.camera >= 0 else f"camera {row.camera}"


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

    A risk of macular oedema enters only where one is known, so that all other stores keep theirs.

    Args:
        rows: of the store.
        truth: by id, a digest of the masks at the photograph's own size.
    """
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row.id):
        annotated = " ".join(sorted(row.annotated))
        oedema = () if row.oedema == NO_OEDEMA else (row.oedema,)
        cells = (row.id, row.sha256, row.split, row.grade, annotated, truth.get(row.id, ""), *oedema)
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
        self.rows: tuple[Row, ...] = tuple(self._read_rows())
        self._stored = {row.id: row.stored for row in self.rows if row.stored}

    def _read_info(self) -> dict[str, Any]:
        file = self.path / "store.json"
        if not file.is_file():
            require_finished(self.path)
            raise UserError(
                f"{self.path}: no finished store here (store.json is missing). "
                f"Make one with: retinalesion prepare SOURCE FOLDER {self.path}"
            )
        try:
            info: dict[str, Any] = json.loads(file.read_text("utf-8"))
            version = info["format"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{file}: damaged ({error}). Prepare the store again.") from error
        except OSError as error:
            raise _unreadable(file, error) from error
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
        if type(info["side"]) is not int or not 0 < info["side"] <= _LONGEST:
            raise UserError(f"{file}: side {info['side']!r}. Prepare the store again.")
        return info

    def _read_rows(self) -> Iterator[Row]:
        file = self.path / TABLE
        names, *lines = _lines_of(file)
        there = {"rows": len(lines), "rows_digest": _digest_of([names, *lines])}
        if "rows" in self.info and not there.items() <= self.info.items():  # earlier versions wrote neither
            other = there["rows"] != self.info["rows"]
            what = f"{len(lines)} photographs, not {self.info['rows']}" if other else "other cells"
            raise UserError(
                f"{file}: is not the table that prepare wrote ({what}). Put that back, or prepare again."
            )
        seen: set[str] = set()
        for number, line in enumerate(lines, 1):
            try:
                if len(line) != len(names):
                    raise ValueError(f"{len(line)} cells under {len(names)} names")
                row = _decode(dict(zip(names, line, strict=True)))
                wrong = _wrong_with(row, self.side)
            except (KeyError, ValueError) as error:
                wrong = f"{error}"
            if not wrong and row.id.casefold() in seen:  # some file systems do not tell A from a
                wrong = f"{row.id} a second time"
            if wrong:
                raise UserError(f"{file}: damaged (photograph {number}: {wrong}). Prepare the store again.")
            seen.add(row.id.casefold())
            yield row

    def split(self, name: Split) -> tuple[Row, ...]:
        """The photographs of one split."""
        return tuple(row for row in self.rows if row.split == name)

    def image(self, id: str) -> NDArray[np.uint8]:
        """RGB, uint8 (side, side, 3).

        Raises:
            UserError: missing, damaged, of another side, or not the picture that `prepare` wrote.
        """
        return self._picture(id, 0, cv2.IMREAD_COLOR_RGB)

    def view(self, row: Row) -> View:
        """The field of view of one photograph; else as `image`."""
        return View(self.image(row.id), row.box, (row.height, row.width))

    def planes(self, id: str) -> NDArray[np.uint8]:
        """Packed planes, uint8 (side, side).

        Raises:
            UserError: as `image` raises.
        """
        return self._picture(id, 1, cv2.IMREAD_GRAYSCALE)

    def ignored(self, id: str) -> NDArray[np.uint8] | None:
        """Packed ignored pixels, uint8 (side, side); None where nothing is ignored.

        Raises:
            UserError: as `image` raises.
        """
        known = len(self._stored.get(id, ())) > 2
        there = known or picture(self.path, 2, id).exists()
        return self._picture(id, 2, cv2.IMREAD_GRAYSCALE) if there else None

    def _picture(self, id: str, which: int, flag: int) -> NDArray[np.uint8]:
        file = picture(self.path, which, id)
        pixels = read_png(file, flag)
        if pixels.shape[:2] != (self.side, self.side):
            height, width = pixels.shape[:2]
            raise UserError(
                f"{file}: {width} x {height} pixels in a store of side {self.side}. "
                "Prepare the store again to mend it."
            )
        known = self._stored.get(id)
        if known and known[which : which + 1] != (digest_of(file),):
            raise UserError(
                f"{file}: is not the picture that prepare wrote. Put that back, or prepare the store again."
            )
        return pixels


def require_finished(path: Path) -> None:
    """See that a folder is no store whose `prepare` has not ended.

    Raises:
        UserError: it is: its planes are no photographs, and not all photographs are there.
    """
    if (path / BEGUN).is_file() and not (path / "store.json").exists():
        raise UserError(
            f"{path}: no finished store: its prepare has not ended. Give that command again, as it was; "
            "it goes on where it stopped."
        )


def picture(path: Path, which: int, id: str) -> Path:
    """A picture of a store, by its place in `PICTURES`."""
    return path / PICTURES[which] / f"{id}.png"


def digest_of(file: Path) -> str:
    """A digest of a picture's bytes: cheap, since it is compared whenever a picture is read."""
    return f"{zlib.crc32(file.read_bytes()):08x}"


def stored_of(path: Path, id: str) -> tuple[str, ...]:
    """`digest_of` the pictures of a photograph that are there, for its row."""
    files = [picture(path, which, id) for which in range(len(PICTURES))]
    return tuple(digest_of(file) for file in files if file.exists())


def _lines_of(file: Path) -> list[list[str]]:
    """The cells of a table, its header first.

    Raises:
        UserError: missing, empty or no table.
    """
    if not file.is_file():
        raise UserError(f"{file}: missing. Prepare the store again.")
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            lines = [line for line in csv.reader(text) if line]
    except (ValueError, csv.Error) as error:
        raise UserError(f"{file}: damaged ({error}). Prepare the store again.") from error
    except OSError as error:
        raise _unreadable(file, error) from error
    if len(lines) < 2:
        raise UserError(f"{file}: damaged (no photograph in it). Prepare the store again.")
    return lines


def _digest_of(lines: Iterable[Sequence[str]]) -> str:
    """Of cells, so that line ends, quotes and a byte-order mark do not matter."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update("\t".join(line).encode() + b"\n")
    return digest.hexdigest()[:16]


def _unreadable(file: Path, error: OSError) -> UserError:
    return UserError(f"{file}: cannot be read ({error.strerror}). Check that you may read it.")


def truth_of(store: Store, row: Row) -> tuple[NDArray[np.bool_] | None, frozenset[str]]:
    """What experts marked in a photograph of a store, bool (8, side, side), and what they looked for."""
    return (unpack(store.planes(row.id)) if row.annotated else None), row.annotated


def write_tables(path: Path, rows: Iterable[Row], info: dict[str, Any]) -> None:
    """Finish a store: ``photographs.csv``, then ``store.json``, whose presence says that all is there."""
    ordered = sorted(rows, key=lambda row: row.id)
    write_csv(path / TABLE, [_encode(row) for row in ordered], COLUMNS)
    names, *lines = _lines_of(path / TABLE)
    contents = {"format": FORMAT, "version": __version__, "lesions": list(CODES), **info}
    contents |= {"rows": len(lines), "rows_digest": _digest_of([names, *lines])}  # whatever info said
    write_json(path / "store.json", contents)
