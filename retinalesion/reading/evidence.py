"""What findings say of the grade, in words; whether a grade agrees with them; whether to refer.

Of lesions that the model did not learn nothing is said but that they were not looked for.
"""

from collections.abc import Collection, Iterable, Sequence

from retinalesion.guideline import DIRECT, INDIRECT, MANY_HAEMORRHAGES, Evidence, naming_of, weigh
from retinalesion.lesions import CODES, GRADES, LESIONS
from retinalesion.reading.findings import quadrant_counts
from retinalesion.reading.reading import Agreement, EvidenceLine, Finding
from retinalesion.scores import OPERATING_POINT, REFERABLE, referable_probability, refers

NO_SIGN = "no sign of diabetic retinopathy; other eye disease is not judged"
NEVER_LOOKED_FOR = "venous beading and IrMA were not looked for"
NO_OEDEMA = "macular oedema is not judged"

_NAMES = {lesion.code: lesion.name for lesion in LESIONS}
# The lesions that support a grade or lift to it (paper, Table 1 and section 4.1), sufficient ones first.
_BEHIND = {1: ("MA",), 2: ("iHE", "HaEx"), 3: ("iHE", "CWS"), 4: ("NV", "vHE", "pHE", "FiP")}
_LIFTS = {"HaEx": 2, "CWS": 3, "FiP": 4}


def weigh_findings(findings: Sequence[Finding]) -> Evidence:
    """The grades that findings support and lift to by the guideline (`guideline.weigh`)."""
    return weigh({finding.lesion for finding in findings}, quadrant_counts(findings))


def evidence_lines(
    findings: Sequence[Finding], learned: Collection[str], grade: int | None = None
) -> tuple[EvidenceLine, ...]:
    """The evidence in sentences: what was seen, how many, where, and what it supports or lifts to.

    Args:
        findings: of all lesions.
        learned: codes of the lesions that the model learned.
        grade: of the network, where it grades; a grade above DR0 without findings is not told "no sign".

    Returns:
        Direct evidence, indirect evidence, then what was not looked for.
    """
    present = [code for code in CODES if any(finding.lesion == code for finding in findings)]
    weighed = weigh_findings(findings)
    lines = [_direct(code, findings) for code in present if code in DIRECT]
    lines += [_indirect(code, present, weighed.supported, findings) for code in present if code in INDIRECT]
    if weighed.indirect_only:
        text = "indirect evidence only: no lesion was found that is a sign of diabetic retinopathy by itself"
        lines.append(EvidenceLine(text, "alone", lesions=tuple(present)))
    if weighed.lifted == 0 and learned:
        told = NO_SIGN if not grade else "no lesion was found that supports a grade above DR0"
        lines.append(EvidenceLine(told, "none"))
    lines.append(EvidenceLine(NEVER_LOOKED_FOR, "not looked for"))
    if unknown := tuple(code for code in CODES if code not in learned):
        text = f"not learned by this model, so not looked for: {', '.join(unknown)}"
        lines.append(EvidenceLine(text, "not looked for", lesions=unknown))
    return tuple(lines)


def agreement_of(
    grade: int | None, supported: int, lifted: int, learned: Collection[str]
) -> tuple[Agreement, str]:
    """Whether a grade agrees with the evidence: it does from the grade supported to the one lifted to.

    A grade above that cannot be judged where a lesion that speaks for it was not learned.

    Args:
        grade: 0 to 4; None where there is none.
        supported: as `guideline.weigh` has it.
        lifted: likewise.
        learned: codes of the lesions that the model learned.

    Returns:
        The agreement, and the same as a sentence.
    """
    if grade is None:
        return "not graded", "not graded"
    name = GRADES[grade]
    if not learned:
        return "cannot be judged", "cannot be judged: this model looks for no lesions"
    if grade < supported:
        text = f"{name} is below the evidence: the lesions found are sufficient for {GRADES[supported]}"
        return "below evidence", text
    if lifted == grade == 0:
        return "agrees", f"{name} agrees with the lesions found: {NO_SIGN}"
    if grade == supported:
        return "agrees", f"{name} agrees with the lesions found"
    if grade <= lifted:
        text = f"{name} agrees with the lesions found: they support {GRADES[supported]} and lift to "
        return "agrees", text + GRADES[lifted]
    if unknown := [code for code in _BEHIND[grade] if code not in learned]:
        were = "were" if len(unknown) > 1 else "was"
        return "cannot be judged", f"cannot be judged: {', '.join(unknown)} {were} not looked for"
    text = f"{name} is above the evidence: the lesions found speak for no more than {GRADES[lifted]}"
    if grade == 3:
        text += f"; {NEVER_LOOKED_FOR}, and each would mean DR3"
    return "above evidence", text


def referable_of(
    probabilities: Sequence[float] | None,
    supported: int | None,
    operating_point: float = OPERATING_POINT,
    gradable: bool = True,
    reasons: Iterable[str] = (),
) -> tuple[bool, float | None, str]:
    """Whether to refer: DR2 or worse is likely, or proved by sufficient evidence, or nothing can be read.

    Args:
        probabilities: of DR0 to DR4; None where the model does not grade.
        supported: grade for which the findings are sufficient evidence; None where nothing was read.
        operating_point: P(DR2) + P(DR3) + P(DR4) from which to refer.
        gradable: whether the photograph can be read.
        reasons: why it cannot.

    Returns:
        Whether to refer, that sum (None without a grade), and the reason in words.
    """
    if not gradable:
        return True, None, "; ".join(("refer, for the photograph cannot be read", *reasons))
    proved = supported is not None and supported >= REFERABLE
    proof = f"the lesions found are sufficient evidence of {GRADES[supported or 0]}"
    if probabilities is None:
        reason = proof if proved else "no sufficient evidence of DR2 or worse, and this model does not grade"
        return proved, None, f"{reason}; {NO_OEDEMA}"
    probability = float(referable_probability(probabilities))
    likely = bool(refers(probability, operating_point))
    reason = f"DR2 or worse has a probability of {probability:.2f}"
    reason += f" ({'refer from' if likely else 'below'} {operating_point:.2f})"
    if proved:
        reason += f", {'and' if likely else 'but'} {proof}"
    return likely or proved, probability, f"{reason}; {NO_OEDEMA}"


def _direct(code: str, findings: Sequence[Finding]) -> EvidenceLine:
    """A lesion that is sufficient for a grade by itself."""
    quadrants = quadrant_counts(findings, code)
    grade = weigh((code,), quadrants).supported
    text = f"{_seen(code, findings)}: sufficient for {GRADES[grade]}"
    if code == "iHE":
        many = f"more than {MANY_HAEMORRHAGES} in each quadrant"
        if grade == 3:
            text = f"{text}, {many}"
        elif max(quadrants) > MANY_HAEMORRHAGES:
            text = f"{text}; DR3 needs {many}"
    return EvidenceLine(text, "supports", grade, (code,))


def _indirect(code: str, present: Sequence[str], supported: int, findings: Sequence[Finding]) -> EvidenceLine:
    """A lesion that lifts only beside others, by the rule of `guideline.weigh` for just these."""
    beside = [other for other in present if other != code and weigh((code, other)).lifted == _LIFTS[code]]
    seen, grade = _seen(code, findings), _LIFTS[code]
    if not beside:
        return EvidenceLine(f"{seen}: no sign of diabetic retinopathy by itself", "alone", lesions=(code,))
    others = " and ".join(f"{_NAMES[other]}s" for other in beside)
    if grade <= supported:
        text = f"{seen} beside {others}: speaks for {GRADES[grade]}, for which there is sufficient evidence"
    else:
        text = f"{seen} beside {others}: lifts to {GRADES[grade]}"
    return EvidenceLine(text, "lifts", grade, (code, *beside))


def _seen(code: str, findings: Sequence[Finding]) -> str:
    """Number, name and places: ``3 hard exudates (2 upper left, 1 lower right)``."""
    quadrants = quadrant_counts(findings, code)
    names = naming_of(finding.quadrant for finding in findings)
    places = ", ".join(f"{count} {place}" for count, place in zip(quadrants, names, strict=True) if count)
    total = sum(quadrants)
    return f"{total} {_NAMES[code]}{'s' if total > 1 else ''} ({places})"
