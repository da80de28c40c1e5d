"""One base network a fold, on the recipe of the model in the box; goes on where it was stopped.

python bench/folds.py STORE OUT [--weights FILE] [--folds 5]

The store: ``retinalesion prepare idrid FOLDER STORE --healthy --side 1792 --no-camera``. For each fold the
lesion network (box-lnet.yaml), then the grader on it (box-sian.yaml), in OUT/fold-K/lnet and OUT/fold-K/sian;
what is finished is left as it is. On two cores a fold takes about 75 minutes.
"""

import argparse
import subprocess
import sys
from pathlib import Path


def train(run: Path, config: str, store: Path, *more: str) -> None:
    """Train a run, go on with it, or leave it as it is where it is finished."""
    if (run / "finished").is_file():
        print(f"{run}: finished", flush=True)
        return
    begun = (run / "checkpoints" / "last.ckpt").is_file()
    words = ["--resume", str(run)] if begun else ["--config", config, "--data.store", str(store), *more]
    if not begun:
        words += ["--run", str(run)]
    print(f"{run}: {'goes on' if begun else 'begins'}", flush=True)
    subprocess.run([sys.executable, "-m", "retinalesion.cli", "fit", *words], check=True)


def main() -> None:
    """Train all folds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", default="imagenet", help="of EfficientNet-Lite0: imagenet or a file")
    parser.add_argument("--folds", type=int, default=5)
    given = parser.parse_args()
    for fold in range(given.folds):
        lnet, sian = (given.out / f"fold-{fold}" / name for name in ("lnet", "sian"))
        common = (
            "--model.weights",
            given.weights,
            "--data.folds",
            str(given.folds),
            "--data.fold",
            str(fold),
        )
        train(lnet, "box-lnet.yaml", given.store, *common)
        lesion_net = ("--model.lesion_net", str(lnet / "checkpoints" / "last.ckpt"))
        train(sian, "box-sian.yaml", given.store, *common, *lesion_net)


if __name__ == "__main__":
    main()
