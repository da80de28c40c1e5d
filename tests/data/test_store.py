import csv
import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from retinalesion.data.store import Row, Store, fingerprint, pack, stored_of, unpack, write_tables
from retinalesion.errors import UserError
from retinalesion.files import replace_file, write_csv, write_png
from retinalesion.geometry import Box, Disc, Point
from retinalesion.lesions import CODES

INFO = {"side": 32, "source": "test", "seed": 0, "fingerprint": "abc"}
FULL_ROW = Row(
    id="p-1",
    name="Größe, 1.jpg",
    split="val",
    width=640,
    height=480,
    box=Box(-3, 20, 400),
    sha256="ab" * 32,
    patient="P 7",
    eye="left",
    grade=3,
    annotated=frozenset({"MA", "NV"}),
    disc=Disc(120.5, 240.25, 60.0),
    fovea=Point(300.0, 250.0),
    twins=("p-2", "p-3"),
    pixels={"MA": 12, "NV": 0},
    oedema=2,
)
PLAIN_ROW = Row("p-0", "0.jpg", "train", 10, 10, Box(0, 0, 10), "cd" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_tables(tmp_path, [FULL_ROW, PLAIN_ROW], INFO)
    return tmp_path


def test_rows_come_back_as_written_in_order_of_id(store):
    assert Store(store).rows == (PLAIN_ROW, FULL_ROW)


def test_a_disc_of_unknown_diameter_comes_back(tmp_path):
    row = Row("a", "a", "train", 9, 9, Box(0, 0, 9), "", disc=Disc(4.0, 5.0, float("nan")))
    write_tables(tmp_path, [row], INFO)
    disc = Store(tmp_path).rows[0].disc
    assert disc is not None
    assert (disc.x, disc.y) == (4.0, 5.0)
    assert np.isnan(disc.diameter)


def test_eight_overlapping_planes_share_one_picture():
    planes = np.random.default_rng(0).random((8, 32, 32)) > 0.5
    packed = pack(dict(zip(CODES, planes, strict=True)), 32)
    assert packed.dtype == np.uint8
    assert (unpack(packed) == planes).all()
    assert (pack({"MA": planes[0]}, 32) == planes[0]).all()


def test_pictures_come_back_as_written(store):
    rgb = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    write_png(store / "photographs" / "p-1.png", rgb)
    write_png(store / "planes" / "p-1.png", rgb[..., 0])
    opened = Store(store)
    assert (opened.image("p-1") == rgb).all()
    assert (opened.planes("p-1") == rgb[..., 0]).all()
    assert opened.ignored("p-1") is None
    with pytest.raises(UserError, match=r"p-0\.png"):
        opened.image("p-0")


def damage_table(change):
    def damage(path: Path) -> None:
        file = path / "photographs.csv"
        file.write_text(change(file.read_text("utf-8")), "utf-8")

    return damage


def pipe(path: Path) -> None:
    (path / "photographs.csv").unlink()
    os.mkfifo(path / "photographs.csv")


def damage_info(change):
    def damage(path: Path) -> None:
        info = json.loads((path / "store.json").read_text("utf-8"))
        change(info)
        (path / "store.json").write_text(json.dumps(info), "utf-8")

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "store.json").unlink(), "no finished store"),
        (lambda path: (path / "store.json").write_text("{"), "damaged"),
        (lambda path: (path / "store.json").write_text("[]"), "damaged"),
        (damage_info(lambda info: info.update(format=2)), "format 2"),
        (damage_info(lambda info: info.pop("side")), "side missing"),
        (damage_info(lambda info: info.update(lesions=["MA"])), "lesions"),
        (lambda path: (path / "photographs.csv").unlink(), r"photographs\.csv: missing"),
        (lambda path: (path / "photographs.csv").write_text("id,name\n1,2\n"), "1 photographs, not 2"),
        (lambda path: (path / "photographs.csv").write_text(""), "damaged"),
        (lambda path: (path / "photographs.csv").write_bytes(b"id,name\n\xff,\n"), "damaged"),
        (lambda path: (path / "photographs.csv").write_text("id\n" + "x" * 200_000), "damaged"),
        (damage_table(lambda text: text[: len(text) * 2 // 3]), "is not the table"),
        (damage_table(lambda text: text.replace(",val,", ",test,")), "other cells"),
        (pipe, r"photographs\.csv: missing"),
    ],
)
def test_what_is_no_store_of_this_format_is_refused_by_name(store, damage, message):
    damage(store)
    with pytest.raises(UserError, match=message) as refused:
        Store(store)
    assert str(store) in str(refused.value)


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")

    def write(beside: Path) -> None:
        beside.write_text("ne")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        replace_file(file, write)
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["old"]


def as_before(path: Path) -> None:
    """What earlier versions wrote: no number and no digest of rows."""
    damage_info(lambda info: [info.pop(key, None) for key in ("rows", "rows_digest")])(path)


def test_a_table_saved_anew_with_the_same_cells_opens_and_so_does_one_of_an_earlier_version(store):
    rows, file = Store(store).rows, store / "photographs.csv"
    text = file.read_text("utf-8")
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").replace("\r\r", "\r").encode())
    assert Store(store).rows == rows
    as_before(store)
    file.write_text(text.replace(",val,", ",train,"), "utf-8")
    assert Store(store).rows[1].split == "train"


@pytest.mark.parametrize("before", [False, True], ids=["of now", "of an earlier version"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        *(
            ({"id": id}, "cannot be an id")
            for id in ("../../x", "/tmp/x", "..", "", "a/b", "a\\b", "CON", "nul.x", ".x", "x" * 300)
        ),
        ({"id": "P-1"}, "p-1 a second time"),
        ({"width": 0}, "0 x 480"),
        ({"height": -3}, "640 x -3"),
        ({"box": Box(0, 0, 0)}, "crop of 0"),
        ({"box": Box(640, 0, 10)}, "crop of 10 pixels at 640"),
        ({"grade": 9}, "grade 9"),
        ({"grade": -2}, "grade -2"),
        ({"oedema": 3}, "oedema 3"),
        ({"split": "exam"}, "split is 'exam'"),
        ({"eye": "middle"}, "eye 'middle'"),
        ({"pixels": {"MA": 32 * 32 + 1}}, "count of pixels"),
        ({"fovea": Point(float("inf"), 3)}, "at no place"),
        ({"disc": Disc(3, 3, -1)}, "at no place"),
        ({"camera": -1}, "camera -1"),
    ],
)
def test_a_row_that_cannot_be_is_refused_when_the_store_is_opened(tmp_path, fields, message, before):
    other = Row("p-1", "1.jpg", "train", 10, 10, Box(0, 0, 10), "")
    write_tables(tmp_path, [changed(**fields), other], INFO)
    if before:
        as_before(tmp_path)
    with pytest.raises(UserError, match=message) as refused:
        Store(tmp_path)
    assert "photographs.csv" in str(refused.value)


def test_pictures_of_another_side_or_swapped_for_others_are_refused_when_read(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    for id, one in zip("ab", rgb, strict=False):
        write_png(tmp_path / "photographs" / f"{id}.png", one)
        write_png(tmp_path / "planes" / f"{id}.png", one[..., 0])
        write_png(tmp_path / "ignored" / f"{id}.png", one[..., 1])
    rows = [Row(id, id, "val", 9, 9, Box(0, 0, 9), "", stored=stored_of(tmp_path, id)) for id in "ab"]
    write_tables(tmp_path, rows, INFO)
    store = Store(tmp_path)
    assert (store.image("a") == rgb[0]).all()
    for folder in ("photographs", "planes"):
        shutil.copy(tmp_path / folder / "b.png", tmp_path / folder / "a.png")
    (tmp_path / "ignored" / "a.png").unlink()
    for read, file in ((store.image, "photographs"), (store.planes, "planes"), (store.ignored, "ignored")):
        with pytest.raises(UserError, match=rf"{file}/a\.png: (is not the picture|missing)"):
            read("a")
    write_png(tmp_path / "photographs" / "b.png", rgb[2, :16])
    with pytest.raises(UserError, match=r"photographs/b\.png: 32 x 16 pixels in a store of side 32"):
        store.image("b")


def changed(**fields):
    return Row(**{**{name: getattr(FULL_ROW, name) for name in FULL_ROW.__dataclass_fields__}, **fields})


def test_the_fingerprint_covers_truth_and_splits_but_not_side_or_order():
    truth = {"p-1": "x", "p-0": "y"}
    mark = fingerprint([FULL_ROW, PLAIN_ROW], truth)
    assert fingerprint([PLAIN_ROW, changed(box=Box(0, 0, 8), pixels={"MA": 1, "NV": 0})], truth) == mark
    for other in (
        changed(split="test"),
        changed(grade=2),
        changed(oedema=1),
        changed(sha256="0"),
        changed(annotated=frozenset({"MA"})),
    ):
        assert fingerprint([PLAIN_ROW, other], truth) != mark
    assert fingerprint([PLAIN_ROW, FULL_ROW], {**truth, "p-1": "z"}) != mark


def test_stores_of_earlier_versions_know_no_oedema_and_keep_their_fingerprint(tmp_path):
    row = changed(oedema=-1)
    write_tables(tmp_path, [row], INFO)
    as_before(tmp_path)
    file = tmp_path / "photographs.csv"
    with file.open(encoding="utf-8", newline="") as text:
        lines = [{k: v for k, v in line.items() if k != "oedema"} for line in csv.DictReader(text)]
    write_csv(file, lines)
    assert Store(tmp_path).rows == (row,)
    assert fingerprint([row], {"p-1": "x"}) == "8510f7edd6d20b53"


def test_a_file_in_the_folder_s_place_is_named_and_no_clean_up_hides_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        replace_file(tmp_path / "file" / "store.json", lambda beside: beside.write_text("{}"))
