"""`Reading`: all that is said of one photograph, as Python, JSON and table rows. Schema 1.

Lengths, areas and places are in the photograph's own pixels; probabilities and shares run from 0 to 1.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from retinalesion.files import finite
from retinalesion.geometry import Box

SCHEMA = 1
NOWHERE = Box(0, 0, 0)  # of a photograph that could not be opened
Agreement = Literal["agrees", "above evidence", "below evidence", "cannot be judged", "not graded"]
Role = Literal["supports", "lifts", "alone", "not looked for", "none"]


@dataclass(frozen=True)
class Finding:
    """One connected region where the map of a lesion exceeds 0.5.

    Attributes:
        lesion: its code.
        x: column of the centre of gravity.
        y: row of the centre of gravity.
        left: of the smallest upright rectangle around it.
        top: likewise.
        width: likewise.
        height: likewise.
        pixels: area.
        share: area as a share of the field of view.
        quadrant: ``superotemporal`` and so on about the fovea where fovea and eye are known; else ``upper
            left`` and so on, as seen in the picture, about the fovea, else about the field's centre.
        disc_diameters: distance from the fovea; None where disc or fovea is not known.
        confidence: the map's maximum in it.
        spot: number of the camera's spot on which it lies; None of the eye's.
    """

    lesion: str
    x: float
    y: float
    left: int
    top: int
    width: int
    height: int
    pixels: int
    share: float
    quadrant: str
    disc_diameters: float | None
    confidence: float
    spot: int | None = None


@dataclass(frozen=True)
class Quality:
    """Whether a photograph can be read.

    Attributes:
        gradable: False where one of its figures is out of the limits.
        reasons: in words, one for each figure that is out.
        figures: as measured, by name.
    """

    gradable: bool
    reasons: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EvidenceLine:
    """One sentence of evidence, and the lesions that it speaks of.

    Attributes:
        text: the sentence.
        role: ``supports`` a grade, ``lifts`` to it, ``alone`` (indirect evidence only), ``not looked
            for``, or ``none`` where there is no sign.
        grade: that it supports or lifts to; None where it does neither.
        lesions: codes, for a report to light up.
    """

    text: str
    role: Role
    grade: int | None = None
    lesions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """All that is said of one photograph.

    Attributes:
        id: unique in a batch; names the files that belong to it.
        file: as it was named.
        width: of the photograph.
        height: of the photograph.
        box: the field of view.
        quality: whether it can be read.
        learned: lesions that the model knows; of all others nothing is said.
        probability: by learned lesion, the map's maximum (Eq. 1); present where above 0.5.
        findings: regions, larger ones first within a lesion.
        camera: regions that lie on spots of the camera (dust, ghosts of the lens) and so count nowhere.
        grade: 0 to 4; None where it is ungradable or the model does not grade.
        grade_probabilities: of DR0 to DR4; empty where the model does not grade.
        supported: grade for which the findings are sufficient evidence.
        lifted: grade with indirect evidence counted too.
        evidence: sentences.
        agreement: of the grade with the evidence.
        agreement_text: the same as a sentence.
        referable: whether to refer; ungradable means refer; None where there was an error.
        referable_probability: P(DR2) + P(DR3) + P(DR4); None where the model does not grade.
        referable_reason: in words.
        truth_grade: what a table says, where there is one.
        model: name and version of what read it.
        error: what went wrong with this photograph; then nothing else is said.
    """

    id: str
    file: str
    width: int = 0
    height: int = 0
    box: Box = NOWHERE
    quality: Quality | None = None
    learned: tuple[str, ...] = ()
    probability: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    camera: tuple[Finding, ...] = ()
    grade: int | None = None
    grade_probabilities: tuple[float, ...] = ()
    supported: int | None = None
    lifted: int | None = None
    evidence: tuple[EvidenceLine, ...] = ()
    agreement: Agreement = "not graded"
    agreement_text: str = ""
    referable: bool | None = None
    referable_probability: float | None = None
    referable_reason: str = ""
    truth_grade: int | None = None
    model: str = ""
    error: str = ""

    @property
    def present(self) -> tuple[str, ...]:
        """Codes of the lesions found."""
        return tuple(code for code in self.learned if any(f.lesion == code for f in self.findings))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as in a line of ``readings.jsonl``."""
        return {"schema": SCHEMA, **asdict(self), "box": self.box._asdict(), "present": list(self.present)}

    def as_json(self) -> str:
        """One line; what is not finite is null."""
        return json.dumps(finite(self.as_dict()), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Reading":
        """The reverse of `as_dict`.

        Raises:
            ValueError: of another schema.
        """
        if plain.get("schema") != SCHEMA:
            raise ValueError(f"schema {plain.get('schema')}, but this version reads {SCHEMA}")
        values = {key: value for key, value in plain.items() if key not in ("schema", "present")}
        values["box"] = Box(**values["box"])
        if values["quality"]:
            quality = values["quality"]
            values["quality"] = Quality(quality["gradable"], tuple(quality["reasons"]), quality["figures"])
        for key in ("findings", "camera"):
            values[key] = tuple(Finding(**one) for one in values.get(key, ()))
        values["evidence"] = tuple(
            EvidenceLine(**{**one, "lesions": tuple(one["lesions"])}) for one in values["evidence"]
        )
        for key in ("learned", "grade_probabilities"):
            values[key] = tuple(values[key])
        return cls(**values)
