"""The second look: how likely a region that a map marks is the lesion, by plain figures of it and its place.

The map's peak tells healthy eyes from ill ones nowhere (it is 0.9 and more in both); area, contrast, shape,
place and company do. Weights are fitted on regions out of fold (`retinalesion.fitting.second_look`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from retinalesion.reading.reading import Finding
from retinalesion.reading.rule import Array, Logistic, logit_of

FIGURES = (
    "peak",
    "mean",
    "area",
    "contrast",
    "elongation",
    "from disc",
    "from fovea",
    "from edge",
    "neighbours",
    "overlap",
)
_FAR = 3.0  # disc diameters: so far, or not known, is all the same
_SMALLEST = 1e-6  # disc areas


def figures_of(findings: Sequence[Finding]) -> dict[str, Array]:
    """The figures of findings as the models take them, by name of `FIGURES`, float64 (n,) each.

    Peak and mean as logits; area as a decimal logarithm of disc areas, elongation and neighbours as natural
    ones; distances up to three disc diameters, and so many where disc or fovea is not seen.
    """

    def far(value: float | None) -> float:
        return _FAR if value is None else min(value, _FAR)

    def column(values: Sequence[float]) -> Array:
        return np.asarray(values, np.float64)

    return {
        "peak": logit_of([one.peak for one in findings]),
        "mean": logit_of([one.mean for one in findings]),
        "area": np.log10(np.maximum(column([one.disc_areas for one in findings]), _SMALLEST)),
        "contrast": column([one.contrast for one in findings]),
        "elongation": np.log(np.maximum(column([one.elongation for one in findings]), 1)),
        "from disc": column([far(one.from_disc) for one in findings]),
        "from fovea": column([far(one.disc_diameters) for one in findings]),
        "from edge": column([1.0 if one.from_edge is None else one.from_edge for one in findings]),
        "neighbours": np.log1p(column([one.neighbours for one in findings])),
        "overlap": column([one.overlap for one in findings]),
    }


def looked_again(findings: Sequence[Finding], models: Mapping[str, Logistic]) -> tuple[Finding, ...]:
    """The findings with the confidence of the second look; the peak where a lesion has no model."""
    confidence = {finding.number: finding.peak for finding in findings}
    for code, model in models.items():
        own = [finding for finding in findings if finding.lesion == code]
        probability = model.probability(figures_of(own)) if own else ()
        confidence |= {finding.number: float(p) for finding, p in zip(own, probability, strict=True)}
    return tuple(replace(finding, confidence=confidence[finding.number]) for finding in findings)
