"""What findings say of the grade, in words, and whether a grade agrees with them.

Of lesions that the model did not learn nothing is said but that they were not looked for.
"""

from collections.abc import Collection, Sequence

from retinalesion.guideline import DIRECT, INDIRECT, MANY_HAEMORRHAGES, Evidence, naming_of, weigh
from retinalesion.lesions import CODES, GRADES, LESIONS
from retinalesion.reading.findings import quadrant_counts
from retinalesion.reading.reading import Agreement, EvidenceLine, Finding

NOT_JUDGED = "other eye disease is not judged"
NEVER_LOOKED_FOR = "venous beading and IrMA were not looked for"

_NAMES = {lesion.code: lesion.name for lesion in LESIONS}
# The lesions that support a grade or lift to it (paper, Table 1 and section 4.1), sufficient ones first.
_BEHIND = {1: ("MA",), 2: ("iHE", "HaEx"), 3: ("iHE", "CWS"), 4: ("NV", "vHE", "pHE", "FiP")}
_LIFTS = {"HaEx": 2, "CWS": 3, "FiP": 4}


def weigh_findings(findings: Sequence[Finding]) -> Evidence:
    """The grades that the findings that count support and lift to by the guideline (`guideline.weigh`)."""
    counting = [finding for finding in findings if finding.counts]
    return weigh({finding.lesion for finding in counting}, quadrant_counts(counting))


def evidence_lines(
    findings: Sequence[Finding], learned: Collection[str], grade: int | None = None
) -> tuple[EvidenceLine, ...]:
    """The evidence in sentences: what was seen, how many, where, and what it supports or lifts to.

    Args:
        findings: of all lesions; those that do not count are told as possible.
        learned: codes of the lesions that the model learned.
        grade: where there is one; a grade above DR0 without findings is not told "no sign".

    Returns:
        Direct evidence, indirect evidence, what is possible, then what was not looked for.
    """
    possible = [finding for finding in findings if not finding.counts]
    findings = [finding for finding in findings if finding.counts]
    present = [code for code in CODES if any(finding.lesion == code for finding in findings)]
    weighed = weigh_findings(findings)
    lines = [_direct(code, findings) for code in present if code in DIRECT]
    lines += [_indirect(code, present, weighed.supported, findings) for code in present if code in INDIRECT]
    if weighed.indirect_only:
        text = "indirect evidence only: no lesion was found that is a sign of diabetic retinopathy by itself"
        lines.append(EvidenceLine(text, "alone", lesions=tuple(present)))
    if weighed.lifted == 0 and learned:
        told = "no lesion that counts supports a grade above DR0" if grade else no_sign(learned, present)
        lines.append(EvidenceLine(told, "none"))
    unsure = {code: sum(one.lesion == code for one in possible) for code in CODES if code not in present}
    if some := [_counted(code, number) for code, number in unsure.items() if number]:
        codes = tuple(code for code, number in unsure.items() if number)
        text = f"possible, too unsure to count: {', '.join(some)}"
        lines.append(EvidenceLine(text, "possible", lesions=codes))
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


def no_sign(learned: Collection[str], present: Collection[str] = ()) -> str:
    """That nothing counts, of the lesions that the model learned, by name."""
    names = [_NAMES[code] for code in CODES if code in learned and code not in present]
    if not names:
        return NOT_JUDGED
    *others, last = names
    listed = f"{', '.join(others)} or {last}" if others else last
    return f"no {listed} was found that counts; {NOT_JUDGED}"


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
    return f"{_counted(code, total)} ({places})"


def _counted(code: str, number: int) -> str:
    return f"{number} {_NAMES[code]}{'' if number == 1 else 's'}"
