"""What the report says around a verdict: by which rule it was said, and what is known of the photograph.

What a rule tells of itself lies in a checkpoint, which may come from anywhere: what is not as expected is
left out.
"""

from collections.abc import Mapping
from typing import Any

from retinalesion.geometry import Landmark
from retinalesion.reading.reading import Reading
from retinalesion.scores import OPERATING_POINT

NOT_CALIBRATED = f"not calibrated: the network's own probability, cut at {OPERATING_POINT:g}"
_LONGEST = 500  # characters of a text from a checkpoint


def cuts_of(reading: Reading) -> tuple[float, float] | None:
    """The probabilities below which not to refer, and from which to refer; None where nothing tells one."""
    if reading.referable_probability is None:
        return None
    match _shares(reading.rule.get("cuts")):
        case (low, high) if low <= high:
            return low, high
    return OPERATING_POINT, OPERATING_POINT


def in_short(rule: Mapping[str, Any]) -> str:
    """A rule in a line."""
    figures = [
        f"{name} {share.partition(' (')[0]}"
        for name in ("sensitivity", "specificity")
        if (share := _share(rule.get(name)))
    ]
    if photographs := _count(rule.get("photographs")):
        figures.append(f"on {photographs} photographs")
    if rule.get("wished"):
        figures.append("then moved as wished")
    if rule.get("site"):
        figures.append("then moved for this site")
    return ", ".join(figures) or told_of(rule)[0]


def told_of(rule: Mapping[str, Any]) -> list[str]:
    """A rule in sentences: the photographs behind it, its sensitivity and specificity, and what moved it."""
    if not rule:
        return [NOT_CALIBRATED]
    told = []
    if photographs := _count(rule.get("photographs")):
        behind = f"fitted and judged, each time on others, on {photographs} photographs"
        if groups := _count(rule.get("groups")):
            behind += f" of {groups} groups"
        source = _text(rule.get("source"))
        told.append(f"{behind}: {source}" if source else behind)
    elif source := _text(rule.get("source")):
        told.append(f"fitted on {source}")
    if share := _share(rule.get("sensitivity")):
        told.append(f"sensitivity {share}: of those to be referred, so many were not told “no referral”")
    if share := _share(rule.get("specificity")):
        told.append(f"specificity {share}: of those not to be referred, so many were told “no referral”")
    if share := _share(rule.get("uncertain")):
        told.append(f"uncertain were {share}; uncertain and retake count as referred in these figures")
    if share := _share(rule.get("prevalence")):
        told.append(f"to be referred were {share} of them")
    wished = rule.get("wished")
    wished = wished if isinstance(wished, Mapping) else {}
    if share := _share(wished.get("sensitivity")):
        told.append(
            f"as wished, the lower cut was moved to a sensitivity of {share}; the figures above are of the "
            "cut as it was fitted"
        )
    if share := _share(wished.get("prevalence")):
        told.append(f"as wished, probabilities are for a place where {share} are to be referred")
    if site := _text(rule.get("site")):
        told.append(site)
    return told or ["the rule tells nothing of itself"]


def facts_of(reading: Reading) -> list[str]:
    """What is known of a photograph, in the order in which it is told."""
    seen = [_seen(name, getattr(reading, name)) for name in ("disc", "fovea")]
    return [
        fact
        for fact in (
            reading.file,
            reading.patient and f"patient {reading.patient}",
            reading.date,
            reading.eye and f"{reading.eye} eye",
            *seen,
            f"{reading.width} × {reading.height} pixels" if reading.width else "",
            reading.model,
        )
        if fact
    ]


def marks_of(reading: Reading) -> dict[str, list[float]]:
    """Disc and fovea, where known: column, row and the disc's diameter, as shares of the picture's side."""
    side, marks = reading.box.side, {}
    for name in ("disc", "fovea"):
        known: Landmark | None = getattr(reading, name)
        if known and side > 0:
            at = [(known.x + 0.5 - reading.box.x) / side, (known.y + 0.5 - reading.box.y) / side]
            marks[name] = [*at, (known.diameter or 0.0) / side]
    return marks


def _seen(name: str, known: Landmark | None) -> str:
    if known is None:
        return ""
    return f"{name} known" if known.certainty >= 1 else f"{name} seen ({percent(known.certainty)})"


def _share(value: Any) -> str:
    """``95 % (93 to 97 %)`` of a value with its bounds, or of a value alone; empty of anything else."""
    match [percent(share) for share in _shares(value)]:
        case [one]:
            return one
        case [one, low, high]:
            return f"{one} ({low.removesuffix(' %')} to {high})"
    return ""


def percent(share: float) -> str:
    """Of a share, 0 to 1: ``7.3 %``, ``54 %``; never 0 or 100 of what is only near to it."""
    if 0 < share < 0.001 or 0.999 < share < 1:
        return "< 0.1 %" if share < 0.5 else "> 99.9 %"
    return f"{share * 100:.{0 if 0.1 <= share <= 0.99 else 1}f} %"


def _shares(value: Any) -> tuple[float, ...]:
    """A share or several of them; none of anything else."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return tuple(map(float, values)) if all(_between(one, 0, 1) for one in values) else ()


def _count(value: Any) -> int:
    return int(value) if _between(value, 1, 1e9) else 0


def _between(value: Any, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _text(value: Any) -> str:
    return " ".join(value.split())[:_LONGEST] if isinstance(value, str) else ""
