"""`analyze` as a user types it, and `demo`."""

import json
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from retinalesion.cli import main
from retinalesion.commands import demo
from retinalesion.reading import reader
from retinalesion.report import analyze
from retinalesion.report.outputs import Outputs


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


def test_analyze_again_replaces_the_earlier_analysis_and_does_not_read_its_pictures(
    run, eyes, capsys, readings_in
):
    command = ["analyze", ".", "--checkpoint", str(run / "checkpoints/best.ckpt")]
    for out in ("analysis", "analysis", "second"):  # the last time beside the earlier one
        assert main([*command, "--out", out, "--fresh"]) == 0
        assert len(readings_in(Path(out))) == 3
    Path("eyes/left eye.png").unlink()
    assert main(command) == 0
    assert not Path("analysis/planes/left_eye.png").exists()
    table = readings_in(Path("analysis"))
    assert len(table) == 2
    assert table["eyes/<b>left & right.png"]["grade"] == ""  # an L-Net does not grade
    assert main(["analyze", "eyes/<b>left & right.png", *command[2:]]) == 0
    assert "1 photograph:" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_stopped_by_a_signal_it_says_so_and_how_to_go_on(
    run, eyes, capsys, monkeypatch, readings_in, name, status
):
    command = ["analyze", "eyes", "--checkpoint", str(run / "checkpoints/best.ckpt")]
    write, written = Outputs.write, []

    def signalled(self, *seen):
        written.append(1)
        if len(written) == 2:
            signal.raise_signal(getattr(signal, name))
        return write(self, *seen)

    monkeypatch.setattr(Outputs, "write", signalled)
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--fresh"])
    assert stopped.value.code == status
    said = capsys.readouterr().err
    assert f"Go on with: {shlex.join(['retinalesion', *command])}" in said
    assert "2 of 3 photographs are read and kept" in said  # one is a bad file
    assert len(readings_in(Path("analysis"))) == 2
    assert main(command) == 0
    assert len(readings_in(Path("analysis"))) == 3


def test_an_answer_that_is_not_finite_ends_with_status_2(run, eyes, refused, monkeypatch, readings_in):
    unpacked = reader.unpacked

    def spoilt(out, place, side):
        maps, grades = unpacked(out, place, side)
        return maps * np.float32("nan"), grades

    command = ("analyze", "eyes/left eye.png", "--checkpoint", str(run / "checkpoints/best.ckpt"))
    monkeypatch.setattr(reader, "unpacked", spoilt)
    refused(*command)
    assert "not finite" in readings_in(Path("analysis"))["eyes/left eye.png"]["error"]


def test_a_device_that_is_not_there_is_named(run, eyes, refused):
    command = ("analyze", "eyes", "--checkpoint", str(run / "checkpoints/best.ckpt"), "--device")
    assert "mps: this machine" in refused(*command, "mps")
    assert "abacus: no such device" in refused(*command, "abacus")
    assert not Path("analysis").exists()


def test_analyze_of_bad_photographs_alone_is_a_mistake_but_leaves_the_table(run, eyes, refused, readings_in):
    command = ("analyze", "eyes/broken.jpg", "--checkpoint", str(run / "checkpoints/best.ckpt"))
    assert "none of the photographs could be read" in refused(*command)
    assert readings_in(Path("analysis"))["eyes/broken.jpg"]["error"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("eyes",), "no model in the box. Name one: --checkpoint"),
        (("eyes", "--checkpoint", "nowhere.ckpt"), "nowhere.ckpt: no such checkpoint"),
        (("eyes", "--checkpoint", "eyes/broken.jpg"), "eyes/broken.jpg: not a checkpoint of retinalesion"),
        (("eyes", "--out", "eyes/broken.jpg"), "eyes/broken.jpg is a file. Name a new or an empty folder"),
        (
            ("eyes", "--out", "eyes"),
            "eyes holds other things (<b>left & right.png). Name a new or an empty folder with --out",
        ),
        (("nowhere",), "nowhere: no such file or folder"),
        (("empty",), "empty: no photographs in this folder"),
        ((), "photographs"),
    ],
)
def test_what_analyze_refuses(eyes, monkeypatch, refused, words, says):
    monkeypatch.setattr(analyze, "BOX", Path("nowhere"))  # no model in the box
    Path("empty").mkdir()
    assert says in refused("analyze", *words)
    assert len(list(eyes.iterdir())) == 3
    assert not Path("analysis").exists()


def test_the_demo_goes_all_the_way_and_is_made_anew(
    drawn_store, tmp_path, monkeypatch, capsys, tiny, readings_in
):
    monkeypatch.chdir(tmp_path)  # where its configs are found before the shipped ones
    monkeypatch.setattr(demo, "SIDE", 96)
    monkeypatch.setattr(demo, "PHOTOGRAPHS", 16)
    monkeypatch.setattr(demo, "BOX", Path("nowhere"))
    Path("demo.yaml").write_text(tiny(steps=2))
    Path("demo-sian.yaml").write_text(tiny("sian", steps=2, grades=True))
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
