"""What the list says of a reading, what it can be filtered by, and what the page of one photograph gets."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any, NamedTuple

from retinalesion.lesions import CODES, GRADES, LESIONS
from retinalesion.reading.reading import Agreement, Reading
from retinalesion.report.facts import cuts_of, facts_of, marks_of, told_of
from retinalesion.report.pictures import Pictures, safe_name

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
_NO_GRADE, _UNCLEAR = "no grade", "unclear"
_URGENT = {"NV", "FiP", "pHE", "vHE"}
# What is asked of whom, first what is most pressing; the list has this order.
OUTCOMES = ("urgent", "refer", "uncertain", "retake", "error", "not assessed", "no referral")


class Headline(NamedTuple):
    """What stands above all else that is said of a photograph.

    Attributes:
        text: a grade, a range of grades, or why there is none.
        name: in words.
        style: of the sign that it stands on.
    """

    text: str
    name: str
    style: str


def is_urgent(reading: Reading) -> bool:
    """Whether what refers it is proliferative: the grade, or a lesion that counts."""
    return reading.outcome == "refer" and (reading.grade == 4 or bool(_URGENT & set(reading.present)))


def headline_of(reading: Reading) -> Headline:
    """The grade where it is clear, else the range; what cannot be read or is not graded has none.

    "No apparent retinopathy" never stands above findings that count.
    """
    grade, outcome = reading.grade, outcomes_of(reading)[-1]
    if outcome == "error":
        return Headline("Not read", "", "error")
    if outcome == "retake":
        return Headline("Retake", "it cannot be read, take it again", "retake")
    if grade is None:
        return Headline("Not assessed", "", "ungraded")
    low, high = (grade if one is None else one for one in (reading.grade_low, reading.grade_high))
    if low != high:
        return Headline(f"{GRADES[low]} – {GRADES[high]}", "the grade is unclear", "unclear")
    if grade == 0 and reading.counting:
        return Headline(GRADES[0], "unclear, since lesions were found", "unclear")
    return Headline(GRADES[grade], GRADE_NAMES[grade], f"dr{grade}")


def outcomes_of(reading: Reading) -> tuple[str, ...]:
    """The outcome, of `OUTCOMES`; before it ``urgent``, where it is."""
    if reading.error:
        return ("error",)
    return ("urgent",) * is_urgent(reading) + (reading.outcome or "not assessed",)


@dataclass(frozen=True)
class Row:
    """A reading in the list.

    Attributes:
        name: in links and folders.
        reading: itself.
        thumbnail: there is one.
    """

    name: str
    reading: Reading
    thumbnail: bool

    @cached_property
    def present(self) -> tuple[str, ...]:
        """Codes of the lesions that count."""
        return self.reading.present

    @cached_property
    def outcomes(self) -> tuple[str, ...]:
        """As chips in the list."""
        return outcomes_of(self.reading)

    @cached_property
    def headline(self) -> Headline:
        """As on the photograph's own page."""
        return headline_of(self.reading)

    @property
    def file(self) -> str:
        """The file's name, where it says more than the id."""
        return "" if PurePath(self.reading.file).stem == self.reading.id else self.reading.file

    @property
    def reference(self) -> str:
        """The grade that a table gives."""
        return "" if self.reading.truth_grade is None else GRADES[self.reading.truth_grade]

    @property
    def sign(self) -> str:
        """A sign for the agreement."""
        return SIGNS[self.reading.agreement]

    @property
    def cuts(self) -> tuple[float, float] | None:
        """The probabilities below which not to refer, and from which to refer; None where there is none."""
        return cuts_of(self.reading)

    @property
    def keys(self) -> dict[str, float]:
        """Numbers to sort by, for columns whose text does not do."""
        reading = self.reading
        graded = -1 if reading.grade is None else reading.grade
        return {
            "outcome": rank_of(reading),
            "grade": -2 if reading.error else graded,
            "reference": -1 if reading.truth_grade is None else reading.truth_grade,
            "agreement": -1 if reading.error else list(SIGNS).index(reading.agreement),
            "lesions": len(self.present) + min(len(reading.findings), 9999) / 10000,
        }

    def values(self, facet: str) -> tuple[str, ...]:
        """What a facet finds in this row."""
        if facet == "lesion":
            return self.present
        if facet == "outcome":
            return self.outcomes
        if self.reading.error:
            return ()
        if facet == "agreement":
            return (self.reading.agreement,)
        grade = self.reading.grade
        graded = _NO_GRADE if grade is None else GRADES[grade]
        return (graded, _UNCLEAR) if self.headline.style == "unclear" else (graded,)


def rank_of(reading: Reading) -> float:
    """By it the list is sorted, largest first: what is more pressing, then what is more probable."""
    probability = min(reading.referable_probability or 0.0, 0.999)
    return len(OUTCOMES) - OUTCOMES.index(outcomes_of(reading)[0]) + probability


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
    "outcome": ("Outcome", OUTCOMES),
    "grade": ("Grade", (*GRADES, _UNCLEAR, _NO_GRADE)),
    "agreement": ("Agreement with evidence", tuple(SIGNS)),
    "lesion": ("Lesion that counts", CODES),
}


class Rows:
    """A row for each reading, the most pressing first.

    Each is made when it is asked for: a long list takes little more memory than a short one.

    Args:
        readings: to go through as often as rows are.
        pictures: of a reading, None where it has none.
    """

    def __init__(self, readings: Sequence[Reading], pictures: Callable[[Reading], Pictures | None]) -> None:
        self._readings, self.pictures = readings, pictures
        ranks = array("d", map(rank_of, readings))
        self._order = sorted(range(len(ranks)), key=lambda place: -ranks[place])

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Row]:
        for place in self._order:
            reading = self._readings[place]
            yield Row(safe_name(reading.id), reading, self.pictures(reading) is not None)


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
    plain = replace(reading, findings=(), camera=(), evidence=(), rule={}).as_dict()
    for known_otherwise in ("findings", "quality", "box", "disc", "fovea", "possible"):
        del plain[known_otherwise]
    plain["present"] = row.present
    plain["lesions"] = {}
    for code in CODES:
        found = [finding for finding in reading.findings if finding.lesion == code]
        counting = [finding for finding in found if finding.counts]
        if found:
            plain["lesions"][code] = {
                "count": len(counting),
                "possible": len(found) - len(counting),
                **{
                    what: sum(getattr(one, what) for one in counting)
                    for what in ("pixels", "share", "disc_areas")
                },
            }
    plain["camera"] = {}
    for code in CODES:
        spots = [finding.spot for finding in reading.camera if finding.lesion == code]
        if spots:
            plain["camera"][code] = {"count": len(spots), "spots": sorted(set(filter(None, spots)))}
    plain["evidence"] = [asdict(line) for line in reading.evidence]
    plain["headline"] = row.headline._asdict()
    plain["outcomes"] = row.outcomes
    plain["reasons"] = reading.quality.reasons if reading.quality else ()
    plain["cuts"] = row.cuts
    plain["rule"] = () if row.cuts is None else told_of(reading.rule)
    plain["facts"] = facts_of(reading)
    plain["marks"] = marks_of(reading)
    plain["sign"] = row.sign
    plain["pictures"] = pictures and pictures._asdict()
    return plain
