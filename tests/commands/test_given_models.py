"""Wherever a model is asked for, a run, a checkpoint and an exported file will do; and none runs code."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from retinalesion.cli import main

OPTIONS = (
    "fit --config tiny.yaml --model.weights FILE",
    "fit --config tiny.yaml --model.weights FILE --model.network lesions-plain",
    "fit --config tiny.yaml --model.weights FILE --model.network plain --data.truth grade",
    "fit --config tiny.yaml --model.network sian --model.lesion_net FILE --data.truth grade",
    "fit --config FILE",
    "fit --resume FILE",
    "validate --ckpt_path FILE",
    "test --ckpt_path FILE",
    "predict --ckpt_path FILE",
    "test --run FILE",
    "test --config FILE",
    "analyze STORE --checkpoint FILE",
    "analyze STORE --camera FILE",
    "analyze FILE",
    "camera STORE/photographs --checkpoint FILE --out cameras.json",
    "camera STORE/photographs --out FILE",
    "prepare folder FILE made-store",
    "export FILE given.safetensors",
    "compare FILE",
    "compare FILE FILE",
)


class Payload:
    """Unpickled by whoever trusts a file, it makes a file of its own."""

    def __reduce__(self):
        return Path.touch, (Path("made").absolute(),)


def hostile(kind, file):
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Payload(), protocol=2))
    elif kind == "torch":
        state = {"state_dict": {"network.a": torch.ones(1)}, "hyper_parameters": {"network": "lnet-32s"}}
        torch.save({**state, "retinalesion": {"format": 1}, "callbacks": Payload()}, file)
    elif kind == "old torch":
        torch.save(Payload(), file, _use_new_zipfile_serialization=False)
    else:
        file.write_text(f"model: !!python/object/apply:pathlib.Path.touch [{Path('made').absolute()}]\n")


# the other two kinds are told apart by the reader of checkpoints alone, which has tests of its own
KINDS = ["torch", "yaml", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("pickle", "old torch"))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", OPTIONS)
def test_no_option_that_takes_a_file_runs_what_is_in_it(
    option, kind, run, drawn_store, tmp_path, monkeypatch, refused, tiny
):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(tiny())
    hostile(kind, Path("given.bin"))
    store = str(drawn_store.path)
    words = option.replace("FILE", "given.bin").replace("STORE", store).split()
    refused(*words, *(["--data.store", store] if words[0] in ("fit", "validate", "test", "predict") else []))
    assert not Path("made").exists()


@pytest.fixture(scope="module")
def given(sian, tmp_path_factory):
    """A SiAN in each of the ways to name it, by kind; the first is the one that all others are made of."""
    file = tmp_path_factory.mktemp("given") / "small.safetensors"
    assert main(["export", str(sian), str(file)]) == 0
    return {
        "run": "graded",
        "folder": str(sian),
        "checkpoint": str(sian / "checkpoints/best.ckpt"),
        "exported": str(file),
    }


def test_an_exported_file_is_tested_as_its_run_is(given, sian, drawn_store, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    told = []
    for name, file in (("whole", given["checkpoint"]), ("small", given["exported"])):
        command = ["test", "--ckpt_path", file, "--run", name, "--data.store", str(drawn_store.path)]
        assert main([*command, "--data.truth", "grade", "--trainer.accelerator", "cpu"]) == 0
        told.append(json.loads(Path("runs", name, "test/grades.json").read_text()))
    assert told[0]["photographs"] == told[1]["photographs"] == 4
    assert told[0]["confusion"] == told[1]["confusion"]


def test_what_was_tested_without_its_run_is_compared_with_runs(
    run, drawn_store, monkeypatch, tmp_path, refused, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), "small.safetensors"]) == 0
    tested = ["test", "--data.store", str(drawn_store.path), "--trainer.accelerator", "cpu"]
    tested += ["--trainer.limit_test_batches", "2"]
    assert main([*tested, "--run", str(run)]) == 0
    assert main([*tested, "--ckpt_path", "small.safetensors", "--run", "runs/far"]) == 0
    shutil.copytree("runs/far", "runs/twin")
    assert main(["compare", str(run), "runs/far"]) == 0, capsys.readouterr().err
    table = Path("comparison/tables.csv").read_text("utf-8-sig")
    assert "[first]" in table  # two rows: of the one, batches and seeds are known
    assert "[far]" in table
    assert "same answers" in refused("compare", "runs/far", "runs/twin")


def test_a_fit_cannot_go_on_from_an_exported_file(given, refused):
    beside = Path(given["exported"]).parent
    before = sorted(beside.iterdir())
    assert "Begin a run with its weights: --model.weights" in refused("fit", "--resume", given["exported"])
    assert sorted(beside.iterdir()) == before


@pytest.mark.parametrize("kind", ["run", "exported"])
def test_a_lesion_network_is_taken_of_whatever_has_one(
    kind, given, sian, drawn_store, monkeypatch, tmp_path, tiny
):
    monkeypatch.chdir(tmp_path)
    Path("runs").symlink_to(sian.parent)
    Path("sian.yaml").write_text(tiny("sian", steps=1, grades=True))
    command = [
        "fit",
        "--config",
        "sian.yaml",
        "--data.store",
        str(drawn_store.path),
        "--run",
        str(tmp_path / "b"),
    ]
    assert main([*command, "--model.lesion_net", given[kind]]) == 0
    model = yaml.safe_load(Path("b/config.yaml").read_text())["model"]
    assert (model["lesion_network"], model["lesion_encoder"]) == ("lnet-32s", "test_efficientnet")


@pytest.mark.parametrize("kind", ["run", "folder", "exported"])
def test_photographs_are_analyzed_by_whatever_is_named(kind, given, sian, drawn_store, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("runs").symlink_to(sian.parent)
    photograph = next((drawn_store.path / "photographs").glob("*.png"))
    assert main(["analyze", str(photograph), "--checkpoint", given[kind]]) == 0
    assert Path("analysis/readings.csv").is_file()
