"""What a test was of: shared by the tables of lesions and of grades."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from lightning.pytorch import Trainer
from torch import distributed

from retinalesion.data.splits import groups_in
from retinalesion.training.contract import data_of

T = TypeVar("T")


def tested_on(trainer: Trainer) -> dict[str, Any] | None:
    """Of which photographs a test is: fingerprint and source of the store, and the split; or None.

    A test of a fold says which, how all were dealt, and how many photographs each has, so that tests of all
    folds can be put together.
    """
    data = data_of(trainer)
    if data is None:
        return None
    about: dict[str, Any] = {"store": data.store.fingerprint, "source": data.store.info["source"]}
    about["part"] = data.evaluate
    if data.assigned is None or data.evaluate != "val":
        return about
    dealt = Counter(data.fold_of[row.id] for row in data.rows("all") if row.id in data.fold_of)
    photographs = [dealt[fold] for fold in range(data.folds)]
    return {**about, "folds": {**data.assigned.kept(), "photographs": photographs}}


def groups_of(trainer: Trainer, ids: Sequence[str]) -> list[str]:
    """The group of each photograph, over which intervals are taken; its own where no store tells."""
    data = data_of(trainer)
    groups = groups_in(data.store, ids) if data is not None else []
    named = {id: group[0] for group in groups for id in group}
    return [named.get(id, id) for id in ids]


def discs_of(trainer: Trainer) -> dict[str, float]:
    """Diameter of the optic disc, a share of the square's side, of the photographs of which it is known."""
    data = data_of(trainer)
    known = [(row, row.disc) for row in data.store.rows if row.disc] if data is not None else []
    return {row.id: disc.diameter / row.box.side for row, disc in known if disc.diameter == disc.diameter}


def gather(mine: list[T]) -> list[T]:
    """The items of all processes, on all processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return mine
    shares: list[list[T]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(shares, mine)
    return [item for share in shares for item in share]
