"""Prints: eight bytes of a photograph's sha256, by which a network's file tells what trained it."""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence

from retinalesion.data.store import Row

Prints = frozenset[str]  # sixteen hexadecimal digits each
NONE: Prints = frozenset()
SHOWN = 5  # ids in a message

_IS_PRINT = re.compile(r"[0-9a-f]{16}")


def print_of(sha256: str) -> str:
    """Of a photograph's file."""
    return sha256[:16].lower()


def prints_of(rows: Iterable[Row]) -> Prints:
    """Of photographs of a store, as far as it tells their sha256."""
    return frozenset(filter(_IS_PRINT.fullmatch, (print_of(row.sha256) for row in rows)))


def ids_among(rows: Iterable[Row], prints: Prints) -> list[str]:
    """Ids of the photographs that have one of these prints."""
    return [row.id for row in rows if print_of(row.sha256) in prints]


def in_short(ids: Sequence[str]) -> str:
    """Some ids for a message."""
    more = len(ids) - SHOWN
    return ", ".join(ids[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def packed(prints: Iterable[str]) -> str:
    """As a checkpoint keeps them: base64."""
    return b64encode(bytes.fromhex("".join(sorted(prints)))).decode()


def unpacked(text: str) -> Prints:
    """The reverse of `packed`.

    Raises:
        ValueError: it is something else.
    """
    digits = b64decode(text, validate=True).hex()
    return frozenset(digits[i : i + 16] for i in range(0, len(digits), 16))
