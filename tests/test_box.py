"""The model in the box: its size, what it knows, and a card whose figures are the measured ones."""

import csv
import json
import re
from pathlib import Path

import pytest

from retinalesion import samples
from retinalesion.lesions import LESIONS
from retinalesion.reading.reader import Reader
from retinalesion.report.analyze import box

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs/results"
LEARNED = ("MA", "iHE", "HaEx", "CWS")


@pytest.fixture(scope="module")
def card():
    return box().with_name("README.md").read_text("utf-8")


def test_it_is_small_and_knows_what_the_card_says(card):
    size = box().stat().st_size
    assert size <= 20e6
    assert f"{size / 1e6:.1f} MB" in card
    reader = Reader.from_checkpoint(box())
    assert reader.model.learned == LEARNED
    assert f"at side {reader.side}" in card
    assert reader.model.limits
    (known,) = (line for line in card.splitlines() if line.startswith("| learned |"))
    (unknown,) = (line for line in card.splitlines() if line.startswith("| not learned |"))
    for lesion in LESIONS:
        assert lesion.name.split()[0] in (known if lesion.code in LEARNED else unknown)


def test_the_card_gives_credit(card):
    for credit in ("Porwal", "CC BY 4.0", "10.3390/data3030025", "Apache-2.0"):
        assert credit in card


@pytest.mark.parametrize(
    ("run", "line"),
    [
        ("box-sian", "| quadratic weighted kappa |"),
        ("box-plain", "| the main branch alone, trained the same way |"),
    ],
)
def test_the_cards_kappas_are_the_measured_ones(card, run, line):
    measured = json.loads((RESULTS / run / "grades.json").read_text("utf-8"))
    assert line + " {kappa:.2f} ({kappa from:.2f} to {kappa to:.2f}) |".format_map(measured) in card


def test_the_cards_scores_of_lesions_are_the_measured_ones(card):
    with (RESULTS / "box-sian/lesions.csv").open(encoding="utf-8", newline="") as file:
        measured = {row["lesion"]: float(row["pixel F1"]) for row in csv.DictReader(file) if row["pixel F1"]}
    (line,) = (line for line in card.splitlines() if line.startswith("| pixel F1 |"))
    assert re.findall(r"0\.\d\d", line) == [f"{measured[name]:.2f}" for name in (*LEARNED, "mean")]


@pytest.mark.slow
def test_what_it_says_of_the_samples_is_sane():
    """With a rule or without: the ill one is referred, the healthy one is not, each with its range."""
    reader = Reader.from_checkpoint(box(), "cpu")
    ill, healthy = (reader.read(file, file.stem).reading for file in samples.photographs())
    assert ill.outcome == "refer"
    assert {"MA", "iHE", "HaEx"} <= set(ill.present)
    assert healthy.outcome in ("no referral", "uncertain")
    assert healthy.grade in (0, 1)
    for said in (ill, healthy):
        assert said.quality.gradable
        assert said.grade_low <= said.grade <= said.grade_high
        assert sum(said.grade_probabilities) == pytest.approx(1, abs=1e-3)
        assert said.disc.diameter < 0.25 * said.box.side
        assert set(said.present) | set(said.possible) <= set(LEARNED)
