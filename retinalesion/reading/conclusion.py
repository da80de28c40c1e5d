"""From a reading's findings to what follows from them: what counts, evidence, verdict, what is to be done."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from retinalesion.reading.counting import counted, of_macula
from retinalesion.reading.evidence import agreement_of, evidence_lines, weigh_findings
from retinalesion.reading.reading import EvidenceLine, Finding, Reading
from retinalesion.reading.referral import of_macula_told, referral_of
from retinalesion.reading.rule import Rule, logit_of
from retinalesion.reading.second_look import FIGURES
from retinalesion.reading.statistics import names_for, statistics_of
from retinalesion.reading.verdict import AS_FITTED, NETWORK, Verdict, Wish, said_by, said_by_network
from retinalesion.scores import referable_probability

# What each reading repeats of what a rule tells of itself; the rest stays in the checkpoint.
TOLD = (
    "photographs",
    "groups",
    "source",
    "sensitivity",
    "specificity",
    "uncertain",
    "prevalence",
    "site",
)


def concluded(reading: Reading, rule: Rule | None = None, wish: Wish = AS_FITTED) -> Reading:
    """The reading with what follows from its findings and from the network's grade.

    Args:
        reading: with quality, findings and their confidence; what was concluded before is concluded anew.
        rule: how findings are weighed; None: all count, and the network's own probabilities are the verdict.
        wish: what the user wants of the rule.
    """
    assert reading.quality is not None
    gradable, reasons = reading.quality.gradable, reading.quality.reasons
    macula = of_macula(reading.findings, rule.macula if rule else None)
    findings = counted(reading.findings, rule.points if rule else {}, macula)
    weighed = weigh_findings(findings)
    verdict = _verdict(reading, findings, rule, wish) if gradable else None
    grade, low, high = (verdict.grade, *verdict.range) if verdict else (None, None, None)
    if grade == 0 and high is not None and any(one.counts for one in findings):
        high = max(high, weighed.supported, 1)  # "no apparent retinopathy" never stands above what counts
    lines = list(evidence_lines(findings, reading.learned, grade))
    if macula:
        lines.insert(0, EvidenceLine(of_macula_told(macula), "macula", None, ("HaEx",)))
    if not gradable:  # what was not seen in it may be there
        lines = [line for line in lines if line.role != "none"]
    agreement, text = agreement_of(grade, weighed.supported, weighed.lifted, reading.learned)
    outcome, reason = referral_of(verdict, weighed.supported, macula, reasons)
    return replace(
        reading,
        findings=findings,
        outcome=outcome,
        outcome_reason=reason,
        referable_probability=verdict.referable if verdict else None,
        grade=grade,
        grade_low=low,
        grade_high=high,
        grade_probabilities=verdict.grades if verdict else (),
        supported=weighed.supported if gradable else None,
        lifted=weighed.lifted if gradable else None,
        evidence=tuple(lines),
        agreement=agreement,
        agreement_text=text,
        rule=_told(rule, verdict, wish) if rule else {},
    )


def rule_of(plain: Mapping[str, Any], learned: Collection[str], grades: bool, called: str) -> Rule:
    """The rule of a checkpoint, which asks for nothing that its network does not tell.

    Args:
        plain: as the checkpoint has it.
        learned: codes of the lesions that the network knows.
        grades: it has probabilities of the grades.
        called: how a message names the file.

    Raises:
        UserError: as `Rule.from_dict` and `Rule.requires` raise.
    """
    rule = Rule.from_dict(plain, called)
    rule.requires(FIGURES, (*names_for(learned), *[NETWORK] * grades), called)
    return rule


def _told(rule: Rule, verdict: Verdict | None, wish: Wish) -> dict[str, Any]:
    """What is told of the rule: where it comes from, its cuts as they are here, and what moved them."""
    told = {name: rule.told[name] for name in TOLD if name in rule.told}
    if verdict:
        told["cuts"] = [verdict.low, verdict.high]
    if wished := {name: value for name, value in asdict(wish).items() if value is not None}:
        told["wished"] = wished
    return told


def _verdict(reading: Reading, findings: Sequence[Finding], rule: Rule | None, wish: Wish) -> Verdict | None:
    network = reading.network_probabilities
    if rule is None:
        return said_by_network(network) if network else None
    statistics = statistics_of(findings, reading.learned)
    if network:
        statistics[NETWORK] = float(logit_of(referable_probability(network)))
    return said_by(rule, statistics, wish)
