"""`fit`, `test`, `predict`, `compare` and `prepare` as a user types them."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from retinalesion.cli import COMMANDS, main
from retinalesion.commands import drawn
from retinalesion.errors import UserError
from retinalesion.networks.encoder import Encoder


def steps_of(checkpoint):
    return torch.load(checkpoint, weights_only=True)["global_step"]


def metrics_of(run):
    with (run / "metrics.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


def test_a_run_leaves_config_checkpoints_metrics_log_and_the_mark_of_its_end(run, drawn_store):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["encoder"] == "test_efficientnet"
    assert config["model"]["loss"] == "dual"  # defaults are written out
    assert config["data"] | {"store": str(drawn_store.path), "side": 96} == config["data"]
    assert steps_of(run / "checkpoints/best.ckpt") <= steps_of(run / "checkpoints/last.ckpt") == 4
    assert [row["val/pixel_f1"] != "" for row in metrics_of(run)].count(True) == 2
    assert (run / "finished").read_text().startswith("best counts; finished after 4 steps")


def test_the_end_of_fit_prints_a_test_command_that_runs(run, capsys):
    printed = next(line for line in (run / "log").read_text().splitlines() if "retinalesion test" in line)
    command = shlex.split(printed[printed.index("retinalesion test") :])
    assert main(command[1:]) == 0
    assert (run / "test" / "lesions.csv").is_file()
    assert len((run / "metrics.csv").read_text().splitlines()) == 3  # the fit's own are left alone


def test_compare_reads_what_test_wrote_and_shows_photographs(run, drawn_store, capsys):
    assert main(["test", "--run", "first"]) == 0
    id = drawn_store.split("test")[0].id
    photographs = ["--photographs", id, "--store", str(drawn_store.path)]
    assert main(["compare", "first", "--out", "compared", *photographs]) == 0
    shown = capsys.readouterr().out
    assert "L-Net-32s" in shown
    assert f"trained on store {drawn_store.fingerprint}" in " ".join(shown.split())
    page = Path("compared/index.html").read_text("utf-8")
    assert f"{id}, part test" in page
    assert page.count("data:image/jpeg") == 3  # the photograph, its truth, the run's maps
    with Path("compared/tables.csv").open(encoding="utf-8", newline="") as lines:
        scores = {row["score"] for row in csv.DictReader(lines)}
    assert {"pixel F1", "AUPR", "parameters", "multiply-adds", "seconds a photograph"} <= scores


def test_test_takes_the_newest_finished_run_and_what_is_typed_wins(run, capsys, caplog):
    unfinished = run.parent / "unfinished"
    (unfinished / "checkpoints").mkdir(parents=True, exist_ok=True)
    assert main(["test", "--data.evaluate", "val", "--model.flips", "true"]) == 0
    assert any("runs/first/checkpoints/best.ckpt" in message for message in caplog.messages)
    with (run / "test" / "photographs.csv").open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == 2  # val holds two


def test_predict_draws_any_photographs_at_their_own_size(run, drawn_store):
    photographs = drawn_store.path / "photographs"
    arguments = ["--photographs", str(photographs), "--probabilities"]
    assert main(["predict", "--run", "first", *arguments]) == 0
    with (run / "predict" / "readings.csv").open(newline="", encoding="utf-8-sig") as lines:
        assert [row["id"] for row in csv.DictReader(lines)] == [row.id for row in drawn_store.rows]
    assert len(list((run / "predict" / "overlays").glob("*.png"))) == len(drawn_store.rows)
    assert list((run / "predict" / "probabilities").glob("*_MA.png"))


def test_resume_goes_on_and_keeps_the_metrics(run, folder):
    copy = folder / "runs" / "resumed"
    shutil.copytree(run, copy)
    assert main(["fit", "--resume", "resumed", "--trainer.max_steps", "6"]) == 0
    assert steps_of(copy / "checkpoints/last.ckpt") == 6
    kept, new = metrics_of(copy)[:2], metrics_of(copy)[2:]
    assert [row["val/pixel_f1"] for row in kept] == [row["val/pixel_f1"] for row in metrics_of(run)]
    assert len(new) == 1
    assert "after 6 steps" in (copy / "finished").read_text()


def test_without_a_store_it_draws_one_and_goes_on_without_weights(run, folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(drawn, "SIDE", 96)
    monkeypatch.setattr(Encoder, "load_weights", unreachable)
    command = ["fit", "--config", "tiny.yaml", "--model.weights", "imagenet", "--trainer.max_steps", "1"]
    assert main([*command, "--data.batches", "1", "--run", "drawn"]) == 0
    assert "No store named" in caplog.text
    assert "random weights" in caplog.messages[-3]  # in the summary too
    assert yaml.safe_load((folder / "runs/drawn/config.yaml").read_text())["model"]["weights"] is None
    assert len(list(tmp_path.rglob("store.json"))) == 1


def unreachable(encoder, weights):
    raise UserError("could not be fetched. Set weights: FILE to read them, or weights: null.")


def test_on_a_named_store_it_stops_before_any_work_where_weights_cannot_be_had(
    run, drawn_store, monkeypatch, refused
):
    monkeypatch.setattr(Encoder, "load_weights", unreachable)
    command = ("fit", "--config", "tiny.yaml", "--data.store", str(drawn_store.path), "--run", "none")
    message = refused(*command, "--model.weights", "imagenet")
    assert "weights: FILE" in message
    assert "weights: null" in message
    assert not (run.parent / "none").exists()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("fti", "no command 'fti'"),
        ("fit --config nowhere.yaml", "nowhere.yaml: no such file here"),
        ("fit --config typo.yaml", "typo.yaml: unknown key 'model.nework'. Perhaps model.network was meant"),
        ("fit --config group.yaml", "group.yaml: unknown key 'modle'. Perhaps model was meant"),
        ("fit --config broken.yaml", "broken.yaml: not a config"),
        ("fit --config list.yaml", "list.yaml: not a config"),
        ("fit --config tiny.yaml --data.store nowhere", "nowhere: no finished store here"),
        ("fit --config tiny.yaml --data.batch_size many", "data.batch_size"),
        ("fit --config tiny.yaml --run first", "runs/first holds a run"),
        ("fit --resume nowhere", "runs/nowhere: no such run"),
        ("test --run nowhere", "runs/nowhere: no such run"),
        ("test --run unfinished", "best.ckpt: not there"),
        ("test --ckpt_path nowhere.ckpt", "nowhere.ckpt: no such checkpoint"),
        ("test --ckpt_path cut.ckpt", "cut.ckpt: cut off"),
        ("test --ckpt_path other.ckpt", "other.ckpt: not a checkpoint of retinalesion"),
        ("test --run first --model.network lnet-2s", "does not fit"),
        ("prepare", "layout"),
        ("prepare idrid nowhere store", "nowhere: no such folder"),
        ("prepare synthetic", "name the store's folder"),
        ("demo --out runs", "not a demo's"),
    ],
)
def test_a_mistake_is_one_message(run, refused, command, says):
    files = {
        "typo.yaml": "model: {nework: lnet-16s}",
        "group.yaml": "modle: {network: lnet-16s}",
        "broken.yaml": "model: {network",
        "list.yaml": "- model",
    }
    for name, text in files.items():
        (run.parent.parent / name).write_text(text)
    (run.parent / "unfinished").mkdir(exist_ok=True)
    whole = (run / "checkpoints/best.ckpt").read_bytes()
    (run.parent.parent / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    torch.save({"state_dict": {}}, run.parent.parent / "other.ckpt")
    assert says in refused(*command.split())


def test_without_any_finished_run_there_is_nothing_to_test(tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    assert "no finished run" in refused("test")


def test_prepare_checks_without_writing(tmp_path, capsys, drawn_store):
    assert main(["prepare", "folder", str(drawn_store.path), "--check", "--jobs", "1"]) == 0
    assert "Nothing wrong" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_prepare_makes_a_store(tmp_path):
    store = tmp_path / "store"
    command = ["prepare", "synthetic", str(store), "--count", "2", "--side", "96", "--jobs", "1"]
    assert main(command) == 0
    assert len(list((store / "photographs").glob("*.png"))) == 2
    assert json.loads((store / "store.json").read_text())["side"] == 96
