"""The checkpoints of a run: where they go, which are kept, and how they reach the disk."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors import safe_open
from safetensors.torch import save

from retinalesion.errors import UserError
from retinalesion.files import replace_file

PORTABLE = ".safetensors"
PLACES = ("weights", "lesion_net")  # files that a checkpoint needs no more; their paths are nobody's business
ABOUT = ("hyper_parameters", "retinalesion")  # what a portable checkpoint keeps besides tensors


def run_folder(trainer: Trainer) -> Path | None:
    """The trainer's ``default_root_dir``, or None where none was chosen and Lightning's own places count."""
    chosen = Path(trainer.default_root_dir).resolve()
    return None if chosen == Path.cwd() else chosen


def output_folder(trainer: Trainer) -> Path:
    """Where tables and pictures go: the run's folder, else Lightning's. Every process has to call it."""
    return run_folder(trainer) or Path(trainer.log_dir or ".")


def load_checkpoint(file: Path) -> dict[str, Any]:
    """A checkpoint's contents: of a run (``.ckpt``), or a portable one (``.safetensors``).

    Raises:
        UserError: missing, cut off, or not a checkpoint of this package.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such checkpoint.")
    try:
        if file.suffix == PORTABLE:
            return _read_portable(file)
        contents: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        contents["retinalesion"], contents["hyper_parameters"]["network"], contents["state_dict"]
    except Exception as error:  # torch and safetensors raise many kinds for files that are no checkpoints
        raise UserError(
            f"{file}: cut off, or not a checkpoint of retinalesion. Those of a run are in "
            "runs/NAME/checkpoints."
        ) from error
    return contents


def write_portable(checkpoint: Mapping[str, Any], file: Path) -> None:
    """A checkpoint as one small file to give away: the network's tensors in float16, its settings as JSON.

    Args:
        checkpoint: as `load_checkpoint` returns it.
        file: to write, ``.safetensors``.
    """
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in checkpoint["state_dict"].items()
        if key.startswith("network.")
    }
    about = {key: dict(checkpoint[key]) for key in ABOUT}
    about["hyper_parameters"] |= {name: None for name in PLACES if name in about["hyper_parameters"]}
    as_text = {key: json.dumps(value) for key, value in about.items()}
    # As bytes: written by safetensors itself, the file would be for its owner's eyes alone.
    replace_file(file, lambda beside: beside.write_bytes(save(tensors, as_text)))


def _read_portable(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    state = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    return {
        **{key: json.loads(about[key]) for key in ("hyper_parameters", "retinalesion")},
        "state_dict": state,
    }


class WholeFiles(TorchCheckpointIO):
    """Checkpoints written beside and renamed, so that a kill or a full disk leaves the one before.

    Lightning's own come by way of the folder for temporary files, and from another file system the last step
    is a copy, which can be cut off.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint to a path.

        Raises:
            UserError: the place cannot be written or is full.
        """
        replace_file(Path(path), lambda beside: _save(checkpoint, beside))


def _save(checkpoint: dict[str, Any], file: Path) -> None:
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:  # what torch makes of a full disk
        raise OSError(str(error).splitlines()[0]) from error


class RunCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint callback, writing whole files to ``checkpoints`` of the run's folder."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the place."""
        if self.dirpath is None and (run := run_folder(trainer)):
            self.dirpath = str(run / "checkpoints")
        super().setup(trainer, pl_module, stage)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # else somebody chose another
            trainer.strategy.checkpoint_io = WholeFiles()

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
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
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
