"""Operating points, fitted: as many ill eyes found as a budget of healthy ones with findings allows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from retinalesion.fitting.cases import Case
from retinalesion.reading.counting import MACULA, less_sure
from retinalesion.reading.rule import Array, OperatingPoint, logistic, logit_of

# Share of DR0 in which a lesion may count; together they stay below a tenth.
BUDGET: Mapping[str, float] = {"MA": 0.03, "iHE": 0.02, "HaEx": 0.015, "CWS": 0.01}
OTHERS = 0.01
MACULA_BUDGET = 0.01  # of DR0 and DR1
NUMBERS = (1, 2, 3)  # of findings that a lesion may need
AREAS = (0.0, 3e-4, 1e-3, 3e-3)  # disc areas
LOWEST = 0.05  # confidence
STEP = 0.5  # of its logit, above all of the healthy


def fit_points(
    cases: Sequence[Case], learned: Sequence[str], budget: Mapping[str, float] = BUDGET
) -> dict[str, OperatingPoint]:
    """An operating point a lesion.

    Of all numbers and areas, each with the lowest confidence that keeps to the budget in DR0, the point is
    taken that counts the lesion in most of the photographs where experts marked it, then in most of DR2 or
    worse.

    Args:
        cases: with confidences out of fold.
        learned: lesions.
        budget: share of DR0 in which each may count.
    """
    healthy = [case for case in cases if case.grade == 0 and case.readable]
    ill = [case for case in cases if case.grade >= 2 and case.readable]
    points = {}
    for code in learned:
        marked = [case for case in cases if code in case.marked and case.readable]
        best: tuple[tuple[float, float], OperatingPoint] | None = None
        for number in NUMBERS:
            for area in AREAS:
                cut = _cut(_nth(healthy, code, number, area), budget.get(code, OTHERS))
                point = OperatingPoint(cut, area, number)
                gain = (_share(marked, code, point), _share(ill, code, point))
                if best is None or gain > best[0]:
                    best = gain, point
        assert best is not None
        points[code] = best[1]
    return points


def fit_macula(cases: Sequence[Case]) -> OperatingPoint:
    """From when hard exudates within a disc diameter of the fovea refer: hardly ever in DR0 and DR1."""
    calm = [case for case in cases if case.grade in (0, 1) and case.oedema <= 0 and case.readable]
    near = [_near(case) for case in calm]
    at_risk = [_near(case) for case in cases if case.oedema > 0]
    points = [
        OperatingPoint(_cut(_nth(near, "HaEx", number, area), MACULA_BUDGET), area, number)
        for number in NUMBERS
        for area in AREAS
    ]
    return max(points, key=lambda point: _share(at_risk, "HaEx", point))


def _near(case: Case) -> Case:
    """A case with the findings near its fovea alone."""
    findings = case.reading.findings
    near = tuple(one for one in findings if one.disc_diameters is not None and one.disc_diameters <= MACULA)
    return case._replace(reading=replace(case.reading, findings=near))


def _nth(cases: Sequence[Case], code: str, number: int, area: float) -> Array:
    """Of each case, the confidence that ``number`` large enough findings reach; 0 where there are fewer."""
    told = []
    for case in cases:
        twice = less_sure(case.reading.findings)
        sure = sorted(
            (
                one.confidence
                for one in case.reading.findings
                if one.lesion == code and one.disc_areas >= area and one.number not in twice
            ),
            reverse=True,
        )
        told.append(sure[number - 1] if len(sure) >= number else 0.0)
    return np.array(told, np.float64)


def _cut(reached: Array, budget: float) -> float:
    """A confidence that at most a share reaches: halfway from the last that may to the first that may not."""
    if not reached.size:
        return 0.5
    falling = logit_of(np.maximum(np.sort(reached)[::-1], LOWEST))
    allowed = min(int(budget * len(falling)), len(falling) - 1)
    last = falling[allowed - 1] if allowed else falling[0] + STEP
    return float(logistic(max((falling[allowed] + last) / 2, falling[allowed] + 1e-6)))


def _share(cases: Sequence[Case], code: str, point: OperatingPoint) -> float:
    if not cases:
        return 0.0
    return float((_nth(cases, code, point.number, point.area) >= point.confidence).mean())
