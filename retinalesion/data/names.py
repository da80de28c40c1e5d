"""When two names are the same: the one rule for photographs, patients and eyes, in files and in tables.

Letters are composed (NFC), since some systems store ``ü`` as two; case tells nobody apart; and numbers
compare as numbers, since spreadsheets turn ``001`` into ``1`` and ``104`` into ``104.0``.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")  # longer ones name no file, with what is added
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # on Windows no file
_NUMBER = re.compile(r"0*([0-9]+)(\.0*)?")
_EYES = {"": "", "left": "left", "l": "left", "os": "left", "right": "right", "r": "right", "od": "right"}
_TELLING = re.compile(rf"(.*[^_. -])[_. -]+({'|'.join(filter(None, _EYES))})")


def folded(text: str) -> str:
    """A name as it compares."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def of_a_person(text: str) -> str:
    """A patient's name as it compares: spaces too, and numbers as numbers."""
    return _as_number(folded(" ".join(text.split())))


def eye_of(text: str) -> str | None:
    """``left``, ``right`` or empty; None where the text says something else."""
    return _EYES.get(folded(text.strip()))


def told_by(stem: str) -> tuple[str, str] | None:
    """Patient and eye, where a name tells both as ``10_left`` does."""
    told = _TELLING.fullmatch(folded(stem))
    return (told[1], _EYES[told[2]]) if told else None


def finder(stems: Iterable[str]) -> Callable[[str], str]:
    """A function that gives, of folded stems, the one that a name in a table means; else the name itself.

    A number finds a stem that is the same number, unless several are.
    """
    known, numbers = set(stems), dict[str, str]()
    for stem in known:
        if (number := _as_number(stem)) in numbers:
            numbers[number] = ""  # told apart by their zeros
        elif _NUMBER.fullmatch(stem):
            numbers[number] = stem

    def find(name: str) -> str:
        return name if name in known else numbers.get(_as_number(name), "") or name

    return find


def is_id(text: str) -> bool:
    """Whether a text can name a photograph and its files, in any folder and on any system."""
    return bool(_ID.fullmatch(text)) and not _DEVICE.fullmatch(text)


def id_from(stem: str) -> str:
    """An id made of a file's name: every character that cannot be in one becomes ``_``."""
    id = re.sub(r"[^A-Za-z0-9_.-]", "_", unicodedata.normalize("NFC", stem))
    return id if is_id(id) else f"_{id}"


def printable(text: str) -> str:
    """A file's name as it can be written down, whatever bytes it was made of."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _as_number(name: str) -> str:
    number = _NUMBER.fullmatch(name)
    return number[1] if number else name
