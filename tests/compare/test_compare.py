"""`compare` on runs made by hand: which row a run is, what is best and what may be said."""

import csv
import io
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from retinalesion.cli import main
from retinalesion.compare import text
from retinalesion.compare.judge import compare_runs
from retinalesion.compare.page import FILES, compare
from retinalesion.compare.results import Result
from retinalesion.compare.statistics import Difference
from retinalesion.compare.tables import Verdict
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.paper import paper

FOUR = ("MA", "iHE", "HaEx", "CWS")
LONG = "a" * 90
ROWS_WITH_LONG_NAMES = (("lnet-16s", 0.001), ("lnet-16s", 0.01), (LONG, 0.001))
MARKUP = "<img src=x onerror=alert(1)>|`*_[bold]x[/bold]"


def tables_of(*folders):
    return {table.number: table for table in compare_runs([Result.read(folder) for folder in folders])}


def all_text(folder):
    return "\n".join((folder / name).read_text("utf-8") for name in FILES)


@pytest.fixture
def three_seeds(tmp_path, make_run):
    """L-Net-8s far above FCN-16s, and L-Net-4s beside L-Net-8s; three seeds each."""
    rows = (("lnet-8s", "dual", 0.2), ("lnet-4s", "dual", 0.2), ("fcn-16s", "dice", 0.0))
    return [
        make_run(tmp_path / f"{net}-{seed}", {"network": net, "loss": loss}, seed, lift)
        for net, loss, lift in rows
        for seed in range(3)
    ]


def settings_of_rows():
    rows = [(table.number, row) for table in paper().tables for row in table.rows]
    return [pytest.param(number, row, id=f"{number}-{row.name}") for number, row in rows]


@pytest.mark.parametrize(("number", "row"), settings_of_rows())
def test_a_run_of_every_row_of_the_paper_stands_beside_its_figures(tmp_path, number, row, make_run):
    table = tables_of(make_run(tmp_path / "run", dict(row.settings)))[number]
    (filled,) = table.rows
    assert (filled.name, filled.departs) == (row.name, "")
    for section in table.sections:
        for column, cell in zip(section.columns, section.cells[0], strict=True):
            printed = row.figures.get(section.score, {}).get(column)
            if column == "mean" and number != 4 and printed is not None:
                printed = np.mean([row.figures[section.score][code] for code in FOUR])
            assert cell.paper == (None if printed is None else pytest.approx(printed))


@pytest.mark.parametrize(
    ("settings", "numbers", "name"),
    [
        ({"network": "lnet-8s", "loss": "dice"}, {3, 5}, "L-Net-8s, Dice"),
        ({"network": "plain", "side": 512}, {6}, "Plain grader, 512"),
        ({"network": "lesions-new"}, {5}, "lesions-new"),
    ],
)
def test_a_run_of_ones_own_stands_in_the_fitting_tables_under_its_own_name(
    tmp_path, settings, numbers, name, make_run
):
    tables = tables_of(make_run(tmp_path / "run", settings))
    assert tables.keys() == numbers
    for table in tables.values():
        assert [row.name for row in table.rows] == [name]
        assert all(cell.paper is None for section in table.sections for cell in section.cells[0])


def test_scores_are_pooled_and_of_each_photograph_under_their_own_names(tmp_path, make_run):
    run = make_run(tmp_path / "run", {"network": "lnet-8s", "loss": "dual"})
    pixels = Result.read(run).lesions.pixels
    sections = {section.score: section for section in tables_of(run)[3].sections}
    hits, alarms, misses = pixels.sum(0)[0]
    assert sections["pixel F1"].cells[0][0].value == pytest.approx(2 * hits / (2 * hits + alarms + misses))
    single = [2 * h / (2 * h + a + m) for h, a, m in pixels[:, 0]]
    assert sections["pixel F1 per photograph"].cells[0][0].value == pytest.approx(np.mean(single))
    for section in sections.values():
        assert section.columns == (*FOUR, "mean")
        *lesions, mean = section.cells[0]
        assert mean.value == pytest.approx(np.mean([cell.value for cell in lesions]))


def test_image_scores_come_from_labels_and_from_maps(tmp_path, make_run):
    run = make_run(tmp_path / "run", {"network": "lesions-plain"})
    # present in two of three, said to be present in three of four
    hits, alarms, misses = 12, 6, 4
    (cell, *_) = tables_of(run)[5].sections[0].cells[0]
    assert cell.value == pytest.approx(2 * hits / (2 * hits + alarms + misses))
    maps = make_run(tmp_path / "maps", {"network": "unet", "loss": "dice"})
    assert tables_of(maps)[5].sections[0].cells[0][0].value == 1


def test_runs_that_differ_only_in_their_seed_are_one_row(three_seeds):
    table = tables_of(*three_seeds)[3]
    assert [(row.name, len(row.runs)) for row in table.rows] == [
        ("FCN-16s", 3),
        ("L-Net-8s", 3),
        ("L-Net-4s", 3),
    ]


def test_one_name_with_other_settings_is_a_row_of_its_own(tmp_path, make_run):
    settings = {"network": "lnet-8s", "loss": "dual", "per_lesion": False}
    plain = make_run(tmp_path / "plain", settings)
    other = make_run(tmp_path / "other", {**settings, "per_lesion": True})
    rows = tables_of(plain, other)[3].rows
    assert [row.name for row in rows] == ["L-Net-8s [plain]", "L-Net-8s [other]"]
    assert [row.departs for row in rows] == ["", "per lesion yes"]


def test_the_highest_is_bold_in_every_form(three_seeds, tmp_path):
    (table, *_) = compare(three_seeds, tmp_path / "out")
    cells = {row.name: line[-1] for row, line in zip(table.rows, table.sections[0].cells, strict=True)}
    highest = max(cells, key=lambda name: round(cells[name].value, 3))
    assert cells[highest].best
    assert not cells["FCN-16s"].best
    shown, low = f"{cells[highest].value:.3f}", f"{cells['FCN-16s'].value:.3f}"
    assert f"**{shown}**" in (tmp_path / "out/tables.md").read_text("utf-8")
    assert f"**{low}**" not in (tmp_path / "out/tables.md").read_text("utf-8")
    html = (tmp_path / "out/index.html").read_text("utf-8")
    assert f'<span class="best">{shown}</span>' in html
    assert f"<span>{low}</span>" in html
    with (tmp_path / "out/tables.csv").open(encoding="utf-8", newline="") as lines:
        means = [r for r in csv.DictReader(lines) if r["score"] == "pixel F1" and r["of"] == "mean"]
    assert {r["row"]: r["best"] for r in means if r["value"] == shown}[highest] == "yes"
    assert {r["row"]: r["best"] for r in means}["FCN-16s"] == ""


def test_three_seeds_far_apart_are_called_better_and_neighbours_are_not(three_seeds):
    said = {(v.first, v.second): v for v in tables_of(*three_seeds)[3].verdicts}
    assert said["L-Net-8s", "FCN-16s"].better
    assert "L-Net-8s is better than FCN-16s" in said["L-Net-8s", "FCN-16s"].text
    (neighbours,) = (v for pair, v in said.items() if "FCN-16s" not in pair)
    assert not neighbours.better
    assert "are not told apart" in neighbours.text


def test_p_is_corrected_for_all_comparisons_of_a_table(three_seeds):
    verdicts = tables_of(*three_seeds)[3].verdicts
    smallest = min(verdicts, key=lambda verdict: verdict.difference.p)
    assert smallest.corrected == pytest.approx(3 * smallest.difference.p)


def test_with_one_seed_nothing_is_called_better(three_seeds, tmp_path, capsys):
    ones = [run for run in three_seeds if run.name.endswith("-0")]
    tables = compare(ones, tmp_path / "out")
    text.show(tables)
    assert "better" not in (all_text(tmp_path / "out") + capsys.readouterr().out).lower()
    said = {(v.first, v.second): v for v in tables[0].verdicts}
    assert "differ on these 24 photographs" in said["L-Net-8s", "FCN-16s"].text
    for verdict in said.values():
        apart = round(verdict.difference.low, 3) > 0
        assert ("show no difference on these 24 photographs" in verdict.text) != apart


@pytest.mark.parametrize(("low", "apart"), [(0.0012, True), (0.0004, False), (-0.0004, False)])
def test_a_difference_is_judged_as_its_interval_is_printed(low, apart):
    text = Verdict("pixel F1", "a", "b", Difference(0.05, low, 0.1, None), 24).text
    assert f"(95 %: {'0.001' if apart else '0.000'} to 0.100" in text
    assert ("show no difference" in text) != apart


def test_grades_are_compared_by_kappa(tmp_path, make_run):
    runs = [
        make_run(tmp_path / f"{fusion}-{seed}", SIAN | {"fusion": fusion}, seed, lift, photographs=200)
        for fusion, lift in (("features", 0.45), ("input", 0.0))
        for seed in range(3)
    ]
    tables = tables_of(*runs)
    assert tables.keys() == {6, 7}
    (verdict,) = tables[7].verdicts
    assert (verdict.score, verdict.better) == ("kappa", True)
    assert verdict.first == "Conv (Eq. 7) at the feature maps"


SIAN = {"network": "sian", "lesion_network": "lnet-16s", "attention": "conv"}


def test_published_figures_stand_where_they_belong_and_say_how_they_came_about(tmp_path, make_run):
    settings = {"network": "lnet-8s", "loss": "dual"}
    idrid = make_run(
        tmp_path / "a", settings, learned=CODES, **{"tested on": {"source": "idrid", "part": "test"}}
    )
    other = make_run(
        tmp_path / "b", settings, learned=CODES, **{"tested on": {"source": "folder", "part": "test"}}
    )
    four = make_run(tmp_path / "c", settings, learned=FOUR)
    assert [tables_of(run)[3].published is not None for run in (idrid, other, four)] == [True, False, True]
    (first, *_) = compare([four], tmp_path / "out")[0].sections
    assert first.published == (0.5, 0.66, 0.8, 0.76, None)
    assert all_text(tmp_path / "out").count("4288 x 2848") >= 2


@pytest.mark.parametrize("cost", [True, False])
def test_costs_are_shown_where_a_test_wrote_them(tmp_path, cost, make_run):
    figures = {"parameters": 23_000_000, "multiply-adds": 64_190_000_000, "seconds a photograph": 0.125}
    run = make_run(tmp_path / "run", {"network": "lnet-8s", "loss": "dual"}, **(figures if cost else {}))
    compare([run], tmp_path / "out")
    for name in ("tables.md", "index.html"):
        text = (tmp_path / "out" / name).read_text("utf-8")
        assert all((figure in text) == cost for figure in ("23 M", "64.2 G", "0.125 s"))


def test_the_command_prints_the_tables_and_says_where_they_are(three_seeds, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *map(str, three_seeds), "--out", "made"]) == 0
    shown = capsys.readouterr().out
    assert "Table 3. Lesion segmentation" in shown
    assert "made/index.html" in shown
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == sorted(
        FILES
    )  # and nothing half done
    assert main(["compare", str(three_seeds[0]), "--photographs", "eye_01"]) == 2
    assert "--store" in capsys.readouterr().err


def test_figures_may_lie_flat_as_in_the_docs(tmp_path):
    results = Path(__file__).parents[2] / "docs/results"
    tables = tables_of(results / "idrid-small", results / "idrid-small-fine")
    with (results / "idrid-small/lesions.csv").open(encoding="utf-8", newline="") as lines:
        (mean,) = (line for line in csv.DictReader(lines) if line["lesion"] == "mean")
    cell = tables[3].sections[0].cells[0][-1]
    assert (cell.value, cell.low, cell.high) == pytest.approx(
        (float(mean["pixel F1"]), float(mean["F1 from"]), float(mean["F1 to"])), abs=1e-4
    )


def test_markup_in_names_stays_text(tmp_path, make_run):
    settings = {"network": "lnet-8s", "loss": "dual"}
    runs = [
        make_run(tmp_path / MARKUP.replace("/", "!"), settings),
        make_run(tmp_path / "b", settings, seed=1, lift=0.1),
    ]
    odd = make_run(tmp_path / "c", {"network": MARKUP, "loss": MARKUP})
    config = runs[1] / "config.yaml"
    config.write_text(config.read_text("utf-8").replace("inception_v3", MARKUP), "utf-8")
    tables = compare([*runs, odd], tmp_path / "out")
    html = (tmp_path / "out/index.html").read_text("utf-8")
    assert "<img" not in html
    assert MARKUP in unescape(html)
    for line in (tmp_path / "out/tables.md").read_text("utf-8").splitlines():
        assert "<img" not in line.replace("\\<", "")
    shown = io.StringIO()
    text.show(tables, Console(file=shown, width=200))
    assert MARKUP in shown.getvalue()


@pytest.mark.parametrize("width", [360, 900, 1280])
def test_the_page_fits_a_phone_and_a_desk(tmp_path, driver, width, make_run):
    costs = {"parameters": 23_000_000, "multiply-adds": 64_190_000_000, "seconds a photograph": 0.125}
    settings = [{"network": net, "loss": "dual", "rate": rate} for net, rate in ROWS_WITH_LONG_NAMES]
    runs = [
        make_run(tmp_path / f"{place}{LONG}", one, learned=CODES, **costs)
        for place, one in enumerate(settings)
    ]
    compare(runs, tmp_path / "out")
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get((tmp_path / "out/index.html").as_uri())
    driver.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    outside = driver.execute_script(
        "return [...document.querySelectorAll('.card *')].filter((one) => {"
        " const inner = one.getBoundingClientRect(), outer = one.closest('.card').getBoundingClientRect();"
        " return inner.width && (inner.left < outer.left - 1 || inner.right > outer.right + 1); })"
        ".map((one) => one.outerHTML.slice(0, 80))"
    )
    assert outside == []
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert driver.get_log("browser") == []


def test_the_page_needs_nothing_else(three_seeds, tmp_path):
    compare(three_seeds, tmp_path / "out")
    html = (tmp_path / "out/index.html").read_text("utf-8")
    assert not re.search(r"<script|<link(?! rel=\"icon\" href=\"data:)|@import|url\(|https?://", html)


def test_all_lesions_fit_into_eighty_columns(tmp_path, make_run):
    runs = [
        make_run(tmp_path / net, {"network": net, "loss": "dual"}, learned=CODES)
        for net in ("lnet-16s", "lnet-8s")
    ]
    shown = io.StringIO()
    text.show(list(tables_of(*runs).values()), Console(file=shown, width=80))
    assert "L-Net-16s" in shown.getvalue()
    assert "…" not in shown.getvalue()
    assert all(len(line) <= 80 for line in shown.getvalue().splitlines())


def test_what_a_rule_is_worth_is_told_where_a_test_scored_one(make_run, tmp_path):
    figures = {
        "sensitivity": [0.951, 0.9, 0.98],
        "specificity": [0.8, None, None],
        "specificity, DR1": [None, None, None],
    }
    ruled = make_run(tmp_path / "ruled", {"network": "sian"}, rule={"figures": figures})
    plain = make_run(tmp_path / "plain", {"network": "plain"})
    (table,) = compare_runs([Result.read(ruled), Result.read(plain)])
    (note,) = [one for one in table.notes if one.startswith("By the rule of")]
    assert "ruled" in note
    assert "sensitivity 0.95 (0.90 to 0.98); specificity 0.80." in note
    damaged = make_run(tmp_path / "damaged", {"network": "sian"}, rule={"figures": {"sensitivity": "high"}})
    with pytest.raises(UserError, match="no figure with its interval"):
        Result.read(damaged)
