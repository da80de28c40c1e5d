"""What tasks, callbacks and the trainer want of each other, by type.

Callbacks see tasks through the protocols of this file alone, so that a module of one's own may have them too.
What a callback can do without is asked for (``isinstance``); the rest is taken for granted.
"""

from collections.abc import MutableMapping
from typing import Any, Literal, Protocol, runtime_checkable

from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.scores import Counts
from retinalesion.training.rows import GradeRow, PhotographRow, Scores

Stage = Literal["dice", "dual", "only"]
Optimizer = Literal["sgd", "adamw"]


@runtime_checkable
class Staged(Protocol):
    """It has a second stage, or none: ``only``."""

    stage: Stage

    def to_dual(self) -> None:
        """Go to the second stage."""


@runtime_checkable
class Monitored(Protocol):
    """It names the validation score by which it is led; larger is better."""

    monitor: str


@runtime_checkable
class Optimized(Protocol):
    """It says how it is optimized: with ``adamw``, a run has a fixed length."""

    optimizer: Optimizer
    rate: float


@runtime_checkable
class Calibrated(Protocol):
    """It says whether its logits are shifted at the end of a run of a fixed length."""

    calibrate: bool


class Timed(Protocol):
    """Its network can be timed while it is tested.

    Attributes:
        network: that is timed.
        seen_side: of the test's squares, in pixels.
        cost: what the network costs, by name; the timer leaves it here.
    """

    network: nn.Module
    seen_side: int
    cost: dict[str, float | None]


class Counting(Protocol):
    """It adds up counts over batches and processes."""

    def compute(self) -> Counts:
        """The counts so far."""


class Tested(Protocol):
    """It can be told of in a table: what it is, what trained it, and how scores are logged."""

    seen_side: int
    cost: dict[str, float | None]

    @property
    def hparams(self) -> MutableMapping[str, Any]:
        """Its settings, with ``network`` and ``encoder``."""

    @property
    def store_fingerprint(self) -> str:
        """Of the store that it was trained on."""

    def log_score(self, name: str, value: float) -> None:
        """Log what all processes have computed alike."""


class TestedForLesions(Tested, Protocol):
    """It keeps counts and rows of a test of lesions; no rows where it has no maps.

    Attributes:
        stage: in which its training ended.
        scores: that its table has.
        rows: of this process.
    """

    stage: Stage
    scores: Scores
    rows: list[PhotographRow]

    @property
    def counts(self) -> Counting:
        """Over all processes."""

    @property
    def learned(self) -> Tensor:
        """Bool (8,)."""


class TestedForGrades(Tested, Protocol):
    """It keeps rows of a test of grades.

    Attributes:
        grade_rows: of this process.
    """

    grade_rows: list[GradeRow]


@runtime_checkable
class Ruled(Protocol):
    """Its network may have a rule.

    Attributes:
        ruled: what that was worth in the latest test, for the summary; who makes readings leaves it here.
    """

    ruled: dict[str, Any]


class KnowsLesions(Protocol):
    """A network that knows some lesions."""

    @property
    def learned_codes(self) -> tuple[str, ...]:
        """Their codes."""


class Drawn(Protocol):
    """Its validations can be drawn: the step returns ``logits`` (n, 8, s, s)."""

    @property
    def network(self) -> KnowsLesions:
        """Whose maps they are."""


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """The trainer's own list, which Lightning does not declare."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def data_of(trainer: Trainer) -> FundusDataModule | None:
    """The trainer's data module; None where it has another kind of it, or loaders alone."""
    datamodule = getattr(trainer, "datamodule", None)
    return datamodule if isinstance(datamodule, FundusDataModule) else None
