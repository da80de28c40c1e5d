"""Augmentation of section 4.1 on the device: rotation, crop, flip, brightness, saturation, contrast.

Image and planes move together by one warp, and valid follows: what the warp brings in from outside the
photograph, or from ignored pixels, does not count. Every random number of a sample comes from its own draw
number, so that a resumed run, or another number of workers, sees the same pictures.
"""

import math

import numpy as np
import torch
from kornia.enhance import (
    adjust_brightness,
    adjust_contrast_with_mean_subtraction,
    adjust_saturation_with_gray_subtraction,
)
from kornia.geometry.transform import warp_affine
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

ZOOM = 1.25  # largest enlargement, and by its inverse largest reduction
# A crop's window must hold the crop turned by any angle and reduced by the full zoom.
WINDOW = math.sqrt(2) * ZOOM


def resize(image: Tensor, planes: Tensor, valid: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """A batch at a smaller side, by area: a plane's pixel is set where half of its area is.

    Args:
        image: float (n, 3, s, s).
        planes: bool (n, 8, s, s).
        valid: bool (n, 8, s, s).
        side: at most s.

    Returns:
        The three at (side, side). A lesion that was present stays present; a pixel is valid where half of
        its area is.
    """
    if image.shape[-1] == side:
        return image, planes, valid
    image = F.interpolate(image, size=(side, side), mode="area")
    share = F.interpolate(planes.float(), size=(side, side), mode="area")
    valid = F.interpolate(valid.float(), size=(side, side), mode="area") >= 0.5
    largest = share.amax((2, 3), keepdim=True)
    return image, (share > 0) & (share >= largest.clamp(max=0.5)), valid


def _matrix(random: np.random.Generator, window: int, side: int, cut: bool) -> NDArray[np.float32]:
    """Affine matrix (2, 3) from a window's pixels to the result's: turned, enlarged, mirrored.

    A window cut around a chosen place keeps that place; of a whole photograph all is seen, or a part of it.
    """
    angle, flip = random.uniform(0, 2 * math.pi), random.choice((-1.0, 1.0))
    zoom = ZOOM ** random.uniform(-1, 1) if cut else side / window * ZOOM ** random.uniform(0, 1)
    slack = 0.0 if cut else (window * zoom - side) / 2
    shift = random.uniform(-slack, slack, 2)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    linear = np.array([[flip * cos, -flip * sin], [sin, cos]])
    offset = (side - 1) / 2 + shift - linear.sum(1) * (window - 1) / 2
    return np.concatenate([linear, offset[:, None]], 1).astype(np.float32)


def augment(
    image: Tensor, planes: Tensor, valid: Tensor, draws: Tensor, seed: int, side: int, cut: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch, warped and recoloured.

    Args:
        image: float (n, 3, w, w) in [0, 1].
        planes: bool (n, 8, w, w).
        valid: bool (n, 8, w, w).
        draws: int64 (n,), each sample's position in the draw order.
        seed: of the run.
        side: of the result.
        cut: whether the image is a window cut around a chosen place, `WINDOW` times as wide as the result, or
            a whole photograph.

    Returns:
        The three at (side, side).
    """
    window = image.shape[-1]
    randoms = [np.random.default_rng((seed, 1, int(draw))) for draw in draws]
    matrices = torch.from_numpy(np.stack([_matrix(r, window, side, cut) for r in randoms]))
    stacked = torch.cat([image, planes.to(image.dtype), valid.to(image.dtype)], 1)
    warped = warp_affine(stacked, matrices.to(image), (side, side), align_corners=True)
    image, share, kept = torch.split(warped, [3, planes.shape[1], planes.shape[1]], 1)
    colours = torch.tensor([_colours(r) for r in randoms], dtype=torch.float32, device=image.device)
    brightness, saturation, contrast = colours.unbind(1)
    image = adjust_saturation_with_gray_subtraction(image.clamp(0, 1), saturation)
    image = adjust_brightness(adjust_contrast_with_mean_subtraction(image, contrast), brightness)
    # Bilinear weights of pixels that all count add up to 1 but for rounding.
    return image.clamp(0, 1), share >= 0.5, kept > 0.999


def _colours(random: np.random.Generator) -> list[float]:
    """Summand of brightness, factors of saturation and contrast."""
    return [random.uniform(-0.1, 0.1), random.uniform(0.7, 1.3), random.uniform(0.75, 1.25)]
