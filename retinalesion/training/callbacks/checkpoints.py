"""The checkpoints of a run: where they go, which are kept, and how they reach the disk."""

from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from retinalesion.networks.checkpoint import read_checkpoint, write_checkpoint
from retinalesion.training.contract import callbacks_of


def run_folder(trainer: Trainer) -> Path | None:
    """The trainer's ``default_root_dir``, or None where none was chosen and Lightning's own places count."""
    chosen = Path(trainer.default_root_dir).resolve()
    return None if chosen == Path.cwd() else chosen


def output_folder(trainer: Trainer) -> Path:
    """Where tables and pictures go: the run's folder, else Lightning's. Every process has to call it."""
    return run_folder(trainer) or Path(trainer.log_dir or ".")


class WholeFiles(TorchCheckpointIO):
    """Checkpoints read and written as everywhere here: exported files are read too, and none is left half.

    Lightning's own come by way of the folder for temporary files, and from another file system the last step
    is a copy, which can be cut off.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint to a path.

        Raises:
            UserError: the place cannot be written or is full.
        """
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """What Lightning restores a task from.

        Raises:
            UserError: as `retinalesion.networks.checkpoint.read_checkpoint` raises.
        """
        contents = read_checkpoint(path, mapped=False).contents
        contents.setdefault("pytorch-lightning_version", lightning.__version__)  # exported files have none
        return contents


def take_whole_files(trainer: Trainer) -> None:
    """Let a trainer read and write checkpoints by `WholeFiles`, unless somebody chose another way."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeFiles()


class RunCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint callback, writing whole files to ``checkpoints`` of the run's folder."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the place."""
        if self.dirpath is None and (run := run_folder(trainer)):
            self.dirpath = str(run / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def save_now(self, trainer: Trainer) -> None:
        """Write the checkpoint, unless it holds this step or there is nothing to keep."""
        if trainer.global_step and not self._should_skip_saving_checkpoint(trainer):
            self._save_checkpoint(trainer, self.format_checkpoint_name({}))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score; Lightning would forget it where the run's folder has been moved."""

        def here(path: str) -> str:
            return str(Path(self.dirpath or "", Path(path).name))

        if Path(here(state_dict["best_model_path"])).is_file():
            state_dict = {
                **state_dict,
                "dirpath": self.dirpath,
                "best_model_path": here(state_dict["best_model_path"]),
                "kth_best_model_path": here(state_dict["kth_best_model_path"]),
                "best_k_models": {here(path): score for path, score in state_dict["best_k_models"].items()},
            }
        super().load_state_dict(state_dict)


def checkpoints(ranking: str, trainer: Trainer) -> list[ModelCheckpoint]:
    """``best.ckpt`` by a score (larger is better), ``last.ckpt`` after every validation, and the user's own.

    Lightning would drop the trainer's callbacks of a class that one of these derives from. So they are taken
    out of its list and given back beside these; its own, which it adds where nobody chose any, stays out.

    Args:
        ranking: name of the score.
        trainer: whose checkpoints may be switched off; then there are none.
    """
    if not trainer.checkpoint_callbacks:
        return []
    plain_ones = [one for one in trainer.checkpoint_callbacks if type(one) is ModelCheckpoint]
    callbacks = callbacks_of(trainer)
    callbacks[:] = [one for one in callbacks if one not in plain_ones]
    lightnings = vars(ModelCheckpoint())
    theirs = [one for one in plain_ones if vars(one) != lightnings]
    plain: dict[str, Any] = {
        "auto_insert_metric_name": False,
        "enable_version_counter": False,
        "save_top_k": 1,
    }
    best = RunCheckpoint(monitor=ranking, mode="max", filename="best", **plain)
    last = RunCheckpoint(monitor=None, filename="last", every_n_epochs=1, **plain)
    return [*theirs, best, last]
