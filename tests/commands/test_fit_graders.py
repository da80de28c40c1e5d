"""Runs that stand on others: SiAN on its L-Net, Lesion-Concat on a classifier."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from retinalesion.cli import main


def test_sian_takes_the_newest_finished_lesion_network_and_says_so(sian):
    newer = sian.parent / "newer/checkpoints/best.ckpt"
    assert yaml.safe_load((sian / "config.yaml").read_text())["model"]["lesion_net"] == str(newer)
    assert "taking runs/newer/checkpoints/best.ckpt" in (sian.parent.parent / "said").read_text()


def test_sian_without_its_lesion_networks_file_is_tested_and_resumed(sian, tmp_path, monkeypatch):
    shutil.copytree(sian, tmp_path / "runs" / "alone")
    monkeypatch.chdir(tmp_path)
    (sian.parent / "newer").rename(sian.parent / "moved")
    try:
        assert main(["test"]) == 0
        assert json.loads(Path("runs/alone/test/grades.json").read_text())["photographs"] == 4
        assert Path("runs/alone/test/lesions.csv").is_file()
        assert main(["fit", "--resume", "alone", "--trainer.max_steps", "6"]) == 0
    finally:
        (sian.parent / "moved").rename(sian.parent / "newer")


@pytest.mark.parametrize(
    ("lesion_net", "says"),
    [
        ((), "Train one first: retinalesion fit --config lnet.yaml"),
        (("--model.lesion_network", "unet"), "Train one first: retinalesion fit --config unet.yaml"),
        (("--model.lesion_net", "nowhere.ckpt"), "nowhere.ckpt: no such checkpoint"),
        (("--model.lesion_net", "tiny-sian.yaml"), "tiny-sian.yaml: not a checkpoint of retinalesion"),
    ],
)
def test_a_lesion_network_that_is_none(
    sian, drawn_store, tmp_path, monkeypatch, tiny, refused, lesion_net, says
):
    monkeypatch.chdir(tmp_path)
    Path("tiny-sian.yaml").write_text(tiny("sian", grades=True))
    command = ("fit", "--config", "tiny-sian.yaml", "--data.store", str(drawn_store.path), *lesion_net)
    assert says in refused(*command)
    assert not Path("runs").exists()


@pytest.fixture(scope="module")
def classifier(drawn_store, tmp_path_factory, tiny):
    """The folder of a user whose only finished run, ``lesions``, is of a lesion classifier."""
    folder, before = tmp_path_factory.mktemp("classifier"), Path.cwd()
    (folder / "tiny.yaml").write_text(tiny("lesions-plain"))
    os.chdir(folder)
    try:
        store = str(drawn_store.path)
        assert main(["fit", "--config", "tiny.yaml", "--data.store", store, "--run", "lesions"]) == 0
    finally:
        os.chdir(before)
    return folder


def test_a_lesion_classifier_is_scored_as_any_run(classifier, monkeypatch):
    monkeypatch.chdir(classifier)
    assert main(["test"]) == 0
    (*_, mean) = json.loads(Path("runs/lesions/test/summary.json").read_text())["lesions"]
    assert {"image F1", "always yes"} <= mean.keys()


@pytest.mark.parametrize(
    "command",
    [
        "predict",
        "analyze STORE --checkpoint runs/lesions/checkpoints/best.ckpt",
        "export lesions small.safetensors",
    ],
)
def test_of_a_lesion_classifier_no_reading_is_made(classifier, drawn_store, monkeypatch, refused, command):
    monkeypatch.chdir(classifier)
    words = command.replace("STORE", str(drawn_store.path)).split()
    assert "but not where" in refused(*words)
    assert not any(Path(left).exists() for left in ("runs/lesions/predict", "analysis", "small.safetensors"))


def test_lesion_concat_takes_a_lesion_classifier_and_sian_does_not(
    classifier, drawn_store, tmp_path, monkeypatch, tiny, refused
):
    shutil.copytree(classifier / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    Path("grade.yaml").write_text(tiny("sian", grades=True))
    fit = ("fit", "--config", "grade.yaml", "--data.store", str(drawn_store.path), "--run", "graded")
    named = ("--model.lesion_net", "runs/lesions/checkpoints/best.ckpt")
    assert "holds lesions-plain, not a lesion network" in refused(*fit, *named)
    assert "no finished run of one" in refused(*fit)
    assert main([*fit, "--model.network", "lesion-concat"]) == 0  # the newest finished lesion model
    model = yaml.safe_load(Path("runs/graded/config.yaml").read_text())["model"]
    assert (model["lesion_network"], model["lesion_encoder"]) == ("lesions-plain", "test_efficientnet")
    assert main(["test"]) == 0
    assert {file.name for file in Path("runs/graded/test").iterdir()} >= {"grades.json", "grades.csv"}
