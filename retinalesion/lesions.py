"""The eight lesions and five grades: order, names and colours. The one place where they stand.

Colours are from Okabe and Ito's palette and Tol's, chosen so that people with any of the common colour
vision deficiencies can tell lesions apart on the orange-red of a fundus photograph.
"""

from typing import NamedTuple


class Lesion(NamedTuple):
    """A lesion of diabetic retinopathy (paper, Table 1 and section 4.1)."""

    code: str
    name: str
    colour: tuple[int, int, int]  # RGB, 0 to 255


LESIONS: tuple[Lesion, ...] = (
    Lesion("MA", "microaneurysm", (240, 228, 66)),
    Lesion("iHE", "intraretinal haemorrhage", (86, 180, 233)),
    Lesion("HaEx", "hard exudate", (0, 158, 115)),
    Lesion("CWS", "cotton-wool spot", (255, 255, 255)),
    Lesion("vHE", "vitreous haemorrhage", (0, 70, 178)),
    Lesion("pHE", "preretinal haemorrhage", (204, 121, 167)),
    Lesion("NV", "neovascularisation", (0, 0, 0)),
    Lesion("FiP", "fibrous proliferation", (190, 190, 190)),
)
CODES: tuple[str, ...] = tuple(lesion.code for lesion in LESIONS)
GRADES: tuple[str, ...] = ("DR0", "DR1", "DR2", "DR3", "DR4")
NO_GRADE = -1
