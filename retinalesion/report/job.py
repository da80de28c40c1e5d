"""One photograph from its file to its pictures and its reading; whatever it holds, the batch goes on."""

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from retinalesion.data.decode import Camera, read_photograph, read_with_camera
from retinalesion.data.field import View
from retinalesion.data.spots import Spot
from retinalesion.data.store import Store, truth_of
from retinalesion.errors import UserError
from retinalesion.files import read_png, write_png
from retinalesion.reading.camera import Cameras, set_aside
from retinalesion.reading.conclusion import concluded
from retinalesion.reading.reader import Reader, Subject, use_threads
from retinalesion.reading.reading import Reading
from retinalesion.reading.stream import Item
from retinalesion.reading.verdict import AS_FITTED, Wish
from retinalesion.report.folder import WORK
from retinalesion.report.outputs import Outputs

_opening = threading.Lock()


class Job:
    """What any photograph of a batch takes; it may be sent to other processes, which open the network anew.

    Args:
        checkpoint: of the network.
        device: that it runs on; None for a GPU where there is one.
        outputs: where results go.
        known: the spots of cameras that are known beforehand.
        cameras: to look for spots with; None not to.
        wish: what the user wants of the checkpoint's rule.
    """

    def __init__(
        self,
        checkpoint: Path,
        device: str | None,
        outputs: Outputs,
        known: Mapping[Camera, Sequence[Spot]],
        cameras: Cameras | None,
        wish: Wish = AS_FITTED,
    ) -> None:
        self.checkpoint, self.device, self.outputs = checkpoint.absolute(), device, outputs
        self.known, self.cameras, self.wish = known, cameras, wish
        self.here = Path.cwd()
        self._reader: Reader | None = None
        self._stores: dict[Path, Store] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None, "_stores": {}}

    @property
    def reader(self) -> Reader:
        """The network, opened once in a process."""
        with _opening:  # workers may have several threads
            if self._reader is None:
                self._reader = Reader.from_checkpoint(self.checkpoint, self.device, self.wish)
            return self._reader

    def prepare(self, threads: int) -> None:
        """Keep to so many threads in this process."""
        use_threads(threads)

    def read(self, item: Item, spots: Sequence[Spot] = ()) -> Reading:
        """Read a photograph and write its pictures.

        Args:
            item: which.
            spots: of its camera, of a photograph of a store.

        Returns:
            Its reading; of one that cannot be read or drawn, why not.

        Raises:
            UserError: the place cannot be written or is full.
        """
        reader = self.reader
        try:
            return self._read_row(reader, item, spots) if item.row else self._read_file(reader, item)
        except _UnwritableError as stop:
            self.outputs.forget(item.id)
            raise stop.error from None
        except Exception as error:  # memory too: one photograph never stops a batch
            self.outputs.forget(item.id)
            return reader.unread(item.file, item.id, self._told(item, error))

    def free(self, item: Item, reading: Reading, spots: Mapping[Camera, Sequence[Spot]]) -> Reading:
        """The reading without what lies on spots that are known only now; its pictures are drawn anew.

        The planes as they were stay in ``unfinished``, so that it may be done again.

        Args:
            item: of a photograph that was read.
            reading: as `read` gave it.
            spots: by camera.

        Raises:
            UserError: the place cannot be written or is full.
        """
        kept = self.cameras.of(item.id) if self.cameras else None
        if reading.error or kept is None or not spots.get(kept[0]):
            return reading
        first = self.outputs.folder / WORK / "planes" / f"{item.id}.png"
        if not first.exists():
            write_png(first, read_png(self.outputs.planes_of(item.id), cv2.IMREAD_GRAYSCALE))
        planes = read_png(first, cv2.IMREAD_GRAYSCALE)
        reading, planes, aside = set_aside(reading, planes, spots[kept[0]], kept[1])
        if not reading.camera:
            first.unlink()
            return reading
        model = self.reader.model
        reading = concluded(reading, model.rule, model.wish)
        try:
            rgb = read_photograph(self.here / item.file)
        except UserError as error:  # gone since it was read: its pictures still show what lies on the spots
            print(f"not drawn anew: {error}", file=sys.stderr)
            write_png(self.outputs.planes_of(item.id), planes)
            return reading
        self.outputs.draw(reading, View.of(rgb, self.reader.side, reading.box), planes, aside)
        return reading

    def _told(self, item: Item, error: Exception) -> Exception:
        """What is said of it, with the file as it was named: tables go to others, and folders do not."""
        if not isinstance(error, UserError):
            return UserError(f"{item.file}: cannot be read ({type(error).__name__}: {error}).")
        return UserError(str(error).replace(str(self.here / item.file), item.file))

    def _read_file(self, reader: Reader, item: Item) -> Reading:
        rgb, camera = read_with_camera(self.here / item.file)
        view = View.of(rgb, reader.side)
        seen = reader.look(view, Subject(item.id, item.file), self.known.get(camera, ()))
        with _writing():
            self.outputs.write(seen)
            if self.cameras:
                self.cameras.add(camera, seen.reading, rgb, seen.square, seen.faint)
        return seen.reading

    def _read_row(self, reader: Reader, item: Item, spots: Sequence[Spot]) -> Reading:
        assert item.row
        assert item.store
        if item.store not in self._stores:
            self._stores[item.store] = Store(self.here / item.store)
        store = self._stores[item.store]
        truth = truth_of(store, item.row)
        seen = reader.look(store.view(item.row), Subject.of_row(item.row)._replace(id=item.id), spots)
        with _writing():
            self.outputs.write(seen, *truth)
        return seen.reading


class _UnwritableError(Exception):
    """Nothing can be written any more: no matter of one photograph."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _writing:  # noqa: N801 - reads as a word in ``with``
    """Tells what cannot be written from what cannot be read."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, (UserError, OSError)):
            raise _UnwritableError(error) from error
