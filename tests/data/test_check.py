import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from retinalesion.data.check import check, show
from retinalesion.data.sources.folder import FolderSource
from retinalesion.data.sources.idrid import IdridSource
from retinalesion.data.synthetic import SyntheticSource


def eye(seed):
    """A photograph unlike that of any other seed: a disc with coarse texture, uint8 (192, 192, 3)."""
    texture = np.random.default_rng(seed).integers(60, 200, (24, 24, 3), np.uint8)
    rgb = np.array(Image.fromarray(texture).resize((192, 192), Image.Resampling.BICUBIC))
    rows, columns = np.mgrid[:192, :192]
    return rgb * ((rows - 96) ** 2 + (columns - 96) ** 2 < 90**2)[..., None].astype(np.uint8)


def drawn(value=255):
    mask = np.zeros((192, 192), np.uint8)
    mask[80:90, 80:100] = value
    return mask


def of(findings, id):
    return {finding.kind: finding.message for finding in findings if finding.id == id}


def test_a_sound_set_has_nothing_wrong(folder_of):
    files = {f"photographs/{name}.png": eye(seed) for seed, name in enumerate("abc")}
    text = "id,grade\na,1\nb,2\nc,0\n"
    root = folder_of({**files, "masks/MA/a.png": drawn(), "masks/iHE/b.png": drawn(1), "grades.csv": text})
    findings = check(FolderSource(root), jobs=1)
    assert {finding.kind for finding in findings} == {"note"}
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == sorted(
        ["a.png", "b.png", "c.png", "a.png", "b.png", "grades.csv"]
    )


def test_every_fault_of_a_mask_is_found(folder_of):
    grey = drawn()
    grey[81, 81:90] = [3, 40, 90, 120, 130, 160, 200, 230, 250]
    clear = np.zeros((192, 192, 4), np.uint8)
    clear[..., 3] = drawn()
    opaque = np.dstack([drawn()] * 3 + [np.full((192, 192), 255, np.uint8)])
    masks = {
        "empty": drawn(0),
        "full": 255 - drawn(),
        "clear": clear,
        "opaque": opaque,
        "grey": grey,
        "small": drawn()[:96],
        "cut": b"\x89PNG\r\n\x1a\n",
        "sound": drawn(),
    }
    files = {f"photographs/{name}.png": eye(seed) for seed, name in enumerate(masks)}
    root = folder_of(files | {f"masks/HaEx/{name}.png": content for name, content in masks.items()})
    findings = check(FolderSource(root), jobs=1)
    assert {id: of(findings, id).keys() for id in masks} == {
        "empty": {"empty mask"},
        "full": {"full mask"},
        "clear": {"alpha", "empty mask"},
        "opaque": {"alpha"},
        "grey": {"grey values"},
        "small": {"size differs"},
        "cut": {"unreadable"},
        "sound": set(),
    }
    assert "192 x 96" in of(findings, "small")["size differs"]
    assert "alpha channel, which does not count" in of(findings, "clear")["alpha"]
    assert "200 pixels" in of(findings, "opaque")["alpha"]


def test_all_unreadable_files_of_a_photograph_are_named(folder_of):
    files = {
        "photographs/a.png": b"",
        "photographs/b.png": eye(1),
        "masks/MA/a.png": b"",
        "masks/NV/a.png": drawn(),
    }
    findings = check(FolderSource(folder_of(files)), jobs=1)
    messages = [finding.message for finding in findings if finding.kind == "unreadable"]
    assert [finding.id for finding in findings if finding.kind == "unreadable"] == ["a", "a"]
    assert "photographs" in messages[0]
    assert "MA" in messages[1]


@pytest.mark.parametrize(
    ("grade", "lesions", "says"),
    [
        (0, ["HaEx"], "graded DR0, but HaEx marked"),
        (1, ["iHE"], "graded DR1.*supports DR2"),
        (2, ["MA", "NV"], r"graded DR2.*MA, NV.*supports DR4"),
        (1, ["MA"], None),
        (1, ["MA", "HaEx"], None),
        (4, ["MA"], None),
        (0, [], None),
        ("", ["iHE"], None),
    ],
)
def test_grades_that_lesions_contradict(folder_of, grade, lesions, says):
    masks = {f"masks/{code}/a.png": drawn() for code in lesions}
    root = folder_of({"photographs/a.png": eye(0), "grades.csv": f"id,grade\na,{grade}\n", **masks})
    found = of(check(FolderSource(root), jobs=1), "a")
    assert ("grade and lesions" in found) == bool(says)
    if says:
        assert re.search(says, found["grade and lesions"])


def test_twins_with_different_grades_and_a_twins_grade(folder_of):
    same = io.BytesIO()
    Image.fromarray(eye(0)).resize((160, 160)).save(same, "JPEG", quality=80)
    files = {"photographs/a.png": eye(0), "photographs/b.jpg": same.getvalue(), "photographs/c.png": eye(2)}
    root = folder_of({**files, "grades.csv": "id,grade\na,1\nb,3\nc,1\n"})
    findings = check(FolderSource(root), jobs=1)
    assert "b, but the grades are DR1 and DR3" in of(findings, "a")["twins, grades differ"]
    root = folder_of({"grades.csv": "id,grade\na,\nb,0\nc,1\n", "masks/MA/a.png": drawn()})
    assert "graded DR0 (as b, which" in of(check(FolderSource(root), jobs=1), "a")["grade and lesions"]


def test_twins_across_published_halves(folder_of):
    part = "B. Disease Grading"
    labels = "Image name,Retinopathy grade\nIDRiD_001,2\nIDRiD_002,2\n"
    root = folder_of(
        {
            f"{part}/1. Original Images/a. Training Set/IDRiD_001.png": eye(1),
            f"{part}/1. Original Images/a. Training Set/IDRiD_002.png": eye(2),
            f"{part}/1. Original Images/b. Testing Set/IDRiD_001.png": eye(3),
            f"{part}/1. Original Images/b. Testing Set/IDRiD_002.png": eye(1),
            f"{part}/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv": labels,
            f"{part}/2. Groundtruths/b. IDRiD_Disease Grading_Testing Labels.csv": labels,
        }
    )
    found = [finding for finding in check(IdridSource(root), jobs=1) if finding.kind != "note"]
    assert [(finding.kind, finding.id) for finding in found] == [("twins across halves", "B_train_IDRiD_001")]
    assert "B_test_IDRiD_002" in found[0].message


def test_graders_who_disagree_are_in_the_table(folder_of):
    root = folder_of({"a.png": eye(0), "grades.csv": "id,grade_1,grade_2\na,1,2\n"})
    assert any("a (DR1 DR2)" in finding.message for finding in check(FolderSource(root), jobs=1))


def test_processes_find_what_one_finds(folder_of):
    files = {f"photographs/{name}.png": eye(seed) for seed, name in enumerate("abcd")}
    root = folder_of({**files, "masks/MA/a.png": drawn(0), "masks/MA/c.png": drawn()[:50]})
    assert check(FolderSource(root), jobs=2) == check(FolderSource(root), jobs=1)


def test_drawn_photographs_have_nothing_wrong():
    assert all(
        finding.kind == "note" for finding in check(SyntheticSource(count=4, side=192, seed=0), jobs=1)
    )


def test_table_says_what_and_where(folder_of):
    root = folder_of({"photographs/a [red].png": eye(0), "masks/MA/a [red].png": drawn(0)})
    console = Console(file=io.StringIO(), width=200)
    show(check(FolderSource(root), jobs=1), console)
    text = console.file.getvalue()
    assert "empty mask" in text
    assert "a [red].png" in text
    assert "1 found" in text
    console = Console(file=io.StringIO())
    show([], console)
    assert "Nothing wrong" in console.file.getvalue()


@pytest.mark.slow
@pytest.mark.skipif("RETINALESION_IDRID" not in os.environ, reason="RETINALESION_IDRID names no IDRiD folder")
def test_published_training_half():
    found = check(IdridSource(Path(os.environ["RETINALESION_IDRID"]), half="train"), jobs=1)
    assert ("twins, grades differ", "B_train_IDRiD_021") in [(finding.kind, finding.id) for finding in found]
    assert not [f for f in found if f.kind not in ("note", "twins, grades differ") and f.id.startswith("A_")]
