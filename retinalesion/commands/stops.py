"""How a long command ends that goes on when it is given again."""

import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn


@contextmanager
def told_how_to_go_on(name: str, arguments: Sequence[str]) -> Iterator[None]:
    """Stopped from outside, say by which command it goes on.

    Args:
        name: of the command.
        arguments: as typed.

    Raises:
        SystemExit: with 130 on Ctrl-C, with 143 on SIGTERM.
    """
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        line = shlex.join(["retinalesion", name, *(word for word in arguments if word != "--fresh")])
        print(f"Go on with: {line}", file=sys.stderr)
        raise SystemExit(130 if isinstance(stop, KeyboardInterrupt) else stop.code) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(*_: Any) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
