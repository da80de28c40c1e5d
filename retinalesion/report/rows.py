"""What the list says of a reading, what it can be filtered by, and what the page of one photograph gets."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Literal, NamedTuple

from retinalesion.lesions import CODES, GRADES, LESIONS
from retinalesion.reading.reading import Agreement, Reading
from retinalesion.report.pictures import Pictures, safe_name

State = Literal["read", "ungradable", "error"]
GRADE_NAMES = (
    "no apparent retinopathy",
    "mild non-proliferative",
    "moderate non-proliferative",
    "severe non-proliferative",
    "proliferative",
)
SIGNS: dict[Agreement, str] = {  # what asks for a look comes last, and first in a list turned round
    "agrees": "=",
    "not graded": "–",
    "cannot be judged": "?",
    "above evidence": "↑",
    "below evidence": "↓",
}
_NAMES = {lesion.code: lesion.name for lesion in LESIONS}
_NO_GRADE = "no grade"


@dataclass(frozen=True)
class Row:
    """A reading in the list.

    Attributes:
        name: in links and folders.
        reading: itself.
        present: codes of the lesions found.
        thumbnail: there is one.
    """

    name: str
    reading: Reading
    present: tuple[str, ...]
    thumbnail: bool

    @property
    def state(self) -> State:
        """Whether it was read at all."""
        if self.reading.error:
            return "error"
        quality = self.reading.quality
        return "ungradable" if quality and not quality.gradable else "read"

    @property
    def file(self) -> str:
        """The file's name, where it says more than the id."""
        return "" if PurePath(self.reading.file).stem == self.reading.id else self.reading.file

    @property
    def grade(self) -> str:
        """As written in the list."""
        return _NO_GRADE if self.reading.grade is None else GRADES[self.reading.grade]

    @property
    def reference(self) -> str:
        """The grade that a table gives."""
        return "" if self.reading.truth_grade is None else GRADES[self.reading.truth_grade]

    @property
    def refer(self) -> str:
        """As written in the list."""
        return {None: "", True: "refer", False: "no referral"}[self.reading.referable]

    @property
    def sign(self) -> str:
        """A sign for the agreement."""
        return SIGNS[self.reading.agreement]

    @property
    def keys(self) -> dict[str, float]:
        """Numbers to sort by, for columns whose text does not do."""
        reading = self.reading
        probability = reading.referable_probability
        certain = {None: -1.0, True: 1.0, False: 0.0}[reading.referable]
        graded = -1 if reading.grade is None else reading.grade
        return {
            "grade": -2 if reading.error else graded,
            "reference": -1 if reading.truth_grade is None else reading.truth_grade,
            "agreement": -1 if reading.error else list(SIGNS).index(reading.agreement),
            "refer": certain if probability is None else certain + probability,
            "lesions": len(self.present) + min(len(reading.findings), 9999) / 10000,
        }

    def values(self, facet: str) -> tuple[str, ...]:
        """What a facet finds in this row."""
        if facet == "lesion":
            return self.present
        if facet == "state":
            return (self.state,)
        if self.reading.error:
            return ()
        return (str({"grade": self.grade, "refer": self.refer, "agreement": self.reading.agreement}[facet]),)


class Choice(NamedTuple):
    """One value that the list can be filtered by, and how many rows have it."""

    value: str
    amount: int
    title: str = ""


class Facet(NamedTuple):
    """One property that the list can be filtered by."""

    key: str
    title: str
    choices: tuple[Choice, ...]


_ORDER: dict[str, tuple[str, Sequence[str]]] = {
    "grade": ("Grade", (*GRADES, _NO_GRADE)),
    "refer": ("Referral", ("refer", "no referral")),
    "state": ("Photograph", ("read", "ungradable", "error")),
    "agreement": ("Agreement with evidence", tuple(SIGNS)),
    "lesion": ("Lesion", CODES),
}


class Rows:
    """A row for each reading, made when it is asked for: a long list takes no more memory than a short one.

    Args:
        readings: to go through as often as rows are.
        pictures: of a reading, None where it has none.
    """

    def __init__(self, readings: Sequence[Reading], pictures: Callable[[Reading], Pictures | None]) -> None:
        self._readings, self.pictures = readings, pictures

    def __len__(self) -> int:
        return len(self._readings)

    def __iter__(self) -> Iterator[Row]:
        for reading in self._readings:
            found = self.pictures(reading) is not None
            yield Row(safe_name(reading.id), reading, reading.present, found)


def facets_of(rows: Iterable[Row]) -> tuple[Facet, ...]:
    """What the list can be filtered by; only values that occur."""
    counts = Counter((key, value) for row in rows for key in _ORDER for value in row.values(key))
    facets = []
    for key, (title, order) in _ORDER.items():
        choices = tuple(
            Choice(value, counts[key, value], _NAMES.get(value, "")) for value in order if counts[key, value]
        )
        facets.append(Facet(key, title, choices))
    return tuple(facets)


def details_of(row: Row, pictures: Pictures | None) -> dict[str, Any]:
    """Plain values for the page of one photograph: the reading, with findings summed up per lesion.

    Likewise those on the camera's spots, with the spots' numbers.
    """
    reading = row.reading
    plain = replace(reading, findings=(), camera=()).as_dict()
    del plain["findings"]
    plain["present"] = row.present
    plain["lesions"] = {}
    for code in row.present:
        found = [finding for finding in reading.findings if finding.lesion == code]
        plain["lesions"][code] = {
            "count": len(found),
            "pixels": sum(finding.pixels for finding in found),
            "share": sum(finding.share for finding in found),
        }
    plain["camera"] = {}
    for code in CODES:
        spots = [finding.spot for finding in reading.camera if finding.lesion == code]
        if spots:
            plain["camera"][code] = {"count": len(spots), "spots": sorted(set(filter(None, spots)))}
    plain["state"] = row.state
    plain["sign"] = row.sign
    plain["pictures"] = pictures and pictures._asdict()
    return plain
