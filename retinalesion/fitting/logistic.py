"""Logistic models, fitted: ridge on standardised values, with weights that may be held to one sign."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from retinalesion.reading.rule import Array, Logistic, logistic

RIDGE = 1.0  # penalty of half a squared standardised weight, against the sum over photographs


def fitted(
    values: Mapping[str, ArrayLike],
    truth: ArrayLike,
    *,
    ridge: float = RIDGE,
    rising: Collection[str] = (),
    falling: Collection[str] = (),
    weight: ArrayLike | None = None,
) -> Logistic:
    """The logistic model that makes the truth most likely, its weights held small.

    Args:
        values: (n,) each, by name; a value that never varies gets the weight 0.
        truth: bool (n,).
        ridge: how small.
        rising: names whose weights may not be negative.
        falling: names whose weights may not be positive.
        weight: of each row, (n,); None for 1.

    Returns:
        The model in the units of the values. With nothing to tell apart, the share of yes alone.
    """
    names = list(values)
    yes = np.asarray(truth, np.float64)
    table = np.stack([np.asarray(values[name], np.float64) for name in names], 1)
    each = np.ones(len(yes)) if weight is None else np.asarray(weight, np.float64)
    centre = np.average(table, 0, each)
    spread = np.sqrt(np.average((table - centre) ** 2, 0, each))
    varies = spread > 1e-9
    scaled = (table - centre) / np.where(varies, spread, 1)
    share = np.clip(np.average(yes, weights=each), 1e-3, 1 - 1e-3)
    bounds = [_bounds(name, bool(ok), rising, falling) for name, ok in zip(names, varies, strict=True)]
    start = np.r_[np.log(share / (1 - share)), np.zeros(len(names))]

    def loss(of: Array) -> tuple[float, Array]:
        logit = of[0] + scaled @ of[1:]
        cost = each @ (np.logaddexp(0, logit) - yes * logit) + ridge / 2 * of[1:] @ of[1:]
        wrong = each * (logistic(logit) - yes)
        return float(cost), np.r_[wrong.sum(), scaled.T @ wrong + ridge * of[1:]]

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(None, None), *bounds]).x
    weights = np.where(varies, found[1:] / np.where(varies, spread, 1), 0.0)
    kept = {name: float(one) for name, one in zip(names, weights, strict=True) if one}
    return Logistic(float(found[0] - weights @ centre), kept)


def columns(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, Array]:
    """Rows of values by name as columns, (n,) each."""
    return {name: np.array([row[name] for row in rows], np.float64) for name in names}


def _bounds(
    name: str, varies: bool, rising: Collection[str], falling: Collection[str]
) -> tuple[float | None, float | None]:
    if not varies:
        return 0.0, 0.0
    return (0.0 if name in rising else None, 0.0 if name in falling else None)
