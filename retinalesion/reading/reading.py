"""`Reading`: all that is said of one photograph, as Python, JSON and table rows. Schema 2.

Lengths, areas and places are in the photograph's own pixels, unless they are said to be in diameters or areas
of the optic disc; probabilities and shares run from 0 to 1.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from retinalesion.files import finite
from retinalesion.geometry import Box, Landmark
from retinalesion.reading.earlier import from_schema_1

SCHEMA = 2
NOWHERE = Box(0, 0, 0)  # of a photograph that could not be opened
Agreement = Literal["agrees", "above evidence", "below evidence", "cannot be judged", "not graded"]
Role = Literal["supports", "lifts", "alone", "macula", "possible", "not looked for", "none"]
Outcome = Literal["refer", "no referral", "uncertain", "retake", "not assessed"]
# Why a finding does not count.
BELOW = "below the operating point"
TWICE = "the same spot is more surely another lesion"
CAMERAS = "on a spot of the camera"


@dataclass(frozen=True)
class Finding:
    """One connected region where the map of a lesion exceeds 0.5.

    Attributes:
        lesion: its code.
        number: from 1, unique in the reading.
        x: column of the centre of gravity.
        y: row of the centre of gravity.
        left: of the smallest upright rectangle around it.
        top: likewise.
        width: likewise.
        height: likewise.
        pixels: area.
        share: area as a share of the field of view.
        disc_areas: area in areas of the optic disc; where none is seen, of one of usual size.
        quadrant: ``superotemporal`` and so on about the fovea where fovea and eye are known; else ``upper
            left`` and so on, as seen in the picture, about the fovea, else about the field's centre.
        disc_diameters: distance from the fovea; None where disc or fovea is not known.
        from_disc: distance from the middle of the disc in its diameters; None where it is not known.
        from_edge: distance from the field's edge in radii of the field, 0 at the edge, 1 in the middle.
        peak: the map's maximum in it.
        mean: the map's mean in it.
        contrast: how much darker (below 0) or brighter its green is than what is around, as a share of that.
        elongation: ratio of its longer to its shorter axis, at least 1.
        neighbours: findings of the same lesion within a disc diameter.
        overlap: share of it that is also marked as the other lesion of its colour (MA and iHE; HaEx and CWS).
        other: number of the MA or iHE with which an iHE or MA shares most; None where it touches none.
        confidence: how likely it is such a lesion, by the second look; the peak where there is none.
        counts: it reaches the operating point of its lesion.
        reason: why it does not count; empty where it does.
        spot: number of the camera's spot on which it lies; None of the eye's.
    """

    lesion: str
    number: int
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
    disc_areas: float = 0.0
    from_disc: float | None = None
    from_edge: float | None = None
    peak: float = 0.0
    mean: float = 0.0
    contrast: float = 0.0
    elongation: float = 1.0
    neighbours: int = 0
    overlap: float = 0.0
    other: int | None = None
    counts: bool = True
    reason: str = ""
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
        role: ``supports`` a grade, ``lifts`` to it, ``alone`` (indirect evidence only), ``macula`` (exudates
            near the fovea), ``possible`` (below the operating point, no evidence), ``not looked for``, or
            ``none`` where there is no sign.
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
        patient: as a table tells; empty where unknown.
        eye: ``left`` or ``right``, as a table tells or else as disc and fovea lie; empty where unknown.
        date: as a table tells; empty where unknown.
        width: of the photograph.
        height: of the photograph.
        box: the field of view.
        quality: whether it can be read.
        disc: the optic disc; None where it is not seen.
        fovea: likewise.
        learned: lesions that the model knows; of all others nothing is said.
        probability: by learned lesion, the map's maximum (Eq. 1).
        findings: regions, larger ones first within a lesion; those that count and those that are possible.
        camera: regions that lie on spots of the camera (dust, ghosts of the lens) and so count nowhere.
        outcome: what is to be done; None where there was an error.
        outcome_reason: why, in words.
        referable: whether to refer; None unless the outcome is ``refer`` or ``no referral``.
        referable_probability: of DR2 or worse, or macular oedema at risk; None where nothing tells it.
        grade: 0 to 4; None where it cannot be read or nothing grades it.
        grade_low: the lowest grade that is likely.
        grade_high: the highest.
        grade_probabilities: of DR0 to DR4; empty where nothing grades it.
        network_probabilities: the same as the network alone has them, before any rule.
        supported: grade for which the findings that count are sufficient evidence.
        lifted: grade with indirect evidence counted too.
        evidence: sentences.
        agreement: of the grade with the evidence.
        agreement_text: the same as a sentence.
        truth_grade: what a table says, where there is one.
        truth_oedema: risk of macular oedema, likewise.
        model: name and version of what read it.
        rule: by which rule the outcome was said: its sensitivity, its specificity, where they come from, the
            cuts, and what was wished of it; empty where there is none.
        error: what went wrong with this photograph; then nothing else is said.
    """

    id: str
    file: str
    patient: str = ""
    eye: str = ""
    date: str = ""
    width: int = 0
    height: int = 0
    box: Box = NOWHERE
    quality: Quality | None = None
    disc: Landmark | None = None
    fovea: Landmark | None = None
    learned: tuple[str, ...] = ()
    probability: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    camera: tuple[Finding, ...] = ()
    outcome: Outcome | None = None
    outcome_reason: str = ""
    referable_probability: float | None = None
    grade: int | None = None
    grade_low: int | None = None
    grade_high: int | None = None
    grade_probabilities: tuple[float, ...] = ()
    network_probabilities: tuple[float, ...] = ()
    supported: int | None = None
    lifted: int | None = None
    evidence: tuple[EvidenceLine, ...] = ()
    agreement: Agreement = "not graded"
    agreement_text: str = ""
    truth_grade: int | None = None
    truth_oedema: int | None = None
    model: str = ""
    rule: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def referable(self) -> bool | None:
        """Whether to refer; None unless the outcome says so or not."""
        return {"refer": True, "no referral": False}.get(self.outcome or "")

    @property
    def present(self) -> tuple[str, ...]:
        """Codes of the lesions that count."""
        return tuple(code for code in self.learned if any(f.lesion == code for f in self.counting))

    @property
    def possible(self) -> tuple[str, ...]:
        """Codes of the lesions found of which nothing counts."""
        found = {finding.lesion for finding in self.findings} - set(self.present)
        return tuple(code for code in self.learned if code in found)

    @property
    def counting(self) -> tuple[Finding, ...]:
        """The findings that count."""
        return tuple(finding for finding in self.findings if finding.counts)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as in a line of ``readings.jsonl``."""
        told = {name: getattr(self, name) for name in DERIVED}
        told |= {"present": list(self.present), "possible": list(self.possible)}
        return {"schema": SCHEMA, **asdict(self), "box": self.box._asdict(), **told}

    def as_json(self) -> str:
        """One line; what is not finite is null."""
        return json.dumps(finite(self.as_dict()), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Reading":
        """The reverse of `as_dict`; schema 1 is read too, as far as it goes.

        Raises:
            ValueError: of another schema.
        """
        if plain.get("schema") == 1:
            plain = from_schema_1(plain)
        elif plain.get("schema") != SCHEMA:
            raise ValueError(f"schema {plain.get('schema')}, but this version reads {SCHEMA}")
        values = {key: value for key, value in plain.items() if key in _STORED}
        values["box"] = Box(**values["box"])
        if values["quality"]:
            quality = values["quality"]
            values["quality"] = Quality(quality["gradable"], tuple(quality["reasons"]), quality["figures"])
        for key in ("disc", "fovea"):
            values[key] = Landmark(**values[key]) if values.get(key) else None
        for key in ("findings", "camera"):
            values[key] = tuple(Finding(**one) for one in values.get(key, ()))
        values["evidence"] = tuple(
            EvidenceLine(**{**one, "lesions": tuple(one["lesions"])}) for one in values["evidence"]
        )
        for key in ("learned", "grade_probabilities", "network_probabilities"):
            values[key] = tuple(values.get(key, ()))
        return cls(**values)


DERIVED = ("referable", "present", "possible")
_STORED = {one.name for one in fields(Reading)}
