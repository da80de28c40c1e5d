"""The folder of a batch: whose it is, what was asked for, how far it came, and what lay there before.

A marker of ours says so; a folder without it that holds anything is somebody else's, whatever its entries are
called. What an earlier batch left steps aside into ``earlier`` and goes when the new one is whole.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from retinalesion.errors import UserError
from retinalesion.files import HALF, LOCK, sweep, write_json

MARK = "analysis.json"  # what was asked for, and whether all of it is there
WORK = "unfinished"  # what is needed until it is
EARLIER = "earlier"
LINES = "readings.jsonl"
TABLES = (LINES, "readings.csv", "findings.csv", "key.png", "cameras.json")
WHOLE = (LINES, "readings.csv", "findings.csv", "report")
PICTURES = ("planes", "overlays", "probabilities", "report")

_OURS = (*TABLES, *PICTURES, WORK)
_FORMAT = 1

Asked = Mapping[str, Any]  # plain values by name; the names are told where they differ


class BatchFolder:
    """A folder for a batch of readings.

    Args:
        path: of it; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def work(self) -> Path:
        """For what is needed until the batch is whole."""
        return self.path / WORK

    def require_ours(self) -> None:
        """See that the folder is new, empty or an earlier batch.

        Raises:
            UserError: it holds something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file. Name a new or an empty folder with --out.")
        entries = {entry.name for entry in self._entries()}
        if not entries or self._state() or self._state(self.path / EARLIER):
            return  # what else lies in a folder of ours, a lock of a spreadsheet, say, stays as it is
        foreign = entries - {*_OURS, MARK, EARLIER}
        what = f"other things ({min(foreign)})" if foreign else "things that nothing here says to be ours"
        why = "" if foreign else f" (no {MARK} of this version)"
        raise UserError(f"{self.path} holds {what}{why}. Name a new or an empty folder with --out.")

    @property
    def is_ours(self) -> bool:
        """Whether a batch was begun here."""
        return self._state() is not None

    def is_whole(self, asked: Asked, all_of_it: Sequence[str] = WHOLE) -> bool:
        """Whether just this was asked for, and all of it is there."""
        self._settle()
        state = self._state()
        there = all((self.path / name).exists() for name in all_of_it)
        return bool(there and state and state["finished"] and state["asked"] == asked)

    def begin(self, asked: Asked, fresh: bool = False) -> bool:
        """Begin a batch, or go on with it where just this was asked for.

        Args:
            asked: all that decides what is written.
            fresh: begin anew in any case.

        Returns:
            Whether an earlier batch was put aside.

        Raises:
            UserError: as `require_ours`; or another batch is unfinished there, or it cannot be written.
        """
        self.require_ours()
        self._settle()
        state = self._state()
        if state and state["finished"]:
            self.clear_away()
        if state and state["asked"] == asked and not state["finished"] and not fresh:
            return False
        aside = False
        if state and state["finished"]:
            self._step_aside()
            aside = True
        elif state and not fresh:
            names = {**asked, **state["asked"]}
            other = ", ".join(name for name in names if state["asked"].get(name) != asked.get(name))
            raise UserError(
                f"{self.path} holds an unfinished batch that was begun otherwise (other: {other}). "
                "The command of then goes on with it; --fresh begins anew; or name another folder with --out."
            )
        else:
            for name in _OURS:  # the lines first: without them nothing is taken for done
                _remove(self.path / name)
        self._mark(asked, finished=False)
        return aside

    def finish(self) -> None:
        """Say that all is there; what was needed until then, and the earlier batch, go.

        Raises:
            UserError: it cannot be written.
        """
        state = self._state()
        assert state is not None, "begun before"
        sweep(self.path)
        self._mark(state["asked"], finished=True)
        self.clear_away()

    def clear_away(self) -> None:
        """Take away what is of no use beside a whole batch."""
        _remove(self.work)
        earlier = self.path / EARLIER
        for name in (*_OURS, MARK):  # the mark last, which says that it all lay there
            _remove(earlier / name)
        if earlier.is_dir() and not any(earlier.iterdir()):
            earlier.rmdir()

    def _settle(self) -> None:
        """Bring back what was stopped while it stepped aside."""
        earlier = self.path / EARLIER
        if not earlier.is_dir() or (earlier / MARK).exists():
            return
        for name in _OURS:
            if (earlier / name).exists():
                (earlier / name).rename(self.path / name)
        if not any(earlier.iterdir()):
            earlier.rmdir()

    def _step_aside(self) -> None:
        earlier = self.path / EARLIER
        earlier.mkdir(exist_ok=True)
        for name in (*_OURS, MARK):  # likewise
            if (self.path / name).exists():
                (self.path / name).rename(earlier / name)

    def _mark(self, asked: Asked, *, finished: bool) -> None:
        write_json(self.path / MARK, {"retinalesion": _FORMAT, "finished": finished, "asked": asked})

    def _state(self, path: Path | None = None) -> Any:
        """What the mark says; None where there is none of ours."""
        try:
            plain = json.loads(((path or self.path) / MARK).read_text("utf-8"))
            known = plain["retinalesion"] == _FORMAT and isinstance(plain["asked"], dict)
            return plain if known and isinstance(plain["finished"], bool) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _entries(self) -> Iterator[Path]:
        """What lies there, but for locks and what killed writers left half-written."""
        if self.path.is_dir():
            for entry in self.path.iterdir():
                if entry.name != LOCK and not HALF.match(entry.name):
                    yield entry


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
