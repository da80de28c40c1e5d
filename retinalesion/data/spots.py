"""A camera's own spots, as they are kept, drawn, and told from what lies on them."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from retinalesion.data.decode import Camera
from retinalesion.data.photograph import Bits
from retinalesion.data.store import Store
from retinalesion.errors import UserError
from retinalesion.files import write_json
from retinalesion.geometry import Box
from retinalesion.lesions import CODES

FEWEST_PHOTOGRAPHS, FEWEST_GROUPS = 30, 15
ON_IT = 0.5  # share of a region's area from which it is the camera's; of what has less on a spot all stays
FILE = "cameras.json"  # in a store, and in an analysis
CLEAN = "What is found there is the camera's and does not count. Have its lens and its sensor cleaned."
IN_A_STORE = "Training ignores these places, and tests leave out what is found there."

Kind = Literal["dark", "bright"]
# What a spot of either kind is taken for.
MISTAKEN: dict[Kind, tuple[str, ...]] = {"dark": ("MA", "iHE"), "bright": ("HaEx", "CWS")}

_FORMAT = 1
_LARGEST_FILE = 1 << 24
_MOST_TOLD = 3  # cameras of too few photographs; a folder may hold a hundred sizes


class Spot(NamedTuple):
    """A place of the picture where a camera shows the same small spot.

    Attributes:
        kind: ``dark`` (dust) or ``bright`` (a ghost of the lens).
        x: column of its middle, in the photographs' own pixels.
        y: row, likewise.
        radius: likewise; within it findings are the camera's.
        depth: how much darker (below 0) or brighter it is in the mean, as a share of what is around.
        strength: the same in multiples of the mean picture's noise.
        found: groups of photographs in which a network found something there; None where none read.
    """

    kind: Kind
    x: float
    y: float
    radius: float
    depth: float
    strength: float
    found: int | None = None

    def scaled(self, to_x: float, to_y: float, left: float = 0, top: float = 0) -> "Spot":
        """The same in another picture's pixels: (left, top) comes to (0, 0), then all is enlarged."""
        x, y = (self.x - left + 0.5) * to_x - 0.5, (self.y - top + 0.5) * to_y - 0.5
        return self._replace(x=x, y=y, radius=self.radius * max(to_x, to_y))


class CameraMap(NamedTuple):
    """One camera and its spots.

    Attributes:
        camera: which one.
        photographs: that were looked at.
        groups: patients, or sets of photographs that are alike, among them.
        spots: the strongest first; their numbers are their places here, from 1.
    """

    camera: Camera
    photographs: int
    groups: int
    spots: tuple[Spot, ...] = ()

    @property
    def looked(self) -> bool:
        """Whether there were enough photographs to look for spots."""
        return self.photographs >= FEWEST_PHOTOGRAPHS and self.groups >= FEWEST_GROUPS

    def __str__(self) -> str:
        seen = f"Camera of {self.camera}, {self.photographs} photograph{'' if self.photographs == 1 else 's'}"
        if self.photographs < FEWEST_PHOTOGRAPHS:
            return f"{seen}: too few to look for spots of its own ({FEWEST_PHOTOGRAPHS} are needed)."
        if not self.looked:
            return (
                f"{seen} of {self.groups} patients or groups of like photographs: too few patients to look "
                f"for spots of its own ({FEWEST_GROUPS} are needed)."
            )
        if not self.spots:
            return f"{seen}: no spots of its own."
        dark = sum(spot.kind == "dark" for spot in self.spots)
        kinds = [
            f"{count} {kind} spot{'' if count == 1 else 's'} of its own ({cause})"
            for count, kind, cause in (
                (dark, "dark", "dust"),
                (len(self.spots) - dark, "bright", "reflexes of the lens"),
            )
            if count
        ]
        return f"{seen}: {' and '.join(kinds)}."


def told(cameras: Sequence[CameraMap]) -> list[str]:
    """What is to say of cameras: of each that was looked at, and of many others in one line."""
    few = [one for one in cameras if not one.looked]
    sentences = [
        f"{one} {CLEAN}" if one.spots else str(one) for one in cameras if one.looked or len(few) <= _MOST_TOLD
    ]
    if len(few) > _MOST_TOLD:
        photographs = sum(one.photographs for one in few)
        sentences.append(
            f"{len(few)} cameras with {photographs} photographs together: too few of each to look for spots "
            f"of their own ({FEWEST_PHOTOGRAPHS} photographs of {FEWEST_GROUPS} patients are needed)."
        )
    return sentences


def spots_drawn(spots: Iterable[Spot], size: tuple[int, int], box: Box | None = None) -> NDArray[np.uint8]:
    """The spots as discs, packed as planes are: bits of the lesions that each is taken for.

    Args:
        spots: of the photograph's camera.
        size: (height, width) of the result.
        box: the field of view that fills the result; None for the photograph's own pixels.

    Returns:
        uint8 (height, width).
    """
    packed = np.zeros(size, np.uint8)
    left, top, to = (box.x, box.y, size[0] / box.side) if box else (0, 0, 1.0)
    for kind, codes in MISTAKEN.items():
        discs = np.zeros(size, np.uint8)
        for spot in spots:
            if spot.kind == kind:
                disc = spot.scaled(to, to, left, top)
                cv2.circle(discs, (round(disc.x), round(disc.y)), math.ceil(disc.radius), 1, cv2.FILLED)
        packed |= discs * np.uint8(sum(1 << CODES.index(code) for code in codes))
    return packed


def regions_on(plane: Bits, spots: Bits) -> tuple[NDArray[np.int32], NDArray[np.int32], list[int]]:
    """The connected regions of which at least half lies on spots.

    Args:
        plane: bool (h, w), what was found of one lesion.
        spots: bool (h, w), as `spots_drawn` has that lesion's bit.

    Returns:
        Labels int32 (h, w), OpenCV's table of all regions, and the labels of those on spots.
    """
    found = plane.astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    regions, table = np.asarray(labels, np.int32), np.asarray(stats, np.int32)
    inside = np.bincount(regions[spots & plane])
    least = ON_IT * table[: inside.size, cv2.CC_STAT_AREA]
    return regions, table, np.flatnonzero((inside > 0) & (inside >= least)).tolist()


def spots_in(store: Store) -> dict[str, tuple[Spot, ...]]:
    """The spots of every photograph's camera, by id; empty for a store in which none were found.

    Raises:
        UserError: the file that the store keeps them in is not what it was.
    """
    if not any(row.camera for row in store.rows):
        return {}
    file = store.path / FILE
    try:
        maps = read_cameras(file)
        return {row.id: maps[row.camera - 1].spots for row in store.rows if row.camera}
    except (UserError, IndexError) as error:
        raise UserError(
            f"{file}: missing, damaged, or without some camera of the store. Prepare it in a new folder."
        ) from error


def write_cameras(file: Path, maps: Sequence[CameraMap]) -> None:
    """Maps of cameras as a JSON file.

    Raises:
        UserError: the file cannot be written.
    """
    cameras = [
        {
            **one.camera._asdict(),
            "photographs": one.photographs,
            "groups": one.groups,
            "spots": [{"number": n, **spot._asdict()} for n, spot in enumerate(one.spots, 1)],
        }
        for one in maps
    ]
    write_json(file, {"format": _FORMAT, "cameras": cameras})


def read_cameras(file: Path) -> tuple[CameraMap, ...]:
    """The reverse of `write_cameras`.

    Raises:
        UserError: missing, or not such a file.
    """
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise ValueError("too large")
        plain = json.loads(file.read_text("utf-8"))
        if plain["format"] != _FORMAT:
            raise UserError(
                f"{file}: format {plain['format']}, but this version reads {_FORMAT}. Make it anew."
            )
        return tuple(_camera_map(one) for one in plain["cameras"])
    except FileNotFoundError as error:
        raise UserError(
            f"{file}: no such file. Make one with: retinalesion camera PHOTOGRAPHS --out {file}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{file}: is not a map of cameras ({error}). Make one with: retinalesion camera"
        ) from error


def _camera_map(plain: Mapping[str, Any]) -> CameraMap:
    camera = Camera(int(plain["width"]), int(plain["height"]), str(plain["model"]), str(plain["serial"]))
    camera = camera._replace(turned=int(plain.get("turned", 1)))
    spots = []
    for one in plain["spots"]:
        figures = {key: float(one[key]) for key in ("x", "y", "radius", "depth", "strength")}
        if one["kind"] not in MISTAKEN or not all(map(math.isfinite, figures.values())):
            raise ValueError("a spot that is none")
        if not 0 < figures["radius"] < max(camera.width, camera.height) / 10:
            raise ValueError(f"a spot with a radius of {figures['radius']:g} pixels")
        if not (-1 < figures["x"] < camera.width and -1 < figures["y"] < camera.height):
            raise ValueError("a spot outside the picture")
        spots.append(Spot(one["kind"], **figures, found=None if one["found"] is None else int(one["found"])))
    return CameraMap(camera, int(plain["photographs"]), int(plain["groups"]), tuple(spots))
