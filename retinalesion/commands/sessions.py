"""From what was typed to what a command works on: its run, its configs and its checkpoint."""

import argparse
import inspect
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only

from retinalesion.commands.configs import find_config
from retinalesion.commands.runs import Run
from retinalesion.errors import UserError

log = logging.getLogger("retinalesion")


@dataclass(frozen=True)
class Session:
    """What a command works on.

    Attributes:
        run: the run's folder.
        arguments: complete, as LightningCLI takes them.
        checkpoint: to resume or to use.
    """

    run: Run
    arguments: list[str]
    checkpoint: Path | None = None

    @classmethod
    def of(cls, name: str, arguments: Sequence[str], groups: Mapping[str, type]) -> "Session":
        """Read from the arguments what decides which config the others amend.

        Args:
            name: of the command.
            arguments: as typed.
            groups: the class behind each group of settings; its parameters are the keys of a config.

        Raises:
            UserError: no such config, run or checkpoint, or one that is damaged or has unknown keys.
        """
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        for option in ("--run", "--resume", "--ckpt_path"):
            parser.add_argument(option)
        own, rest = parser.parse_known_args(_with_configs_found(arguments, groups))
        return _to_fit(own, rest) if name == "fit" else _to_use(own, rest)


def _to_fit(own: argparse.Namespace, rest: list[str]) -> Session:
    if own.resume:
        run = Run.named(own.resume)
        checkpoint = run.checkpoint("last")
        load(checkpoint)
        return Session(run, _arguments(run, rest, checkpoint), checkpoint)
    if own.ckpt_path:
        raise UserError("fit --ckpt_path: name the run to go on with instead, with --resume runs/NAME.")
    run = Run.named(own.run) if own.run else Run.new()
    queued_again = "SLURM_RESTART_COUNT" in os.environ
    if run.config.exists() and not queued_again and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        raise UserError(
            f"{run.path} holds a run. Go on with --resume {run.path}, or name another with --run."
        )
    return Session(run, rest)


def _to_use(own: argparse.Namespace, rest: list[str]) -> Session:
    if {"-h", "--help"} & set(rest):
        return Session(Run(Path()), rest)
    if own.ckpt_path:
        checkpoint = Path(own.ckpt_path)
        run = Run.named(own.run) if own.run else Run(checkpoint.absolute().parent.parent)
    else:
        run = Run.named(own.run) if own.run else Run.newest_finished()
        checkpoint = run.result
    settings = {key: value for key, value in load(checkpoint)["hyper_parameters"].items() if key[0] != "_"}
    log.info("Using %s", checkpoint)
    return Session(run, _arguments(run, ["--model", json.dumps(settings), *rest], checkpoint), checkpoint)


def _arguments(run: Run, rest: list[str], checkpoint: Path) -> list[str]:
    """What stands later wins: the run's config, the checkpoint's settings, then what was typed."""
    config = ["--config", str(run.config)] if run.config.is_file() else []
    return [*config, *rest, "--ckpt_path", str(checkpoint)]


def load(file: Path) -> dict[str, Any]:
    """A checkpoint's contents.

    Raises:
        UserError: missing, cut off, or not a checkpoint of this package.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such checkpoint.")
    try:
        contents: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        contents["retinalesion"], contents["hyper_parameters"]["network"]
    except Exception as error:  # torch raises many kinds for files that are no checkpoints
        raise UserError(
            f"{file}: cut off, or not a checkpoint of retinalesion. Those of a run are in "
            "runs/NAME/checkpoints; name one with --ckpt_path."
        ) from error
    return contents


def _with_configs_found(arguments: Sequence[str], groups: Mapping[str, type]) -> list[str]:
    """The arguments with the files that ``--config NAME`` or ``--config=NAME`` mean."""
    words = [part for word in arguments for part in _option_and_value(word)]
    for place, word in enumerate(words[1:], 1):
        if words[place - 1] in ("--config", "-c"):
            config = find_config(word)
            _require_known_keys(config, groups)
            words[place] = str(config)
    return words


def _option_and_value(word: str) -> list[str]:
    return word.split("=", 1) if word.startswith("--config=") else [word]


def _require_known_keys(config: Path, groups: Mapping[str, type]) -> None:
    """Looked at here, since the parser would name neither the file nor the key that was perhaps meant."""
    try:
        contents = yaml.safe_load(config.read_text("utf-8"))
        keys = {f"{group}.{key}" for group in groups for key in contents.get(group) or ()}
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError) as error:
        raise UserError(f"{config}: not a config ({' '.join(str(error).split())}).") from error
    known = {f"{group}.{key}" for group, kind in groups.items() for key in inspect.signature(kind).parameters}
    for key in sorted(contents.keys() - groups.keys() - {"seed_everything"} | keys - known):
        near = get_close_matches(key, [*groups, *known], 1) or sorted(groups)
        raise UserError(f"{config}: unknown key {key!r}. Perhaps {' or '.join(near)} was meant.")
