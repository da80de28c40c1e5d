"""The cameras of a set: who took what, what enters each mean picture, and the spots by that witness alone."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from retinalesion.data.camera import ALONE, MOST, MeanPicture, marked, relative_to_surroundings
from retinalesion.data.decode import Camera, camera_of
from retinalesion.data.photograph import Photograph
from retinalesion.data.spots import FEWEST_PHOTOGRAPHS, FILE, CameraMap, write_cameras
from retinalesion.data.store import UNFINISHED
from retinalesion.data.twins import groups_of
from retinalesion.errors import PhotographError
from retinalesion.files import read_png, write_png

MOST_OF_A_PATIENT = 2  # photographs that enter the mean: one patient's lesion is not the camera's


class Survey(NamedTuple):
    """The cameras of a set, by the headers of its files alone.

    Attributes:
        cameras: by id of the photograph; drawn photographs have no camera.
        averaged: by camera, ids of the photographs that enter its mean picture: at most two of a patient,
            where patients are known, and a thousand in all, evenly drawn. Cameras with fewer photographs
            than it takes are not in it.
    """

    cameras: dict[str, Camera]
    averaged: dict[Camera, list[str]]


def survey(photographs: Iterable[Photograph]) -> Survey:
    """See which cameras took a set, without reading pixels."""
    cameras: dict[str, Camera] = {}
    ids: dict[Camera, list[str]] = {}
    taken: Counter[tuple[Camera, str]] = Counter()
    for photograph in photographs:
        if photograph.file is None:
            continue
        with suppress(PhotographError):  # what cannot be opened is told when it is read
            camera = cameras[photograph.id] = camera_of(photograph.file)
            taken[camera, photograph.patient] += 1
            if not photograph.patient or taken[camera, photograph.patient] <= MOST_OF_A_PATIENT:
                ids.setdefault(camera, []).append(photograph.id)
    enough = {camera: some for camera, some in ids.items() if len(some) >= FEWEST_PHOTOGRAPHS}
    return Survey(cameras, {camera: some[:: -(-len(some) // MOST)] for camera, some in enough.items()})


def map_of(
    camera: Camera, mean: MeanPicture, ids: Iterable[str], alike: Iterable[tuple[str, str]]
) -> CameraMap:
    """A camera and its spots by the mean picture alone, at the stricter cut.

    Args:
        camera: which one.
        mean: of its photographs.
        ids: of these.
        alike: pairs of ids of one patient, twins and second shots.
    """
    own = set(ids)
    groups = groups_of(own, [pair for pair in alike if own.issuperset(pair)])
    one = CameraMap(camera, mean.photographs, len(groups))
    return one._replace(spots=mean.spots(camera, ALONE)) if one.looked else one


def entering(rgb: NDArray[np.uint8], camera: Camera | None) -> NDArray[np.uint8] | None:
    """What a photograph of a set adds to the mean of its camera (`relative_to_surroundings`).

    Args:
        rgb: uint8 (height, width, 3).
        camera: into whose mean it enters, by its header; None where it enters none.

    Returns:
        None too where the pixels have another size than the header said.
    """
    same = camera and (camera.height, camera.width) == rgb.shape[:2]
    return relative_to_surroundings(rgb) if same else None


def relative_file(path: Path, id: str) -> Path:
    """Where a photograph waits for its camera's mean while a store is in the making."""
    return path / UNFINISHED / "camera" / f"{id}.png"


def keep_maps(
    path: Path, cameras: Survey, photographs: Collection[str], alike: Sequence[tuple[str, str]]
) -> list[CameraMap]:
    """The spots of every camera that has photographs enough, kept in the store with the mean pictures.

    Args:
        path: of the store.
        cameras: of the set.
        photographs: ids of those that could be used.
        alike: pairs of ids of one patient, twins and second shots.

    Returns:
        The maps, in the order in which rows number them.
    """
    maps: list[CameraMap] = []
    for camera, averaged in cameras.averaged.items():
        used = [id for id in averaged if id in photographs]
        ids, mean = [id for id in used if relative_file(path, id).exists()], MeanPicture()
        for id in ids:
            mean.add(read_png(relative_file(path, id), cv2.IMREAD_GRAYSCALE))
        if ids:
            maps.append(map_of(camera, mean, ids, alike))
            write_png(path / "cameras" / f"{len(maps)}.png", marked(maps[-1], mean.picture()))
    if maps:
        write_cameras(path / FILE, maps)
    return maps
