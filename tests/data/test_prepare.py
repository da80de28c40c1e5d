import dataclasses
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from retinalesion.data.photograph import Photograph, Pixels
from retinalesion.data.prepare import prepare
from retinalesion.data.store import Store, unpack
from retinalesion.errors import PhotographError, UserError

LOOKED_FOR = frozenset({"MA", "iHE", "NV"})
SIZE = (90, 140)  # a disc cut above and below


class DrawnSource:
    """Photographs drawn from their number: p0 to p4 with masks, p5 to p8 with grades, p5 twin of p0."""

    name = "drawn"
    notes = ("Drawn for a test.",)

    def __init__(self, bad=(), stop_at="", more=()):
        self.bad = bad
        self.stop_at = stop_at
        self.more = more
        self.read_ids = []

    def photographs(self):
        annotated = [Photograph(f"p{n}", f"{n}.jpg", LOOKED_FOR, patient=f"P{n}") for n in range(5)]
        grades = {"p5": 3, "p6": 0, "p7": 0, "p8": 2}
        graded = [Photograph(id, id, grade=grade, file=Path(f"{id}.jpg")) for id, grade in grades.items()]
        return [*annotated, *graded, *self.more]

    def read(self, photograph):
        self.read_ids.append(photograph.id)
        if photograph.id == self.stop_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if photograph.id in self.bad:
            raise PhotographError(f"{photograph.id}.jpg: cut off. Copy it again.")
        number = int(photograph.id[1:])
        rgb = draw({5: 0}.get(number, number))
        planes, ignored = {}, {}
        if photograph.annotated:
            planes = {"MA": spot(30 + number, 40, 1), "iHE": spot(50, 60 + number, 6)}
            planes["NV"] = spot(48, 62, 4)  # overlaps the haemorrhage
        if number == 2:
            ignored = {"MA": spot(40, 90, 5)}
        sha256 = hashlib.sha256(photograph.id.encode()).hexdigest()
        return Pixels(rgb, planes, ignored, sha256)


def draw(number):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    inside = (rows - 45) ** 2 + (columns - 70) ** 2 < 55**2
    texture = np.kron(np.random.default_rng(number).integers(0, 90, (12, 18)), np.ones((8, 8)))
    rgb = (np.array([150.0, 70, 40]) + texture[: SIZE[0], : SIZE[1], None]) * inside[..., None]
    return rgb.astype(np.uint8)


def spot(row, column, radius):
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def make(path, source=None, **arguments):
    return prepare(source or DrawnSource(), path, **{"side": 64, "jobs": 1, **arguments})


@pytest.fixture
def whole(tmp_path):
    return make(tmp_path / "whole").store


def test_a_store_is_a_folder_of_pictures_and_a_table(whole):
    assert {entry.name for entry in whole.path.iterdir()} == {
        "store.json",
        "photographs.csv",
        "originals.csv",
        "photographs",
        "planes",
        "ignored",
    }
    assert [row.id for row in whole.rows] == [f"p{number}" for number in range(9)]
    assert whole.info["notes"] == ["Drawn for a test."]
    for row in whole.rows:
        assert whole.image(row.id).shape == (64, 64, 3)
        assert (row.width, row.height) == SIZE[::-1]
        assert row.box.side == pytest.approx(110, abs=3)
        assert row.box.y < 0


def test_planes_lie_where_the_masks_were_and_are_counted(whole):
    for row in whole.rows[:5]:
        planes = unpack(whole.planes(row.id))
        assert {"MA": planes[0].sum(), "iHE": planes[1].sum(), "NV": planes[6].sum()} == row.pixels
        scale = row.box.side / 64
        found = np.argwhere(planes[1]).mean(axis=0) * scale + (row.box.y, row.box.x) + scale / 2
        assert found == pytest.approx((50.5, 60.5 + int(row.id[1])), abs=0.7)
        assert (planes[1] & planes[6]).any()
    assert whole.rows[5].pixels == {}


def test_ignored_pixels_are_kept_only_where_there_are_any(whole):
    assert [row.id for row in whole.rows if whole.ignored(row.id) is not None] == ["p2"]
    assert unpack(whole.ignored("p2")).any(axis=(1, 2)).tolist() == [True] + 7 * [False]


def test_a_photograph_without_a_grade_takes_its_twins(whole):
    by_id = {row.id: row for row in whole.rows}
    assert by_id["p0"].twins == ("p5",)
    assert by_id["p5"].twins == ("p0",)
    assert (by_id["p0"].grade, by_id["p1"].grade) == (3, -1)
    assert by_id["p0"].split == by_id["p5"].split


def test_twins_hand_on_their_risk_of_oedema_as_they_do_grades(tmp_path):
    class Source(DisputedSource):
        def photographs(self):
            risk = {"p5": 2, "p6": 1, "p10": 0}
            return [dataclasses.replace(p, oedema=risk.get(p.id, -1)) for p in super().photographs()]

    source = Source(more=(Photograph("p10", "", grade=0), Photograph("p11", "")))
    by_id = {row.id: row for row in make(tmp_path / "store", source).store.rows}
    assert by_id["p0"].oedema == by_id["p5"].oedema == 2
    assert [by_id[id].oedema for id in ("p6", "p10", "p11", "p1")] == [1, 0, -1, -1]
    with pytest.raises(UserError, match="other photographs, patients, grades or oedema"):
        make(tmp_path / "store", DisputedSource(more=source.more))


class DisputedSource(DrawnSource):
    """p10 and p11 show the same as p6, which is graded DR0."""

    def read(self, photograph):
        pixels = super().read(photograph)
        same = photograph.id in ("p10", "p11")
        return dataclasses.replace(pixels, rgb=draw(6)) if same else pixels


def test_twins_with_different_grades_keep_both_and_are_listed(tmp_path):
    source = DisputedSource(more=(Photograph("p10", "", grade=2), Photograph("p11", "")))
    store = make(tmp_path / "store", source, healthy=True).store
    by_id = {row.id: row for row in store.rows}
    assert store.info["twins_graded_differently"] == [{"p6": 0, "p10": 2}]
    assert (by_id["p6"].grade, by_id["p10"].grade, by_id["p11"].grade) == (0, 2, -1)
    assert not by_id["p6"].annotated, "a grade in dispute is no ground to call an eye free of lesions"
    assert by_id["p7"].annotated


def test_healthy_photographs_enter_as_annotated_and_empty_and_the_store_says_so(whole, tmp_path):
    store = make(tmp_path / "healthy", healthy=True).store
    assert {row.id for row in store.rows if row.annotated == LOOKED_FOR} == {
        f"p{n}" for n in (*range(5), 6, 7)
    }
    assert next(row for row in store.rows if row.id == "p6").pixels == {"MA": 0, "iHE": 0, "NV": 0}
    assert any("2 photographs graded DR0" in note for note in store.info["notes"])
    assert [row.split for row in store.rows] == [row.split for row in whole.rows]


def test_a_photograph_graded_dr0_whose_twin_bears_masks_is_not_called_healthy(tmp_path):
    class Source(DrawnSource):
        def photographs(self):
            return [dataclasses.replace(p, grade=0) if p.id == "p5" else p for p in super().photographs()]

    store = make(tmp_path / "store", Source(), healthy=True).store
    assert not next(row for row in store.rows if row.id == "p5").annotated


def test_healthy_without_any_annotation_is_refused(tmp_path):
    class Source(DrawnSource):
        def photographs(self):
            return super().photographs()[5:]

    with pytest.raises(UserError, match="--healthy needs"):
        make(tmp_path / "store", Source(), healthy=True)


def test_runs_at_two_sides_share_their_fingerprint(whole, tmp_path):
    assert make(tmp_path / "small", side=32).store.fingerprint == whole.fingerprint
    assert make(tmp_path / "other", seed=1).store.fingerprint != whole.fingerprint


def test_two_processes_make_what_one_makes(whole, tmp_path):
    assert contents(make(tmp_path / "two", jobs=2).store.path) == contents(whole.path)


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from test_prepare import DrawnSource, make
make(sys.argv[2], DrawnSource(stop_at="p4"))
"""


def test_killed_and_run_again_it_goes_on_and_makes_the_same(whole, tmp_path):
    path = tmp_path / "killed"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(Path(__file__).parent), str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    with pytest.raises(UserError, match="no finished store"):
        Store(path)
    (path / "photographs" / ".p4.png.123.part.png").write_bytes(b"half")  # killed in mid-write
    (path / "unfinished" / "p1.json").write_text('{"width"')  # lost power
    source = DrawnSource()
    make(path, source)
    assert source.read_ids == ["p1", "p4", "p5", "p6", "p7", "p8"]
    assert contents(path) == contents(whole.path)


def test_a_finished_store_is_opened_without_reading_a_photograph(whole, capsys):
    source = DrawnSource()
    assert make(whole.path, source).store.fingerprint == whole.fingerprint
    assert source.read_ids == []
    assert "finished already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"side": 32}, "side 64 there, 32 here"),
        ({"seed": 5}, "seed 0 there, 5 here"),
        ({"healthy": True}, "healthy"),
        ({"source": DrawnSource(more=(Photograph("p9", ""),))}, "other photographs"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_arguments_are_refused_by_name(tmp_path, arguments, message, finished):
    path = tmp_path / "store"
    if finished:
        make(path)
    else:
        with pytest.raises(PhotographError):
            make(path, DrawnSource(bad=("p3",)))
    with pytest.raises(UserError, match=message) as refused:
        make(path, **arguments)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bad_photograph_stops_by_name_and_nothing_looks_finished(tmp_path, jobs):
    with pytest.raises(PhotographError, match=r"p7\.jpg: cut off(.|\n)*--skip-bad"):
        make(tmp_path / "store", DrawnSource(bad=("p7",)), jobs=jobs)
    assert not (tmp_path / "store" / "store.json").exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_photographs_are_left_out_and_listed(tmp_path, capsys, jobs):
    path = tmp_path / "store"
    with pytest.raises(PhotographError):
        make(path, DrawnSource(bad=("p1", "p7")), jobs=jobs)
    made = make(path, DrawnSource(bad=("p1", "p7")), skip_bad=True, jobs=jobs)
    assert [row.id for row in made.store.rows] == ["p0", "p2", "p3", "p4", "p5", "p6", "p8"]
    assert [(skipped.id, skipped.file) for skipped in made.skipped] == [("p1", ""), ("p7", "p7.jpg")]
    assert "p7.jpg: cut off. Copy it again." in (path / "skipped.csv").read_text()
    assert "left out: 2" in capsys.readouterr().out
    assert make(path, skip_bad=True).skipped == made.skipped


def test_a_set_of_bad_photographs_only_makes_no_store(tmp_path):
    with pytest.raises(UserError, match="no photograph could be used"):
        make(tmp_path / "store", DrawnSource(bad=[f"p{n}" for n in range(9)]), skip_bad=True)


def test_a_full_disk_is_told_and_freed_the_run_goes_on(whole, tmp_path, monkeypatch):
    path = tmp_path / "store"
    write_bytes = Path.write_bytes

    def full(self, data):
        if "p3" in self.name:
            write_bytes(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match="No space left on device") as stopped:
            make(path, skip_bad=True)
    assert not isinstance(stopped.value, PhotographError), "a full disk is not the photograph's fault"
    assert not (path / "store.json").exists()
    assert not list(path.rglob("*p3*"))
    make(path)
    assert contents(path) == contents(whole.path)


def test_where_nothing_may_be_written_it_says_so(tmp_path, monkeypatch):
    def forbidden(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(UserError, match="Permission denied"):
        make(tmp_path / "store")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_not_a_store_is_left_alone(tmp_path, kind):
    path = tmp_path / "mine"
    if kind == "file":
        path.write_text("letters")
    else:
        path.mkdir()
        (path / "letters.txt").write_text("letters")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"is a file|holds other files"):
        make(path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"side": 8}, "side is 8"),
        ({"side": 100_000}, "side is 100000"),
        ({"seed": -1}, "seed is -1"),
        ({"jobs": 0}, "jobs is 0"),
        ({"source": DrawnSource(more=(Photograph("P3", "again"),))}, "would be called P3"),
    ],
)
def test_senseless_arguments_are_refused_before_any_work(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        make(tmp_path / "store", **arguments)
    assert not (tmp_path / "store").exists()


def test_an_empty_set_is_refused(tmp_path):
    class Empty(DrawnSource):
        def photographs(self):
            return []

    with pytest.raises(UserError, match="no photographs"):
        make(tmp_path / "store", Empty())


def test_a_mark_outside_the_field_is_not_lost(tmp_path):
    class Source(DrawnSource):
        def read(self, photograph):
            pixels = super().read(photograph)
            return dataclasses.replace(pixels, planes={**pixels.planes, "MA": spot(45, 137, 1)})

    store = make(tmp_path / "store", Source()).store
    row = store.rows[1]
    assert row.box.x + row.box.side >= 139
    assert row.pixels["MA"] >= 1
    assert "p5" in store.rows[0].twins, "twins are told by the field, not by the grown box"


def test_store_json_is_readable_and_says_how_it_was_made(whole):
    info = json.loads((whole.path / "store.json").read_text("utf-8"))
    assert {"format": 1, "side": 64, "seed": 0, "source": "drawn", "healthy": False}.items() <= info.items()
