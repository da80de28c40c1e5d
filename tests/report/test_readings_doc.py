"""docs/readings.md names what is written, no more and no less, in the same order."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

import retinalesion
from retinalesion.data.quality import LIMITS
from retinalesion.geometry import Landmark
from retinalesion.lesions import CODES
from retinalesion.reading.conclusion import TOLD
from retinalesion.reading.reading import (
    BELOW,
    CAMERAS,
    DERIVED,
    SCHEMA,
    TWICE,
    Agreement,
    EvidenceLine,
    Finding,
    Outcome,
    Quality,
    Reading,
    Role,
)
from retinalesion.report.facts import told_of
from retinalesion.report.folder import MARK, PICTURES, TABLES
from retinalesion.report.outputs import LESION_FIGURES, finding_rows, photograph_row

PAGE = Path(retinalesion.__file__).parents[1] / "docs" / "readings.md"


@pytest.fixture(scope="module")
def tables():
    """By the heading of their first column, the names in it."""
    found = {}
    section, head = "", ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("#"):
            section, head = line.strip("# "), ""
        elif not line.startswith("|"):
            head = ""
        else:
            first = line.split("|")[1]
            head = head or f"{section}: {first.strip()}"
            found.setdefault(head, []).extend(re.findall(r"`(.+?)`", first))
    return found


@pytest.fixture(scope="module")
def example():
    return json.loads(re.search(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1])


def names(kind):
    return [field.name for field in fields(kind)]


def test_the_fields_of_a_line(tables):
    written = tables[f"readings.jsonl, schema {SCHEMA}: field"]
    assert sorted(written) == sorted(Reading("id", "file").as_dict())
    assert [name for name in written if name not in ("schema", *DERIVED)] == names(Reading)


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("A finding", Finding),
        ("Quality", Quality),
        ("Evidence", EvidenceLine),
        ("Disc and fovea", Landmark),
    ],
)
def test_the_fields_within_a_line(tables, section, kind):
    assert tables[f"{section}: field"] == names(kind)


def test_the_words_that_a_field_may_hold(tables):
    assert sorted(tables["Outcome: outcome"]) == sorted(get_args(Outcome))
    assert sorted(tables["Agreement: agreement"]) == sorted(get_args(Agreement))
    assert sorted(tables["Evidence: role"]) == sorted(get_args(Role))
    assert tables["Quality: figure"] == list(LIMITS)


def test_why_a_finding_does_not_count(tables):
    page = PAGE.read_text("utf-8")
    assert all(f"`{reason}`" in page for reason in (BELOW, TWICE, CAMERAS))


def test_what_a_report_tells_of_a_rule(tables):
    """Each key of the docs makes a difference to what is said."""
    rule = {"photographs": 3, "groups": 2, "source": "here", "site": "moved"}
    rule |= {
        "sensitivity": [0.9, 0.8, 1.0],
        "specificity": [0.9, 0.8, 1.0],
        "uncertain": 0.1,
        "prevalence": 0.3,
    }
    rule |= {"cuts": [0.1, 0.2], "wished": {"sensitivity": 0.9}}
    assert set(rule) == set(tables["Rule: key"]) == {*TOLD, "cuts", "wished"}
    for key in rule.keys() - {"cuts"}:
        assert told_of(rule) != told_of({**rule, key: None}), key


def test_the_columns_of_both_tables(tables):
    columns = tables["readings.csv: column"]
    shared, of_a_lesion = columns[: -len(LESION_FIGURES)], columns[-len(LESION_FIGURES) :]
    each = [name.replace("MA", code) for code in CODES for name in of_a_lesion]
    assert shared + each == list(photograph_row(Reading("id", "file")))
    finding = Finding("MA", 1, 0, 0, 0, 0, 1, 1, 1, 0.1, "upper left", None, 0.9)
    (row,) = finding_rows(Reading("id", "file", findings=(finding,)))
    assert list(row) == ["id", *tables["A finding: field"]]


def test_the_files(tables):
    listed = {name.partition("/")[0] for name in tables["What an analysis leaves: "]}
    assert listed == {*TABLES, *PICTURES, MARK}


def test_the_example_is_a_reading(example):
    reading = Reading.from_dict(example)
    assert json.loads(reading.as_json()) == example
    assert reading.findings
    assert set(reading.quality.figures) == set(LIMITS)
