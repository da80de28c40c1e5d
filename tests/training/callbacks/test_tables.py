import csv
import json
import warnings

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.lesions import CODES
from retinalesion.networks.cost import multiply_adds, parameters
from retinalesion.scores import STEPS, Counts, f1
from retinalesion.training.callbacks import tables
from retinalesion.training.callbacks.froc_tables import show_froc
from retinalesion.training.callbacks.tables import healthy_figures, interval, lesion_rows
from retinalesion.training.rows import BY_PIXEL, PhotographRow
from retinalesion.training.segmentation import SegmentationTask

ALL = (True,) * len(CODES)
FOUR = tuple(code in ("MA", "iHE", "HaEx", "CWS") for code in CODES)


def row(
    id="a", hits=(8,) * 8, alarms=(2,) * 8, misses=(2,) * 8, grade=2, probability=(0.9,) * 8, annotated=ALL
):
    return PhotographRow(id, grade, annotated, hits, alarms, misses, probability)


def drawn_rows(count):
    random = np.random.default_rng(5)
    return [
        row(f"{n}", *(tuple(map(int, random.integers(1, 100, 8))) for _ in range(3))) for n in range(count)
    ]


def pixels_of(rows):
    return np.array([[row.hits, row.alarms, row.misses] for row in rows]).sum(0).T


def pooled(rows):
    return f1(pixels_of(rows))


def counts_of(rows):
    images = np.zeros((8, 2, 2), np.int64)
    images[:, 1, 1] = len(rows)
    return Counts(pixels_of(rows), images, np.ones((8, 2, STEPS), np.int64))


def each_alone(rows, learned):
    return interval(rows, learned, [row.id for row in rows])


@pytest.mark.parametrize("learned", [ALL, FOUR])
def test_interval_holds_the_score_and_is_narrower_with_more_photographs(learned):
    few, many = each_alone(drawn_rows(10), learned), each_alone(drawn_rows(200), learned)
    for bounds, rows in ((few, drawn_rows(10)), (many, drawn_rows(200))):
        score = pooled(rows)
        score = np.append(score, score[np.array(learned)].mean())
        assert (bounds[0] < score).all()
        assert (score < bounds[1]).all()
    assert (many[1] - many[0] < few[1] - few[0]).all()


def test_interval_of_equal_photographs_has_no_width():
    bounds = each_alone([row(str(n)) for n in range(9)], ALL)
    assert bounds == pytest.approx(np.full((2, 9), 0.8))


def test_a_lesion_that_nobody_has_or_finds_has_no_interval_and_enters_no_mean():
    none = (0, 8, 8, 8, 8, 8, 8, 8)
    few = (0, 2, 2, 2, 2, 2, 2, 2)
    with warnings.catch_warnings(action="error"):
        bounds = each_alone([row("a", none, few, few), row("b", none, few, few)], ALL)
    assert np.isnan(bounds[:, 0]).all()
    assert bounds[:, 1:] == pytest.approx(np.full((2, 8), 0.8))


def test_lesions_not_learned_have_no_scores_and_enter_no_mean():
    rows = drawn_rows(6)
    *lesions, mean = lesion_rows(counts_of(rows), rows, FOUR, [row.id for row in rows])
    assert [line["lesion"] for line in lesions] == list(CODES)
    assert all(("IoU" in line) == learned for line, learned in zip(lesions, FOUR, strict=True))
    assert mean["pixel F1"] == pytest.approx(pooled(rows)[:4].mean(), abs=1e-4)
    assert mean["F1 from"] < mean["pixel F1"] < mean["F1 to"]


@pytest.mark.parametrize(
    ("probability", "share"),
    [((0.4,) * 8, 0.0), ((0.4, 0.4, 0.6) + (0.4,) * 5, 1.0), ((0.4,) * 7 + (0.6,), 0.0)],
)
def test_findings_on_healthy_photographs_count_learned_lesions_only(probability, share):
    rows = [row(grade=0, probability=probability), row(grade=2)]
    assert healthy_figures(rows, FOUR) == {"DR0 photographs": 1, "share with any finding": share}


def test_a_set_without_healthy_photographs_says_none():
    assert healthy_figures([row(grade=-1)], ALL) == {"DR0 photographs": 0, "share with any finding": None}


def read(file):
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_lesions_not_annotated_are_empty_cells(tmp_path):
    tables.write(tmp_path, [{"lesion": "MA"}], [row(annotated=FOUR, grade=-1)], ["a"], {})
    (cells,) = read(tmp_path / "photographs.csv")
    assert cells["grade"] == ""
    assert cells["MA_hits"] == "8"
    assert "NV_hits" not in cells
    assert cells["NV_probability"] == "0.9"


@pytest.fixture(scope="module")
def tested(drawn_store, tmp_path_factory):
    """A network that learned all but pHE and FiP, tested on four drawn photographs."""
    torch.manual_seed(0)
    task = SegmentationTask("lnet-4s", "resnet10t", weights=None)
    task.network.learn_only(set(CODES) - {"pHE", "FiP"})
    torch.nn.init.constant_(task.network.head.bias, 0.0)  # finds much, nearly all of it wrongly
    run = tmp_path_factory.mktemp("run")
    trainer = Trainer(
        default_root_dir=run,
        logger=CSVLogger(run, name="", version=""),
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.test(task, FundusDataModule(str(drawn_store.path), workers=0), verbose=False)
    return run


def test_test_leaves_a_row_per_photograph_that_adds_up_to_the_table(tested, drawn_store):
    photographs, lesions = read(tested / "test/photographs.csv"), read(tested / "test/lesions.csv")
    assert [line["id"] for line in photographs] == [r.id for r in drawn_store.rows if r.split == "test"]
    for line in lesions[:-1]:
        if line["learned"] == "True":
            name = line["lesion"]
            hits, alarms, misses = (
                sum(int(p[f"{name}_{part}"]) for p in photographs) for part in ("hits", "alarms", "misses")
            )
            expected = 2 * hits / (2 * hits + alarms + misses)
            assert float(line["pixel F1"]) == pytest.approx(expected, abs=1e-4)
            said = sum(float(p[f"{name}_probability"]) > 0.5 for p in photographs)
            assert (float(line["image F1"]) > 0) == (said > 0 and int(line["present"]) > 0)


def test_test_says_what_was_not_learned(tested):
    lesions = {line["lesion"]: line for line in read(tested / "test/lesions.csv")}
    for name in ("pHE", "FiP"):
        assert lesions[name]["learned"] == "False"
        assert not any(lesions[name][score] for score in BY_PIXEL.of)
    summary = json.loads((tested / "test/summary.json").read_text("utf-8"))
    assert summary["photographs"] == 4
    assert summary["side"] == 96


def test_test_says_what_the_network_costs_and_what_it_was_tested_on(tested, drawn_store):
    summary = json.loads((tested / "test/summary.json").read_text("utf-8"))
    network = SegmentationTask("lnet-4s", "resnet10t", weights=None).network
    assert summary["parameters"] == parameters(network)
    assert summary["multiply-adds"] == multiply_adds(network, 96)
    assert 0 < summary["seconds a photograph"] < 10
    expected = {"store": drawn_store.fingerprint, "source": "synthetic", "part": "test"}
    assert summary["tested on"] == expected


def test_test_leaves_froc_of_every_lesion_learned(tested):
    summary = json.loads((tested / "test/summary.json").read_text("utf-8"))
    told = {line["lesion"]: line for line in summary["FROC"]}
    assert told.keys() == set(CODES) - {"pHE", "FiP"}
    lines = read(tested / "test/froc.csv")
    for code, line in told.items():
        curve = [one for one in lines if one["lesion"] == code]
        assert float(curve[-1]["threshold"]) == 0.5
        assert float(curve[-1]["false a photograph"]) == pytest.approx(line["false a photograph"], abs=1e-4)
        assert {int(one["marked regions"]) for one in curve} == {line["marked regions"]}
        if line["marked regions"]:
            at = [line[f"sensitivity at {rate}"] for rate in (1, 2, 4, 8)]
            assert at == sorted(at)
            assert at[-1] <= line["sensitivity"] == pytest.approx(float(curve[-1]["sensitivity"]), abs=1e-4)
    assert any(line["marked regions"] for line in told.values())


def test_loggers_get_the_scores_of_the_table(tested):
    (logged,) = read(tested / "metrics.csv")
    mean = read(tested / "test/lesions.csv")[-1]
    assert float(logged["test/pixel F1/mean"]) == pytest.approx(float(mean["pixel F1"]))
    assert float(logged["test/AUPR/mean"]) == pytest.approx(float(mean["AUPR"]))
    assert not [name for name in logged if name.endswith(("/pHE", "/FiP"))]


def test_the_terminal_shows_the_table(capsys):
    rows = drawn_rows(6)
    about = {
        "photographs": 6,
        "side": 96,
        "network": "lnet-16s on inception_v3",
        "intervals over": "photographs",
        **healthy_figures(rows, ALL),
    }
    tables.show(lesion_rows(counts_of(rows), rows, FOUR, [row.id for row in rows]), about)
    froc = {"lesion": "MA", "marked regions": 12, "photographs": 6, "sensitivity": 0.625}
    froc |= {f"sensitivity at {rate}": 0.5 for rate in (1, 2, 4, 8)} | {"false a photograph": 9.25}
    show_froc([froc, {name: None if name.startswith("sens") else value for name, value in froc.items()}])
    shown = capsys.readouterr().out
    assert "0.625" in shown
    assert "9.250" in shown
    assert "not learned by this model: vHE, pHE, NV, FiP" in shown
    assert f"{pooled(rows)[:4].mean():.3f}" in shown
    assert "…" not in shown
