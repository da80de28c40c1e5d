"""`calibrate`: read once, fitted, written; told what is lacking; gone on with; and what it wrote is used."""

import csv
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from PIL import Image

from retinalesion.cli import main
from retinalesion.data.decode import sha256_of
from retinalesion.data.prepare import prepare
from retinalesion.data.prints import packed, prints_of
from retinalesion.data.store import Store, unpack, write_tables
from retinalesion.data.synthetic import SyntheticSource
from retinalesion.fitting.cases import Case, said
from retinalesion.fitting.refit import SITE
from retinalesion.networks.checkpoint import FORMAT, read_checkpoint, write_checkpoint
from retinalesion.networks.tables import grader, segmenter
from retinalesion.reading.reader import Reader, see
from retinalesion.reading.rule import Rule
from retinalesion.reading.stream import Readings
from retinalesion.report import calibrate

TINY = "test_efficientnet"
COUNT, ENOUGH, UNGRADED = 32, 28, 12


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Store:
    """Drawn photographs, as a site has them."""
    path = tmp_path_factory.mktemp("site") / "store"
    return prepare(SyntheticSource(count=COUNT, side=128, seed=5), path, side=64, jobs=1).store


def checkpoint_of(file, network, name="lnet-32s", **about):
    contents = {
        "hyper_parameters": {"network": name, "encoder": TINY},
        "retinalesion": {"format": FORMAT, "stage": "only", "fingerprint": "f", "side": 64, **about},
        "state_dict": {f"network.{key}": value for key, value in network.state_dict().items()},
    }
    write_checkpoint(contents, file)
    return file


@pytest.fixture(scope="module")
def lnet():
    network = segmenter("lnet-32s", TINY)
    network.learn_only(["MA", "iHE", "HaEx", "CWS"])
    return network


@pytest.fixture(scope="module")
def model(lnet, tmp_path_factory):
    """A checkpoint without a rule."""
    return checkpoint_of(tmp_path_factory.mktemp("model") / "model.ckpt", lnet)


class Looks:
    """What has been looked at, and after how many photographs somebody stops it."""

    def __init__(self):
        self.ids, self.stop_after = [], None


@pytest.fixture(scope="module", autouse=True)
def looks(site):
    """The network finds what was drawn, some of it less surely; a hundred photographs are fewer here."""
    told = Looks()
    stored = {row.id: unpack(site.planes(row.id)) for row in site.rows}

    def look(self, view, subject, spots=()):
        if len(told.ids) == told.stop_after:
            raise KeyboardInterrupt
        told.ids.append(subject.id)
        sure = np.float32(0.6 + 0.3 * (sum(map(ord, subject.id)) % 3 > 0))
        return see(subject, view, stored[subject.id] * sure, (), self.model, spots)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "look", look)
        patch.setattr("retinalesion.reading.reader.measure", lambda square: {})  # which takes longest
        patch.setattr("retinalesion.reading.reader.judge_view", lambda view: ())  # of few pixels as they are
        patch.setattr(calibrate, "FEWEST", ENOUGH)
        patch.setattr(calibrate, "FEWEST_OF_EACH", 6)
        patch.setattr(calibrate, "FEWEST_UNGRADED", UNGRADED)
        yield told


def said_by(*command):
    """What a command prints; it must end well."""
    said = StringIO()
    with redirect_stdout(said):
        assert main(["calibrate", *map(str, command)]) == 0
    return said.getvalue()


@pytest.fixture(scope="module")
def done(site, model, tmp_path_factory):
    """The file that was written, and what was said of it."""
    out = tmp_path_factory.mktemp("done") / "mine.safetensors"
    return out, said_by(site.path, "--checkpoint", model, "--out", out)


def rule_in(file) -> Rule:
    return Rule.from_dict(read_checkpoint(file).about["rule"])


def rows_beside(out):
    with (out.with_name(f"{out.stem}-readings") / "outcomes.csv").open(
        encoding="utf-8-sig", newline=""
    ) as csv_file:
        return list(csv.DictReader(csv_file))


def test_the_file_is_the_same_network_with_a_rule_that_tells_what_it_is_worth(done, model, site):
    old, new = read_checkpoint(model), read_checkpoint(done[0])
    assert new.about == {**old.about, "rule": new.about["rule"]}
    assert new.settings == old.settings
    told = rule_in(done[0]).told
    assert told["photographs"] == COUNT
    assert site.path.name in told["source"]
    assert told["groups"] == len({row.patient for row in site.rows})


def test_the_table_is_of_the_rows(done):
    rows, told = rows_beside(done[0]), rule_in(done[0]).told
    assert len(rows) == COUNT
    for name, figures in (("before", told["before"]), ("after", told["figures"])):
        ill = [row for row in rows if int(row["grade"]) >= 2]
        looked_at = [row[f"outcome {name}"] != "no referral" for row in ill]
        assert figures["sensitivity"][0] == pytest.approx(np.mean(looked_at))
    words = done[1]
    for name in ("AUROC of referable", "specificity, DR1", "uncertain", "retake"):
        assert name in words
    assert f"{told['figures']['AUROC'][0]:.3f}" in words
    assert len({row["fold"] for row in rows}) == 5
    groups = {row["group"]: row["fold"] for row in rows}
    assert all(groups[row["group"]] == row["fold"] for row in rows)


def test_what_was_written_is_read_by_analyze_and_judged_as_before_by_the_next_calibration(
    done, site, tmp_path
):
    file, rule = done[0], rule_in(done[0])
    assert main(["analyze", str(site.path), "--checkpoint", str(file), "--out", str(tmp_path / "a")]) == 0
    readings = list(Readings(tmp_path / "a" / "readings.jsonl"))
    for reading in readings:
        assert reading.outcome == said(Case(reading, "", 0), rule).outcome
        for name in ("source", "photographs", "sensitivity", "specificity"):
            assert reading.rule[name] == rule.told[name]
    assert {reading.outcome for reading in readings} >= {"refer", "no referral"}
    said_by(site.path, "--checkpoint", file, "--out", tmp_path / "again.ckpt")
    again = rule_in(tmp_path / "again.ckpt")
    healthy = [
        r.outcome == "no referral" for r in readings if r.truth_grade is not None and r.truth_grade < 2
    ]
    assert again.told["before"]["specificity"][0] == pytest.approx(np.mean(healthy))
    ratios = {again.referable.weights[name] / weight for name, weight in rule.referable.weights.items()}
    assert max(ratios) == pytest.approx(min(ratios))


def test_stopped_it_says_how_to_go_on_and_goes_on(done, site, model, tmp_path, looks, capsys):
    out = tmp_path / "mine.safetensors"
    command = ["calibrate", str(site.path), "--checkpoint", str(model), "--out", str(out)]
    looks.ids.clear()
    looks.stop_after = 10
    with pytest.raises(SystemExit) as stopped:
        main(command)
    looks.stop_after = None
    assert stopped.value.code == 130
    assert f"Go on with: retinalesion {' '.join(command)}" in capsys.readouterr().err
    assert not out.exists()
    assert main(command) == 0
    assert sorted(looks.ids) == sorted(row.id for row in site.rows)
    assert read_checkpoint(out).about == read_checkpoint(done[0]).about
    assert {file.name for file in out.with_name("mine-readings").iterdir()} == {
        "readings.jsonl",
        "outcomes.csv",
        "analysis.json",
    }


def with_rows(site, folder, change):
    """The same pictures in a store whose table says otherwise."""
    folder.mkdir()
    for part in ("photographs", "planes"):
        (folder / part).symlink_to(site.path / part)
    write_tables(folder, map(change, site.rows), site.info)
    return folder


def refused(capsys, *command):
    capsys.readouterr()
    assert main(["calibrate", *map(str, command)]) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return " ".join(told.split())


def test_what_cannot_be_is_told_before_anything_is_read(done, site, model, lnet, looks, tmp_path, capsys):
    store, out, ckpt = site.path, tmp_path / "new.ckpt", ("--checkpoint", model)
    looks.ids.clear()
    plain = checkpoint_of(tmp_path / "plain.ckpt", grader("plain", TINY), "plain")
    bare = with_rows(site, tmp_path / "bare", lambda row: replace(row, grade=-1))
    healthy = with_rows(site, tmp_path / "healthy", lambda row: replace(row, grade=min(row.grade, 1)))
    for words, *command in (
        ("is there already", store, *ckpt, "--out", done[0]),
        ("is there already", store, *ckpt, "--out", model),
        (r"ending .ckpt or .safetensors", store, *ckpt, "--out", tmp_path / "new.bin"),
        ("no maps of lesions", store, "--checkpoint", plain, "--out", out),
        ("0 graded photographs, 0 of them referable", bare, *ckpt, "--out", out),
        ("lacking are 6 referable ones. What", healthy, *ckpt, "--out", out),
        ("no finished store here", tmp_path, *ckpt, "--out", out),
        ("--healthy and --camera go with --ungraded", store, *ckpt, "--out", out, "--healthy", "0.5"),
        ("name one store", store, store, *ckpt, "--out", out),
        ("has no rule that could be moved", store, *ckpt, "--out", out, "--ungraded"),
        ("lies above 0", store, "--checkpoint", done[0], "--out", out, "--ungraded", "--healthy", "0"),
        ("Leave one of them out", store, *ckpt, "--out", out, "--ungraded", "--anew"),
        ("name 1 to", store, *ckpt, "--out", out, "--workers", "0"),
    ):
        assert words in refused(capsys, *command)
    assert not looks.ids
    assert not out.exists()
    assert not list(tmp_path.rglob("readings.jsonl"))


def test_photographs_that_trained_the_network_and_their_groups_are_left_out(
    site, lnet, tmp_path, capsys, looks
):
    one = site.rows[0]
    trained = checkpoint_of(tmp_path / "a.ckpt", lnet, photographs=packed(prints_of([one])))
    looks.ids.clear()
    said_by(site.path, "--checkpoint", trained, "--out", tmp_path / "b.ckpt")
    fellows = {row.id for row in site.rows if row.patient == one.patient}
    assert len(fellows) > 1
    assert {row.id for row in site.rows} - set(looks.ids) == fellows
    assert f"{len(fellows)} of {COUNT} graded photographs trained this network" in " ".join(
        capsys.readouterr().err.split()
    )
    many = checkpoint_of(tmp_path / "c.ckpt", lnet, earlier_photographs=packed(prints_of(site.rows[:20])))
    words = refused(capsys, site.path, "--checkpoint", many, "--out", tmp_path / "d.ckpt")
    assert f"of {COUNT}, of which the others trained this network" in words


def test_what_is_damaged_of_the_list_of_photographs_is_told(site, lnet, tmp_path, capsys):
    damaged = checkpoint_of(tmp_path / "a.ckpt", lnet, photographs="%%%%%")
    words = refused(capsys, site.path, "--checkpoint", damaged, "--out", tmp_path / "b.ckpt")
    assert "the list of photographs that trained it is damaged" in words


def test_photographs_without_grades_move_one_number(done, site, tmp_path):
    file, rule = done[0], rule_in(done[0])
    bare = with_rows(site, tmp_path / "bare", lambda row: replace(row, grade=-1))
    words = said_by(
        bare, "--ungraded", "--healthy", "0.4", "--checkpoint", file, "--out", tmp_path / "b.ckpt"
    )
    there = rule_in(tmp_path / "b.ckpt")
    assert there.offset
    assert replace(there, offset=0.0, told=rule.told) == rule
    assert there.told[SITE] in words
    assert "40% are assumed to be healthy" in words
    assert SITE not in rule.told


def test_files_will_do_and_those_that_trained_the_network_are_left_out(done, site, lnet, tmp_path, capsys):
    (tmp_path / "photographs").mkdir()
    ids = [row.id for row in site.rows[: UNGRADED + 1]]
    for id in ids:
        Image.fromarray(site.image(id)).save(tmp_path / "photographs" / f"{id}.png")
    known = sha256_of(tmp_path / "photographs" / f"{ids[0]}.png")[:16]
    trained = checkpoint_of(
        tmp_path / "a.ckpt", lnet, photographs=packed([known]), rule=read_checkpoint(done[0]).about["rule"]
    )
    command = ("--ungraded", "--checkpoint", trained, "--out", tmp_path / "b.ckpt")
    said_by(tmp_path / "photographs", *command)
    assert [one.id for one in Readings(tmp_path / "b-readings" / "readings.jsonl")] == sorted(ids[1:])
    assert "67% are assumed to be healthy" in rule_in(tmp_path / "b.ckpt").told[SITE]
    (tmp_path / "photographs" / f"{ids[1]}.png").unlink()
    words = refused(capsys, tmp_path / "photographs", *command[:-1], tmp_path / "c.ckpt")
    assert f"{UNGRADED - 1} photographs: 1 more are needed" in words
