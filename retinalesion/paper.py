"""What the paper reports, Tables 3 to 7, and which settings make a run of each row. The one place for both.

The figures stand in ``paper.json`` beside this file; names of networks there are those of the configs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from retinalesion.lesions import CODES


@dataclass(frozen=True)
class PaperRow:
    """A row of a table.

    Attributes:
        name: for people.
        settings: those that a run of this row has, and a run of any other row of the table has not.
        figures: by score, then by column: codes of lesions and ``mean``, or ``kappa``.
    """

    name: str
    settings: Mapping[str, Any]
    figures: Mapping[str, Mapping[str, float]]

    def is_served_by(self, settings: Mapping[str, Any]) -> bool:
        """Whether a run of these settings is a run of this row."""
        return all(settings.get(key) == value for key, value in self.settings.items())


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    Attributes:
        number: 3 to 7.
        caption: what it is about.
        rows: in the paper's order.
    """

    number: int
    caption: str
    rows: tuple[PaperRow, ...]


@dataclass(frozen=True)
class Published:
    """Figures of others, on a set that can be had.

    Attributes:
        name: for people.
        protocol: how they came about.
        source: of the store in which the set is.
        lesions: that it is annotated for.
        figures: by score, then by lesion.
    """

    name: str
    protocol: str
    source: str
    lesions: tuple[str, ...]
    figures: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Paper:
    """All of it.

    Attributes:
        source: what the figures were taken from.
        photographs: on which they were measured.
        usual: settings of all runs of the paper, where a row does not say otherwise.
        tables: 3 to 7.
        elsewhere: figures of others, for reference.
    """

    source: str
    photographs: str
    usual: Mapping[str, Any]
    tables: tuple[PaperTable, ...]
    elsewhere: Published
    networks: Mapping[str, str]
    words: Mapping[str, str]

    def rows_of(self, settings: Mapping[str, Any]) -> dict[int, PaperRow]:
        """The rows that a run of these settings serves, by the table's number."""
        found = ((t.number, row) for t in self.tables for row in t.rows if row.is_served_by(settings))
        return dict(found)

    def name_of(self, settings: Mapping[str, Any]) -> str:
        """A name for a run that is in no table of the paper, such as "L-Net-8s, Dice"."""
        network = str(settings.get("network"))
        parts = [self.networks.get(network, network)]
        if network == "plain":
            parts.append(str(settings.get("side")))
        if lesion_network := settings.get("lesion_network"):
            parts.append(self.networks.get(lesion_network, str(lesion_network)))
        if loss := settings.get("loss"):
            parts.append(self.words.get(loss, str(loss)))
        how = [settings.get(key) for key in ("attention", "fusion")]
        if network == "sian" and how != ["conv", "features"]:
            parts.append(" ".join(self.words.get(str(one), str(one)) for one in how))
        return ", ".join(parts)

    def departures(self, settings: Mapping[str, Any], row: PaperRow | None) -> dict[str, Any]:
        """Settings in which a run departs from what the paper does, leaving out those that make the row."""
        own = set(row.settings) if row else {"loss", "attention", "fusion"}
        if settings.get("read at") == settings.get("side"):
            own |= {"read at"}
        return {
            key: settings[key]
            for key, usual in self.usual.items()
            if key in settings and key not in own and settings[key] not in (usual, None)
        }


@cache
def paper() -> Paper:
    """The paper, as the package has it."""
    plain = json.loads(Path(__file__).with_name("paper.json").read_text("utf-8"))
    tables = tuple(
        PaperTable(t["number"], t["caption"], tuple(PaperRow(**row) for row in t["rows"]))
        for t in plain["tables"]
    )
    elsewhere = Published(**{**plain["elsewhere"], "lesions": tuple(plain["elsewhere"]["lesions"])})
    return Paper(**{**plain, "tables": tables, "elsewhere": elsewhere})


def mean_of(figures: Mapping[str, float], columns: tuple[str, ...]) -> float | None:
    """The paper's mean over some lesions: as printed for all eight, else of its figures for these."""
    if columns == CODES or not figures.keys() & set(CODES):
        return figures.get("mean")
    known = [figures[code] for code in columns if code in figures]
    return sum(known) / len(known) if known else None
