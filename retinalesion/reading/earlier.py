"""Readings as earlier versions of this package wrote them, brought to the schema of today."""

from collections.abc import Mapping
from typing import Any


def from_schema_1(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A reading of schema 1 as one of schema 2.

    There every finding counted, its confidence was the map's maximum, and what could not be read was said to
    be referred.

    Args:
        plain: a line of ``readings.jsonl``.
    """
    findings, camera = (
        [_finding(one, number) for number, one in enumerate(some, start)]
        for some, start in (
            (plain["findings"], 1),
            (plain.get("camera", ()), 1 + len(plain["findings"])),
        )
    )
    for one in camera:
        one |= {"counts": False, "reason": "on a spot of the camera"}
    gradable = not plain["quality"] or plain["quality"]["gradable"]
    if plain["referable"] is None:
        outcome = None
    elif not gradable:
        outcome = "retake"
    elif plain["referable"]:
        outcome = "refer"
    else:
        outcome = "not assessed" if plain["grade"] is None else "no referral"
    return {
        **plain,
        "schema": 2,
        "findings": findings,
        "camera": camera,
        "outcome": outcome,
        "outcome_reason": plain["referable_reason"],
        "grade_low": plain["grade"],
        "grade_high": plain["grade"],
        "network_probabilities": plain["grade_probabilities"],
    }


def _finding(plain: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {**plain, "number": number, "peak": plain["confidence"]}
