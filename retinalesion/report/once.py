"""Photographs read once for their numbers: a batch that leaves nothing but its lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinalesion import __version__
from retinalesion.data.decode import sha256_of
from retinalesion.data.field import View
from retinalesion.data.spots import CameraMap
from retinalesion.files import locked, write_png
from retinalesion.reading.camera import Cameras
from retinalesion.reading.reading import Reading
from retinalesion.reading.stream import Item, Readings
from retinalesion.report.analyze import known_spots, require_cores, workers_for
from retinalesion.report.batch import Batch, say
from retinalesion.report.folder import LINES, WORK, BatchFolder
from retinalesion.report.job import Job
from retinalesion.report.listing import digest_of
from retinalesion.report.outputs import Outputs


class LinesAlone(Outputs):
    """No pictures but planes, until it is known what lies on the camera's own spots; no tables."""

    def planes_of(self, id: str) -> Path:
        """They go when the batch is whole."""
        return self.folder / WORK / "found" / f"{id}.png"

    def draw(
        self,
        reading: Reading,
        view: View,
        planes: NDArray[np.uint8],
        *_: Any,
        **__: Any,
    ) -> None:
        """Keep the planes."""
        write_png(self.planes_of(reading.id), planes)

    def finish(
        self, readings: Sequence[Reading], cameras: Sequence[tuple[CameraMap, NDArray[np.uint8] | None]] = ()
    ) -> Path:
        """Nothing is left to be written."""
        return self.folder / LINES


def read_once(
    items: Sequence[Item],
    folder: Path,
    weights: Path,
    *,
    camera: Path | str = "auto",
    fresh: bool = False,
    device: str | None = None,
    workers: int = 1,
) -> Readings:
    """Read photographs as `retinalesion.report.analyze.analyze` does, without its pictures and tables.

    Whatever ends it, the same call goes on; what has been read is not read again.

    Args:
        items: which.
        folder: for the lines.
        weights: the checkpoint's file.
        camera: as `analyze` takes it.
        fresh: begin anew.
        device: as `analyze` takes it.
        workers: likewise.

    Raises:
        UserError: as `analyze` raises.
    """
    require_cores(workers)
    place, outputs = BatchFolder(folder), LinesAlone(folder.absolute())
    place.require_ours()
    known = known_spots(camera, items)
    files = [(item.id, Path(item.file)) for item in items if not item.row]
    cameras = Cameras.of_files(place.work.absolute(), files) if camera == "auto" else None
    job = Job(weights, device, outputs, known.by_camera, cameras)
    _ = job.reader  # before anything is written: it says what is wrong with the checkpoint
    asked: dict[str, Any] = {
        "photographs": f"{len(items)}: {digest_of(items)}",
        "checkpoint": sha256_of(weights),
        "camera": camera if camera in ("auto", "none") else repr(known.maps),
        "version": __version__,
    }
    with locked(folder):
        if not fresh and place.is_whole(asked, [LINES]):
            say(f"All {len(items)} photographs were read before; --fresh reads them again.")
        else:
            place.begin(asked, fresh)
            batch = Batch(place, outputs, job, items, known, command="calibrate")
            batch.run(workers_for(job, workers))
    return Readings(folder / LINES)
