"""What trained a network: its store, and of each photograph eight bytes of the file's sha256."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.prints import NONE, Prints, packed, prints_of, unpacked
from retinalesion.data.splits import Fold
from retinalesion.errors import UserError
from retinalesion.networks.checkpoint import PRINTS


@dataclass(frozen=True)
class Seen:
    """What a network has seen, as far as it is known; of loaders without a store, nothing is.

    Attributes:
        fingerprint: of the store.
        store: its name and source.
        trained: photographs that train the network.
        earlier: those that trained what it began with: weights, a lesion network.
        fold: that it has not seen, but validates on; None without folds.
    """

    fingerprint: str = ""
    store: str = ""
    trained: Prints = NONE
    earlier: Prints = NONE
    fold: Fold | None = None

    @property
    def all(self) -> Prints:
        """The photographs of which its answers are too good."""
        return self.trained | self.earlier

    @classmethod
    def of(cls, data: FundusDataModule | None, earlier: Prints = NONE) -> Self:
        """What a fit is going to see."""
        if data is None:
            return cls(earlier=earlier)
        store = data.store
        name = f"{store.path.absolute().name} ({store.info['source']})"
        return cls(store.fingerprint, name, prints_of(data.rows("train")), earlier, data.assigned)

    @classmethod
    def kept_in(cls, about: Mapping[str, Any]) -> Self:
        """As a checkpoint tells it; those of earlier versions know the fingerprint alone.

        Args:
            about: what a checkpoint says of the training.
        """
        trained, earlier = (unpacked(about.get(name, "")) for name in PRINTS)
        fold = None
        with suppress(ValueError):
            fold = Fold.told(about.get("folds"))
        return cls(about["fingerprint"], about.get("store", ""), trained, earlier, fold)

    def kept(self) -> dict[str, Any]:
        """As a checkpoint keeps it: eight bytes a photograph, base64; and its fold, if it has one."""
        trained, earlier = PRINTS
        return {
            **({"folds": self.fold.kept()} if self.fold else {}),
            "fingerprint": self.fingerprint,
            "store": self.store,
            trained: packed(self.trained),
            earlier: packed(self.earlier),
        }

    def require_same(self, other: "Seen") -> None:
        """See that a fit that goes on sees the photographs that it saw before, where they are known.

        Raises:
            UserError: it does not.
        """
        if "" not in (self.fingerprint, other.fingerprint) and self.fingerprint != other.fingerprint:
            raise UserError(
                f"The checkpoint was trained on store {self.store or 'of another name'} (fingerprint "
                f"{self.fingerprint}), and this is {other.store} (fingerprint {other.fingerprint}): other "
                "photographs, truth or splits. Go on with the store that it was trained on (--data.store), "
                "or begin another run."
            )
        if self.trained and other.trained and self.trained != other.trained:
            raise UserError(
                f"The checkpoint was trained on other photographs of store {other.store}. Go on with its "
                "data.folds, data.fold and data.truth, or begin another run."
            )
        if apart := self.apart_from(other):
            raise UserError(f"The checkpoint is of {apart}. Go on with its data.folds and data.fold.")

    def apart_from(self, other: "Seen") -> str:
        """Both folds in words, where they are not the same one of one store; else empty.

        Folds of two stores that share no assignment say nothing of each other.
        """
        if self.fold is None or other.fold is None or self.fold == other.fold:
            return ""
        one_store = self.fingerprint != "" and self.fingerprint == other.fingerprint
        if not one_store and self.fold.assignment != other.fold.assignment:
            return ""
        return f"{self.fold}, and this is {other.fold}"
