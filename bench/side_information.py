"""Does side information matter? SiAN beside the plain grader, trained alike, on drawn photographs.

python bench/side_information.py [--out FOLDER] [--seeds 3] [--steps 300] [--photographs 300] [--side 256]

Grades of drawn photographs follow from their lesions by the guideline. One L-Net is trained on the drawn
masks; then, for each seed, a SiAN on it and the same main branch alone: same encoder, steps, rate and draws.
Kappa on the test photographs, with its interval over photographs; at the end the means over seeds.
"""

import argparse
import statistics
from pathlib import Path

import lightning.pytorch as pl
from rich.console import Console
from rich.table import Table

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.prepare import prepare
from retinalesion.data.synthetic import SyntheticSource
from retinalesion.training.callbacks.grade_tables import grade_figures
from retinalesion.training.grading import GradingTask
from retinalesion.training.segmentation import SegmentationTask

ENCODER = "test_resnet"  # timm's smallest


def trainer(folder: Path, steps: int) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(default_root_dir=folder, max_steps=steps, num_sanity_val_steps=0, **quiet)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("side-information"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--photographs", type=int, default=300)
    parser.add_argument("--side", type=int, default=256)
    options = parser.parse_args()
    store = options.out / "store"
    prepare(SyntheticSource(options.photographs, options.side), store, side=options.side)

    pl.seed_everything(0)
    lesions = FundusDataModule(str(store), batches=options.steps)
    lesion_net = options.out / "lnet" / "checkpoints" / "last.ckpt"
    if not lesion_net.is_file():
        task = SegmentationTask("lnet-4s", ENCODER, None, optimizer="adamw", rate=0.002, per_lesion=True)
        trainer(options.out / "lnet", options.steps).fit(task, lesions)

    shown = Table("seed", "network", "kappa", "95 %", title="Grading drawn photographs")
    kappas: dict[str, list[float]] = {"sian": [], "plain": []}
    for seed in range(options.seeds):
        for network, scores in kappas.items():
            pl.seed_everything(seed)
            run = options.out / f"{network}-{seed}"
            graded = GradingTask(
                network, ENCODER, None, str(lesion_net), optimizer="adamw", rate=0.002, decay=0.01
            )
            data = FundusDataModule(str(store), truth="grade", batches=options.steps, seed=seed)
            trainer(run, options.steps).fit(graded, data)
            trainer(run, -1).test(graded, data, verbose=False)
            figures = grade_figures(graded.grade_rows)
            scores.append(figures["kappa"])
            bounds = f"{figures['kappa from']:.3f} to {figures['kappa to']:.3f}"
            shown.add_row(str(seed), network, f"{figures['kappa']:.3f}", bounds)
            Console().print(f"seed {seed} {network}: {figures['kappa']:.3f} ({bounds})")
    for network, scores in kappas.items():
        spread = f"from {min(scores):.3f} to {max(scores):.3f}"
        shown.add_row("mean", network, f"{statistics.mean(scores):.3f}", spread)
    Console().print(shown)


if __name__ == "__main__":
    main()
