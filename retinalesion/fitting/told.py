"""What a rule says of itself wherever it is used: on what it was fitted, and what it was worth there."""

from collections.abc import Mapping, Sequence
from typing import Any

from retinalesion.fitting.cases import Case
from retinalesion.fitting.figures import Figure, Judged, figures_of
from retinalesion.fitting.refit import HEALTHY, healthy_score
from retinalesion.reading.reading import Reading

Figures = Mapping[str, Figure]


def told_of(
    cases: Sequence[Case], after: Sequence[Reading], before: Sequence[Reading], source: str
) -> dict[str, Any]:
    """Plain values for `retinalesion.reading.rule.Rule.told`.

    ================== ================================================================================
    source             the photographs on which it was fitted, in words
    photographs        how many of them had a grade
    groups             how many patients or groups they make
    prevalence         share of them that was referable
    sensitivity        of all who are not "no referral", nested: value, low and high end of its interval
    specificity        likewise
    uncertain          likewise
    figures            all figures, nested, by name: likewise
    before             the same of what the checkpoint said before
    healthy_score      median score of DR0, nested
    site               only of a rule that was moved for a site: how, in words
    ================== ================================================================================

    Args:
        cases: on which it was fitted.
        after: what is said of each, nested.
        before: what the checkpoint said before.
        source: of the photographs.
    """
    judged = Judged.of(cases, after)
    figures = plain(figures_of(judged))
    return {
        "source": source,
        "photographs": len(judged.id),
        "groups": len(set(judged.group.tolist())),
        "prevalence": float(judged.ill.mean()),
        **{name: figures[name] for name in ("sensitivity", "specificity", "uncertain")},
        "figures": figures,
        "before": plain(figures_of(Judged.of(cases, before))),
        HEALTHY: healthy_score(cases, after),
    }


def plain(figures: Figures) -> dict[str, list[float | None]]:
    """Figures as JSON keeps them: value, low and high end of the interval."""
    return {name: [None if part is None else float(part) for part in one] for name, one in figures.items()}
