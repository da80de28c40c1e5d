"""``retinalesion prepare LAYOUT ...``: the options are those of the layout's source and of `prepare`."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from retinalesion.data.check import check, show
from retinalesion.data.photograph import Source
from retinalesion.data.prepare import prepare
from retinalesion.data.sources import SOURCES
from retinalesion.errors import UserError

FLAGS = {
    "healthy": "photographs graded DR0 that nobody annotated count as annotated and empty",
    "skip_bad": "leave out photographs that cannot be read, and list them, instead of stopping",
    "no_camera": "do not look for the spots of each camera (dust, ghosts of the lens)",
    "check": "list what is wrong with the set; write nothing",
}
REFUSED = ("unreadable", "size differs")  # kinds of findings at which `prepare` would stop


def main(name: str, arguments: Sequence[str]) -> None:
    """Prepare a store, or check a set with ``--check``.

    Raises:
        UserError: as `prepare` and `check` raise.
        argparse.ArgumentError: an argument is wrong.
    """
    parser = ArgumentParser(
        prog=f"retinalesion {name}",
        exit_on_error=False,
        description="Make a store of a set of photographs, or go on with one that was interrupted.",
    )
    layouts = parser.add_subcommands(dest="layout", required=True)
    names = {layout: _add_layout(layouts, layout) for layout in SOURCES}
    parsed = parser.parse_args(list(arguments))
    given = parsed[parsed.layout]
    make: Callable[..., Source] = SOURCES[parsed.layout]
    source = make(**{key: given[key] for key in names[parsed.layout]})
    if given.check:
        findings = check(source, camera=not given.no_camera, jobs=given.jobs)
        show(findings)
        if refused := [finding for finding in findings if finding.kind in REFUSED]:
            raise UserError(f"prepare would refuse {len(refused)} of these. Mend them, or use --skip-bad.")
    elif given.store is None:
        raise UserError("prepare: name the store's folder, last; or add --check to read without writing.")
    else:
        options = {key: given[key] for key in ("side", "seed", "healthy", "skip_bad", "jobs")}
        prepare(source, given.store, camera=not given.no_camera, **options)


def _add_layout(layouts: Any, layout: str) -> list[str]:
    """Returns the names of the source's own arguments; it may share ``side`` and ``seed`` with `prepare`."""
    source = SOURCES[layout]
    description = str(inspect.getdoc(source)).partition("\n\nArgs:")[0]
    parser = ArgumentParser(exit_on_error=False, description=description)
    own: list[str] = parser.add_class_arguments(source, as_group=False, as_positional=True)
    parser.add_argument("store", type=Path, nargs="?", help="folder of the store; not needed for --check")
    parser.add_function_arguments(prepare, as_group=False, skip={"source", "store", "camera", *FLAGS, *own})
    for flag, text in FLAGS.items():
        parser.add_argument(f"--{flag.replace('_', '-')}", action="store_true", help=text)
    layouts.add_subcommand(layout, parser, help=description.splitlines()[0])
    return own
