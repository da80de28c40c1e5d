"""Which of several variants, and what the winner is worth once it is known that it was chosen.

The best of many flatters: what is claimed of it is scored on the groups that a resample left out, when the
choice was made by those in it.
"""

from collections.abc import Mapping

import numpy as np

from retinalesion.fitting.figures import Figure, Judged, Score, drawn_of
from retinalesion.scores import known, percentiles


def gain(before: Judged, after: Judged, score: Score) -> Figure:
    """What a variant gains over another on the same photographs, paired.

    Raises:
        ValueError: they are of other photographs, or in another order.
    """
    _require_same(before, after)
    weights = np.vstack([np.ones(len(before.id)), drawn_of(before)])
    drawn = score(after, weights) - score(before, weights)
    return Figure(known(drawn[0]), *map(known, percentiles(drawn[1:])))


def chosen(variants: Mapping[str, Judged], score: Score) -> tuple[str, Figure, Figure]:
    """The variant with the best score.

    Args:
        variants: what each said of the same photographs.
        score: to choose by, and to tell.

    Returns:
        Its name; its score as it stands; and as it is worth: of each resample of groups, the score outside of
        it of the variant that was best inside.

    Raises:
        ValueError: they are of other photographs, or in another order.
    """
    names = list(variants)
    first = variants[names[0]]
    for other in variants.values():
        _require_same(first, other)
    inside = drawn_of(first)
    outside = (inside == 0).astype(np.float64)
    within = np.stack([score(one, inside) for one in variants.values()])
    without = np.stack([score(one, outside) for one in variants.values()])
    best = np.nan_to_num(within, nan=-np.inf).argmax(0)
    worth = without[best, np.arange(inside.shape[0])]
    all_of_them = np.array([score(one, np.ones((1, len(one.id))))[0] for one in variants.values()])
    name = names[int(np.nan_to_num(all_of_them, nan=-np.inf).argmax())]
    standing = Figure(
        known(float(all_of_them.max())), *map(known, percentiles(score(variants[name], inside)))
    )
    return name, standing, Figure(known(float(np.nanmean(worth))), *map(known, percentiles(worth)))


def _require_same(one: Judged, other: Judged) -> None:
    if not np.array_equal(one.id, other.id):
        raise ValueError("variants are compared on the same photographs in the same order")
