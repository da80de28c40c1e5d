"""``retinalesion compare RUN...``: the paper's tables out of finished runs, with what may be said of them."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from retinalesion.commands.runs import Run
from retinalesion.data.store import Store
from retinalesion.errors import UserError


def main(name: str, arguments: Sequence[str]) -> None:
    """Compare runs.

    Raises:
        UserError: as `retinalesion.compare.page.compare` raises; or photographs without a store.
        argparse.ArgumentError: an argument is wrong.
    """
    parser = ArgumentParser(
        prog=f"retinalesion {name}",
        exit_on_error=False,
        description="Print the paper's Tables 3 to 7 out of tested runs, and write them as a page to open.",
    )
    parser.add_argument("runs", type=str, nargs="+", help="finished, tested runs, by name or folder")
    parser.add_argument("--out", type=Path, default=Path("comparison"), help="folder for tables and page")
    parser.add_argument(
        "--photographs",
        type=str,
        nargs="+",
        default=[],
        help="ids of photographs to show as each run sees them",
    )
    parser.add_argument("--store", type=Path, help="that has these photographs")
    given = parser.parse_args(list(arguments))
    if bool(given.photographs) != bool(given.store):
        raise UserError("--photographs ID and --store STORE belong together: name both, or neither.")

    from retinalesion.compare import text
    from retinalesion.compare.page import compare
    from retinalesion.compare.side_by_side import Chosen

    chosen = None
    if given.store:
        chosen = Chosen(given.photographs, Store(given.store), lambda folder: Run(folder).result)
    tables = compare([Run.named(run).path for run in given.runs], given.out, chosen)
    text.show(tables)
    print(f"\nPage: {given.out / 'index.html'}")
    print(f"Tables: {given.out / 'tables.md'}, {given.out / 'tables.csv'}, {given.out / 'differences.csv'}")
