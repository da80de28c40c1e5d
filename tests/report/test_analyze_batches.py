"""A stopped batch goes on to the same end; nothing of the user's is deleted; one photograph stops nothing."""

import errno
import json
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from retinalesion.data.quality import LIMITS
from retinalesion.errors import UserError
from retinalesion.files import locked
from retinalesion.lesions import CODES
from retinalesion.reading.reader import Model, Reader
from retinalesion.reading.stream import Lines, Readings
from retinalesion.report.analyze import analyze
from retinalesion.report.outputs import Outputs

ANY = {name: (-float("inf"), float("inf")) for name in LIMITS}
COUNT = 5


class Dark(Reader):
    """Takes what is dark for MA."""

    def __init__(self):
        self.side, self.anatomy, self.model = 64, None, Model("dark", ("MA",), ANY)
        self.asked = []

    def maps_of(self, square):
        maps = np.zeros((len(CODES), self.side, self.side), np.float32)
        maps[0] = square.max(axis=2) < 60
        return maps, ()

    def look(self, view, subject, spots=()):
        self.asked.append(subject.id)
        return super().look(view, subject, spots)


@pytest.fixture
def reader(monkeypatch):
    one = Dark()
    monkeypatch.setattr(Reader, "from_checkpoint", lambda *_: one)
    monkeypatch.setattr("retinalesion.reading.reader.measure", lambda square: dict.fromkeys(LIMITS, 0.0))
    return one


@pytest.fixture
def eyes(tmp_path, reader, monkeypatch):
    """Photographs, in a folder where the user works."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "eyes"
    folder.mkdir()
    for number in range(COUNT):
        eye = np.full((70, 70, 3), 120, np.uint8)
        cv2.circle(eye, (20 + 5 * number, 30), 3, (40, 40, 40), cv2.FILLED)
        cv2.imwrite(str(folder / f"p{number}.png"), eye)
    return folder


def read(photographs="eyes", out="out", **options):
    return analyze(photographs, out, checkpoint=__file__, camera="none", **options)


def everything_in(out):
    files = (file for file in Path(out).rglob("*") if file.is_file())
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def stopped_at(monkeypatch, place, times, error):
    """Let a function raise at its calls of these numbers."""
    owner, name = place
    real, calls = getattr(owner, name), []

    def stop(*arguments, **options):
        calls.append(1)
        if len(calls) in times:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, stop)


@pytest.mark.parametrize("place", [(Outputs, "draw"), (Lines, "add"), (Outputs, "finish")])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), UserError("full")], ids=type)
def test_whatever_ends_a_batch_the_same_command_goes_on_to_the_same_end(
    eyes, reader, monkeypatch, place, error
):
    whole = list(read(out="whole"))
    stopped_at(monkeypatch, place, {1, 4, 6}, error)
    reader.asked.clear()
    for _ in range(5):
        try:
            read()
            break
        except type(error):
            lines = [reading.id for reading in Readings("out/readings.jsonl")]
            assert lines == [f"p{number}" for number in range(len(lines))]
            assert {file.stem for file in Path("out/planes").glob("*")} == set(lines), (
                "no plane without a line"
            )
    assert everything_in("out") == everything_in("whole")
    assert list(read()) == whole
    assert reader.asked.count("p0") <= 2
    assert reader.asked.count("p4") <= 2


def test_what_was_read_is_in_tables_and_report_when_it_is_stopped(eyes, monkeypatch, capsys):
    stopped_at(monkeypatch, (Outputs, "draw"), {4}, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        read()
    assert "3 of 5 photographs are read and kept" in capsys.readouterr().err
    rows = Path("out/readings.csv").read_text("utf-8-sig").splitlines()
    assert [row.split(",")[0] for row in rows] == ["id", "p0", "p1", "p2"]
    assert "p2" in Path("out/report/index.html").read_text("utf-8")


@pytest.mark.parametrize("named", [".", "store"])
def test_a_store_whose_prepare_was_killed_is_no_folder_of_photographs(eyes, reader, named):
    for name in ("photographs/p0.png", "planes/p0.png"):
        (eyes / "sets/store" / name).parent.mkdir(parents=True)
        shutil.copy(eyes / "p0.png", eyes / "sets/store" / name)
    (eyes / "sets/store/unfinished").mkdir()
    (eyes / "sets/store/unfinished/arguments.json").write_text("{}")
    with pytest.raises(UserError, match=r"sets/store: no finished store: its prepare has not ended"):
        read(eyes / "sets" / named)
    assert not Path("out").exists()


def test_a_line_that_was_cut_off_is_read_again(eyes):
    whole = read(out="whole")
    read()
    mark = json.loads(Path("out/analysis.json").read_text())
    Path("out/analysis.json").write_text(json.dumps(mark | {"finished": False}))
    lines = Path("out/readings.jsonl").read_bytes()
    Path("out/readings.jsonl").write_bytes(lines[: len(lines) * 2 // 3])  # as a killed writer leaves it
    assert list(read()) == list(whole)
    assert Path("out/readings.jsonl").read_bytes() == lines


def test_on_a_full_disk_no_half_line_is_left(eyes, monkeypatch):
    class Full:
        """The first half of the fourth line still fits."""

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            if b'"p3"' in bytes(data):
                self.file.write(bytes(data)[:50])
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

    opened = Path.open

    def opening(self, mode="r", *arguments, **options):
        file = opened(self, mode, *arguments, **options)
        return Full(file) if mode == "ab" else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opening)
        with pytest.raises(UserError, match=r"No space left on device.*Free some space"):
            read()
    assert len(Path("out/readings.jsonl").read_text().splitlines()) == 3
    assert not Path("out/planes/p3.png").exists()
    assert [reading.id for reading in read()] == [f"p{number}" for number in range(COUNT)]


@pytest.mark.slow
def test_on_a_disk_that_fills_at_five_sizes_it_goes_on_when_there_is_room(eyes):
    def sized(size, how="remount,"):
        words = ["mount", *(() if how else ("-t", "tmpfs")), "-o", f"{how}size={size}", "tmpfs", "disk"]
        return subprocess.run(words, capture_output=True).returncode == 0

    for number in range(COUNT, 30):
        eye = np.random.default_rng(number).integers(70, 200, (70, 70, 3), np.uint8)
        cv2.imwrite(str(eyes / f"p{number:02}.png"), eye)
    read(out="whole")
    Path("disk").mkdir()
    if not sized("100k", how=""):
        pytest.skip("no disk can be mounted here")
    try:
        for size in ("100k", "300k", "500k", "700k", "900k"):
            assert sized(size)
            with pytest.raises(UserError, match="No space left"):
                read(out="disk/out")
            kept = {reading.id for reading in Readings("disk/out/readings.jsonl")}
            assert {file.stem for file in Path("disk/out/planes").iterdir()} == kept
        assert sized("50m")
        read(out="disk/out")
        assert everything_in("disk/out") == everything_in("whole")
    finally:
        subprocess.run(["umount", "disk"], check=True)


def test_finished_it_is_not_read_again_unless_it_is_asked_for(eyes, reader):
    read()
    reader.asked.clear()
    assert len(read()) == COUNT
    assert reader.asked == []
    read(fresh=True)
    assert len(reader.asked) == COUNT


@pytest.mark.parametrize(
    ("change", "other"),
    [
        (lambda: shutil.copy("eyes/p0.png", "eyes/p9.png"), "photographs"),
        (lambda: Path("eyes/p0.png").write_bytes(Path("eyes/p4.png").read_bytes()), "photographs"),
        (lambda: {"probabilities": True}, "probabilities"),
    ],
)
def test_another_batch_does_not_go_on_with_a_half_done_one(eyes, monkeypatch, change, other):
    with monkeypatch.context() as patch:
        stopped_at(patch, (Outputs, "draw"), {3}, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            read()
    options = change()
    options = options if isinstance(options, dict) else {}
    before = everything_in("out")
    with pytest.raises(UserError, match=rf"unfinished.*other: {other}.*--fresh"):
        read(**options)
    assert everything_in("out") == before
    read(**options, fresh=True)
    assert everything_in("out").keys() >= {"readings.csv", "planes/p4.png"}


def test_an_earlier_analysis_goes_only_when_the_new_one_is_whole(eyes, monkeypatch):
    read("eyes/p0.png")
    before = everything_in("out")
    with monkeypatch.context() as patch:
        stopped_at(patch, (Outputs, "draw"), {3}, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            read()
        assert everything_in("out/earlier") == before
    assert len(read()) == COUNT
    assert not Path("out/earlier").exists()
    assert {file.name for file in Path("out/planes").iterdir()} == {
        f"p{number}.png" for number in range(COUNT)
    }


def test_a_kill_while_the_earlier_one_steps_aside_loses_nothing(eyes, monkeypatch):
    read("eyes/p0.png")
    before = everything_in("out")
    with monkeypatch.context() as patch:
        stopped_at(patch, (Path, "rename"), {4}, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            read()
    assert len(read("eyes/p0.png")) == 1
    assert everything_in("out") == before


@pytest.mark.parametrize("name", ["report/notes.txt", "planes/mine.png", "readings.csv", "analysis.json"])
def test_what_the_user_made_under_our_names_is_his(eyes, name):
    mine = Path("mine", name)
    mine.parent.mkdir(parents=True)
    mine.write_text('{"mine": true}')
    for fresh in (False, True):
        with pytest.raises(UserError, match=r"mine holds things.*Name a new or an empty folder"):
            read(out="mine", fresh=fresh)
    assert everything_in("mine") == {name: b'{"mine": true}'}


@pytest.mark.parametrize("stop", [None, KeyboardInterrupt()])
def test_what_a_spreadsheet_leaves_beside_our_tables_stops_nothing_and_stays(eyes, monkeypatch, stop):
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        if stop:
            stopped_at(patch, (Outputs, "draw"), {4}, stop)
        read()
    lock = Path("out/.~lock.readings.csv#")
    lock.write_text("somebody")
    assert len(read()) == COUNT
    assert len(read("eyes/p0.png")) == 1
    assert lock.read_text() == "somebody"


@pytest.mark.parametrize("name", ["readings.csv", "readings.jsonl", "report/index.html"])
def test_a_table_that_was_deleted_is_made_anew(eyes, name):
    assert len(read()) == COUNT
    before = everything_in("out")
    gone = Path("out", name)
    shutil.rmtree(gone.parent) if gone.parent.name == "report" else gone.unlink()
    assert len(read()) == COUNT
    assert everything_in("out") == before


@pytest.mark.parametrize("odd", ["pipe", "loop", "nowhere"])
def test_what_bears_the_name_of_a_photograph_and_is_none_is_a_row_of_it(eyes, odd):
    file = eyes / "p1_odd.png"
    os.mkfifo(file) if odd == "pipe" else file.symlink_to(file.name if odd == "loop" else odd)
    errors = [reading.error for reading in read()]
    assert [bool(error) for error in errors] == [False, False, True, False, False, False]
    assert errors[2].startswith("eyes/p1_odd.png: ")  # as it was named: tables are given away


@pytest.mark.parametrize(
    ("options", "says"),
    [({"photographs": []}, "no photographs named"), ({"workers": 0}, "workers 0: name 1 to")],
)
def test_nothing_to_read_and_nobody_to_read_it_leave_nothing(eyes, options, says):
    with pytest.raises(UserError, match=says):
        read(**options)
    assert not Path("out").exists()


def test_of_two_at_once_into_one_folder_the_second_is_refused(eyes):
    with locked(Path("out")), pytest.raises(UserError, match=f"in use by process {os.getpid()}"):
        read()
    assert len(read()) == COUNT


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("out of order"), cv2.error("assertion")])
@pytest.mark.parametrize("place", [(Dark, "maps_of"), (Outputs, "draw")])
def test_an_error_of_one_photograph_is_a_row_of_it(eyes, monkeypatch, place, error):
    stopped_at(monkeypatch, place, {2}, error)
    readings = read()
    assert [bool(reading.error) for reading in readings] == [False, True, False, False, False]
    assert type(error).__name__ in readings[1].error
    assert "eyes/p1.png" in readings[1].error
    assert not Path("out/planes/p1.png").exists()


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_what_is_not_finite_is_an_error_and_never_a_no(eyes, reader, monkeypatch, spoilt):
    maps_of = reader.maps_of

    def spoil(square):
        maps, _ = maps_of(square)
        maps[3, 5, 5] = spoilt
        return maps, ()

    monkeypatch.setattr(reader, "maps_of", spoil)
    (reading,) = read("eyes/p0.png", out="maps")
    assert "not finite" in reading.error
    assert reading.referable is None
    monkeypatch.setattr(reader, "maps_of", lambda square: (maps_of(square)[0], (spoilt, 0, 0, 0, 0)))
    (reading,) = read("eyes/p0.png", out="grades")
    assert "not finite" in reading.error


def test_a_name_that_is_no_unicode_and_one_that_is_a_formula(eyes):
    os.rename(b"eyes/p0.png", b"eyes/M\xfcller_links.png")  # noqa: PTH104 - bytes
    Path("eyes/p1.png").rename("eyes/=1+2.png")
    Path("eyes/p2.png").rename("eyes/Müller.png")
    assert len(read(["eyes", "eyes/=1+2.png"])) == COUNT + 1
    text = Path("out/readings.csv").read_bytes()
    assert text.startswith("\ufeffid,".encode()), "Excel takes it for UTF-8"
    assert "eyes/Müller.png".encode() in text
    assert b"eyes/M?ller_links.png" in text
    os.chdir("eyes")
    assert [one.file for one in read(["=1+2.png"], out="../second")] == ["=1+2.png"]
    row = Path("../second/readings.csv").read_text("utf-8-sig").splitlines()[1].split(",")
    assert row[:2] == ["_1_2", "'=1+2.png"]


def test_a_long_strip_is_refused_before_a_square_is_made_of_it(eyes):
    cv2.imwrite("eyes/strip.jpg", np.full((13000, 100, 3), 90, np.uint8))
    *_, reading = read()
    assert reading.id == "strip"
    assert "100 x 13000 pixels" in reading.error


def test_readings_are_read_from_their_file_when_they_are_asked_for(eyes):
    readings = read()
    assert isinstance(readings, Readings)
    assert len(readings) == COUNT
    assert [readings[place].id for place in (0, -1)] == ["p0", "p4"]
    assert [one.id for one in readings[1:3]] == ["p1", "p2"]
    assert list(readings) == list(Readings("out/readings.jsonl"))
    with pytest.raises(IndexError):
        readings[COUNT]
    assert list(Readings("nowhere.jsonl")) == []


def test_photographs_beside_an_analysis_json_of_the_users_are_read(eyes):
    Path("eyes/analysis.json").write_text("{}")
    assert len(read()) == COUNT


def test_a_path_of_three_hundred_characters_is_read(eyes):
    deep = Path("eyes", "a" * 150, "b" * 150)
    deep.mkdir(parents=True)
    shutil.copy("eyes/p0.png", deep / "p0.png")
    readings = read()
    assert len(readings) == COUNT + 1
    assert not any(reading.error for reading in readings)


def test_what_a_killed_writer_left_half_written_goes(eyes, monkeypatch):
    stopped_at(monkeypatch, (Outputs, "draw"), {3}, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        read()
    left = [Path("out/.readings.csv.123.part.csv"), Path("out/planes/.p2.png.123.part.png")]
    for file in left:
        file.touch()
    read()
    assert not any(file.exists() for file in left)
