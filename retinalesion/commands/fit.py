"""``fit``, ``validate``, ``test``, ``predict``: LightningCLI with run folders and shipped configs."""

import logging
import shlex
import signal
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import walk_tb
from typing import Any, cast

import yaml
from jsonargparse import ActionYesNo, Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from retinalesion.commands.configs import config_of
from retinalesion.commands.drawn import drawn_store
from retinalesion.commands.runs import RUNS, Run
from retinalesion.commands.sessions import Session
from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.prepare import prepare
from retinalesion.data.sources.folder import FolderSource
from retinalesion.data.store import Store
from retinalesion.errors import UserError
from retinalesion.files import replace_file
from retinalesion.networks.checkpoint import find, read_checkpoint
from retinalesion.networks.encoder import Encoder
from retinalesion.networks.tables import LESION_MODELS_FOR, SEGMENTERS, names_in, segmenter
from retinalesion.reading.reader import Model
from retinalesion.report.outcomes import OutcomeTables
from retinalesion.report.prediction import ReadingWriter
from retinalesion.training.callbacks.ending import end_of
from retinalesion.training.contract import callbacks_of
from retinalesion.training.grading import GradingTask
from retinalesion.training.segmentation import SegmentationTask

log = logging.getLogger("retinalesion")


def main(name: str, arguments: Sequence[str]) -> None:
    """Run one of the four.

    Raises:
        UserError: whatever the user can mend.
        argparse.ArgumentError: an argument or a value in a config is wrong.
        SystemExit: with 130 on Ctrl-C, with 143 on SIGTERM.
    """
    _show_log()
    session = Session.of(name, arguments, {"data": FundusDataModule, "trainer": Trainer})
    is_first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    try:
        if name == "fit" and is_first and not session.asks_for_help:
            with session.run.held():
                _fit(session)
        else:
            CommandLine(name, session)
    except (KeyboardInterrupt, SystemExit) as stop:
        if not (status := _status_of(stop)):
            raise
        if name == "fit" and is_first:
            _tell_how_to_go_on(session.run)
        raise SystemExit(status) from None


def _fit(session: Session) -> None:
    run = session.run
    if session.checkpoint is None:
        run.require_untrained()
    elif session.is_unchanged and run.mark.is_file():
        log.info(
            "%s is finished already: nothing to do. It would go on with more --trainer.max_steps.", run.path
        )
        return
    CommandLine("fit", session)


def _status_of(stop: BaseException) -> int:
    """130 for Ctrl-C, 143 for SIGTERM; 0 for what is neither. Lightning makes 1 and 0 of them."""
    if isinstance(stop, SIGTERMException):
        return int(stop.code or 128 + signal.SIGTERM)
    is_ctrl_c = isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt)
    return 128 + signal.SIGINT if is_ctrl_c else 0


def _tell_how_to_go_on(run: Run) -> None:
    if (run.checkpoints / "last.ckpt").is_file():
        log.info("Go on with:\n  retinalesion fit --resume %s", shlex.quote(str(run.path)))
    else:
        log.info("There is no checkpoint yet: the same command begins anew.")


def _show_log() -> None:
    if not log.handlers:
        shown = logging.StreamHandler()
        shown.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(shown)
        log.setLevel(logging.INFO)
    for noise in (
        "Experiment logs directory",  # holds the config by then; a resumed run keeps its metrics
        r"Found .* module\(s\) in eval mode",  # a frozen lesion network
        ".*does not have many workers",  # chosen on purpose, see FundusDataModule
        "Checkpoint directory .* exists and is not empty",  # of a resumed run
        "LightningCLI's args parameter",  # given on purpose
        r".*isinstance\(treespec, LeafSpec\)",  # between Lightning and torch
    ):
        warnings.filterwarnings("ignore", message=noise)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip: For seamless" not in record.getMessage()


class CommandLine(LightningCLI):
    """LightningCLI whose output goes to the run's folder, and where what is typed wins over a checkpoint."""

    def __init__(self, command: str, session: Session) -> None:
        self.session = session
        self.random_weights_instead = False
        silent = {"exit_on_error": False}
        super().__init__(
            session.task,
            FundusDataModule,
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={**silent, **{name: dict(silent) for name in self.subcommands()}},
            args=[command, *session.arguments],
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What is not Lightning's; `Session` takes ``run`` and ``resume`` out before the parser sees them."""
        parser.add_argument(
            "--run", help="folder of the run, or its name under runs/: fit makes, others use it"
        )
        parser.add_argument("--resume", help="only fit: the run to go on with, from its last checkpoint")
        parser.add_argument("--photographs", help="only predict: a folder of photographs, instead of a store")
        pictures = "only predict: write 16-bit probability pictures too"
        parser.add_argument("--probabilities", action=ActionYesNo, nargs="?", default=False, help=pictures)

    def _parse_ckpt_path(self) -> None:
        """`main` has put the checkpoint's settings before what was typed; Lightning would put them after."""

    def before_instantiate_classes(self) -> None:
        """Settle store, weights and places, so that a mistake stops the command before any work."""
        settings = self.config[self.subcommand]
        if settings.trainer.default_root_dir is not None:
            raise UserError("trainer.default_root_dir is the run's folder here: choose it with --run.")
        if self.subcommand == "predict":
            settings.return_predictions = False  # they go to files; a set's maps would fill the memory
            if settings.photographs:
                self._prepare_photographs(settings)
        if self.subcommand == "test":
            settings.verbose = False  # the task shows its own table
        is_drawn = settings.data.store is None
        store = Store(drawn_store() if is_drawn else settings.data.store)
        settings.data.store = str(store.path.absolute())
        if self.subcommand == "fit":
            settings.data.side = settings.data.side or store.side
            if self.session.checkpoint is None:
                if self.session.task is GradingTask:
                    self._settle_lesion_net(settings.model)
                self._settle_weights(settings.model, is_drawn)
        self.resolved = self._resolved(settings)
        for logger in _listed(settings.trainer.logger):
            if isinstance(logger, Namespace) and logger.class_path.endswith("WandbLogger"):
                logger.init_args.save_dir = str(self.session.run.path)

    def _prepare_photographs(self, settings: Namespace) -> None:
        if settings.data.side is None:
            raise UserError(
                "predict --photographs: name the side that the network was trained at: --data.side."
            )
        self.temporary = TemporaryDirectory()
        store = Path(self.temporary.name, "store")
        # One bad photograph does not stop the others: it is listed.
        prepare(FolderSource(settings.photographs), store, side=settings.data.side, skip_bad=True)
        settings.data.store, settings.data.evaluate = str(store), "all"

    def _settle_weights(self, model: Namespace, is_drawn: bool) -> None:
        if model.weights == "imagenet":
            log.info("Looking for the ImageNet weights of %s", model.encoder)
        try:
            if model.weights is not None:
                maps = self.session.task is SegmentationTask  # which may begin with a whole network
                begun = segmenter(model.network, model.encoder) if maps else Encoder(model.encoder)
                begun.load_weights(model.weights)
        except UserError as error:
            if not is_drawn or model.weights != "imagenet":
                raise
            log.warning("%s On the drawn set it goes on from random weights.", error)
            model.weights = None
            self.random_weights_instead = True

    def _settle_lesion_net(self, model: Namespace) -> None:
        """Find the lesion model, and keep its name with the settings, so that its file is needed once."""
        if model.network not in LESION_MODELS_FOR:
            return
        table = LESION_MODELS_FOR[model.network]
        if model.lesion_net is None:
            wanted = [model.lesion_network] if model.lesion_network else table
            model.lesion_net = str(newest_lesion_net(wanted))
            log.info("No lesion network named (--model.lesion_net CHECKPOINT): taking %s", model.lesion_net)
        model.lesion_net = str(find(model.lesion_net).absolute())
        model.lesion_network, model.lesion_encoder = names_in(model.lesion_net, table)

    def _resolved(self, settings: Namespace) -> str:
        """The config of a run: all that a later command needs, defaults included."""
        kept = Namespace({key: settings[key] for key in ("seed_everything", "trainer", "model", "data")})  # type: ignore[no-untyped-call]
        return str(self._parser(self.subcommand).dump(kept, skip_unset=False, skip_validation=True))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Metrics go to a CSV file in the run's folder, besides the logger that the config names."""
        folder = "" if self.subcommand == "fit" else self.subcommand
        csv = CSVLogger(self.session.run.path, name="", version=folder)
        named = _listed(self._get(self.config_init, "trainer")["logger"])
        try:
            return super().instantiate_trainer(
                default_root_dir=self.session.run.path,
                logger=[csv, *(logger for logger in named if isinstance(logger, Logger))],
                **kwargs,
            )
        except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
            raise UserError(_of_trainer(error)) from error

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except (MisconfigurationException, TypeError, ValueError) as error:
            if not _is_said_by_lightning(error):
                raise
            raise UserError(_of_trainer(error)) from error
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            raise UserError(
                f"{self.session.checkpoint} does not fit network {self.model.hparams['network']} on "
                f"{self.model.hparams['encoder']}. Leave both out: the checkpoint knows its own."
            ) from error

    def before_fit(self) -> None:
        """See that the store fits the config, then open the run's folder."""
        self.datamodule.setup("fit")
        if self.trainer.is_global_zero:
            self._open_run(self.session.run)

    def before_test(self) -> None:
        """Score its rule; and leave beside the tables how it was trained, as `compare` wants to know it."""
        callbacks_of(self.trainer).insert(0, OutcomeTables())  # before the tables of the task, which tell it
        run, file = self.session.run, self.session.checkpoint
        if file is None or not self.trainer.is_global_zero:
            return
        if run.config.is_file() and file.resolve().parent == run.checkpoints.resolve():
            settings = run.config.read_text("utf-8")
        else:  # from elsewhere: what it tells of itself, and no more
            checkpoint = read_checkpoint(file)
            told = {"model": checkpoint.settings, "data": {"side": checkpoint.about.get("side") or None}}
            settings = yaml.safe_dump(told, sort_keys=False)
        replace_file(run.path / "test" / run.config.name, lambda beside: beside.write_text(settings, "utf-8"))

    def before_predict(self) -> None:
        """See that readings can be made, then have them written."""
        others = [one for one in self.trainer.loggers if not isinstance(one, CSVLogger)]
        self.trainer.loggers = others  # a prediction has no metrics, and its folder is for readings
        Model.of(self.model.trained)
        writer = ReadingWriter(self.config.predict.probabilities)
        callbacks_of(self.trainer).append(writer)

    def _open_run(self, run: Run) -> None:
        self.steps_before = 0
        if self.session.checkpoint is None:
            replace_file(run.config, lambda beside: beside.write_text(self.resolved, "utf-8"))
        else:
            self.steps_before = read_checkpoint(self.session.checkpoint).step
            run.go_on_with_metrics(cast(CSVLogger, self.trainer.loggers[0]), self.steps_before)
        # Once it trains, it is no longer what the mark says.
        unmark = LambdaCallback(on_train_batch_start=lambda *_: run.mark.unlink(missing_ok=True))
        callbacks_of(self.trainer).append(unmark)
        written = logging.FileHandler(run.path / "log", encoding="utf-8")
        written.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        for name in ("lightning.pytorch", "lightning.fabric", "retinalesion", "py.warnings"):
            logging.getLogger(name).addHandler(written)
        logging.captureWarnings(True)
        log.info("Run %s on store %s", run.path, self.datamodule.path)

    def after_fit(self) -> None:
        """Mark the run as finished where its end was planned, and say what comes next."""
        run, steps = self.session.run, self.trainer.global_step
        if not self.trainer.is_global_zero or not run.checkpoints.is_dir():  # a dry run leaves none
            return
        if steps == self.steps_before:
            log.info("Nothing to do: %s has ended after %d steps.", run.path, steps)
        if self.random_weights_instead:
            log.info("Trained from random weights, since ImageNet's could not be fetched: expect low scores.")
        end = end_of(self.trainer, self.model)
        if not end.planned:
            log.info("Not marked as finished, since %s cut it off. Go on with:", end.cause)
            log.info("  retinalesion fit --resume %s --trainer.max_epochs -1", shlex.quote(str(run.path)))
            return
        if not run.mark.is_file():
            # AdamW's run has a fixed length, and its averaged weights of the end count.
            best = self.model.optimizer != "adamw" and (run.checkpoints / "best.ckpt").is_file()
            run.finish("best" if best else "last", steps)
        log.info("Finished after %d steps. Its scores on the test photographs:", steps)
        log.info("  retinalesion test --run %s", shlex.quote(str(run.path)))


def _is_said_by_lightning(error: Exception) -> bool:
    """Whether Lightning raised it itself, as it does where settings contradict each other."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).startswith("lightning.")


def _of_trainer(error: Exception) -> str:
    return f"the trainer's settings do not go together: {' '.join(str(error).split())}"


def newest_lesion_net(networks: Collection[str] = SEGMENTERS) -> Path:
    """The checkpoint of the lesion model that finished last under ``runs/``.

    Args:
        networks: names of those that will do.

    Raises:
        UserError: there is none.
    """
    for run in Run.finished():
        if read_checkpoint(run.result).network in networks:
            return run.result
    one = next(iter(networks)) if len(networks) == 1 else "lnet-16s"
    wanted = one if len(networks) == 1 else "one"
    raise UserError(
        f"no lesion network named, and no finished run of {wanted} in {RUNS.absolute()}. Train one first: "
        f"retinalesion fit --config {config_of(one)}; or name one: --model.lesion_net CHECKPOINT."
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
