"""What sets in a folder have in common."""

from collections.abc import Sequence
from pathlib import Path

from retinalesion.data.photograph import Source


class Layout(Source):
    """A source in a folder. Listing its photographs fills the notes."""

    def __init__(self, root: Path | str) -> None:
        """Name what to read; nothing is opened yet.

        Args:
            root: the folder.
        """
        self.root = Path(root)
        self._notes: list[str] | None = None

    @property
    def notes(self) -> Sequence[str]:
        """Licence, assumptions, and what was missing or left out."""
        if self._notes is None:
            self.photographs()
        return tuple(self._notes or ())
