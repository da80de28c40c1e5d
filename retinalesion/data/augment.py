"""Augmentation of section 4.1 on the device: rotation, crop, flip, brightness, saturation, contrast.

Image and planes move together by one warp, and valid follows: what the warp brings in from outside the
photograph, or from ignored pixels, does not count. Every random number of a sample comes from its own draw
number, so that a resumed run, or another number of workers, sees the same pictures.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from retinalesion.lesions import CODES

ZOOM = (0.8, 1.25)  # largest reduction and largest enlargement, unless others are asked for


def window_of(crop: int, zoom: tuple[float, float] = ZOOM) -> int:
    """Side of the window that holds a crop turned by any angle and reduced by the full zoom."""
    return math.ceil(crop * math.sqrt(2) / zoom[0])


def pack(planes: Tensor) -> Tensor:
    """Bool (n, 8, s, s) as uint8 (n, 1, s, s), bit j for lesion j."""
    return (planes * (2 ** _bits(planes))).sum(1, keepdim=True, dtype=torch.uint8)


def unpack(packed: Tensor) -> Tensor:
    """The reverse of `pack`."""
    return (packed >> _bits(packed)) & 1 == 1


def _bits(like: Tensor) -> Tensor:
    return torch.arange(len(CODES), dtype=torch.uint8, device=like.device).view(1, -1, 1, 1)


def resize(image: Tensor, planes: Tensor, kept: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """A batch at a smaller side, by area: a pixel of a plane is set where half of its area is.

    Args:
        image: float (n, 3, s, s).
        planes: uint8 (n, 1, s, s), packed.
        kept: uint8 (n, 1, s, s), packed.
        side: at most s.

    Returns:
        The three at (side, side). A lesion that was present stays present.
    """
    if image.shape[-1] == side:
        return image, planes, kept
    image, share, part = (
        F.interpolate(x.float(), size=(side, side), mode="area")
        for x in (image, unpack(planes), unpack(kept))
    )
    largest = share.amax((2, 3), keepdim=True)
    return image, pack((share > 0) & (share >= largest.clamp(max=0.5))), pack(part >= 0.5)


def _matrix(
    random: np.random.Generator, window: int, side: int, cut: bool, zooms: tuple[float, float]
) -> NDArray[np.float32]:
    """Affine matrix (2, 3) from a window's pixels to the result's: turned, enlarged, mirrored.

    A window cut around a chosen place keeps that place; of a whole photograph all is seen, or a part of it.
    """
    angle, flip = random.uniform(0, 2 * math.pi), random.choice((-1.0, 1.0))
    lowest, highest = zooms if cut else (side / window, side / window * zooms[1])
    zoom = math.exp(random.uniform(math.log(lowest), math.log(highest)))
    slack = 0.0 if cut else (window * zoom - side) / 2
    shift = random.uniform(-slack, slack, 2)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    linear = np.array([[flip * cos, -flip * sin], [sin, cos]])
    offset = (side - 1) / 2 + shift - linear.sum(1) * (window - 1) / 2
    return np.concatenate([linear, offset[:, None]], 1).astype(np.float32)


def _softened(image: Tensor, shares: Sequence[float]) -> Tensor:
    """Each picture (3, w, w) brought down by area to a share of its pixels a side, and back to its size."""
    pictures = []
    for picture, share in zip(image[:, None], shares, strict=True):
        if share < 1:
            size = max(1, round(share * picture.shape[-1]))
            small = F.interpolate(picture, size=(size, size), mode="area")
            picture = F.interpolate(small, size=image.shape[-2:], mode="bilinear", align_corners=False)
        pictures.append(picture)
    return torch.cat(pictures)


def _lost(before: Tensor, after: Tensor, matrix: Tensor) -> Tensor:
    """The pixels of lesions that fell between those of a warp by the nearest, at their places in its result.

    Args:
        before: uint8 (n, 1, w, w), packed.
        after: uint8 (n, 1, s, s), packed.
        matrix: float (n, 2, 3), from places before to places after.

    Returns:
        uint8 (n, 1, s, s), packed: what `after` lacks of a lesion of which it shows nothing.
    """
    found, side = torch.zeros_like(after), after.shape[-1]
    gone = before & (_present(before) & ~_present(after)).view(-1, 1, 1, 1)
    sample, _, y, x = gone.nonzero().unbind(1)
    places = torch.stack([x, y, torch.ones_like(x)], 1).to(matrix)
    x, y = (matrix[sample] * places[:, None]).sum(2).round().long().unbind(1)
    bits = gone[gone > 0] * ((x >= 0) & (x < side) & (y >= 0) & (y < side))
    pixel, lesion = unpack(bits.view(-1, 1, 1, 1)).flatten(1).nonzero().unbind(1)
    each = torch.stack([sample[pixel], lesion, y[pixel], x[pixel]], 1)
    sample, lesion, y, x = torch.unique(each, dim=0).unbind(1)  # each but once, so that adding bits sets them
    place = (sample, torch.zeros_like(sample), y, x)
    return found.index_put_(place, (2**lesion).to(torch.uint8), accumulate=True)


def _present(packed: Tensor) -> Tensor:
    """Which lesions have a pixel: uint8 (n,), packed, of (n, 1, s, s)."""
    bits = packed.flatten(1)
    while bits.shape[1] > 1:  # by halves, and never eight planes at once
        half = -(-bits.shape[1] // 2)
        bits = bits[:, :half] | bits[:, -half:]
    return bits[:, 0]


def augment(
    image: Tensor,
    planes: Tensor,
    kept: Tensor,
    draws: Tensor,
    seed: int,
    side: int,
    cut: bool,
    zoom: tuple[float, float] = ZOOM,
    sharpness: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch, warped and recoloured. Planes and kept pixels stay packed, bit j for lesion j, and so cheap.

    Args:
        image: float (n, 3, w, w) in [0, 1].
        planes: uint8 (n, 1, w, w).
        kept: uint8 (n, 1, w, w), the pixels that are not ignored.
        draws: int64 (n,), each sample's position in the draw order.
        seed: of the run.
        side: of the result.
        cut: whether the image is a window cut around a chosen place, as wide as `window_of` says, or a whole
            photograph.
        zoom: smallest and largest enlargement of a crop; of a whole photograph the largest counts.
        sharpness: half of the pictures lose resolution, down to this share of it; 1 leaves them as they are.

    Returns:
        The three at (side, side); nothing is kept of what lies outside the photograph. A lesion with a kept
        pixel inside the crop keeps at least one.
    """
    # Here, since it costs half a second that nothing but training needs.
    from kornia.enhance import (
        adjust_brightness,
        adjust_contrast_with_mean_subtraction,
        adjust_saturation_with_gray_subtraction,
    )
    from kornia.geometry.transform import warp_affine

    window = image.shape[-1]
    randoms = [np.random.default_rng((seed, 1, int(draw))) for draw in draws]
    matrices = np.stack([_matrix(random, window, side, cut, zoom) for random in randoms])
    matrix, size = torch.from_numpy(matrices).to(image), (side, side)
    packed = torch.cat([planes, kept], 1).to(image.dtype)
    warped = warp_affine(packed, matrix, size, mode="nearest", align_corners=True).to(torch.uint8)
    warped |= _lost(planes & kept, warped[:, :1] & warped[:, 1:], matrix)
    if sharpness < 1:
        image = _softened(image, [_share_kept(r, sharpness) for r in randoms])
    image = warp_affine(image, matrix, size, align_corners=True)
    colours = torch.tensor([_colours(r) for r in randoms], dtype=image.dtype, device=image.device)
    brightness, saturation, contrast = colours.unbind(1)
    image = adjust_saturation_with_gray_subtraction(image.clamp(0, 1), saturation)
    image = adjust_brightness(adjust_contrast_with_mean_subtraction(image, contrast), brightness)
    return image.clamp(0, 1), warped[:, :1], warped[:, 1:]


def _share_kept(random: np.random.Generator, sharpness: float) -> float:
    """Of a picture's resolution: half of them keep all."""
    return random.uniform(sharpness, 1) if random.random() < 0.5 else 1.0


def _colours(random: np.random.Generator) -> list[float]:
    """Summand of brightness, factors of saturation and contrast."""
    return [random.uniform(-0.1, 0.1), random.uniform(0.7, 1.3), random.uniform(0.75, 1.25)]
