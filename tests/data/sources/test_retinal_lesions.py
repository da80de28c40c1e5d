import numpy as np
import pytest

from retinalesion.data.sources.retinal_lesions import RetinalLesionsSource
from retinalesion.errors import PhotographError, UserError
from retinalesion.lesions import CODES

TOP = "retinal-lesions-v20191227"
SEGS = f"{TOP}/lesion_segs_896x896"


@pytest.fixture
def square():
    return np.random.default_rng(3).integers(60, 200, (96, 96, 3), np.uint8)


@pytest.fixture
def plane():
    plane = np.zeros((96, 96), np.uint8)
    plane[10:20, 10:20] = 255
    plane[40:50, 40:60] = 127
    return plane


@pytest.fixture
def files(square, plane):
    return {
        f"{TOP}/images_896x896/1000_left.jpg": square,
        f"{TOP}/images_896x896/1000_right.jpg": square,
        f"{TOP}/images_896x896/20_left.jpg": square,
        f"{SEGS}/1000_left/microaneurysm.png": plane,
        f"{SEGS}/1000_left/fibrous_proliferation.png": (plane > 200) * np.uint8(255),
        f"{SEGS}/20_left/retinal_hemorrhage.png": (plane == 127) * np.uint8(127),
        f"{TOP}/dr_grades.csv": (
            "image id,kaggle label,our label\n1000_left,2,4\n1000_right,0,0\n20_left,1,2\n"
        ),
    }


def test_patient_eye_and_own_grade(folder_of, files):
    found = RetinalLesionsSource(folder_of(files)).photographs()
    assert [(p.id, p.patient, p.eye, p.grade) for p in found] == [
        ("1000_left", "1000", "left", 4),
        ("1000_right", "1000", "right", 0),
        ("20_left", "20", "left", 2),
    ]
    assert all(photograph.annotated == frozenset(CODES) for photograph in found)
    assert all(photograph.half == "" for photograph in found)


def test_255_is_a_lesion_and_127_is_ignored(folder_of, files, plane):
    source = RetinalLesionsSource(folder_of(files) / TOP)
    first, healthy, unsure = map(source.read, source.photographs())
    assert first.planes.keys() == {"MA", "FiP"}
    assert np.array_equal(first.planes["MA"], plane == 255)
    assert first.ignored.keys() == {"MA"}
    assert np.array_equal(first.ignored["MA"], plane == 127)
    assert not healthy.planes
    assert not healthy.ignored
    assert not unsure.planes  # nothing but 127: neither present nor counted as absent there
    assert unsure.ignored.keys() == {"iHE"}


def test_every_lesion_has_its_mask_name(folder_of, files, plane):
    names = {
        "MA": "microaneurysm",
        "iHE": "retinal_hemorrhage",
        "HaEx": "hard_exudate",
        "CWS": "cotton_wool_spots",
        "vHE": "vitreous_hemorrhage",
        "pHE": "preretinal_hemorrhage",
        "NV": "neovascularization",
        "FiP": "fibrous_proliferation",
    }
    files |= {f"{SEGS}/1000_left/{name}.png": plane for name in names.values()}
    source = RetinalLesionsSource(folder_of(files))
    first = source.photographs()[0]
    assert {code: path.stem for code, path in first.masks.items()} == names
    assert source.read(first).planes.keys() == set(CODES)


def test_disc_and_fovea_are_the_middles_of_their_boxes(folder_of, files):
    header = "#img odx_0 ody_0 odx_1 ody_1 fx_0 fy_0 fx_1 fy_1\n"
    files[f"{TOP}/od_fovea_autoloc.txt"] = f"{header}1000_left.jpg 10 20 30 44 50 40 60 50\r\n"
    first, second, _ = RetinalLesionsSource(folder_of(files)).photographs()
    assert first.disc == (20, 32, 22)
    assert first.fovea == (55, 45)
    assert second.disc is None


def test_changed_masks_are_refused(folder_of, files, plane):
    changed = plane.copy()
    changed[10, 10] = 254
    source = RetinalLesionsSource(folder_of({**files, f"{SEGS}/1000_left/microaneurysm.png": changed}))
    with pytest.raises(PhotographError, match=r"microaneurysm\.png.*254"):
        source.read(source.photographs()[0])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (f"{TOP}/dr_grades.csv", "image id,kaggle label\n1000_left,2\n", "no column 'our label'"),
        (f"{TOP}/dr_grades.csv", "image id,our label\n1000_left,5\n", "line 2: grade '5'"),
        (f"{TOP}/images_896x896/1000.jpg", np.zeros((8, 8, 3), np.uint8), "1000.jpg: is not named"),
        (f"{SEGS}/1000_left/drusen.png", np.zeros((8, 8), np.uint8), "drusen is no lesion"),
        (f"{TOP}/od_fovea_autoloc.txt", "1000_left 1 2 3\n", "line 1: not a name and eight numbers"),
    ],
)
def test_wrong_layout_is_named(folder_of, files, name, content, says):
    with pytest.raises(UserError, match=says):
        RetinalLesionsSource(folder_of({**files, name: content})).photographs()


def test_a_folder_without_masks_is_not_a_set_of_healthy_eyes(folder_of, files):
    root = folder_of({name: content for name, content in files.items() if SEGS not in name})
    with pytest.raises(UserError, match="lesion_segs_896x896"):
        RetinalLesionsSource(root).photographs()


def test_what_does_not_match_is_noted(folder_of, files):
    files[f"{TOP}/dr_grades.csv"] = "image id,our label\n1000_left,4\n77_left,1\n"
    notes = " | ".join(RetinalLesionsSource(folder_of(files)).notes)
    assert "grades without a photograph, left out: 77_left" in notes
    assert "photographs without a grade: 1000_right, 20_left" in notes
