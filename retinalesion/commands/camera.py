"""``retinalesion camera PHOTOGRAPHS... --out FILE``: the cameras' own spots, for ``analyze --camera``."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser


def main(name: str, arguments: Sequence[str]) -> None:
    """Map the spots of cameras.

    Raises:
        UserError: as `retinalesion.report.cameras.find_cameras` raises.
        argparse.ArgumentError: an argument is wrong.
    """
    parser = ArgumentParser(
        prog=f"retinalesion {name}",
        exit_on_error=False,
        description="Find the spots that a camera shows in every photograph (dust, reflexes of the lens), so "
        "that analyze leaves out what lies there: 30 photographs of 15 patients or more.",
    )
    parser.add_argument("photographs", type=Path, nargs="+", help="files or folders, of any cameras")
    parser.add_argument("--out", type=Path, default=Path("cameras.json"), help="file for the maps")
    parser.add_argument(
        "--checkpoint", type=Path, help="a run, its checkpoint or an exported file; else the model in the box"
    )
    given = parser.parse_args(list(arguments))

    from retinalesion.data.spots import told
    from retinalesion.report.cameras import find_cameras  # imports torch, which --help does without

    for sentence in told(find_cameras(given.photographs, given.out, checkpoint=given.checkpoint)):
        print(sentence)
    print(f"Map: {given.out}; to look at: {given.out.with_suffix('.html')}")
    print(f"Use it: retinalesion analyze PHOTOGRAPHS --camera {given.out}")
