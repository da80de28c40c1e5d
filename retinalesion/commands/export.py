"""``retinalesion export RUN FILE``: a trained network as one small file to give away."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from retinalesion.errors import UserError


def main(name: str, arguments: Sequence[str]) -> None:
    """Write a portable checkpoint, for `analyze --checkpoint` and `Reader.from_checkpoint`.

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

    from retinalesion.commands.runs import Run
    from retinalesion.reading.reader import Model
    from retinalesion.training.checkpoints import PORTABLE, load_checkpoint, write_portable
    from retinalesion.training.tasks import task_from

    if given.file.suffix != PORTABLE:
        raise UserError(f"{given.file}: name a file with the ending {PORTABLE}.")
    if given.side is not None and given.side < 32:
        raise UserError(f"side must be 32 or more, not {given.side}.")
    named = Path(given.run)
    checkpoint = load_checkpoint(named if named.is_file() else Run.named(given.run).result)
    Model.of(task_from(checkpoint))  # see that it holds what it says, and can be used as told below
    if given.side is not None:
        checkpoint["retinalesion"]["side"] = given.side
    write_portable(checkpoint, given.file)
    print(f"{given.file}: {given.file.stat().st_size / 1e6:.1f} MB. Use it with:")
    print(f"  retinalesion analyze PHOTOGRAPHS --checkpoint {given.file}")
