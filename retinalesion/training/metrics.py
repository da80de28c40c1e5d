"""From lesion maps to counts, on the device; `retinalesion.scores` makes scores of them.

Counts of a photograph are summed over photographs and processes, never averaged: pixel F1 is pooled over the
set, as in the paper (section 4.2.1).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from retinalesion.errors import UserError
from retinalesion.scores import HIGHEST, LOWEST, STEPS, THRESHOLD, Counts


class Counted(NamedTuple):
    """What a batch adds to `retinalesion.scores.Counts`, in its shapes, on the device."""

    pixels: Tensor
    image: Tensor
    histogram: Tensor

    def to_score(self) -> Counts:
        """As scores take it."""
        return Counts(*(part.cpu().numpy() for part in self))


def found_in(logits: Tensor) -> Tensor:
    """Where lesions are found, bool: by the probability, in float32, as it is written and read everywhere."""
    return logits.float().sigmoid() > THRESHOLD


def require_finite_output(logits: Tensor, ids: Sequence[str]) -> None:
    """See that a network said something: no comparison with NaN is true, and false reads as absent.

    Args:
        logits: (n, ...).
        ids: of the n photographs; empty for blanks.

    Raises:
        UserError: a number is not finite.
    """
    low, high = logits.flatten(1).aminmax(dim=1)  # NaN is both; three times as fast as to ask of each
    bad = ~(low.isfinite() & high.isfinite())
    if bad.any():
        of = next(id for id, wrong in zip(ids, bad.tolist(), strict=True) if wrong)
        raise UserError(
            f"photograph {of or 'without an id'}: the network's output is not finite (NaN or infinite), and "
            "nothing can be said of that. Its training diverged or its weights are damaged: test an earlier "
            "checkpoint, or train again with a lower rate (--model.rate). If it was trained well and runs "
            "in half precision, add: --trainer.precision 32-true"
        )


def count(logits: Tensor, planes: Tensor, valid: Tensor, ids: Sequence[str] | None = None) -> Counted:
    """Counts of a batch.

    Args:
        logits: (n, 8, h, w).
        planes: bool (n, 8, h, w).
        valid: bool (n, 8, h, w). A lesion without a valid pixel in a photograph is not counted for it.
        ids: of the photographs, for the error.

    Returns:
        Counts on the same device.

    Raises:
        UserError: as `require_finite_output` raises.
    """
    require_finite_output(logits, ids or [""] * len(logits))
    found, marked = found_in(logits) & valid, planes & valid
    sums = [plane.sum((0, 2, 3)) for plane in (found & marked, found & ~marked, marked & ~found)]
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
    return Counted(torch.stack(sums, 1), image, histogram)
