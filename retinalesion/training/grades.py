"""Scores of grades. Counts first, the confusion matrix; every score but AUROC is a function of it.

A confusion is int64 (5, 5), photographs by true grade (rows) and grade said (columns).
"""

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from retinalesion.lesions import GRADES, NO_GRADE

REFERABLE = 2  # DR2 or worse
OPERATING_POINT = 0.5  # of P(DR2) + P(DR3) + P(DR4)
RESAMPLES = 2000


def confusion_of(truth: Tensor, said: Tensor) -> Tensor:
    """Confusion of grades int64 (n,); photographs without a true grade are left out."""
    known = truth != NO_GRADE
    cells = len(GRADES) * truth[known] + said[known]
    return torch.bincount(cells, minlength=len(GRADES) ** 2).view(len(GRADES), len(GRADES))


def quadratic_kappa(confusion: Tensor) -> Tensor:
    """Quadratic weighted kappa (Table 6), of confusions (..., 5, 5); NaN where it has no meaning."""
    counts = confusion.double()
    grade = torch.arange(len(GRADES), dtype=torch.float64, device=counts.device)
    weight = (grade[:, None] - grade) ** 2
    total = counts.sum((-2, -1), keepdim=True)
    by_chance = counts.sum(-1, keepdim=True) * counts.sum(-2, keepdim=True) / total
    return 1 - (weight * counts).sum((-2, -1)) / (weight * by_chance).sum((-2, -1))


def kappa_interval(truth: Tensor, said: Tensor) -> tuple[float, float]:
    """2.5th and 97.5th percentile of kappa, by bootstrap over photographs.

    Args:
        truth: int64 (n,), none of them -1.
        said: int64 (n,).
    """
    drawn = torch.randint(len(truth), (RESAMPLES, len(truth)), generator=torch.Generator().manual_seed(0))
    size = len(GRADES)
    cells = torch.arange(RESAMPLES)[:, None] * size**2 + size * truth[drawn] + said[drawn]
    confusions = torch.bincount(cells.flatten(), minlength=RESAMPLES * size**2).view(-1, size, size)
    kappas = quadratic_kappa(confusions)
    low, high = kappas.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def recall_per_grade(confusion: Tensor) -> Tensor:
    """Share of each grade's photographs that were given it, (5,); NaN where there are none."""
    return confusion.diagonal() / confusion.sum(1)


def accuracy(confusion: Tensor) -> Tensor:
    """Share of the photographs that were given their grade."""
    return confusion.diagonal().sum() / confusion.sum()


def referable_probability(probability: Tensor) -> Tensor:
    """P(DR2) + P(DR3) + P(DR4), (n,), of probabilities (n, 5)."""
    return probability[:, REFERABLE:].sum(1)


def referable_figures(truth: Tensor, probability: Tensor, at: float = OPERATING_POINT) -> dict[str, float]:
    """Sensitivity and specificity at an operating point, and AUROC, for DR2 or worse.

    Args:
        truth: grades int64 (n,), none of them -1.
        probability: float (n, 5).
        at: referable where P(DR2) + P(DR3) + P(DR4) is above it.

    Returns:
        By name; NaN where there are no photographs of a kind.
    """
    score, refer = referable_probability(probability), truth >= REFERABLE
    yes = score > at
    both = bool(refer.any()) and not bool(refer.all())
    return {
        "sensitivity": float((yes & refer).sum() / refer.sum()),
        "specificity": float((~yes & ~refer).sum() / (~refer).sum()),
        "AUROC": float(binary_auroc(score.float(), refer.long())) if both else float("nan"),
    }
