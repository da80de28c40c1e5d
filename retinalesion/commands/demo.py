"""``retinalesion demo``: the way from photographs to a report, on drawn photographs."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import auto_cli

from retinalesion import samples
from retinalesion.commands import fit
from retinalesion.data.prepare import prepare
from retinalesion.data.store import Store
from retinalesion.data.synthetic import SyntheticSource
from retinalesion.errors import UserError
from retinalesion.report.analyze import BOX, analyze

SIDE = 256
PHOTOGRAPHS = 150
PARTS = ("store", "lnet", "sian", "drawn", "real")
CHECKPOINT = Path("checkpoints", "last.ckpt")  # averaged weights, which count in runs of a fixed length
REPORT = Path("report", "index.html")


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
    """Draw photographs, train a small L-Net and a small SiAN on them, score both, and write a report.

    Args:
        out: folder to make, or the one of an earlier demo to make anew.
    """
    if not _is_ours(out):
        raise UserError(f"{out} is there and not a demo's. Name another folder with --out.")
    for part in PARTS:
        shutil.rmtree(out / part, ignore_errors=True)
    store, lnet, sian, drawn, real = (out / part for part in PARTS)
    prepare(SyntheticSource(PHOTOGRAPHS, SIDE), store, side=SIDE)
    _fit("demo.yaml", store, lnet)
    _fit("demo-sian.yaml", store, sian, "--model.lesion_net", str(lnet / CHECKPOINT))
    analyze(store, drawn, checkpoint=sian / CHECKPOINT, split="test")
    if BOX.is_file():
        analyze(samples.photographs(), real)

    print(f"\nScores: {lnet / 'test' / 'lesions.csv'}, {sian / 'test' / 'grades.json'}")
    print("To open in a browser, the report of")
    print(f"  drawn photographs held out, with what was drawn: {drawn / REPORT}")
    if BOX.is_file():
        print(f"  real photographs, read by the model in the box: {real / REPORT}")


def _is_ours(out: Path) -> bool:
    """Not there yet, or an earlier demo, which may have been stopped while it drew."""
    store = out / "store"
    if (store / "store.json").is_file():
        return bool(Store(store).info["source"] == "synthetic")
    return not out.exists() or (out.is_dir() and not set(out.iterdir()) - {store})


def _fit(config: str, store: Path, run: Path, *options: str) -> None:
    fit.main("fit", ["--config", config, "--data.store", str(store), "--run", str(run), *options])
    fit.main("test", ["--run", str(run)])
