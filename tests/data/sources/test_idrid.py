import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retinalesion.data.sources.idrid import IdridSource
from retinalesion.errors import UserError

A, B = "A. Segmentation", "B. Disease Grading"
TRAIN, TEST = "a. Training Set", "b. Testing Set"
FOLDERS = {
    "MA": "1. Microaneurysms",
    "HE": "2. Haemorrhages",
    "EX": "3. Hard Exudates",
    "SE": "4. Soft Exudates",
    "OD": "5. Optic Disc",
}
LABELS = "Image name,Retinopathy grade,Risk of macular edema ,,,\r\n"


def palette(plane):
    """As published: indices 0 and 1, of which 1 is red and would become 76 in grey."""
    picture = Image.fromarray((plane > 0).astype(np.uint8))
    picture.putpalette([0, 0, 0, 255, 0, 0])
    return picture


def image(part, half, stem):
    return f"{part}/1. Original Images/{half}/{stem}.jpg"


def truth(half, kind, stem):
    return f"{A}/2. All Segmentation Groundtruths/{half}/{FOLDERS[kind]}/{stem}_{kind}.tif"


@pytest.fixture
def files(photograph, mask):
    """Two photographs of part A, two of part B in each half; grades 2 and 0, then 4 and none."""
    files = {image(A, TRAIN, stem): photograph for stem in ("IDRiD_01", "IDRiD_02")}
    for kind in FOLDERS:
        files[truth(TRAIN, kind, "IDRiD_01")] = palette(mask)
    files[truth(TRAIN, "MA", "IDRiD_02")] = palette(mask)
    for half, name, first, second in (
        (TRAIN, "a. IDRiD_Disease Grading_Training", 2, 0),
        (TEST, "b. X_Testing", 4, ""),
    ):
        files |= {image(B, half, stem): photograph for stem in ("IDRiD_001", "IDRiD_002")}
        text = f"\ufeff{LABELS}IDRiD_001,{first},1,,,\r\n IDRiD_002 ,{second},0,,,\r\n,,,,,\r\n"
        files[f"{B}/2. Groundtruths/{name} Labels.csv"] = text
    return files


def test_ids_keep_part_and_half(folder_of, files):
    found = {photograph.id: photograph for photograph in IdridSource(folder_of(files)).photographs()}
    assert list(found) == [
        *("A_train_IDRiD_01", "A_train_IDRiD_02"),
        *("B_train_IDRiD_001", "B_train_IDRiD_002", "B_test_IDRiD_001", "B_test_IDRiD_002"),
    ]
    assert found["B_train_IDRiD_001"].name == found["B_test_IDRiD_001"].name == "IDRiD_001.jpg"
    assert [photograph.grade for photograph in found.values()] == [-1, -1, 2, 0, 4, -1]
    assert [photograph.oedema for photograph in found.values()] == [-1, -1, 1, 0, 1, 0]
    assert [photograph.half for photograph in found.values()] == ["train"] * 4 + ["test"] * 2


def test_labels_without_a_risk_of_oedema_are_labels(folder_of, files):
    name = next(name for name in files if "Training Labels" in name)
    root = folder_of({**files, name: "Image name,Retinopathy grade\nIDRiD_001,2\n"})
    found = IdridSource(root, part="grading", half="train").photographs()
    assert [(photograph.grade, photograph.oedema) for photograph in found] == [(2, -1), (-1, -1)]


def test_four_lesions_are_annotated_in_part_a_and_none_in_part_b(folder_of, files):
    for photograph in IdridSource(folder_of(files)).photographs():
        wanted = {"MA", "iHE", "HaEx", "CWS"} if photograph.id.startswith("A") else set()
        assert photograph.annotated == wanted


def test_palette_masks_of_0_and_1_mark_what_is_1(folder_of, files, mask):
    source = IdridSource(folder_of(files), part="segmentation")
    pixels = source.read(source.photographs()[0])
    assert pixels.planes.keys() == {"MA", "iHE", "HaEx", "CWS"}
    assert all(np.array_equal(plane, mask > 0) for plane in pixels.planes.values())
    assert not pixels.ignored


def test_opaque_rgba_mask_counts_its_colour(folder_of, files, mask):
    files[truth(TRAIN, "EX", "IDRiD_01")] = np.dstack([mask, mask, mask, np.full_like(mask, 255)])
    source = IdridSource(folder_of(files), part="segmentation")
    assert np.array_equal(source.read(source.photographs()[0]).planes["HaEx"], mask > 0)


def test_missing_mask_is_absent_though_annotated(folder_of, files):
    source = IdridSource(folder_of(files), part="segmentation")
    second = source.photographs()[1]
    assert "iHE" in second.annotated
    assert source.read(second).planes.keys() == {"MA"}


def test_optic_disc_comes_from_its_mask(folder_of, files):
    rows, columns = np.mgrid[:96, :128]
    files[truth(TRAIN, "OD", "IDRiD_01")] = palette((rows - 50) ** 2 + (columns - 70) ** 2 <= 12**2)
    source = IdridSource(folder_of(files), part="segmentation")
    first, second = source.photographs()
    disc = source.read(first).disc
    assert (disc.x, disc.y) == (70, 50)
    assert disc.diameter == pytest.approx(24, rel=0.02)
    assert source.read(second).disc is None


@pytest.mark.parametrize("wrap", ["", "IDRiD", f"{A}", "a.%20Segmentation/A. SEGMENTATION"])
def test_wrapping_folders_case_and_stray_files_do_not_matter(folder_of, files, wrap):
    moved = {f"{wrap}/{name}".lstrip("/"): content for name, content in files.items() if name.startswith(A)}
    if wrap.endswith("A. SEGMENTATION"):
        moved = {
            name.replace(f"/{A}/", "/", 1).replace("IDRiD_01_MA", "idrid_01_ma"): c
            for name, c in moved.items()
        }
    folder = next(iter(moved)).rsplit("/", 1)[0]
    root = folder_of({**moved, f"{folder}/Thumbs.db": b"\0", f"{folder}/._IDRiD_01.jpg": b"\0"})
    found = IdridSource(root, part="segmentation").photographs()
    assert [photograph.id for photograph in found] == ["A_train_IDRiD_01", "A_train_IDRiD_02"]
    assert found[0].masks.keys() == {"MA", "iHE", "HaEx", "CWS"}


def test_the_part_itself_may_be_named(folder_of, files):
    assert len(IdridSource(folder_of(files) / B).photographs()) == 4


@pytest.mark.parametrize(
    ("part", "half", "count"), [("both", "test", 2), ("grading", "train", 2), ("segmentation", "both", 2)]
)
def test_part_and_half_choose(folder_of, files, part, half, count):
    assert len(IdridSource(folder_of(files), part=part, half=half).photographs()) == count


def test_what_is_not_there_is_noted_or_refused_where_asked_for(folder_of, files):
    root = folder_of(files)
    assert any(A in note and TEST in note for note in IdridSource(root).notes)
    with pytest.raises(UserError, match=TEST):
        IdridSource(root, part="segmentation", half="test").photographs()
    with pytest.raises(UserError, match="nowhere: no such folder"):
        IdridSource(root / "nowhere").photographs()
    with pytest.raises(UserError, match=A):
        IdridSource(root / B / "2. Groundtruths").photographs()
    with pytest.raises(UserError, match="middle"):
        IdridSource(root, half="middle")


def test_a_lesions_missing_folder_is_no_absence(folder_of, files):
    root = folder_of({name: content for name, content in files.items() if "4. Soft" not in name})
    with pytest.raises(UserError, match=r"4\. Soft Exudates"):
        IdridSource(root).photographs()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{LABELS}IDRiD_001,7,1\r\n", r"line 2: grade '7'.*0 to 4"),
        (f"{LABELS}IDRiD_001,2,1\r\nIDRiD_001,3,1\r\n", r"line 3: IDRiD_001 stands twice"),
        (f"{LABELS}IDRiD_001,2,1\r\nIDRiD_001,2,0\r\n", r"line 3: IDRiD_001 stands twice"),
        (f"{LABELS}IDRiD_001,2,3\r\n", r"line 2: risk of macular oedema '3'.*0, 1, 2"),
        ("name;grade\nIDRiD_001;2\n", r"no column 'image name'"),
    ],
)
def test_wrong_labels_are_named_with_their_line(folder_of, files, text, says):
    name = next(name for name in files if "Training Labels" in name)
    with pytest.raises(UserError, match=f"Training Labels.csv.*{says}"):
        IdridSource(folder_of({**files, name: text})).photographs()


@pytest.fixture
def part_c():
    """Centres of IDRiD_001 in pixels of 4288 x 2848."""
    folder = "C. Localization/2. Groundtruths"
    text = "Image No,X- Coordinate,Y - Coordinate,,\r\nIDRiD_001,{},{},,\r\n,,,,\r\n"
    return {
        f"{folder}/1. Optic Disc Center Location/a. IDRiD_OD_Center_Training Set_Markups.csv": text.format(
            2144, 1424
        ),
        f"{folder}/2. Fovea Center Location/IDRiD_Fovea_Center_Training Set_Markups.csv": text.format(
            1072, 1424
        ),
    }


PLAIN = "id,disc_x,disc_y,fovea_x,fovea_y\nIDRiD_001,2144,1424,1072,1424\nIDRiD_002,2144,1424,,\n"


@pytest.mark.parametrize("plain", [True, False], ids=["centres.csv", "part C"])
def test_disc_and_fovea_are_scaled_with_the_photographs(folder_of, files, part_c, plain):
    files = {**files, image(B, TRAIN, "IDRiD_001"): Image.new("RGB", (2144, 1424))}
    source = IdridSource(folder_of({**files, **({"centres.csv": PLAIN} if plain else part_c)}), half="train")
    first, second = (one for one in source.photographs() if one.id.startswith("B"))
    # The middle of the published picture, counted from its first pixel's centre.
    assert (first.disc.x, first.disc.y, *first.fovea) == (1071.75, 711.75, 535.75, 711.75)
    assert np.isnan(first.disc.diameter)
    assert second.disc is second.fovea is None  # 128 x 96 is another aspect: it may be cropped
    assert any("published aspect" in note for note in source.notes) == plain
    assert source.read(first).disc == first.disc


def test_a_plain_table_of_centres_is_of_the_training_half(folder_of, files):
    files = {name: one for name, one in files.items() if "OD" not in name}
    for half in (TRAIN, TEST):
        files[image(B, half, "IDRiD_001")] = Image.new("RGB", (2144, 1424))
    found = {one.id: one for one in IdridSource(folder_of({**files, "centres.csv": PLAIN})).photographs()}
    assert [id for id, one in found.items() if one.disc] == ["B_train_IDRiD_001"]


def test_a_wrong_table_of_centres_is_named(folder_of, files):
    for text, says in (("id,x\n1,2\n", "no column 'disc_x'"), (PLAIN.replace("1424", "x"), "line 2")):
        with pytest.raises(UserError, match=rf"centres\.csv.*{says}"):
            IdridSource(folder_of({**files, "centres.csv": text})).photographs()


def test_source_travels_to_other_processes(folder_of, files):
    source = IdridSource(folder_of(files))
    photographs = source.photographs()
    copy = pickle.loads(pickle.dumps(source))
    assert np.array_equal(copy.read(photographs[0]).rgb, source.read(photographs[0]).rgb)


@pytest.mark.skipif("RETINALESION_IDRID" not in os.environ, reason="RETINALESION_IDRID names no IDRiD folder")
class TestPublished:
    @pytest.fixture
    def source(self):
        return IdridSource(Path(os.environ["RETINALESION_IDRID"]), half="train")

    def test_counts_are_those_of_the_set(self, source):
        part_a = [photograph for photograph in source.photographs() if photograph.annotated]
        assert len(part_a) == 54
        masks = {code: sum(code in photograph.masks for photograph in part_a) for code in part_a[0].annotated}
        assert masks == {"MA": 54, "iHE": 53, "HaEx": 54, "CWS": 26}

    def test_first_photograph(self, source):
        pixels = source.read(source.photographs()[0])
        assert pixels.rgb.shape == (2848, 4288, 3)
        assert {code: int(plane.sum()) for code, plane in pixels.planes.items()} == {
            "MA": 6941,
            "iHE": 35430,
            "HaEx": 113286,
        }
        assert 400 < pixels.disc.diameter < 650
