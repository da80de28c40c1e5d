"""Which findings experts marked: the truth of regions."""

from collections.abc import Collection, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from retinalesion.data.field import View
from retinalesion.data.photograph import Bits
from retinalesion.lesions import CODES
from retinalesion.reading.reading import Finding
from retinalesion.scores import NEAR


def hits_of(
    findings: Sequence[Finding],
    planes: NDArray[np.uint8],
    view: View,
    truth: Bits,
    annotated: Collection[str],
    disc_diameter: float,
) -> dict[int, bool]:
    """Of each finding of a lesion that experts looked for, whether they marked it.

    It is if it covers a marked pixel, or its centre lies within a sixtieth of a disc diameter of one.

    Args:
        findings: of the photograph.
        planes: of what was found, uint8 (height, width), packed.
        view: the photograph.
        truth: what experts marked, bool (8, s, s), of its field of view.
        annotated: lesions that they looked for.
        disc_diameter: in the photograph's own pixels.
    """
    reach = max(1, round(NEAR * disc_diameter))
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    hits: dict[int, bool] = {}
    for code in annotated:
        own = [finding for finding in findings if finding.lesion == code]
        if not own:
            continue
        j = CODES.index(code)
        marked = view.at_own_size(truth[j].astype(np.float32)) >= 0.5
        near = cv2.dilate(marked.astype(np.uint8), around) > 0
        numbers = _numbered(planes >> j & 1 > 0, {(f.left, f.top, f.pixels): f.number for f in own})
        covered = set(np.unique(numbers[marked]).tolist())
        for finding in own:
            y, x = round(finding.y), round(finding.x)
            hits[finding.number] = finding.number in covered or bool(near[y, x])
    return hits


def _numbered(plane: Bits, numbers: dict[tuple[int, int, int], int]) -> NDArray[np.int64]:
    """The plane with the number of its finding at every marked pixel, else 0."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(plane.view(np.uint8), connectivity=8)
    of_label = [0] + [
        numbers.get((int(s[cv2.CC_STAT_LEFT]), int(s[cv2.CC_STAT_TOP]), int(s[cv2.CC_STAT_AREA])), 0)
        for s in stats[1:]
    ]
    return np.asarray(np.array(of_label, np.int64)[labels], np.int64)
