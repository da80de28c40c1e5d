"""``fit``, ``validate``, ``test``, ``predict``: LightningCLI with run folders and shipped configs."""

import argparse
import json
import logging
import os
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from jsonargparse import Namespace
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger

from retinalesion.commands.configs import find_config
from retinalesion.commands.drawn import drawn_store
from retinalesion.commands.runs import Run
from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.store import Store, replace_file
from retinalesion.errors import UserError
from retinalesion.networks.encoder import Encoder
from retinalesion.training.segmentation import SegmentationTask

log = logging.getLogger("retinalesion")


def main(name: str, arguments: Sequence[str]) -> None:
    """Run one of the four.

    Raises:
        UserError: whatever the user can mend.
        argparse.ArgumentError: an argument or a key in a config is wrong.
    """
    _show_log()
    own, rest = _own_parser().parse_known_args(_with_configs_found(arguments))
    session = _to_fit(own, rest) if name == "fit" else _to_use(own, rest)
    CommandLine(name, session)


def _show_log() -> None:
    if not log.handlers:
        shown = logging.StreamHandler()
        shown.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(shown)
        log.setLevel(logging.INFO)
    for noise in (
        "Experiment logs directory",  # holds the config by then; a resumed run keeps its metrics
        ".*does not have many workers",  # chosen on purpose, see FundusDataModule
        "LightningCLI's args parameter",  # given on purpose
    ):
        warnings.filterwarnings("ignore", message=noise)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip: For seamless" not in record.getMessage()


def _own_parser() -> argparse.ArgumentParser:
    """The arguments that decide which config the others amend."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in ("--run", "--resume", "--ckpt_path"):
        parser.add_argument(option)
    return parser


def _with_configs_found(arguments: Sequence[str]) -> list[str]:
    found: list[str] = []
    for previous, word in zip(["", *arguments], arguments, strict=False):
        option, equals, value = word.partition("=")
        if previous in ("--config", "-c"):
            word = str(_readable(find_config(word)))
        elif option == "--config" and equals:
            word = f"--config={_readable(find_config(value))}"
        found.append(word)
    return found


def _readable(config: Path) -> Path:
    """Looked at here, since the parser would not name the file."""
    try:
        yaml.safe_load(config.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{config}: not YAML ({' '.join(str(error).split())}).") from error
    return config


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
    config = ["--config", str(_readable(run.config))] if run.config.is_file() else []
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


class CommandLine(LightningCLI):
    """LightningCLI whose output goes to the run's folder, and where what is typed wins over a checkpoint."""

    def __init__(self, command: str, session: Session) -> None:
        self.session = session
        self.random_weights_instead = False
        silent = {"exit_on_error": False}
        super().__init__(
            SegmentationTask,
            FundusDataModule,
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={**silent, **{name: dict(silent) for name in self.subcommands()}},
            args=[command, *session.arguments],
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Show in the help what `main` has already taken out of the arguments."""
        parser.add_argument(
            "--run", help="The run: a name under runs/ or a folder. Made by fit, used by the others."
        )
        parser.add_argument("--resume", help="Only fit: go on with this run, from its last checkpoint.")

    def _parse_ckpt_path(self) -> None:
        """`main` has put the checkpoint's settings before what was typed; Lightning would put them after."""

    def before_instantiate_classes(self) -> None:
        """Settle store, weights and places, so that a mistake stops the command before any work."""
        settings = self.config[self.subcommand]
        if settings.trainer.default_root_dir is not None:
            raise UserError("trainer.default_root_dir is the run's folder here: choose it with --run.")
        is_drawn = settings.data.store is None
        store = Store(drawn_store() if is_drawn else settings.data.store)
        settings.data.store = str(store.path.absolute())
        if self.subcommand == "fit":
            settings.data.side = settings.data.side or store.side
            if self.session.checkpoint is None:
                self._settle_weights(settings.model, is_drawn)
        self.resolved = self._resolved(settings)
        for logger in _listed(settings.trainer.logger):
            if isinstance(logger, Namespace) and logger.class_path.endswith("WandbLogger"):
                logger.init_args.save_dir = str(self.session.run.path)

    def _settle_weights(self, model: Namespace, is_drawn: bool) -> None:
        try:
            Encoder(model.encoder, model.weights)
        except UserError as error:
            if not is_drawn or model.weights != "imagenet":
                raise
            log.warning("%s On the drawn set it goes on from random weights.", error)
            model.weights = None
            self.random_weights_instead = True

    def _resolved(self, settings: Namespace) -> str:
        """The config of a run: all that a later command needs, defaults included."""
        kept = Namespace({key: settings[key] for key in ("seed_everything", "trainer", "model", "data")})  # type: ignore[no-untyped-call]
        return str(self._parser(self.subcommand).dump(kept, skip_none=False, skip_validation=True))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Metrics go to a CSV file in the run's folder, besides the logger that the config names."""
        folder = "" if self.subcommand == "fit" else self.subcommand
        csv = CSVLogger(self.session.run.path, name="", version=folder)
        named = [
            x for x in _listed(self._get(self.config_init, "trainer")["logger"]) if isinstance(x, Logger)
        ]
        return super().instantiate_trainer(
            default_root_dir=self.session.run.path,
            logger=[csv, *(logger for logger in named if isinstance(logger, Logger))],
            use_distributed_sampler=False,  # the loaders share photographs out by themselves, each once
            **kwargs,
        )

    def before_fit(self) -> None:
        """See that the store fits the config, then open the run's folder."""
        self.datamodule.setup("fit")
        if self.trainer.is_global_zero:
            self._open_run(self.session.run)

    def _open_run(self, run: Run) -> None:
        if self.session.checkpoint is None:
            replace_file(run.config, lambda beside: beside.write_text(self.resolved, "utf-8"))
        else:
            steps = load(self.session.checkpoint)["global_step"]
            run.go_on_with_metrics(cast(CSVLogger, self.trainer.loggers[0]), steps)
        written = logging.FileHandler(run.path / "log", encoding="utf-8")
        written.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        for name in ("lightning.pytorch", "lightning.fabric", "retinalesion", "py.warnings"):
            logging.getLogger(name).addHandler(written)
        logging.captureWarnings(True)
        log.info("Run %s on store %s", run.path, self.datamodule.path)

    def after_fit(self) -> None:
        """Mark the run as finished and say what comes next."""
        run, steps = self.session.run, self.trainer.global_step
        if not self.trainer.is_global_zero or not run.checkpoints.is_dir():  # a dry run leaves none
            return
        # AdamW's run has a fixed length, and its averaged weights of the end count.
        run.finish("last" if self.model.optimizer == "adamw" else "best", steps)
        if self.random_weights_instead:
            log.info("Trained from random weights, since ImageNet's could not be fetched: expect low scores.")
        log.info("Finished after %d steps. Its scores on the test photographs:", steps)
        log.info("  retinalesion test --run %s", shlex.quote(str(run.path)))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
