"""``retinalesion demo``: the way from photographs to scores and pictures, on drawn photographs."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import auto_cli

from retinalesion.commands import fit
from retinalesion.data.prepare import prepare
from retinalesion.data.store import Store
from retinalesion.data.synthetic import SyntheticSource
from retinalesion.errors import UserError

SIDE = 256
PHOTOGRAPHS = 100


def main(name: str, arguments: Sequence[str]) -> None:
    """Run the demo.

    Raises:
        UserError: the folder is not the demo's, or cannot be written.
        argparse.ArgumentError: an argument is wrong.
    """
    auto_cli(
        demo, args=list(arguments), as_positional=False, prog=f"retinalesion {name}", exit_on_error=False
    )


def demo(out: Path = Path("demo")) -> None:
    """Draw photographs, train a small L-Net on them, score it, and draw what it finds.

    Args:
        out: folder to make, or the one of an earlier demo to make anew.
    """
    store, run = out / "store", out / "run"
    if out.exists() and (not (store / "store.json").is_file() or Store(store).info["source"] != "synthetic"):
        raise UserError(f"{out} is there and not a demo's. Name another folder with --out.")
    prepare(SyntheticSource(PHOTOGRAPHS, SIDE), store, side=SIDE)
    shutil.rmtree(run, ignore_errors=True)
    fit.main("fit", ["--config", "demo.yaml", "--data.store", str(store), "--run", str(run)])
    for command in ("test", "predict"):
        fit.main(command, ["--run", str(run)])
    print(f"\nPhotographs with the lesions found in them: {run / 'predict' / 'overlays'}")
    print(f"Photograph, truth and prediction beside each other: {run / 'panels.png'}")
    print(f"Scores: {run / 'test' / 'lesions.csv'}")
