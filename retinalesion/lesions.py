"""The eight lesions, five grades and risks of macular oedema: order, names, colours. The one place for them.

Colours were chosen by search: any two, and each of them and the oranges and reds of a fundus, lie at least
30 apart in CIELAB for normal, protan and deutan eyes (23 for tritan), each deficiency simulated in full
(Machado et al. 2009).
"""

from typing import NamedTuple


class Lesion(NamedTuple):
    """A lesion of diabetic retinopathy (paper, Table 1 and section 4.1)."""

    code: str
    name: str
    colour: tuple[int, int, int]  # RGB, 0 to 255


LESIONS: tuple[Lesion, ...] = (
    Lesion("MA", "microaneurysm", (153, 255, 0)),
    Lesion("iHE", "intraretinal haemorrhage", (255, 255, 204)),
    Lesion("HaEx", "hard exudate", (0, 0, 255)),
    Lesion("CWS", "cotton-wool spot", (0, 255, 255)),
    Lesion("vHE", "vitreous haemorrhage", (102, 0, 153)),
    Lesion("pHE", "preretinal haemorrhage", (0, 102, 119)),
    Lesion("NV", "neovascularisation", (0, 153, 255)),
    Lesion("FiP", "fibrous proliferation", (0, 0, 51)),
)
CODES: tuple[str, ...] = tuple(lesion.code for lesion in LESIONS)
GRADES: tuple[str, ...] = ("DR0", "DR1", "DR2", "DR3", "DR4")
NO_GRADE = -1
# Risk of macular oedema as IDRiD labels it, 0 to 2, by hard exudates: none; some, but none within a disc
# diameter of the macula's centre; some within it.
OEDEMA: tuple[str, ...] = ("no risk", "some risk", "high risk")
NO_OEDEMA = -1  # nobody said
