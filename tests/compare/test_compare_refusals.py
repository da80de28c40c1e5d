"""What `compare` refuses: runs that do not belong together, damaged files, runs never tested."""

import csv
import re

import pytest

from retinalesion.cli import main
from retinalesion.compare.page import compare
from retinalesion.errors import UserError


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trained on store": "beef"}, "trained on different stores"),
        ({"tested on": {"store": "beef"}}, "tested on different stores"),
        ({"photographs": 20}, "tested on different photographs"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(tmp_path, change, said, make_run):
    tested = {"tested on": {"store": "f00d"}}
    first = make_run(tmp_path / "first", {"network": "lnet-8s", "loss": "dual"}, **tested)
    second = make_run(tmp_path / "second", {"network": "unet", "loss": "dice"}, **{**tested, **change})
    with pytest.raises(UserError, match=said) as refused:
        compare([first, second], tmp_path / "out")
    assert str(first) in str(refused.value)
    assert str(second) in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_the_same_seed_twice_is_no_second_seed(tmp_path, make_run):
    runs = [make_run(tmp_path / name, {"network": "unet", "loss": "dice"}, seed=4) for name in ("a", "b")]
    with pytest.raises(UserError, match=r"same seed \(4\)"):
        compare(runs, tmp_path / "out")
    with pytest.raises(UserError, match="named twice"):
        compare([runs[0], runs[0]], tmp_path / "out")


def test_other_truth_is_refused(tmp_path, make_run, write_rows):
    runs = [make_run(tmp_path / name, {"network": name, "loss": "dice"}) for name in ("unet", "danet")]
    file = runs[0] / "test/photographs.csv"
    rows = list(csv.DictReader(file.open(encoding="utf-8", newline="")))
    rows[0] |= {"MA_hits": 0, "MA_misses": 0}
    write_rows(file, rows)
    with pytest.raises(UserError, match="different truth"):
        compare(runs, tmp_path / "out")


def damaged(name, contents):
    return pytest.param(name, contents, id=f"{name}-{contents[:12]}")


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        damaged("test/summary.json", ""),
        damaged("test/summary.json", "[1, 2]"),
        damaged("test/summary.json", '{"photographs": 24}'),
        damaged("test/summary.json", '{"photographs": 24, "lesions": [3]}'),
        damaged("test/photographs.csv", ""),
        damaged("test/photographs.csv", "id,MA_hits\n"),
        damaged("test/photographs.csv", "id,MA_hits,MA_alarms,MA_misses\na,1,2\n"),
        damaged("test/photographs.csv", "id,MA_hits,MA_alarms,MA_misses\na,1,2,x\n"),
        damaged("test/photographs.csv", "id,MA_hits,MA_alarms,MA_misses\na,1,2,-3\n"),
        damaged("test/photographs.csv", "id,MA_hits,MA_alarms,MA_misses\na,1,2,3\na,1,2,3\n"),
        damaged("test/photographs.csv", "name,MA_hits\na,1\n"),
        damaged("test/photographs.csv", "id,MA_hits,MA_alarms,MA_misses\na,1,2,3\n"),
        damaged("config.yaml", "model: ["),
        damaged("config.yaml", "just words"),
        damaged("config.yaml", "model: 3"),
        damaged("config.yaml", "model: {loss: dual}"),
        damaged("test/summary.json", '{"photographs": 24, "tested on": "idrid"}'),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, contents, make_run):
    run = make_run(tmp_path / "run", {"network": "lnet-8s", "loss": "dual"})
    (run / name).write_text(contents, "utf-8")
    with pytest.raises(UserError, match=re.escape(str((run / name).parent))):
        compare([run], tmp_path / "out")


def test_bytes_that_are_no_text_are_refused(tmp_path, make_run):
    run = make_run(tmp_path / "run", {"network": "plain", "side": 448})
    (run / "test/grades.csv").write_bytes(b"\xff\xfe\x00grade")
    with pytest.raises(UserError, match=r"grades\.csv: damaged"):
        compare([run], tmp_path / "out")


def test_an_untested_run_is_told_how_to_be_tested(tmp_path, capsys, monkeypatch, make_run):
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path / "runs/first", {"network": "lnet-8s", "loss": "dual"})
    (run / "test/summary.json").unlink()
    assert main(["compare", "first"]) == 2
    assert "retinalesion test --run runs/first" in capsys.readouterr().err
    assert main(["compare", "second"]) == 2
    assert "no such run" in capsys.readouterr().err
