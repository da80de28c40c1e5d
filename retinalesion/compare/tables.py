"""What `compare` says: tables with cells, rows and sections, and a sentence for each pair of rows."""

from dataclasses import dataclass

from retinalesion.compare.results import Result
from retinalesion.compare.statistics import Difference
from retinalesion.paper import PaperRow, Published
from retinalesion.scores import LEVEL


@dataclass(frozen=True)
class Cell:
    """A score.

    Attributes:
        value: None where there is none.
        low: end of the 95 % interval; None where there is no interval.
        high: the other end.
        paper: what the paper has there.
        best: the highest of its column.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    paper: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table: runs that differ in nothing but their seeds.

    Attributes:
        name: unique in the table.
        runs: that make it.
        departs: from the paper, where other rows of the table do not.
        paper: the row of the paper that it is; None for a run of one's own.
        cost: parameters, multiply-adds, seconds a photograph, where known.
    """

    name: str
    runs: tuple[Result, ...]
    departs: str
    paper: PaperRow | None
    cost: dict[str, float]


@dataclass(frozen=True)
class Verdict:
    """What may be said of two rows, the one with the higher score first.

    Attributes:
        score: by which they are compared.
        first: name of the row with the higher score.
        second: of the other.
        difference: of their means.
        photographs: how many.
        corrected: p over seeds and photographs, corrected for all comparisons of the table; None with few
            seeds.
    """

    score: str
    first: str
    second: str
    difference: Difference
    photographs: int
    corrected: float | None = None

    @property
    def better(self) -> bool:
        """Whether the first may be called better: three seeds a side, and corrected p below 0.05."""
        return self.corrected is not None and self.corrected < 1 - LEVEL

    @property
    def text(self) -> str:
        """In a sentence."""
        value, low, high = (round(one, 3) + 0.0 for one in self.difference[:3])  # as printed; no -0.000
        if self.difference[:3] == (0, 0, 0):
            return f"{self.first} and {self.second} have the same {self.score}."
        by = f"{self.score} {value:.3f} higher (95 %: {low:.3f} to {high:.3f}"
        if self.corrected is not None:
            by += f", over seeds and photographs; corrected p {_p(self.corrected)})"
            if self.better:
                return f"{self.first} is better than {self.second}: {by}."
            return f"{self.first} and {self.second} are not told apart: {self.first} has {by}."
        by += ", over photographs alone)"
        if low > 0:
            these = f"differ on these {self.photographs} photographs"
        else:
            these = f"show no difference on these {self.photographs} photographs"
        return f"{self.first} and {self.second}, as trained here, {these}: {self.first} has {by}."


@dataclass(frozen=True)
class Section:
    """One score of a table.

    Attributes:
        score: its name.
        title: for people.
        columns: codes of lesions and ``mean``, or ``kappa``.
        cells: for each row, one for each column.
        published: figures of others, one for each column; empty where they do not belong here.
        verdicts: of all pairs of rows; empty where the score is not judged.
    """

    score: str
    title: str
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    published: tuple[float | None, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Table:
    """A table of the paper, filled.

    Attributes:
        number: 3 to 7.
        caption: what it is about.
        rows: runs.
        sections: a score each; their cells are in the order of the rows.
        notes: what a reader has to know.
        published: whose figures stand in the sections; None for nobody's.
    """

    number: int
    caption: str
    rows: tuple[Row, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    published: Published | None

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Of all its sections."""
        return tuple(verdict for section in self.sections for verdict in section.verdicts)


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "below 0.001"
