"""What the verdict is worth, from the tables of bench/cases.py: fitted on four folds, judged on the fifth.

python bench/verdict.py TABLES OUT

Writes OUT/README.md (figures, gains of each part, other cameras, simulated ones), OUT/judged.csv (a row a
photograph and variant) and OUT/rule.json. It opens no photograph and no network.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from simulated import CAMERAS

from retinalesion.files import replace_file, write_csv, write_json
from retinalesion.fitting.cases import Case, said, without
from retinalesion.fitting.choice import chosen, gain
from retinalesion.fitting.figures import (
    SCORES,
    Judged,
    Score,
    auroc,
    figures_of,
    grade_kappa,
    outcomes_by_grade,
    reliability_of,
)
from retinalesion.fitting.fit import SHIPPED, Choices, fit, judged
from retinalesion.fitting.tables import read_tables
from retinalesion.reading.anatomy import DISC_SHARE
from retinalesion.reading.reading import Finding, Reading
from retinalesion.reading.rule import Rule

OUTCOMES = ("refer", "uncertain", "retake", "not assessed", "no referral")
COMPARED: Mapping[str, Score] = {"AUROC": auroc, "kappa": grade_kappa, "specificity": SCORES["specificity"]}


class Variant(NamedTuple):
    """One way to make a rule."""

    title: str
    choices: Choices
    changed: Callable[[Case], Case] = lambda case: case


def with_spots(case: Case) -> Case:
    """A case in which what lies on the camera's spots counts as the eye's."""
    reading = case.reading
    back = tuple(replace(one, spot=None) for one in reading.camera)
    return case._replace(reading=replace(reading, findings=(*reading.findings, *back), camera=()))


def without_anatomy(case: Case) -> Case:
    """A case in which nobody knows where disc and fovea are."""

    def blind(one: Finding, field: float) -> Finding:
        areas = one.pixels / (DISC_SHARE * field)
        return replace(one, disc_diameters=None, from_disc=None, disc_areas=areas)

    reading = case.reading
    field = np.pi / 4 * reading.box.side**2
    findings = tuple(blind(one, field) for one in reading.findings)
    return case._replace(reading=replace(reading, findings=findings, disc=None, fovea=None))


VARIANTS = {
    "shipped": Variant("as it ships", SHIPPED),
    "spots": Variant("camera's spots left in", SHIPPED, with_spots),
    "peaks": Variant("no second look", replace(SHIPPED, figures=())),
    "blind": Variant("no disc, no fovea", SHIPPED, without_anatomy),
    "network": Variant("the network's probability too", replace(SHIPPED, network=True)),
    "free": Variant("weights of any sign", replace(SHIPPED, monotone=False)),
}


def main() -> None:
    """Fit, judge, write."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("tables", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    home = read_tables(given.tables / "idrid")
    text = ["# What the verdict is worth", ""]
    said_of = {}
    for name, variant in VARIANTS.items():
        if variant.choices.network and not all(case.reading.network_probabilities for case in home):
            continue
        some = [variant.changed(case) for case in home]
        said_of[name] = (some, judged(some, variant.choices))
    told = {name: Judged.of(*pair) for name, pair in said_of.items()}
    text += home_section(told["shipped"], *said_of["shipped"]) + gain_section(told)
    rule = fit(home)
    rules = {fold: fit(without(home, fold)) for fold in sorted({case.fold for case in home})}
    for name in CAMERAS:
        if (given.tables / name).is_dir():
            text += simulated_section(name, read_tables(given.tables / name), rules)
    if (given.tables / "others").is_dir():
        text += others_section(read_tables(given.tables / "others"), rule)
    rows = [
        {"variant": name, **dict(zip(Judged._fields, map(str, row), strict=True))}
        for name, one in told.items()
        for row in zip(*one, strict=True)
    ]
    write_csv(given.out / "judged.csv", rows, ("variant", *Judged._fields))
    write_json(given.out / "rule.json", rule.as_dict())
    page = "\n".join(text) + "\n"
    replace_file(given.out / "README.md", lambda beside: beside.write_text(page, "utf-8"))
    print(page)


def home_section(told: Judged, cases: Sequence[Case], readings: Sequence[Reading]) -> list[str]:
    """Figures at home, outcomes by grade, calibration, operating points."""
    count, groups = len(told.id), len(set(told.group))
    lines = [
        f"## IDRiD: {count} graded photographs, {groups} groups, nested",
        "",
        "| figure | |",
        "|---|---|",
    ]
    lines += [f"| {name} | {one} |" for name, one in figures_of(told).items()]
    lines += ["", *table_of_outcomes(told)]
    lines += ["", "| mean probability | share ill | photographs |", "|---|---|---|"]
    lines += [f"| {p:.3f} | {ill:.3f} | {number} |" for p, ill, number in reliability_of(told)]
    counts = [
        ("DR0 with a counted finding", lambda c: c.grade == 0, lambda r: bool(r.present)),
        ("DR0 with a counted haemorrhage", lambda c: c.grade == 0, lambda r: "iHE" in r.present),
        (
            "DR2 or worse with a counted iHE, HaEx or CWS",
            lambda c: c.grade >= 2,
            lambda r: bool({"iHE", "HaEx", "CWS"} & set(r.present)),
        ),
        ("DR1 with any counted", lambda c: c.grade == 1, lambda r: bool(r.present)),
    ]
    for code in readings[0].learned:
        counts.append(
            (
                f"{code} counted where experts marked it",
                lambda c, code=code: code in c.marked,
                lambda r, code=code: code in r.present,
            )
        )
    counts.append(
        (
            "exudates near the fovea refer, of no risk",
            lambda c: c.grade in (0, 1),
            lambda r: any(line.role == "macula" for line in r.evidence),
        )
    )
    counts.append(
        (
            "exudates near the fovea refer, of risk 2",
            lambda c: c.oedema == 2,
            lambda r: any(line.role == "macula" for line in r.evidence),
        )
    )
    lines += ["", "| operating points | share | of |", "|---|---|---|"]
    for title, among, yes in counts:
        some = [yes(r) for c, r in zip(cases, readings, strict=True) if among(c)]
        lines.append(f"| {title} | {np.mean(some) if some else float('nan'):.3f} | {len(some)} |")
    return lines


def gain_section(told: Mapping[str, Judged]) -> list[str]:
    """What each part brings, paired; and what the best is worth."""
    lines = ["", "## What each part brings (as it ships, less the variant; paired)", ""]
    lines += ["| variant | " + " | ".join(COMPARED) + " |", "|---|" + "---|" * len(COMPARED)]
    for name, one in told.items():
        if name != "shipped":
            gains = [str(gain(one, told["shipped"], score)) for score in COMPARED.values()]
            lines.append(f"| {VARIANTS[name].title} | " + " | ".join(gains) + " |")
    for title, score in COMPARED.items():
        name, standing, worth = chosen(told, score)
        lines.append(f"\nBest {title}: {VARIANTS[name].title}, {standing}; corrected for the choice {worth}.")
    return lines


def simulated_section(name: str, cases: Sequence[Case], rules: Mapping[int, Rule]) -> list[str]:
    """A simulated camera, each photograph judged by the rule that was fitted without its fold."""
    readings = [said(case, rules[case.fold]) for case in cases]
    told = Judged.of(cases, readings)
    figures = figures_of(told)
    chosen = ("AUROC", "kappa", "sensitivity", "specificity", "uncertain", "retake")
    return ["", f"## As {name} would have taken them", "", *(f"- {one}: {figures[one]}" for one in chosen)]


def others_section(cases: Sequence[Case], rule: Rule) -> list[str]:
    """Photographs of other cameras: outcomes by set and network."""
    if not cases:
        return []
    names = " | ".join(OUTCOMES)
    lines = ["", "## Other cameras, by the networks of the five folds", ""]
    lines += [f"| camera | kind | network | {names} |", "|---|---|---|" + "---|" * len(OUTCOMES)]
    kinds = sorted({(case.camera, kind_of(case), case.fold) for case in cases})
    for camera, kind, fold in kinds:
        some = [case for case in cases if (case.camera, kind_of(case), case.fold) == (camera, kind, fold)]
        outcomes = [said(case, rule).outcome for case in some]
        numbers = " | ".join(str(outcomes.count(one)) for one in OUTCOMES)
        lines.append(f"| {camera} | {kind} | {fold} | {numbers} |")
    return lines


def kind_of(case: Case) -> str:
    """Healthy, ill, or what else is known of a photograph of another camera."""
    ends = {"h": "healthy", "dr": "retinopathy", "g": "glaucoma"}
    if case.camera == "Canon":
        return ends[case.reading.id.rsplit("_", 1)[1]]
    return {"Nidek": "healthy", "FIVES": "macular degeneration", "Topcon": "glaucoma clinic"}[case.camera]


def table_of_outcomes(told: Judged) -> list[str]:
    """Outcomes by true grade."""
    lines = ["| | " + " | ".join(OUTCOMES) + " |", "|---|" + "---|" * len(OUTCOMES)]
    for grade, row in outcomes_by_grade(told).items():
        lines.append(f"| DR{grade} | " + " | ".join(str(row.get(name, 0)) for name in OUTCOMES) + " |")
    return lines


if __name__ == "__main__":
    main()
