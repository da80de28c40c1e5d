"""What all tasks share: optimizer, schedule, and checkpoints that stand alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypedDict

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from retinalesion.data.batch import Batch
from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.prints import Prints, ids_among, in_short
from retinalesion.data.quality import Limits, limits_of, measure
from retinalesion.data.store import Row, Store
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.base import Trained, learned_by
from retinalesion.networks.checkpoint import FORMAT, Checkpoint, read_weights, require_ours
from retinalesion.scores import Array
from retinalesion.training.callbacks.checkpoints import checkpoints, take_whole_files
from retinalesion.training.callbacks.costs import TestCosts
from retinalesion.training.callbacks.ending import Ending
from retinalesion.training.callbacks.finite import Finite, require_finite
from retinalesion.training.callbacks.tables import TestTables
from retinalesion.training.contract import Optimizer, Stage, data_of
from retinalesion.training.rows import BY_PIXEL, Scores
from retinalesion.training.schedule import cosine, schedule
from retinalesion.training.seen import Seen

LOOKED_AT = 200  # training photographs, evenly drawn, whose quality sets the limits


class Prediction(TypedDict):
    """What is said of the photographs of a batch, as `retinalesion.networks.base.Answers` describes it."""

    id: list[str]
    lesions: Tensor | None
    grade: Tensor | None
    present: Tensor | None
    attention: Tensor | None


class Task(LightningModule):
    """Base of the tasks. Subclasses set ``network`` and take the steps.

    Args:
        optimizer: ``sgd`` with momentum 0.95 and the two-stage schedule of section 4.1, or ``adamw`` with
            cosine, for runs of a fixed length, whose averaged weights of the end count.
        rate: learning rate at the start (its peak for ``adamw``).
        decay: weight decay.
    """

    monitor: str
    scores: Scores = BY_PIXEL
    network: nn.Module

    def __init__(self, optimizer: Optimizer, rate: float, decay: float) -> None:
        super().__init__()
        self.optimizer: Optimizer = optimizer
        self.rate, self.decay = rate, decay
        self.stage: Stage = "only"
        self.seen = Seen()  # in training
        self.is_new = True  # nothing has trained it, nor was it read from a checkpoint
        self.trained_side = 0  # of the square, in pixels
        self.seen_side = 0  # of the latest test
        self.cost: dict[str, float | None] = {}  # of the network, likewise
        self.quality_limits: Limits = {}  # of photographs like those that it was trained on
        self.ruled: dict[str, Any] = {}  # what its rule was worth in the latest test, of who reads
        self.rule: dict[str, Any] = {}  # fitted on this very network's readings; a fit makes it another

    @property
    def learned(self) -> Tensor:
        """Bool (8,): lesions that the network knows; of a grader, those that its maps show."""
        return learned_by(self.network).to(self.device)

    @property
    def trained(self) -> Trained:
        """The network with what has to be known to use it; what it answers is what is predicted."""
        name = f"{self.hparams['network']} on {self.hparams['encoder']}"
        flips = bool(self.hparams.get("flips"))
        return Trained(self.network, name, self.trained_side, self.quality_limits, flips, self.rule)

    @property
    def store_fingerprint(self) -> str:
        """Of the store that it was trained on."""
        return self.seen.fingerprint

    @property
    def data(self) -> FundusDataModule | None:
        """The trainer's data module; None where it has another kind of it, or loaders alone."""
        return data_of(self.trainer)

    def begin(self, data: FundusDataModule | None) -> None:
        """At the start of a fresh fit: take the weights.

        Args:
            data: as `data` gives it.
        """
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        """See that the trainer's settings are such that the task can work, and that it reads our files.

        Raises:
            UserError: they are not.
        """
        take_whole_files(self.trainer)  # before any checkpoint is restored: exported files are read too
        precision = str(self.trainer.precision)
        if precision.endswith("-true") and precision != "32-true":
            raise UserError(
                f"trainer.precision {precision}: images and losses are float32 here. Use 32-true, or "
                "bf16-mixed or 16-mixed, which save as much."
            )
        draws = getattr(self.trainer, "datamodule", None) is not None
        if draws and getattr(self.trainer, "overfit_batches", False):
            raise UserError(
                "trainer.overfit_batches: the data module draws by itself. For a trial on few batches set "
                "data.batches and trainer.limit_val_batches."
            )

    def on_fit_start(self) -> None:
        """Begin, or see that a checkpoint goes on with the photographs that it was trained on.

        Raises:
            UserError: it does not, or as `begin` raises.
        """
        data = self.data
        if self.rule:
            rank_zero_info("The checkpoint's rule suits the network as it was: what this fit makes has none.")
            self.rule = {}
        if self.trainer.ckpt_path is not None:  # known by now, but not yet in `setup`
            self.seen.require_same(Seen.of(data))
            return
        self.seen = Seen(earlier=self.seen.all)
        self.begin(data)
        self.is_new = False
        self.seen = Seen.of(data, self.seen.earlier)
        if data is not None:
            self.trained_side = data.side
            self.quality_limits = _quality_limits(data.store, data.rows("train"))

    def inherit(self, weights: str) -> None:
        """What trained an earlier run trained what begins with it, too."""
        given = read_weights(weights) if weights != "imagenet" else None
        if isinstance(given, Checkpoint):
            self.inherit_prints(Seen.kept_in(given.about).all)

    def inherit_prints(self, prints: Prints) -> None:
        """The same, of its photographs."""
        self.seen = replace(self.seen, earlier=self.seen.earlier | prints)

    def on_test_start(self) -> None:
        """Tell of tested photographs that the network knows.

        Raises:
            UserError: the test is of another fold than the network, or of other folds of its store.
        """
        if self.data is None:
            return
        if self.data.evaluate == "val" and (apart := self.seen.apart_from(Seen.of(self.data))):
            raise UserError(
                f"This network is of {apart}: photographs of that trained it, and scores of them would "
                "flatter. Test it on its own fold: with its data.folds and data.fold."
            )
        rows = self.data.rows(self.data.evaluate)
        known = ids_among(rows, self.seen.all)
        if known:
            rank_zero_warn(
                f"{len(known)} of the {len(rows)} photographs tested trained this network, or the lesion "
                f"network or weights that it began with ({in_short(known)}): the scores flatter it."
            )

    def predict_step(self, batch: Batch, batch_idx: int) -> Prediction:
        """What the network says, by ``id``."""
        said = self.trained.answers(batch["image"])
        return {
            "id": batch["id"],
            "lesions": said.lesions,
            "grade": said.grade,
            "present": said.present,
            "attention": said.attention,
        }

    @property
    def ranking(self) -> str:
        """The name of the score by which the best checkpoint is kept."""
        return f"{self.monitor}_ranking"

    def to_dual(self) -> None:
        """Go to the second stage."""
        self.stage = "dual"
        rank_zero_info(f"Batch {self.trainer.global_step}: Dice gives way to the dual loss.")

    def configure_callbacks(self) -> list[Callback]:
        """Schedule, checkpoints and tables, the same from the command line and from a notebook."""
        kept = checkpoints(self.ranking, self.trainer)
        led = [*schedule(self.optimizer, self.trainer), Finite(), Ending()]
        return [*led, *kept, TestCosts(), TestTables()]

    def configure_optimizers(self) -> Any:
        """SGD as in section 4.1, or AdamW with warm-up and cosine by step.

        Raises:
            UserError: a run with cosine has no length.
        """
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, self.rate, momentum=0.95, weight_decay=self.decay)
        # Not Lightning's estimate, which would start the loaders before a resumed run knows where it stands.
        steps = self.trainer.max_steps
        if steps < 0:
            raise UserError("optimizer adamw needs the length of the run: set trainer.max_steps.")
        adamw = torch.optim.AdamW(parameters, self.rate, weight_decay=self.decay)
        by_step = torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: cosine(step, steps))
        return {"optimizer": adamw, "lr_scheduler": {"scheduler": by_step, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Format, stage and what was seen; and the class, for the command line.

        Raises:
            UserError: there are weights that are not finite.
        """
        require_finite(checkpoint["state_dict"])
        checkpoint["retinalesion"] = {
            "format": FORMAT,
            "stage": self.stage,
            **self.seen.kept(),
            "side": self.trained_side,
            "quality": {name: list(limits) for name, limits in self.quality_limits.items()},
            **({"rule": self.rule} if self.rule else {}),
        }
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        checkpoint.get("hyper_parameters", {}).setdefault("_class_path", name)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the stage.

        Raises:
            UserError: not a checkpoint of this package, or of a newer format.
        """
        require_ours(checkpoint)
        ours = checkpoint["retinalesion"]
        self.stage, self.trained_side = ours["stage"], ours.get("side", 0)
        self.seen, self.is_new = Seen.kept_in(ours), False
        self.quality_limits = {name: (low, high) for name, (low, high) in ours.get("quality", {}).items()}
        self.rule = dict(ours.get("rule", {}))

    def log_score(self, name: str, value: float, prog_bar: bool = False) -> None:
        """Log what all processes have computed from the counts of all, at the end of an epoch."""
        self.log(name, value, prog_bar=prog_bar, sync_dist=True)  # a mean of equals; without, Lightning warns

    def log_per_lesion(self, name: str, values: Array) -> None:
        """Log a score per lesion, where it has a value."""
        for code, value in zip(CODES, values.tolist(), strict=True):
            if value == value:
                self.log_score(f"{name}/{code}", value)


def _quality_limits(store: Store, rows: Sequence[Row]) -> Limits:
    figures = [measure(store.image(row.id)) for row in rows[:: -(-len(rows) // LOOKED_AT)]]
    try:
        return limits_of(figures)
    except ValueError:  # pictures too small or too odd to be measured: the package's own limits count
        return {}
