"""``retinalesion export RUN FILE``: a trained network as one small file to give away."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from retinalesion.errors import UserError


def main(name: str, arguments: Sequence[str]) -> None:
    """Write a file to give away, which will do wherever a trained network is asked for.

    Raises:
        UserError: no such run or checkpoint, one without a use in `analyze`, or the file is not to be called
            ``.safetensors``.
        argparse.ArgumentError: an argument is wrong.
    """
    parser = ArgumentParser(
        prog=f"retinalesion {name}",
        exit_on_error=False,
        description="Write a trained network and its settings as one small file (float16 safetensors).",
    )
    parser.add_argument("run", type=str, help="a run, by name or folder, or a checkpoint")
    parser.add_argument("file", type=Path, help="to write, with the ending .safetensors")
    parser.add_argument(
        "--side", type=int, help="at which photographs are to be read; by default the side of training"
    )
    given = parser.parse_args(list(arguments))

    from retinalesion.networks.checkpoint import EXPORTED, export, read_checkpoint
    from retinalesion.networks.tables import trained_from
    from retinalesion.reading.reader import Model

    if given.file.suffix != EXPORTED:
        raise UserError(f"{given.file}: name a file with the ending {EXPORTED}.")
    if given.side is not None and given.side < 32:
        raise UserError(f"side must be 32 or more, not {given.side}.")
    checkpoint = read_checkpoint(given.run)
    Model.of(trained_from(checkpoint))  # see that it holds what it says, and can be used as told below
    export(checkpoint, given.file, given.side)
    print(f"{given.file}: {given.file.stat().st_size / 1e6:.1f} MB. Use it with:")
    print(f"  retinalesion analyze PHOTOGRAPHS --checkpoint {given.file}")
