"""The commands as a user types them, on drawn photographs and a tiny encoder."""

import csv
import json
import logging
import os
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from retinalesion.cli import COMMANDS, main
from retinalesion.commands import demo, drawn
from retinalesion.commands.fit import newest_lesion_net
from retinalesion.errors import UserError
from retinalesion.networks.encoder import Encoder
from retinalesion.report import analyze

TINY = """\
model: {network: lnet-32s, encoder: test_efficientnet, weights: null}
data: {batch_size: 2, batches: 2, workers: 0}
trainer: {max_steps: 4, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
"""
TINY_SIAN = TINY.replace("network: lnet-32s", "network: sian").replace("data: {", "data: {truth: grade, ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the user works."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def run(folder, drawn_store):
    """A finished run named ``first``."""
    (folder / "tiny.yaml").write_text(TINY)
    before = Path.cwd()
    os.chdir(folder)
    try:
        # options may stand before the command, as users type them
        command = ["--config", "tiny.yaml", "fit", "--data.store", str(drawn_store.path), "--run", "first"]
        assert main(command) == 0
    finally:
        os.chdir(before)
    return folder / "runs" / "first"


def refused(capsys, *command):
    """The message with which a command ends; it must be a message, with status 2."""
    capsys.readouterr()
    assert main(command) == 2
    message = capsys.readouterr().err.splitlines()
    assert "Traceback" not in message
    return " ".join(line for line in message if line)


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
    with (run / "predict" / "readings.csv").open(newline="") as lines:
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
    run, drawn_store, monkeypatch, capsys
):
    monkeypatch.setattr(Encoder, "load_weights", unreachable)
    command = ("fit", "--config", "tiny.yaml", "--data.store", str(drawn_store.path), "--run", "none")
    message = refused(capsys, *command, "--model.weights", "imagenet")
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
        ("test --ckpt_path cut.ckpt", "cut.ckpt: cut off, or not a checkpoint"),
        ("test --ckpt_path other.ckpt", "other.ckpt: cut off, or not a checkpoint"),
        ("test --run first --model.network lnet-2s", "does not fit"),
        ("prepare", "layout"),
        ("prepare idrid nowhere store", "nowhere: no such folder"),
        ("prepare synthetic", "name the store's folder"),
        ("demo --out runs", "not a demo's"),
    ],
)
def test_a_mistake_is_one_message(run, capsys, command, says):
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
    assert says in refused(capsys, *command.split())


def test_without_any_finished_run_there_is_nothing_to_test(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "no finished run" in refused(capsys, "test")


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


@pytest.fixture(scope="module")
def sian(run, drawn_store, tmp_path_factory):
    """A finished SiAN, fitted beside two L-Nets of which none was named; and what was said meanwhile."""
    folder, said = tmp_path_factory.mktemp("sian"), logging.StreamHandler()
    (folder / "tiny-sian.yaml").write_text(TINY_SIAN)
    for name in ("older", "newer"):
        shutil.copytree(run, folder / "runs" / name)
    os.utime(folder / "runs/older/finished", (0, 0))
    before = Path.cwd()
    os.chdir(folder)
    said.setStream((folder / "said").open("w"))
    logging.getLogger("retinalesion").addHandler(said)
    try:
        store = str(drawn_store.path)
        assert main(["fit", "--config", "tiny-sian.yaml", "--data.store", store, "--run", "graded"]) == 0
        assert newest_lesion_net().parts[1] == "newer"  # though SiAN finished later
    finally:
        logging.getLogger("retinalesion").removeHandler(said)
        os.chdir(before)
    return folder / "runs" / "graded"


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
        (("--model.lesion_net", "nowhere.ckpt"), "nowhere.ckpt: no such checkpoint of a lesion network"),
        (("--model.lesion_net", "SIAN"), "holds sian, not a lesion network"),
        (("--model.lesion_net", "tiny-sian.yaml"), "tiny-sian.yaml: cut off, or not a checkpoint"),
    ],
)
def test_a_lesion_network_that_is_none(sian, drawn_store, tmp_path, monkeypatch, capsys, lesion_net, says):
    monkeypatch.chdir(tmp_path)
    Path("tiny-sian.yaml").write_text(TINY_SIAN)
    words = [str(sian / "checkpoints/best.ckpt") if word == "SIAN" else word for word in lesion_net]
    command = ("fit", "--config", "tiny-sian.yaml", "--data.store", str(drawn_store.path), *words)
    assert says in refused(capsys, *command)
    assert not Path("runs").exists()


@pytest.fixture(scope="module")
def classifier(drawn_store, tmp_path_factory):
    """The folder of a user whose only finished run, ``lesions``, is of a lesion classifier."""
    folder, before = tmp_path_factory.mktemp("classifier"), Path.cwd()
    (folder / "tiny.yaml").write_text(TINY.replace("lnet-32s", "lesions-plain"))
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
def test_of_a_lesion_classifier_no_reading_is_made(classifier, drawn_store, monkeypatch, capsys, command):
    monkeypatch.chdir(classifier)
    words = command.replace("STORE", str(drawn_store.path)).split()
    assert "but not where" in refused(capsys, *words)
    assert not any(Path(left).exists() for left in ("runs/lesions/predict", "analysis", "small.safetensors"))


def test_lesion_concat_takes_a_lesion_classifier_and_sian_does_not(
    classifier, drawn_store, tmp_path, monkeypatch, capsys
):
    shutil.copytree(classifier / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    Path("grade.yaml").write_text(TINY_SIAN)
    fit = ("fit", "--config", "grade.yaml", "--data.store", str(drawn_store.path), "--run", "graded")
    named = ("--model.lesion_net", "runs/lesions/checkpoints/best.ckpt")
    assert "holds lesions-plain, not a lesion network" in refused(capsys, *fit, *named)
    assert "no finished run of one" in refused(capsys, *fit)
    assert main([*fit, "--model.network", "lesion-concat"]) == 0  # the newest finished lesion model
    model = yaml.safe_load(Path("runs/graded/config.yaml").read_text())["model"]
    assert (model["lesion_network"], model["lesion_encoder"]) == ("lesions-plain", "test_efficientnet")
    assert main(["test"]) == 0
    assert {file.name for file in Path("runs/graded/test").iterdir()} >= {"grades.json", "grades.csv"}


@pytest.fixture
def eyes(drawn_store, tmp_path, monkeypatch):
    """A folder with good photographs of odd names and a bad one, in an empty folder where the user works."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "eyes").mkdir()
    first, second, *_ = sorted((drawn_store.path / "photographs").iterdir())
    shutil.copy(first, "eyes/<b>left & right.png")
    shutil.copy(second, "eyes/left eye.png")
    Path("eyes/broken.jpg").write_text("not a picture")
    return tmp_path / "eyes"


def readings_in(out):
    with (out / "readings.csv").open(newline="") as lines:
        return {row["file"]: row for row in csv.DictReader(lines)}


def test_analyze_reads_files_folders_and_stores_and_no_bad_photograph_stops_it(
    sian, eyes, drawn_store, capsys
):
    shutil.copytree(drawn_store.path, "store")
    tested = [row.id for row in drawn_store.split("test")]
    Path(f"store/photographs/{tested[0]}.png").write_bytes(b"")
    words = ["eyes/left eye.png", "eyes", "store", "--split", "test", "--out", "out", "--probabilities"]
    assert main(["analyze", *words, "--checkpoint", str(sian / "checkpoints/best.ckpt")]) == 0
    shown = capsys.readouterr().out
    assert "8 photographs" in shown
    assert "2 could not be opened" in shown
    assert "Report: out/report/index.html" in shown
    lines = [json.loads(line) for line in Path("out/readings.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines[:4]] == ["left_eye", "_b_left_right", "broken", "left_eye-2"]
    assert [line["id"] for line in lines[4:]] == tested
    assert [bool(line["error"]) for line in lines] == [False, False, True, False, True, False, False, False]
    for line in lines:
        assert Path(f"out/planes/{line['id']}.png").is_file() == (not line["error"])
        assert bool(list(Path("out/probabilities").glob(f"{line['id']}_*.png"))) == (not line["error"])
    assert "not a picture" in lines[2]["error"]
    assert sum(line["truth_grade"] is not None for line in lines) == 3  # those of the store
    page = Path("out/report/index.html").read_text()
    assert "<b>left" not in page
    assert "&lt;b&gt;left &amp; right.png" in page


def test_analyze_again_replaces_the_earlier_analysis_and_does_not_read_its_pictures(run, eyes, capsys):
    command = ["analyze", ".", "--checkpoint", str(run / "checkpoints/best.ckpt")]
    for out in ("analysis", "analysis", "second"):  # the last time beside the earlier one
        assert main([*command, "--out", out]) == 0
        assert len(readings_in(Path(out))) == 3
    Path("eyes/left eye.png").unlink()
    assert main(command) == 0
    assert not Path("analysis/planes/left_eye.png").exists()
    table = readings_in(Path("analysis"))
    assert len(table) == 2
    assert table["eyes/<b>left & right.png"]["grade"] == ""  # an L-Net does not grade
    assert main(["analyze", "eyes/<b>left & right.png", *command[2:]]) == 0
    assert "1 photograph:" in capsys.readouterr().out


def test_analyze_of_bad_photographs_alone_is_a_mistake_but_leaves_the_table(run, eyes, capsys):
    command = ("analyze", "eyes/broken.jpg", "--checkpoint", str(run / "checkpoints/best.ckpt"))
    assert "none of the photographs could be read" in refused(capsys, *command)
    assert readings_in(Path("analysis"))["eyes/broken.jpg"]["error"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("eyes",), "no model in the box. Name one: --checkpoint"),
        (("eyes", "--checkpoint", "nowhere.ckpt"), "nowhere.ckpt: no such checkpoint"),
        (("eyes", "--checkpoint", "eyes/broken.jpg"), "cut off, or not a checkpoint"),
        (("eyes", "--out", "eyes/broken.jpg"), "eyes/broken.jpg is a file. Name a new or an empty folder"),
        (("eyes", "--out", "eyes"), "eyes holds other things. Name a new or an empty folder with --out"),
        (("nowhere",), "nowhere: no such file or folder"),
        (("empty",), "empty: no photographs in this folder"),
        ((), "photographs"),
    ],
)
def test_what_analyze_refuses(eyes, monkeypatch, capsys, words, says):
    monkeypatch.setattr(analyze, "BOX", Path("nowhere"))  # no model in the box
    Path("empty").mkdir()
    assert says in refused(capsys, "analyze", *words)
    assert len(list(eyes.iterdir())) == 3
    assert not Path("analysis").exists()


def test_the_demo_goes_all_the_way_and_is_made_anew(drawn_store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where its configs are found before the shipped ones
    monkeypatch.setattr(demo, "SIDE", 96)
    monkeypatch.setattr(demo, "PHOTOGRAPHS", 16)
    monkeypatch.setattr(demo, "BOX", Path("nowhere"))
    for name, text in {"demo.yaml": TINY, "demo-sian.yaml": TINY_SIAN}.items():
        Path(name).write_text(text.replace("max_steps: 4", "max_steps: 2"))
    earlier = tmp_path / "demo"
    shutil.copytree(drawn_store.path, earlier / "store")
    for stale in ("lnet/config.yaml", "drawn/planes/stale.png"):
        (earlier / stale).parent.mkdir(parents=True)
        (earlier / stale).touch()
    assert main(["demo", "--out", str(earlier)]) == 0
    assert len(list((earlier / "drawn/planes").iterdir())) == len(readings_in(earlier / "drawn")) == 4
    printed = capsys.readouterr().out.splitlines()[-1]
    assert Path(printed.rpartition(": ")[2]).is_file()


def test_a_demo_stopped_while_it_drew_is_made_anew_but_nothing_else_is(tmp_path):
    assert demo._is_ours(tmp_path / "new")
    (tmp_path / "store" / "unfinished").mkdir(parents=True)
    assert demo._is_ours(tmp_path)
    (tmp_path / "mine").touch()
    assert not demo._is_ours(tmp_path)
    assert not demo._is_ours(tmp_path / "mine")
