"""Twins: one photograph under two names, perhaps at another size or compressed again.

A second shot of the same eye is another photograph, with its own grade and masks. It is nearly as alike,
though, and must not stand on the other side of a split either.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

VIEW_SIDE = 128
_HASH_BITS = 64
_HASH_LIMIT = (
    12  # bits that may differ in views worth correlating; on IDRiD twins differ in 4, second shots in 8
)
# Correlations on 450 photographs of IDRiD: twins 0.99 and above, second shots 0.87 to 0.91, others to 0.78.
_TWINS = 0.95
_SECOND_SHOT = 0.83
_WINDOW = 0.8  # of the side: the disc that is compared; the rim is alike in all photographs of a camera


def view_of(square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The small grey copy by which photographs are compared.

    Args:
        square: RGB (side, side, 3), a photograph in its field-of-view box, before that is grown for masks.

    Returns:
        uint8 (128, 128).
    """
    green = np.ascontiguousarray(square[..., 1])  # shows vessels best
    return np.asarray(cv2.resize(green, (VIEW_SIDE, VIEW_SIDE), interpolation=cv2.INTER_AREA), np.uint8)


class Pair(NamedTuple):
    """Two photographs that are alike: correlation of their views, 1.0 where the files are byte-identical."""

    first: str
    second: str
    likeness: float

    @property
    def twins(self) -> bool:
        """One photograph; otherwise a second shot of the same eye."""
        return self.likeness >= _TWINS


def find_pairs(sha256: Mapping[str, str], views: Mapping[str, NDArray[np.uint8]]) -> Iterator[Pair]:
    """Twins and second shots: found by a perceptual hash, then confirmed by correlation.

    Args:
        sha256: of the original files, by id.
        views: as `view_of` makes them, of the same ids.
    """
    ids = sorted(sha256)
    if not ids:
        return
    details = np.stack([_detail(views[id]) for id in ids])
    hashes = np.array([_hash(views[id]) for id in ids], np.uint64)
    for at, first in enumerate(ids):
        bits = np.bitwise_count(hashes[at + 1 :] ^ hashes[at])
        near = at + 1 + np.flatnonzero(bits <= _HASH_LIMIT)
        for other, likeness in zip(near, details[near] @ details[at], strict=True):
            second = ids[other]
            if sha256[first] == sha256[second]:
                yield Pair(first, second, 1.0)
            elif likeness >= _SECOND_SHOT:
                yield Pair(first, second, min(float(likeness), 1.0))


def groups_of(ids: Iterable[str], pairs: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Ids joined by pairs, directly or over others: each group sorted, groups by their first id."""
    group = {id: {id} for id in ids}
    for first, second in pairs:
        if group[first] is not group[second]:
            group[first] |= group[second]
            for id in group[second]:
                group[id] = group[first]
    return sorted({tuple(sorted(members)) for members in group.values()})


def _high_passed(view: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = view.astype(np.float32)
    high: NDArray[np.float32] = grey - cv2.GaussianBlur(grey, (0, 0), VIEW_SIDE / 16)
    return high


def _detail(view: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Fine structure of the middle of the field, as a vector of length one."""
    offset = np.arange(VIEW_SIDE, dtype=np.float32) - (VIEW_SIDE - 1) / 2
    middle = offset[:, None] ** 2 + offset**2 <= (_WINDOW * VIEW_SIDE / 2) ** 2
    values = _high_passed(view)[middle]
    values = values - values.mean()
    unit: NDArray[np.float32] = values / max(float(np.linalg.norm(values)), 1e-6)
    return unit


def _hash(view: NDArray[np.uint8]) -> int:
    """64 signs of the slow waves (discrete cosine transform) of the middle of the field."""
    margin = round(VIEW_SIDE * (1 - _WINDOW / np.sqrt(2)) / 2)
    middle = view[margin:-margin, margin:-margin].astype(np.float32)
    even = middle.shape[0] // 2 * 2
    waves = cv2.dct(middle[:even, :even])[:9, :9].ravel()[1 : _HASH_BITS + 1]
    bits = waves > np.median(waves)
    return int(np.packbits(bits).view(">u8")[0])
