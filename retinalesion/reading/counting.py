"""Which findings count: those of lesions at or above their operating point, each spot once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from retinalesion.reading.reading import BELOW, TWICE, Finding
from retinalesion.reading.rule import OperatingPoint

RED = frozenset({"MA", "iHE"})  # one spot may be marked as both
MACULA = 1.0  # disc diameters around the fovea


def counted(
    findings: Sequence[Finding], points: Mapping[str, OperatingPoint], macula: Iterable[Finding] = ()
) -> tuple[Finding, ...]:
    """The findings with what is said of each: it counts, or why it does not.

    A spot that is MA and iHE counts once, as the surer. A lesion counts from its operating point on: enough
    findings, each sure and large enough; findings of a lesion below it are possible, none of them counts.

    Args:
        findings: of the eye, with their confidence.
        points: by lesion; without one every finding of the lesion counts.
        macula: exudates near the fovea, which count by an operating point of their own (`of_macula`).
    """
    twice = less_sure(findings)
    reaching = {
        code: [
            one for one in findings if one.lesion == code and one.number not in twice and _reaches(one, point)
        ]
        for code, point in points.items()
    }
    counting = {one.number for one in macula} | {
        one.number for code, some in reaching.items() if len(some) >= points[code].number for one in some
    }
    told = []
    for one in findings:
        if one.number in twice:
            told.append(replace(one, counts=False, reason=TWICE))
        elif one.lesion in points and one.number not in counting:
            told.append(replace(one, counts=False, reason=BELOW))
        else:
            told.append(replace(one, counts=True, reason=""))
    return tuple(told)


def less_sure(findings: Iterable[Finding]) -> frozenset[int]:
    """Numbers of the MA and iHE that are more surely the other of the two.

    From the surest on, each takes its spot from those that share it; what is taken takes nothing.
    """
    by_number = {one.number: one for one in findings}
    sharing = defaultdict(set)
    for one in by_number.values():
        other = by_number.get(one.other or 0)
        if other and {one.lesion, other.lesion} == RED:
            sharing[one.number].add(other.number)
            sharing[other.number].add(one.number)
    lost: set[int] = set()
    for number in sorted(sharing, key=lambda n: (by_number[n].confidence, by_number[n].pixels, n))[::-1]:
        if number not in lost:
            lost |= sharing[number]
    return frozenset(lost)


def of_macula(findings: Iterable[Finding], point: OperatingPoint | None) -> tuple[Finding, ...]:
    """Hard exudates within a disc diameter of the fovea, where they reach their own operating point."""
    if point is None:
        return ()
    near = [
        one
        for one in findings
        if one.lesion == "HaEx"
        and one.disc_diameters is not None
        and one.disc_diameters <= MACULA
        and _reaches(one, point)
    ]
    return tuple(near) if len(near) >= point.number else ()


def _reaches(finding: Finding, point: OperatingPoint) -> bool:
    return finding.confidence >= point.confidence and finding.disc_areas >= point.area
