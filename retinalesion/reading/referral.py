"""What is to be done: refer, no referral, uncertain, retake, or not assessed; and why, in words."""

from collections.abc import Sequence
from typing import NamedTuple

from retinalesion.lesions import GRADES
from retinalesion.reading.reading import Finding, Outcome
from retinalesion.reading.verdict import Verdict
from retinalesion.scores import REFERABLE

NO_OEDEMA = "macular oedema is not judged"  # by a photograph it cannot be; exudates near the fovea hint at it
MACULA = "within a disc diameter of the fovea: macular oedema is to be looked for"


class Referral(NamedTuple):
    """What is to be done, and why, in words."""

    outcome: Outcome
    reason: str


def of_macula_told(macula: Sequence[Finding]) -> str:
    """What exudates near the fovea ask for."""
    return f"{len(macula)} hard exudate{'' if len(macula) == 1 else 's'} {MACULA}"


def referral_of(
    verdict: Verdict | None,
    supported: int,
    macula: Sequence[Finding] = (),
    ungradable: Sequence[str] = (),
) -> Referral:
    """What is to be done about a photograph.

    The probability decides, and exudates near the fovea refer; findings that contradict it make it uncertain.

    Args:
        verdict: None where nothing grades it.
        supported: grade for which the findings that count are sufficient evidence.
        macula: hard exudates near the fovea that count by their own operating point.
        ungradable: why it cannot be read; empty where it can.
    """
    if ungradable:
        return Referral("retake", "; ".join(("it cannot be read, take it again", *ungradable)))
    proof = f"the lesions found are sufficient evidence of {GRADES[supported]}"
    if macula:
        return Referral("refer", of_macula_told(macula))
    if verdict is None:
        reason = (
            f"this model does not grade, {proof}" if supported >= REFERABLE else "this model does not grade"
        )
        return Referral("not assessed", f"{reason}; {NO_OEDEMA}")
    outcome: Outcome
    ill = f"DR2 or worse has a probability of {verdict.referable:.2f}"
    if verdict.referable >= verdict.high:
        outcome, reason = "refer", f"{ill} (refer from {verdict.high:.2f})"
    elif verdict.referable >= verdict.low:
        outcome, reason = "uncertain", f"{ill}, between {verdict.low:.2f} and {verdict.high:.2f}: look"
    elif supported >= REFERABLE:
        return Referral("uncertain", f"{ill} (below {verdict.low:.2f}), but {proof}: look; {NO_OEDEMA}")
    else:
        outcome, reason = "no referral", f"{ill} (below {verdict.low:.2f})"
    if supported >= REFERABLE:
        reason += f", and {proof}"
    return Referral(outcome, f"{reason}; {NO_OEDEMA}")
