"""The files in which trained networks are kept: nothing else in the package opens or writes them.

A run keeps checkpoints (``.ckpt``), and ``export`` makes of one a file to give away (``.safetensors``).
Either is told by what it holds, whatever it is called, and both are read the same way. They may come from
anywhere: reading them runs no code, and takes no more memory than they are large.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from retinalesion.data.prints import NONE, Prints, unpacked
from retinalesion.errors import UserError
from retinalesion.files import replace_file

FORMAT = 1
EXPORTED = ".safetensors"
NETWORK = "network."  # where a task's state dict keeps its network
PRINTS = ("photographs", "earlier_photographs")  # that trained it, and what it began with
PLACES = ("weights", "lesion_net")  # files that a checkpoint needs no more; their paths are nobody's business
RUNS = Path("runs")
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # under which others keep their tensors
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
LONGEST_HEADER = 100_000_000  # bytes, safetensors' own limit


@dataclass(frozen=True)
class Checkpoint:
    """A trained network as its file keeps it.

    Attributes:
        file: that was read.
        contents: as Lightning knows them: ``hyper_parameters``, ``retinalesion``, ``state_dict``; of a run's
            checkpoint also what it takes to go on with the fit.
    """

    file: Path
    contents: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """What its task was made with, plain values by name."""
        return {key: value for key, value in self.contents["hyper_parameters"].items() if key[0] != "_"}

    @property
    def about(self) -> dict[str, Any]:
        """What the task knows of its training: format, stage, fingerprint of the store, side, quality."""
        about: dict[str, Any] = self.contents["retinalesion"]
        return about

    @property
    def network(self) -> str:
        """The network's name."""
        return str(self.contents["hyper_parameters"]["network"])

    @property
    def tells_how_to_go_on(self) -> bool:
        """Whether a fit can go on from it; an exported file tells nothing of that."""
        return "loops" in self.contents

    @property
    def step(self) -> int:
        """Optimizer steps done; 0 where the file does not say."""
        return int(self.contents.get("global_step", 0))

    @property
    def prints(self) -> Prints:
        """Of all photographs of which its answers are too good.

        Raises:
            UserError: what it keeps of them is damaged.
        """
        try:
            return NONE.union(*(unpacked(self.about.get(name, "")) for name in PRINTS))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{self.file}: the list of photographs that trained it is damaged. Take another copy."
            ) from error

    def with_rule(self, rule: Mapping[str, Any]) -> Self:
        """The same network with another rule, as `retinalesion.reading.rule` has it in plain values."""
        return replace(self, contents={**self.contents, "retinalesion": {**self.about, "rule": dict(rule)}})

    def tensors(self, place: str = "") -> dict[str, Tensor]:
        """Those of the network or of a part of it, named as the part names them.

        Args:
            place: of the part, with its dot: ``encoder.``.
        """
        return under(NETWORK + place, self.contents["state_dict"])


def under(place: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one part of a state dict, named as that part names them."""
    return {key.removeprefix(place): value for key, value in state.items() if key.startswith(place)}


def find(named: Path | str) -> Path:
    """The file that is meant by a file, by a run's folder, or by a run's name under ``runs/``.

    Of a run it is the checkpoint that counts: the one that the finished run names, else the best so far.

    Raises:
        UserError: there is no such file or run, or the run has no checkpoint yet.
    """
    path = Path(named)
    if path.is_file():
        return path
    run = path if path.is_dir() or len(path.parts) != 1 else RUNS / path
    if not run.is_dir():
        raise UserError(
            f"{named}: no such checkpoint. Name a run, one of its checkpoints "
            f"(runs/NAME/checkpoints/best.ckpt), or an exported file ({EXPORTED})."
        )
    return checkpoint_in(run)


def checkpoint_in(run: Path, name: str | None = None) -> Path:
    """A checkpoint of a run's folder.

    Args:
        run: the folder.
        name: ``best`` or ``last``; None for the one that counts, as the mark of the finished run names it.

    Raises:
        UserError: it is not there yet.
    """
    if name is None:
        mark = run / "finished"
        name = "last" if mark.is_file() and mark.read_bytes().startswith(b"last ") else "best"
    file = run / "checkpoints" / f"{name}.ckpt"
    if not file.is_file():
        raise UserError(
            f"{file}: not there; a run has checkpoints after its first validation. Where it ended before, it "
            f"begins anew by the command that began it, with --run {run}."
        )
    return file


def read_checkpoint(named: Path | str, mapped: bool = True) -> Checkpoint:
    """A run's checkpoint, or an exported file.

    Args:
        named: as `find` takes it.
        mapped: leave tensors in the file until they are used; for those who only look.

    Raises:
        UserError: missing, cut off, of something else, of a newer format, or its weights are not finite.
    """
    file = find(named)
    try:
        contents = _contents(file, mapped)
    except ValueError as error:
        raise _foreign(file) from error
    require_ours(contents, str(file))
    _require_finite(under(NETWORK, contents["state_dict"]), file)
    return Checkpoint(file, contents)


def read_weights(named: Path | str) -> Checkpoint | dict[str, Tensor]:
    """What a training may begin with: a checkpoint, or the tensors of a file that others made.

    Args:
        named: as `find` takes it; the setting ``weights``.

    Raises:
        UserError: missing, cut off, no tensors in it, or not finite; or as `read_checkpoint` raises.
    """
    try:
        return _weights(find(named))
    except UserError as error:
        raise UserError(f"weights: {error} Or name imagenet, or null for random weights.") from error


def _weights(file: Path) -> Checkpoint | dict[str, Tensor]:
    try:
        contents = _contents(file, mapped=True)
    except ValueError as error:
        raise UserError(f"{file}: no file of weights.") from error
    if "retinalesion" in contents:
        return read_checkpoint(file)
    inside = next((contents[key] for key in WRAPPERS if isinstance(contents.get(key), Mapping)), contents)
    tensors = {key.removeprefix("module."): value for key, value in inside.items() if _is_plain(value)}
    if not tensors:
        raise UserError(f"{file}: no file of weights.")
    _require_finite(tensors, file)
    return tensors


def require_ours(contents: Mapping[str, Any], called: str = "This checkpoint") -> None:
    """See that contents are a checkpoint that this version reads.

    Args:
        contents: as Lightning knows them.
        called: how the message names it.

    Raises:
        UserError: of something else, or of a newer format.
    """
    about, settings = contents.get("retinalesion"), contents.get("hyper_parameters")
    version = about.get("format") if isinstance(about, Mapping) else None
    if not isinstance(about, Mapping) or not isinstance(version, int):
        raise _foreign(called)
    if version > FORMAT:
        raise UserError(
            f"{called}: has format {version}, and this version of retinalesion reads {FORMAT}. "
            "Use the version that made it, or train again."
        )
    state = contents.get("state_dict")
    if not (
        all(isinstance(about.get(key), str) for key in ("stage", "fingerprint"))
        and isinstance(about.get("rule", {}), Mapping)
        and isinstance(settings, Mapping)
        and all(isinstance(key, str) and key for key in settings)
        and isinstance(settings.get("network"), str)
        and isinstance(state, Mapping)
        and all(isinstance(key, str) and _is_plain(value) for key, value in state.items())
    ):
        raise _foreign(called)


def write_checkpoint(contents: Mapping[str, Any], file: Path) -> None:
    """Write a run's checkpoint, whole or not at all.

    Raises:
        UserError: the place cannot be written or is full.
    """
    replace_file(file, lambda beside: _write(contents, beside))


def _write(contents: Mapping[str, Any], file: Path) -> None:
    try:
        with file.open("wb") as opened:  # by its name, torch would not tell why it could not be written
            torch.save(contents, opened)
    except RuntimeError as error:
        why = error.__context__
        raise why if isinstance(why, OSError) else OSError(str(error).splitlines()[0]) from error


def write_as_called(checkpoint: Checkpoint, file: Path) -> None:
    """Write a checkpoint as the ending of the file says: ``.safetensors`` to give away, else ``.ckpt``.

    Raises:
        UserError: the place cannot be written or is full.
    """
    if file.suffix == EXPORTED:
        export(checkpoint, file)
    else:
        write_checkpoint(checkpoint.contents, file)


def export(checkpoint: Checkpoint, file: Path, side: int | None = None) -> None:
    """Write a file to give away: tensors in float16, the settings and what is known of it as JSON.

    Args:
        checkpoint: whose network is to be given away.
        file: to write, ``.safetensors``.
        side: at which photographs are to be read; None for the side of training.

    Raises:
        UserError: the place cannot be written or is full.
    """
    tensors = {key: _halved(value) for key, value in checkpoint.contents["state_dict"].items()}
    settings = dict(checkpoint.contents["hyper_parameters"])
    settings |= {name: None for name in PLACES if name in settings}
    about = {**checkpoint.about, **({} if side is None else {"side": side})}
    as_text = {"hyper_parameters": json.dumps(settings), "retinalesion": json.dumps(about)}
    # As bytes: written by safetensors itself, the file would be for its owner's eyes alone.
    replace_file(file, lambda beside: beside.write_bytes(save(tensors, as_text)))


def write_part(tensors: Mapping[str, Tensor], file: Path, kind: str, about: Mapping[str, Any]) -> None:
    """Write a network that stands beside the lesion networks, in float16.

    Args:
        tensors: its state dict.
        file: to write, ``.safetensors``.
        kind: of network; `read_part` takes no other.
        about: what is to be known of it, plain values.

    Raises:
        UserError: the place cannot be written or is full.
    """
    halved = {key: _halved(value) for key, value in tensors.items()}
    replace_file(file, lambda beside: beside.write_bytes(save(halved, {kind: json.dumps(about)})))


def read_part(named: Path | str, kind: str) -> dict[str, Tensor]:
    """The tensors of a file that `write_part` wrote, in float32.

    Raises:
        UserError: missing, cut off, not finite, or of something else.
    """
    file = Path(named)
    try:
        if not _is_exported(file):
            raise ValueError("no tensors")
        with safe_open(file, "pt") as opened:
            if kind not in (opened.metadata() or {}):
                raise ValueError("of another kind")
        tensors = _exported(file)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # safetensors raises many kinds for files that are none of its own
        raise UserError(f"{file}: not a file of an {kind} network of retinalesion.") from error
    _require_finite(tensors, file)
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def _halved(value: Tensor) -> Tensor:
    """In float16, where it stays finite there."""
    half = value.half() if value.is_floating_point() else value
    return (half if bool(half.isfinite().all()) else value).contiguous()


def _contents(file: Path, mapped: bool) -> dict[str, Any]:
    """What a file of tensors holds.

    Raises:
        UserError: cut off, or it cannot be read at all.
        ValueError: it is of something else.
    """
    try:
        if _is_exported(file):
            return _exported(file)
        with file.open("rb") as opened:
            head = opened.read(len(ZIP))
        if ZIP.startswith(head) and not zipfile.is_zipfile(file):  # its table of contents stands at the end
            raise _cut_off(file)
        if head == ZIP:
            with zipfile.ZipFile(file) as parts:  # torch packs nothing: unpacked, a small file could be huge
                if sum(part.file_size for part in parts.infolist()) > file.stat().st_size:
                    raise ValueError("packed")
        elif not head.startswith(PICKLE):
            raise ValueError("no tensors")
        contents = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped and head == ZIP)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # torch and safetensors raise many kinds for files that are no checkpoints
        raise ValueError(str(error)) from error
    if not isinstance(contents, dict):
        raise ValueError("no state dict")
    return contents


def _is_exported(file: Path) -> bool:
    """Whether a file is one of safetensors: the length of a header, the header as JSON, then tensors."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 2 <= length <= LONGEST_HEADER or opened.read(1) != b"{":
            return False
        header = b"{" + opened.read(length - 1)
    if len(header) < length:
        raise _cut_off(file)
    ends = [one["data_offsets"][1] for key, one in json.loads(header).items() if key != "__metadata__"]
    if file.stat().st_size < 8 + length + max(ends, default=0):
        raise _cut_off(file)
    return True


def _exported(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as opened:
        about = opened.metadata() or {}
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    if "retinalesion" not in about:
        return tensors
    state = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    told = {key: json.loads(about[key]) for key in ("hyper_parameters", "retinalesion")}
    return {**told, "state_dict": state}


def _is_plain(value: Any) -> bool:
    """Whether something is a tensor that is as large as it says: views can promise terabytes."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and value.device.type == "cpu"
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _require_finite(tensors: Mapping[str, Tensor], file: Path) -> None:
    for key, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise UserError(
                f"{file}: has weights that are not finite ({key}): its training went astray. Take an earlier "
                "checkpoint, or train again at a lower rate."
            )


def _cut_off(file: Path) -> UserError:
    return UserError(f"{file}: cut off. Copy it again, or take another checkpoint.")


def _foreign(file: Path | str) -> UserError:
    return UserError(
        f"{file}: not a checkpoint of retinalesion. Those of a run are in runs/NAME/checkpoints; exported "
        f"files end in {EXPORTED}."
    )
