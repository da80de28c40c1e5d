"""From what was typed to what a command works on: its run, its configs and its checkpoint."""

import argparse
import inspect
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only

from retinalesion.commands.configs import find_config
from retinalesion.commands.runs import Run
from retinalesion.errors import UserError
from retinalesion.networks.checkpoint import find, read_checkpoint
from retinalesion.training.grading import GradingTask
from retinalesion.training.tasks import task_of

log = logging.getLogger("retinalesion")


@dataclass(frozen=True)
class Session:
    """What a command works on.

    Attributes:
        run: the run's folder.
        arguments: complete, as LightningCLI takes them.
        task: the class that trains the network.
        checkpoint: to resume or to use.
        is_unchanged: a resumed run, with nothing typed that could make it longer.
    """

    run: Run
    arguments: list[str]
    task: type
    checkpoint: Path | None = None
    is_unchanged: bool = False

    @property
    def asks_for_help(self) -> bool:
        """Whether nothing is to be done but to show the options."""
        return _asks_for_help(self.arguments)

    @classmethod
    def of(
        cls,
        name: str,
        arguments: Sequence[str],
        groups: Mapping[str, type],
    ) -> "Session":
        """Read from the arguments what decides which config the others amend.

        Args:
            name: of the command.
            arguments: as typed.
            groups: the class behind each group of settings but ``model``; its parameters are the keys.

        Raises:
            UserError: no such config, run or checkpoint, or one that is damaged or has unknown keys.
        """
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        for option in ("--run", "--resume", "--ckpt_path"):
            parser.add_argument(option)
        words, configs = _with_configs_found(arguments)
        own, rest = parser.parse_known_args(words)
        task = task_of(_network_in(words, configs.values()))
        for file, contents in configs.items():
            _require_known_keys(file, contents, {**groups, "model": task})
        if name == "fit":
            return _to_fit(own, rest, task)
        return _to_use(own, rest, task)


def _to_fit(own: argparse.Namespace, rest: list[str], task: type) -> Session:
    if own.ckpt_path:
        raise UserError("fit --ckpt_path: name the run to go on with instead, with --resume runs/NAME.")
    if own.resume:
        named = Path(own.resume)
        if named.is_file():  # best.ckpt, say
            return _to_resume(Run.of(named), named, rest, is_unchanged=False)
        run = Run.named(own.resume)
        return _to_resume(run, run.latest, rest, is_unchanged=not rest)
    is_first = rank_zero_only.rank == 0 and not _asks_for_help(rest)  # type: ignore[attr-defined]
    run = Run.named(own.run) if own.run else Run.new(make=is_first)
    if "SLURM_RESTART_COUNT" in os.environ and any(run.checkpoints.glob("last.ckpt")):
        log.info("Queued again by Slurm: %s goes on.", run.path)
        return _to_resume(run, run.latest, rest, is_unchanged=True)
    return Session(run, rest, task)


def _to_resume(run: Run, checkpoint: Path, rest: list[str], is_unchanged: bool) -> Session:
    read = read_checkpoint(checkpoint)
    if not read.tells_how_to_go_on:
        raise UserError(
            f"{checkpoint}: an exported file, which holds a network and nothing of its fit to go on with. "
            f"Begin a run with its weights: --model.weights {checkpoint}"
        )
    # The run's config says all; where it is lost, the checkpoint knows its network.
    own_words = [] if run.config.is_file() else ["--model", json.dumps(read.settings)]
    words = _arguments(run.config, own_words, rest, checkpoint)
    return Session(run, words, task_of(read.network), checkpoint, is_unchanged)


def _to_use(own: argparse.Namespace, rest: list[str], task: type) -> Session:
    if _asks_for_help(rest):
        return Session(Run(Path()), rest, task)
    if own.ckpt_path:
        checkpoint = find(own.ckpt_path)
        run = Run.named(own.run) if own.run else Run.of(checkpoint)
    else:
        run = Run.named(own.run) if own.run else Run.newest_finished()
        checkpoint = run.result
    contents = read_checkpoint(checkpoint)
    settings = contents.settings
    task = task_of(settings["network"])
    log.info("Using %s", checkpoint)
    own_words = ["--model", json.dumps(settings)]
    if not own.ckpt_path:
        return Session(run, _arguments(run.config, own_words, rest, checkpoint), task, checkpoint)
    # What lies beside a file from elsewhere is not asked: it could name loggers, callbacks and stores.
    if task is GradingTask:
        own_words += ["--data.truth", "grade"]
    if side := contents.about.get("side"):
        own_words += ["--data.side", str(side)]
    return Session(run, _arguments(None, own_words, rest, checkpoint), task, checkpoint)


def _asks_for_help(words: Sequence[str]) -> bool:
    return bool({"-h", "--help"} & set(words))


def _arguments(config: Path | None, own_words: list[str], rest: list[str], checkpoint: Path) -> list[str]:
    """What stands later wins: the run's config, the checkpoint's settings, then what was typed."""
    configs = ["--config", str(config)] if config and config.is_file() else []
    return [*configs, *own_words, *rest, "--ckpt_path", str(checkpoint)]


def _with_configs_found(arguments: Sequence[str]) -> tuple[list[str], dict[Path, dict[str, Any]]]:
    """The arguments with the files that ``--config NAME`` or ``--config=NAME`` mean, and their contents."""
    words = [part for word in arguments for part in _option_and_value(word)]
    configs: dict[Path, dict[str, Any]] = {}
    for place, word in enumerate(words[1:], 1):
        if words[place - 1] in ("--config", "-c"):
            config = find_config(word)
            configs[config] = _read_config(config)
            words[place] = str(config)
    of_configs = {place for place, word in enumerate(words) if word in ("--config", "-c")}
    # Configs first, so that what was typed wins wherever it stood.
    first = [place in of_configs or place - 1 in of_configs for place in range(len(words))]
    order = sorted(range(len(words)), key=lambda place: not first[place])
    return [words[place] for place in order], configs


def _network_in(words: Sequence[str], configs: Iterable[Mapping[str, Any]]) -> str:
    """The network that a fit is to train: as typed, else as the last config says."""
    name = ""
    for contents in configs:
        name = str((contents.get("model") or {}).get("network", name))
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        if word.startswith("--model.network"):
            name = word.partition("=")[2] or following
    return name


def _option_and_value(word: str) -> list[str]:
    return word.split("=", 1) if word.startswith("--config=") else [word]


def _read_config(config: Path) -> dict[str, Any]:
    try:
        contents: Any = yaml.safe_load(config.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{config}: not a config ({' '.join(str(error).split())}).") from error
    groups = ("model", "data", "trainer")
    if not isinstance(contents, dict) or not all(isinstance(contents.get(g) or {}, dict) for g in groups):
        raise UserError(f"{config}: not a config: settings stand under {', '.join(groups)}.")
    return contents


def _require_known_keys(config: Path, contents: Mapping[str, Any], groups: Mapping[str, type]) -> None:
    """Looked at here, since the parser would name neither the file nor the key that was perhaps meant."""
    keys = {f"{group}.{key}" for group in groups for key in contents.get(group) or ()}
    known = {f"{group}.{key}" for group, kind in groups.items() for key in inspect.signature(kind).parameters}
    for key in sorted(contents.keys() - groups.keys() - {"seed_everything"} | keys - known):
        near = get_close_matches(key, [*groups, *known], 1) or sorted(groups)
        raise UserError(f"{config}: unknown key {key!r}. Perhaps {' or '.join(near)} was meant.")
