"""Which findings are the camera's: spots where findings recur, and what lies on them set aside.

The second witness beside the mean picture (`retinalesion.data.camera`). A place counts where more photographs
have a finding than chance brings there from the ring around it: the fovea, the disc and crossings of vessels
draw false findings too, but move from eye to eye and fill the ring as well.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import pdtrc

from retinalesion.data.camera import BESIDE_FINDINGS, MOST, MeanPicture, relative_to_surroundings
from retinalesion.data.decode import Camera, camera_of
from retinalesion.data.photograph import Bits
from retinalesion.data.spots import FEWEST_PHOTOGRAPHS, MISTAKEN, CameraMap, Spot, regions_on, spots_drawn
from retinalesion.data.twins import find_pairs, groups_of, view_of
from retinalesion.errors import PhotographError
from retinalesion.files import read_png, replace_file, write_png
from retinalesion.lesions import CODES
from retinalesion.reading.reading import CAMERAS, Finding, Reading

FEWEST = 3  # groups in which something was found at a spot
CHANCE = 0.01  # of so many or more, if findings fell there as they do around

_FROM, _TO = 4, 25  # the ring, in pixels of the mean picture beyond the spot


class Cameras:
    """What a batch of photographs tells of its cameras, kept in a folder while it is read.

    What each photograph adds is a few files of its own: it does not matter who reads it, nor in which order,
    nor whether the batch is stopped in between.

    Args:
        folder: for these files.
        cameras: by id of the photograph, as headers tell. Of cameras with too few of them no picture is kept,
            of others at most a thousand, evenly drawn.
    """

    def __init__(self, folder: Path, cameras: Mapping[str, Camera]) -> None:
        self.folder, self._ids = folder, tuple(cameras)
        ids: dict[Camera, list[str]] = {}
        for id, camera in cameras.items():
            ids.setdefault(camera, []).append(id)
        self.photographs = {camera: len(some) for camera, some in ids.items()}
        self._averaged = {
            id: camera
            for camera, some in ids.items()
            if len(some) >= FEWEST_PHOTOGRAPHS
            for id in some[:: -(-len(some) // MOST)]
        }

    @classmethod
    def of_files(cls, folder: Path, files: Iterable[tuple[str, Path]]) -> Self:
        """Of a batch that is still to be read: ids and files."""
        cameras: dict[str, Camera] = {}
        same: dict[Camera, Camera] = {}  # one object for each, however many photographs
        for id, file in files:
            with suppress(PhotographError):  # told when it is read
                camera = camera_of(file)
                cameras[id] = same.setdefault(camera, camera)
        return cls(folder, cameras)

    def add(
        self,
        camera: Camera,
        reading: Reading,
        rgb: NDArray[np.uint8],
        square: NDArray[np.uint8],
        faint: Mapping[str, float],
    ) -> None:
        """Keep what a photograph tells; again, it takes the place of what was kept of it.

        Args:
            camera: that took it.
            reading: of it.
            rgb: uint8 (height, width, 3).
            square: its field of view, uint8 (s, s, 3).
            faint: by learned lesion, the maximum of its map outside of all findings.

        Raises:
            UserError: the folder cannot be written.
        """
        gradable = reading.quality is not None and reading.quality.gradable
        if gradable and self._averaged.get(reading.id) == camera:
            write_png(self._picture("mean", reading.id), relative_to_surroundings(rgb))
            write_png(self._picture("view", reading.id), view_of(square))
        text = json.dumps({"camera": camera, "gradable": gradable, "faint": faint})
        replace_file(self.folder / f"{reading.id}.json", lambda beside: beside.write_text(text, "utf-8"))

    def of(self, id: str) -> tuple[Camera, Mapping[str, float]] | None:
        """The camera of a photograph and its faint maxima, as `add` took them; None of one not added."""
        known = self._known(id)
        return (Camera(*known["camera"]), known["faint"]) if known else None

    def maps(self, readings: Mapping[str, Reading]) -> list[tuple[CameraMap, NDArray[np.uint8]]]:
        """Every camera with its spots, where two witnesses agree on them, and its mean picture for eyes.

        Photographs that are alike are taken to be of one patient, since nothing else tells.

        Args:
            readings: of the photographs, by id; asked for one group at a time.
        """
        met: Counter[Camera] = Counter()
        averaged: dict[Camera, list[str]] = {}
        for id in self._ids:
            known = self._known(id)
            if known and known["gradable"]:
                camera = Camera(*known["camera"])
                met[camera] += 1
                if self._averaged.get(id) == camera:
                    averaged.setdefault(camera, []).append(id)
        found = []
        for camera, photographs in self.photographs.items():
            ids = averaged.get(camera)
            if not ids:  # too few, or none of them can be read
                few = min(photographs, met[camera])
                found.append((CameraMap(camera, few, few), np.zeros((1, 1), np.uint8)))
                continue
            mean = MeanPicture()
            for id in ids:
                mean.add(read_png(self._picture("mean", id), cv2.IMREAD_GRAYSCALE))
            views = {id: read_png(self._picture("view", id), cv2.IMREAD_GRAYSCALE) for id in ids}
            pairs = find_pairs({id: id for id in views}, views)
            groups = groups_of(views, [pair[:2] for pair in pairs])
            one = CameraMap(camera, mean.photographs, len(groups))
            if one.looked:
                spots = mean.spots(camera, BESIDE_FINDINGS)
                read = ([readings[id] for id in group] for group in groups)
                one = one._replace(spots=recurring(spots, camera, mean.values()[1], read))
            found.append((one, mean.picture()))
        return found

    def _picture(self, kind: str, id: str) -> Path:
        return self.folder / kind / f"{id}.png"

    def _known(self, id: str) -> Any:
        try:
            return json.loads((self.folder / f"{id}.json").read_text("utf-8"))
        except FileNotFoundError:
            return None


def recurring(
    spots: Sequence[Spot], camera: Camera, known: Bits, groups: Iterable[Sequence[Reading]]
) -> tuple[Spot, ...]:
    """The spots where findings recur more often than in the ring around, with the number that was found.

    Args:
        spots: that stand out of the mean picture.
        camera: theirs.
        known: bool (h, w), where the mean picture is one.
        groups: readings of the camera's photographs; those of one patient count as one.

    Returns:
        The strongest first, as given.
    """
    to_x, to_y = known.shape[1] / camera.width, known.shape[0] / camera.height
    discs = [spot.scaled(to_x, to_y) for spot in spots]
    places: dict[str, list[tuple[NDArray[np.float64], float]]] = {kind: [] for kind in MISTAKEN}
    for group in groups:
        for reading in group:
            for kind, codes in MISTAKEN.items():
                centres = [
                    ((finding.x + 0.5) * to_x - 0.5, (finding.y + 0.5) * to_y - 0.5)
                    for finding in reading.findings
                    if finding.lesion in codes
                ]
                if centres:
                    places[kind].append((np.array(centres, np.float64), 1 / len(group)))
    free = {kind: _without_discs(known, discs, kind) for kind in MISTAKEN}
    kept = []
    for spot, (kind, x, y, radius, *_) in zip(spots, discs, strict=True):
        ring, area = _ring(free[kind], x, y, radius)
        disc = math.pi * radius**2
        found = around = 0.0
        for at, weight in places[kind]:
            away = np.hypot(at[:, 0] - x, at[:, 1] - y)
            found += weight * bool((away <= radius).any())
            near = np.rint(at[away <= radius + _TO]).astype(int)
            around += weight * float(ring[near[:, 1], near[:, 0]].sum())
        if area < disc:  # crowded by other spots: nothing to compare with
            continue
        expected = around * disc / area
        found = round(found, 6)  # ten times a tenth of a group
        if found >= FEWEST and pdtrc(math.floor(found) - 1, max(expected, 1e-6)) < CHANCE:
            kept.append(spot._replace(found=math.floor(found)))
    return tuple(kept)


def set_aside(
    reading: Reading, planes: NDArray[np.uint8], spots: Sequence[Spot], faint: Mapping[str, float]
) -> tuple[Reading, NDArray[np.uint8], Bits]:
    """Take the findings that lie on the camera's spots out of those that count.

    Args:
        reading: of a photograph of that camera.
        planes: what was found, uint8 (height, width), packed, at the photograph's own size.
        spots: of the camera.
        faint: by learned lesion, the maximum of its map outside of all findings.

    Returns:
        The reading with those findings in ``camera``, not concluded anew; the planes without them; and where
        they lie, bool (height, width).
    """
    aside = np.zeros(planes.shape, np.bool_)
    if not spots:
        return reading, planes, aside
    planes, on_spots = planes.copy(), spots_drawn(spots, planes.shape)
    taken: set[tuple[str, int, int, int]] = set()
    met = int(np.bitwise_or.reduce(planes & on_spots, axis=None))  # most photographs have nothing there
    for code in reading.learned:
        bit = np.uint8(1 << CODES.index(code))
        if not met & bit:
            continue
        labels, stats, on = regions_on(planes & bit > 0, on_spots & bit > 0)
        for label in on:
            left, top, width, height, pixels = stats[label].tolist()
            window = np.s_[top : top + height, left : left + width]
            region = labels[window] == label
            planes[window][region] &= ~bit
            aside[window] |= region
            taken.add((code, left, top, pixels))
    eye, camera = [], []
    for finding in reading.findings:
        if (finding.lesion, finding.left, finding.top, finding.pixels) in taken:
            camera.append(replace(finding, counts=False, reason=CAMERAS, spot=_nearest(finding, spots)))
        else:
            eye.append(finding)
    probability = {
        code: max((finding.peak for finding in eye if finding.lesion == code), default=faint[code])
        for code in reading.probability
    }
    told = replace(reading, findings=tuple(eye), camera=tuple(camera), probability=probability)
    return told, planes, aside


def _nearest(finding: Finding, spots: Sequence[Spot]) -> int:
    """The number of the spot, of the kind that is taken for such a lesion, whose middle is nearest."""
    return min(
        (math.hypot(spot.x - finding.x, spot.y - finding.y), number)
        for number, spot in enumerate(spots, 1)
        if finding.lesion in MISTAKEN[spot.kind]
    )[1]


def _without_discs(known: Bits, discs: Iterable[Spot], kind: str) -> Bits:
    """Where the mean picture is known and no spot of the kind lies."""
    free = known.astype(np.uint8)
    for disc in discs:
        if disc.kind == kind:
            cv2.circle(free, (round(disc.x), round(disc.y)), math.ceil(disc.radius), 0, cv2.FILLED)
    return free > 0


def _ring(free: Bits, x: float, y: float, radius: float) -> tuple[Bits, int]:
    """The ring around a spot as far as it is free, on the mean picture, and its area."""
    rows, columns = np.ogrid[: free.shape[0], : free.shape[1]]
    away = (columns - x) ** 2 + (rows - y) ** 2
    ring: Bits = free & (away > (radius + _FROM) ** 2) & (away <= (radius + _TO) ** 2)
    return ring, int(ring.sum())
