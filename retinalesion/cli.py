"""The command line: one message and status 2 for what a user can mend, never a traceback."""

import argparse
import errno
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from retinalesion import __version__
from retinalesion.errors import UserError

# What the machine refuses; the message of the system says enough.
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Command(NamedTuple):
    """A command: the module whose ``main(name, arguments)`` runs it, and a line for the help."""

    module: str
    help: str


COMMANDS = {
    "prepare": Command("prepare", "photographs and masks in a known layout -> a store to train on"),
    "fit": Command("fit", "train on a store"),
    "validate": Command("fit", "score a trained model on the validation photographs"),
    "test": Command("fit", "score a trained model on the test photographs, with tables"),
    "predict": Command("fit", "read the photographs of a store, on one process or many"),
    "camera": Command("camera", "photographs -> the camera's own spots (dust), for analyze --camera"),
    "analyze": Command("analyze", "photographs -> lesions, grade, evidence and a report"),
    "calibrate": Command("calibrate", "graded photographs of your own -> a checkpoint with a rule for them"),
    "compare": Command("compare", "tested runs -> the paper's tables, with intervals and tests"),
    "export": Command("export", "a trained network -> one small file to give away"),
    "demo": Command("demo", "all of it on drawn photographs, in some minutes"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: as typed after ``retinalesion``; by default those of this process.

    Returns:
        The exit status: 0, 2 for a mistake that the printed message explains, or 130 where Ctrl-C ended it.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in ("--version", "-V"):
        print(f"retinalesion {__version__}")
        return 0
    name = next((word for word in given if word in COMMANDS), None)
    if name is None:
        return _without_command(given)
    given.remove(name)  # what stands before the command belongs to it: retinalesion --config lnet.yaml fit
    try:
        module = import_module(f"retinalesion.commands.{COMMANDS[name].module}")
        module.main(name, given)
    except KeyboardInterrupt:
        print("retinalesion: ended by Ctrl-C.", file=sys.stderr)
        return 130
    except UserError as error:
        return _refuse(str(error))
    except argparse.ArgumentError as error:
        return _refuse(f"{name}: {_useful(str(error))}")
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        return _refuse(f"{error.filename or name}: {error.strerror}.")
    return 0


def _without_command(given: list[str]) -> int:
    if given and not {"-h", "--help"} & set(given):
        return _refuse(f"no command {given[0]!r}. There are: {', '.join(COMMANDS)}.")
    print("usage: retinalesion COMMAND ...\n\nLesions of diabetic retinopathy in fundus photographs.\n")
    for name, command in COMMANDS.items():
        print(f"  {name:10}{command.help}")
    print("\nretinalesion COMMAND --help says more.")
    return 0


def _useful(message: str) -> str:
    """What a person needs of the parser's message."""
    lines = [line.strip(" -") for line in message.splitlines()]
    noise = ("Subtypes:", "Errors:", "Given value type:", "Does not validate")
    return "\n  ".join(line for line in lines if line and not line.startswith(noise))


def _refuse(message: str) -> int:
    print(f"retinalesion: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
