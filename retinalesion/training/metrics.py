"""Scores of lesion maps. Counts first; every score is a function of counts.

Counts of a photograph are summed over photographs and processes, never averaged: pixel F1 is pooled over the
set, as in the paper (section 4.2.1).
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

THRESHOLD = 0.5  # hard labels, section 3
# Precision and recall are taken at steps of the logit, since maps trained with Dice crowd near 0 and 1.
STEPS, LOWEST, HIGHEST = 16384, -16.0, 16.0
FARTHEST_CUT = 3.0  # logit, probabilities 0.05 and 0.95: beyond them a network has not learned the lesion


@dataclass
class Counts:
    """What one or many photographs add up to, per lesion.

    Attributes:
        hits: int64 (8,), valid pixels marked and found.
        alarms: int64 (8,), valid pixels found and not marked.
        misses: int64 (8,), valid pixels marked and not found.
        image: int64 (8, 2, 2), photographs by truth and prediction (absent, present).
        histogram: int64 (8, 2, 16384), valid pixels by truth and step of the logit, for AUPR.
    """

    hits: Tensor
    alarms: Tensor
    misses: Tensor
    image: Tensor
    histogram: Tensor

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def count(logits: Tensor, planes: Tensor, valid: Tensor) -> Counts:
    """Counts of a batch.

    Args:
        logits: (n, 8, h, w).
        planes: bool (n, 8, h, w).
        valid: bool (n, 8, h, w). A lesion without a valid pixel in a photograph is not counted for it.

    Returns:
        Counts on the same device.
    """
    found, marked = (logits > 0) & valid, planes & valid  # a logit above 0 is a probability above 0.5
    axes = (0, 2, 3)
    looked = valid.any(3).any(2)
    image = torch.zeros(logits.shape[1], 2, 2, dtype=torch.int64, device=logits.device)
    truth, said = marked.any(3).any(2), found.any(3).any(2)
    for t in (0, 1):
        for p in (0, 1):
            image[:, t, p] = ((truth == bool(t)) & (said == bool(p)) & looked).sum(0)
    lesions = logits.shape[1]
    share = (logits.float() - LOWEST) / (HIGHEST - LOWEST)
    place = (share * STEPS).clamp(0, STEPS - 1).long()
    place += STEPS * (marked + 2 * torch.arange(lesions, device=logits.device).view(1, -1, 1, 1))
    histogram = torch.bincount(place[valid], minlength=lesions * 2 * STEPS).view(lesions, 2, STEPS)
    return Counts(
        hits=(found & marked).sum(axes),
        alarms=(found & ~marked).sum(axes),
        misses=(marked & ~found).sum(axes),
        image=image,
        histogram=histogram,
    )


def f1(hits: Tensor, alarms: Tensor, misses: Tensor) -> Tensor:
    """F1 from counts; NaN where there is nothing to find and nothing found."""
    return 2 * hits / (2 * hits + alarms + misses)


def pixel_f1(counts: Counts) -> Tensor:
    """Pixel F1 per lesion, pooled (Table 3)."""
    return f1(counts.hits, counts.alarms, counts.misses)


def pixel_iou(counts: Counts) -> Tensor:
    """Intersection over union per lesion, pooled."""
    return counts.hits / (counts.hits + counts.alarms + counts.misses)


def image_f1(counts: Counts) -> Tensor:
    """Image F1 per lesion (Table 5)."""
    return f1(counts.image[:, 1, 1], counts.image[:, 0, 1], counts.image[:, 1, 0])


def always_yes_f1(counts: Counts) -> Tensor:
    """Image F1 of always saying present: what an image F1 has to beat."""
    present, absent = counts.image[:, 1].sum(-1), counts.image[:, 0].sum(-1)
    return f1(present, absent, torch.zeros_like(present))


def specificity(counts: Counts) -> Tensor:
    """Share of the photographs without a lesion in which it was not found; NaN where all have it."""
    return counts.image[:, 0, 0] / counts.image[:, 0].sum(-1)


def aupr(counts: Counts) -> Tensor:
    """Average precision per lesion over pixels: the IDRiD challenge's score. NaN where nothing is marked."""
    alarms, hits = _found_at_each_step(counts)
    recall = hits / hits[:, -1:]
    gained = torch.diff(recall, prepend=torch.zeros_like(recall[:, :1]))
    precision = hits / (hits + alarms).clamp(min=1)
    return (gained * precision).sum(-1)


def best_cut(counts: Counts) -> Tensor:
    """The logit (8,) above which pixel F1 is highest, within ±3; 0 for a lesion that is nowhere marked."""
    alarms, hits = _found_at_each_step(counts)
    marked = hits[:, -1:]
    cuts = torch.linspace(HIGHEST, LOWEST, STEPS + 1, dtype=torch.float64, device=hits.device)[1:]
    score = f1(hits, alarms, marked - hits).masked_fill((cuts.abs() > FARTHEST_CUT) | (marked == 0), -1)
    return torch.where(marked[:, 0] > 0, cuts[score.argmax(-1)], 0.0)


def _found_at_each_step(counts: Counts) -> tuple[Tensor, Tensor]:
    """Alarms and hits, float64 (8, 16384) each, if all at a step or above were found; the highest first."""
    return counts.histogram.flip(-1).cumsum(-1).double().unbind(1)  # type: ignore[return-value]


def mean_over(score: Tensor, learned: Tensor) -> float:
    """The mean over lesions learned; a lesion without a score (NaN) does not enter."""
    return float(score[learned].nanmean())
