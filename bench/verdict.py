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
from retinalesion.fitting.cases import Case, said, within, without
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
from retinalesion.fitting.refit import HEALTHY, healthy_score, moved, refitted
from retinalesion.fitting.tables import read_tables
from retinalesion.geometry import DISC_SHARE
from retinalesion.reading.reading import Finding, Reading
from retinalesion.reading.rule import Rule

GRADED = 100  # photographs, of a camera that a rule is calibrated for
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
            abroad = read_tables(given.tables / name)
            text += simulated_section(name, abroad, rules) + calibrated_section(name, home, abroad)
    others = [given.tables / name for name in ("others", "box")]
    text += others_section(
        [case for folder in others if folder.is_dir() for case in read_tables(folder)], rule
    )
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


def calibrated_section(name: str, home: Sequence[Case], abroad: Sequence[Case]) -> list[str]:
    """A simulated camera, calibrated on photographs of it and judged on others.

    Each fold is judged by a rule that was fitted at home on two of the other folds and calibrated abroad on
    the two left: no photograph is in two of the three.
    """
    folds = sorted({case.fold for case in home})
    ways = ("as it is", f"with {GRADED} grades", "without grades")
    told: dict[str, list[tuple[Case, Reading]]] = {way: [] for way in ways}
    for place, fold in enumerate(folds):
        first, second, *rest = (folds[(place + step) % len(folds)] for step in range(1, len(folds)))
        rule = with_healthy(redealt([case for case in home if case.fold in rest]))
        site = [case for case in abroad if case.fold in (first, second) and case.readable]
        drawn = [site[i] for i in np.random.default_rng(fold).permutation(len(site))]
        healthy = float(np.mean([case.grade == 0 for case in site]))
        rules = {
            ways[0]: rule,
            ways[1]: refitted(rule, drawn[:GRADED]),
            ways[2]: moved(rule, [said(case, rule) for case in drawn], healthy),
        }
        for way, one in rules.items():
            told[way] += [(case, said(case, one)) for case in within(abroad, fold)]
    shown = ("sensitivity", "specificity", "uncertain")
    lines = ["", f"Calibrated on photographs of {name}, judged on others:", ""]
    lines += ["| | " + " | ".join(shown) + " |", "|---|" + "---|" * len(shown)]
    for way, pairs in told.items():
        figures = figures_of(Judged.of(*zip(*pairs, strict=True)), {one: SCORES[one] for one in shown})
        lines.append(f"| {way} | " + " | ".join(str(figures[one]) for one in shown) + " |")
    return lines


def redealt(cases: Sequence[Case]) -> list[Case]:
    """Cases of a few folds, dealt anew by group: what read them saw none of them."""
    groups = {group: place % 5 for place, group in enumerate(dict.fromkeys(case.group for case in cases))}
    return [case._replace(fold=groups[case.group]) for case in cases]


def with_healthy(cases: Sequence[Case]) -> Rule:
    """A rule that keeps where the healthy lay, out of fold."""
    return replace(fit(cases), told={HEALTHY: healthy_score(cases, judged(cases))})


def others_section(cases: Sequence[Case], rule: Rule) -> list[str]:
    """Photographs of other cameras: outcomes by set and network, and in how many each lesion counts."""
    if not cases:
        return []
    codes = cases[0].reading.learned
    names = (*OUTCOMES, "near fovea", *codes)
    lines = ["", "## Other cameras, by the networks of the five folds and by the one in the box", ""]
    lines.append(
        "Outcomes in photographs; `near fovea`: exudates there refer; lesions: share in which they count."
    )
    lines += ["", f"| camera | kind | network | {' | '.join(names)} |", "|---|---|---|" + "---|" * len(names)]
    kinds = sorted({(case.camera, kind_of(case), case.fold) for case in cases})
    for camera, kind, fold in kinds:
        some = [case for case in cases if (case.camera, kind_of(case), case.fold) == (camera, kind, fold)]
        readings = [said(case, rule) for case in some]
        cells = [sum(reading.outcome == name for reading in readings) for name in OUTCOMES]
        cells.append(sum(any(line.role == "macula" for line in reading.evidence) for reading in readings))
        shares = [f"{np.mean([code in reading.present for reading in readings]):.2f}" for code in codes]
        network = fold if fold >= 0 else "box"
        lines.append(f"| {camera} | {kind} | {network} | " + " | ".join(map(str, (*cells, *shares))) + " |")
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
