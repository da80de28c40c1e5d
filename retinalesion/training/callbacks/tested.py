"""What a test was of: shared by the tables of lesions and of grades."""

from collections.abc import Sequence
from typing import Any, TypeVar

from lightning.pytorch import Trainer
from torch import distributed

from retinalesion.data.splits import groups_in
from retinalesion.training.contract import data_of

T = TypeVar("T")


def tested_on(trainer: Trainer) -> dict[str, Any] | None:
    """Of which photographs a test is: fingerprint and source of the store, and the split; or None."""
    data = data_of(trainer)
    if data is None:
        return None
    return {"store": data.store.fingerprint, "source": data.store.info["source"], "part": data.evaluate}


def groups_of(trainer: Trainer, ids: Sequence[str]) -> list[str]:
    """The group of each photograph, over which intervals are taken; its own where no store tells."""
    data = data_of(trainer)
    groups = groups_in(data.store, ids) if data is not None else []
    named = {id: group[0] for group in groups for id in group}
    return [named.get(id, id) for id in ids]


def gather(mine: list[T]) -> list[T]:
    """The items of all processes, on all processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return mine
    shares: list[list[T]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(shares, mine)
    return [item for share in shares for item in share]
