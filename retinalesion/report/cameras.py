"""`find_cameras`: the cameras' own spots from a batch of photographs, for small batches to come."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from retinalesion.data.camera import marked
from retinalesion.data.decode import camera_of, read_photograph
from retinalesion.data.spots import FEWEST_GROUPS, FEWEST_PHOTOGRAPHS, CameraMap, told, write_cameras
from retinalesion.data.store import write_png
from retinalesion.errors import PhotographError, UserError
from retinalesion.reading.camera import Cameras
from retinalesion.reading.reader import Reader
from retinalesion.reading.reading import Reading
from retinalesion.report.analyze import box, listed, tracked


def find_cameras(
    photographs: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    checkpoint: Path | str | None = None,
) -> list[CameraMap]:
    """Read photographs and write a map of each camera's own spots, with its mean picture beside.

    Args:
        photographs: files or folders (searched through).
        out: the file to write, which `analyze` takes as ``camera``; pictures get its name and a number.
        checkpoint: of a run, or a portable one; None for the model in the box.

    Returns:
        The cameras of which there were photographs enough.

    Raises:
        UserError: nothing to read, a store was named, or no camera has photographs enough.
    """
    file = Path(out)
    if file.is_dir():
        raise UserError(f"{file} is a folder. Name a file: --out {file / 'cameras.json'}")
    work = listed(photographs, "all", file)
    if any(isinstance(item, tuple) for _, item in work):
        raise UserError("A store holds its cameras' spots in cameras.json already. Name photographs instead.")
    cameras = Cameras.of_files(item for _, item in work if isinstance(item, Path))
    if max(cameras.photographs.values(), default=0) < FEWEST_PHOTOGRAPHS:
        raise _too_few(cameras, {})
    readings: dict[str, Reading] = {}
    reader = Reader.from_checkpoint(checkpoint or box())
    for id, item in tracked(work, "camera"):
        assert isinstance(item, Path)
        try:
            rgb, camera = read_photograph(item), camera_of(item)
        except PhotographError as error:
            print(f"not read: {error}")
            continue
        seen = reader.see(rgb, str(item), id)
        if seen.reading.quality and seen.reading.quality.gradable:
            cameras.add(camera, id, rgb, seen.square)
            readings[id] = seen.reading
    found = [(one, mean) for one, mean in cameras.maps(readings) if one.looked]
    if not found:
        raise _too_few(cameras, readings)
    write_cameras(file, [one for one, _ in found])
    for number, (one, mean) in enumerate(found, 1):
        write_png(file.with_name(f"{file.stem}-{number}.png"), marked(one, mean))
    return [one for one, _ in found]


def _too_few(cameras: Cameras, readings: Mapping[str, Reading]) -> UserError:
    return UserError(
        "\n".join(told([one for one, _ in cameras.maps(readings)]))
        or f"No photograph could be read. {FEWEST_PHOTOGRAPHS} photographs of one camera, of "
        f"{FEWEST_GROUPS} patients, are needed."
    )
