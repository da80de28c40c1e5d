"""Dice and the dual loss (paper, section 3.1, Eq. 2 to 4), and the two that Table 4 sets beside them.

Shapes throughout: probability float (n, 8, h, w) in [0, 1], logits likewise; planes and valid bool
(n, 8, h, w). Sums are taken over the global batch. Pixels that are not valid enter neither sum, loss nor
gradient. All is in float32, also under autocast.
"""

import torch
from torch import Tensor, distributed
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

TINY = 1e-7  # keeps 0 / 0 away where nothing is predicted and nothing true


def over_processes(total: Tensor) -> Tensor:
    """The sum of a tensor over all processes, whose gradient is right after DDP has averaged gradients.

    A process sees the gradient of its own share times the number of processes, which DDP's mean undoes.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return total
    everywhere = total.detach().clone()
    distributed.all_reduce(everywhere)
    return everywhere + distributed.get_world_size() * (total - total.detach())


def _dice(
    probability: Tensor, truth: Tensor, axes: tuple[int, ...], misses: float = 0.5
) -> tuple[Tensor, Tensor]:
    """One minus Dice over the named axes, and which lesions (or all, pooled) had any truth."""
    overlap = (probability * truth).sum(axes)  # sums of float32 stay float32 under autocast
    squares, marked = (probability * probability).sum(axes), truth.sum(axes)
    overlap, squares, marked = over_processes(torch.stack([overlap, squares, marked])).unbind()
    whole = 2 * ((1 - misses) * squares + misses * marked)  # what is found, and what there is to find
    return 1 - 2 * overlap / (whole + TINY), marked > 0


def dice_loss(
    probability: Tensor, planes: Tensor, valid: Tensor, per_lesion: bool = False, misses: float = 0.5
) -> Tensor:
    """Dice loss, Eq. 3: 1 - 2 sum(p t) / (sum(p^2) + sum(t^2)), over all valid pixels, lesions and the batch.

    Args:
        probability: of each lesion.
        planes: truth.
        valid: pixels that count.
        per_lesion: the mean over lesions that occur in the batch instead of one sum over all, in which large
            lesions drown small ones.
        misses: weight of misses beside false alarms, 0 to 1; 0.5 is Dice. A network that learned from few
            photographs marks too little in others; more weight works against that.

    Returns:
        A scalar in [0, 1]; 0 where nothing is valid.
    """
    probability = torch.where(valid, probability.float(), 0.0)
    truth = (planes & valid).float()
    if not per_lesion:
        return _dice(probability, truth, (0, 1, 2, 3), misses)[0] * valid.any()
    loss, occurs = _dice(probability, truth, (0, 2, 3), misses)
    return (loss * occurs).sum() / occurs.sum().clamp(min=1)


def classification_dice_loss(probability: Tensor, planes: Tensor, valid: Tensor) -> Tensor:
    """Image-level Dice loss (unnumbered after Eq. 3), on P and T by global max over valid pixels (Eq. 1).

    Args:
        probability: of each lesion.
        planes: truth.
        valid: pixels that count; a lesion without any in a photograph does not enter for it.

    Returns:
        A scalar in [0, 1].
    """
    present = torch.where(valid, probability.float(), 0.0).amax((2, 3))
    truth = (planes & valid).any(3).any(2).float()
    return _dice(present, truth, (0, 1))[0] * valid.any()


def dual_loss(
    probability: Tensor,
    planes: Tensor,
    valid: Tensor,
    weight: float = 0.8,
    per_lesion: bool = False,
    misses: float = 0.5,
) -> Tensor:
    """The dual loss, Eq. 2: weight * segmentation loss + (1 - weight) * classification loss.

    Args:
        probability: of each lesion.
        planes: truth.
        valid: pixels that count.
        weight: lambda of Eq. 2 (printed as alpha in the text after it).
        per_lesion: of the segmentation loss, see `dice_loss`.
        misses: of the segmentation loss, see `dice_loss`.

    Returns:
        A scalar in [0, 1].
    """
    segmentation = dice_loss(probability, planes, valid, per_lesion, misses)
    return weight * segmentation + (1 - weight) * classification_dice_loss(probability, planes, valid)


def _mean_over_valid(of_pixels: Tensor, valid: Tensor) -> Tensor:
    sums = torch.stack([torch.where(valid, of_pixels, 0.0).sum(), valid.sum().to(of_pixels.dtype)])
    total, count = over_processes(sums).unbind()
    return total / count.clamp(min=1)


def weighted_cross_entropy(logits: Tensor, planes: Tensor, valid: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy in which marked pixels weigh more, since they are few (Table 4).

    Args:
        logits: of each lesion.
        planes: truth.
        valid: pixels that count.
        weights: float (8,), of the marked pixels of each lesion.

    Returns:
        A scalar, the mean over valid pixels; 0 where there is none.
    """
    logits = torch.where(valid, logits.float(), 0.0)
    marked = (planes & valid).float()
    loss = F.binary_cross_entropy_with_logits(
        logits, marked, pos_weight=weights.float().view(-1, 1, 1), reduction="none"
    )
    return _mean_over_valid(loss, valid)


def focal_loss(
    logits: Tensor, planes: Tensor, valid: Tensor, alpha: float = 0.8, gamma: float = 2.0
) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017; Table 4): cross-entropy that hardly hears of what is clear already.

    Args:
        logits: of each lesion.
        planes: truth.
        valid: pixels that count.
        alpha: weight of marked pixels; the others have 1 - alpha.
        gamma: how much less what is clear counts.

    Returns:
        A scalar, the mean over valid pixels; 0 where there is none.
    """
    logits = torch.where(valid, logits.float(), 0.0)
    loss: Tensor = sigmoid_focal_loss(logits, (planes & valid).float(), alpha, gamma)
    return _mean_over_valid(loss, valid)
