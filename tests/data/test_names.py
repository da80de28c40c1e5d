"""Two spellings of one photograph, patient or eye; and what no name may be."""

import re
import unicodedata

import numpy as np
import pytest
from PIL import Image

from retinalesion.data.check import check
from retinalesion.data.names import finder, folded, id_from, is_id, of_a_person, told_by
from retinalesion.data.photograph import Photograph, listed
from retinalesion.data.prepare import prepare
from retinalesion.data.sources.folder import FolderSource
from retinalesion.errors import UserError


def eye(seed):
    """A photograph unlike that of any other seed, uint8 (96, 96, 3)."""
    texture = np.random.default_rng(seed).integers(60, 200, (12, 12, 3), np.uint8)
    rgb = np.array(Image.fromarray(texture).resize((96, 96), Image.Resampling.BICUBIC))
    rows, columns = np.mgrid[:96, :96]
    return rgb * ((rows - 48) ** 2 + (columns - 48) ** 2 < 45**2)[..., None].astype(np.uint8)


class Records:
    """A source of records alone."""

    name, notes = "records", ()

    def __init__(self, *records):
        self.records = records

    def photographs(self):
        return list(self.records)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("P04", "p04", True),
        ("104", "104.0", True),
        ("104", " 0104 ", True),
        ("0", "00", True),
        ("Mu\u0308ller", "MÜLLER", True),
        ("Anna  B", "anna b", True),
        ("P04", "P4", False),
        ("104", "1040", False),
        ("10.5", "10", False),
        ("1e2", "100", False),
    ],
)
def test_one_patient_in_two_spellings(one, other, same):
    assert (of_a_person(one) == of_a_person(other)) is same
    records = [Photograph("a", "", patient=one), Photograph("b", "", patient=other)]
    listing = listed(Records(*records))
    assert (len({record.patient for record in listing.photographs}) == 1) is same
    assert bool(listing.notes) is (same and one != other)


@pytest.mark.parametrize(
    ("files", "name", "found"),
    [
        (["001", "002"], "1", "001"),
        (["001", "002"], "2.0", "002"),
        (["1", "2"], "002", "2"),
        (["1", "001"], "1", "1"),
        (["1", "001"], "01", "01"),
        (["1", "001", "0001"], "01", "01"),
        (["e01"], "1", "1"),
        (["e01"], "e1", "e1"),
        (["10_left"], "10_left", "10_left"),
    ],
)
def test_a_number_in_a_table_finds_the_file_of_that_number_unless_several_have_it(files, name, found):
    assert finder(files)(name) == found


@pytest.mark.parametrize(
    ("stem", "told"),
    [
        ("10_left", ("10", "left")),
        ("10_RIGHT", ("10", "right")),
        ("IMG-7-od", ("img-7", "right")),
        ("p 3 L", ("p 3", "left")),
        ("left", None),
        ("_left", None),
        ("bright", None),
        ("10_left_2", None),
    ],
)
def test_names_that_tell_patient_and_eye(stem, told):
    assert told_by(stem) == told


def test_an_id_names_a_file_anywhere():
    assert all(map(is_id, ("a", "A_1-b.c", "-a", "console", "x" * 200)))
    assert not any(map(is_id, ("", ".", "..", ".a", "a b", "ä", "aux", "Com1.x", "x" * 201, "a\n")))
    for stem in ("CON", "Mu\u0308ller 1", "M\udcfcller", "a"):
        assert is_id(id_from(stem))
    assert id_from("Mu\u0308ller") == id_from("Müller") == "M_ller"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Photograph("../x", ""), "cannot be an id"),
        (Photograph("x", "", grade=9), "grade 9"),
        (Photograph("x", "", oedema=3), "oedema 3"),
        (Photograph("x", "", eye="middle"), "neither left nor right"),
        (Photograph("x", "", frozenset({"XX"})), "XX"),
    ],
)
def test_a_record_that_cannot_be_is_refused_before_anything_is_written(tmp_path, record, message):
    with pytest.raises(UserError, match=message):
        prepare(Records(record), tmp_path / "store", side=64, jobs=1)
    assert not (tmp_path / "store").exists()


def test_eyes_in_all_words_for_them():
    given = [Photograph(f"p{n}", "", eye=eye) for n, eye in enumerate(["L", "os", "OD", "Right", ""])]
    assert [one.eye for one in listed(Records(*given)).photographs] == ["left", "left", "right", "right", ""]


def test_leading_zeros_and_composed_letters_meet_in_tables_and_masks(folder_of, mask):
    decomposed = unicodedata.normalize("NFD", "Größe é")
    blank = np.zeros((96, 96), np.uint8)
    root = folder_of(
        {
            **{f"photographs/{n:03}.png": eye(n) for n in range(1, 8)},
            f"photographs/{decomposed}.png": eye(9),
            "masks/MA/1.png": blank,
            f"masks/MA/{unicodedata.normalize('NFC', decomposed)}.png": blank,
            "grades.csv": "id,grade\n" + "".join(f"{n},2\n" for n in range(1, 8)) + "Größe é,1\n",
        }
    )
    found = FolderSource(root).photographs()
    assert [one.grade for one in found] == [2] * 7 + [1]
    assert [one.name for one in found if one.masks] == ["001.png", f"{decomposed}.png"]
    assert folded(decomposed) == folded("GRÖSSE É")


def test_a_table_that_names_one_photograph_twice_is_refused(folder_of):
    root = folder_of({"001.png": eye(1), "grades.csv": "id,grade\n1,2\n001,2\n"})
    with pytest.raises(UserError, match="a second time"):
        FolderSource(root).photographs()


def test_a_file_name_that_is_no_utf_8_is_prepared(folder_of, tmp_path, capsys):
    folder = folder_of({"photographs/a.png": eye(1)}) / "photographs"
    (folder / "a.png").rename(folder / "b.png")
    for name in ("M\udcfcller_links.png", "R\udcfcller_links.png"):
        Image.fromarray(eye(2)).save(folder / "b2.png")
        (folder / "b2.png").rename(folder / name)
    (folder / "R\udcfcller_links.png").write_bytes(b"cut off")
    made = prepare(FolderSource(folder.parent), tmp_path / "store", side=64, jobs=1, skip_bad=True)
    assert [row.name for row in made.store.rows] == ["M\ufffdller_links.png", "b.png"]
    assert [one.id for one in made.skipped] == ["R_ller_links"]


def splits_of(folder_of, tmp_path, names, table=None):
    files = {f"photographs/{name}.png": eye(n) for n, name in enumerate(names)}
    root = folder_of(files | ({"grades.csv": table} if table else {}))
    store = prepare(FolderSource(root), tmp_path / "store", side=64, jobs=1).store
    return {row.id: row.split for row in store.rows}, store


@pytest.mark.parametrize("spelled", [("P{:02}", "p{:02}"), ("{}", "{}.0"), ("{}", "0{}")])
def test_one_patient_in_two_spellings_stays_on_one_side(folder_of, tmp_path, spelled):
    names = [f"{side}{n}" for n in range(10) for side in "ab"]
    lines = [f"{side}{n},{spelled[side == 'b'].format(n)}" for n in range(10) for side in "ab"]
    splits, store = splits_of(folder_of, tmp_path, names, "id,patient,grade\n" + ",1\n".join(lines) + ",1\n")
    assert set(splits.values()) == {"train", "val", "test"}
    assert all(splits[f"a{n}"] == splits[f"b{n}"] for n in range(10))
    assert len({row.patient for row in store.rows}) == 10
    assert any("spelled" in note for note in store.info["notes"])


def test_names_that_tell_patient_and_eye_keep_eyes_together_unless_a_table_names_patients(
    folder_of, tmp_path
):
    names = [f"{n}_{eye}" for n in range(10, 20) for eye in ("left", "right")]
    splits, store = splits_of(folder_of, tmp_path, names, "id,grade\n10_left,1\n")
    assert set(splits.values()) == {"train", "val", "test"}
    assert all(splits[f"{n}_left"] == splits[f"{n}_right"] for n in range(10, 20))
    assert (store.rows[0].patient, store.rows[0].eye) == ("10", "left")
    assert any("by the file's name" in note for note in store.info["notes"])
    folder_of({"grades.csv": "id,grade,patient\n10_left,1,Q\n"})
    assert {one.patient for one in FolderSource(tmp_path).photographs()} == {"Q", ""}


@pytest.mark.parametrize(
    ("names", "missing", "told"),
    [
        (["1_left", "1_right"], "val and test", "need 3 patients.*Here are 1 in all"),
        (["a", "b"], "val and test", "need 3 patients.*Here are 2 in all"),
    ],
)
def test_too_few_patients_are_told_with_how_many_a_split_needs(folder_of, tmp_path, names, missing, told):
    _, store = splits_of(folder_of, tmp_path, names)
    notes = " ".join(store.info["notes"])
    assert f"{missing} without a photograph" in notes
    assert re.search(told, notes)
    assert any("need 3 patients" in finding.message for finding in check(FolderSource(tmp_path), jobs=1))


def test_no_grade_crosses_from_one_named_patient_to_another(folder_of, tmp_path):
    """Three files of the same pixels: one graded, one of another patient, one of nobody known."""
    files = {f"photographs/{name}.png": eye(1) for name in "abc"} | {"photographs/d.png": eye(2)}
    root = folder_of({**files, "grades.csv": "id,patient,grade\na,P1,4\nb,P2,\nc,,\nd,P1,0\n"})
    store = prepare(FolderSource(root), tmp_path / "store", side=64, jobs=1).store
    assert {row.id: row.grade for row in store.rows} == {"a": 4, "b": -1, "c": 4, "d": 0}
    assert len({row.split for row in store.rows}) == 1
    findings = {finding.id: finding.message for finding in check(FolderSource(root), jobs=1) if finding.id}
    assert "the patients are P1 and P2" in findings["a"]
    assert any("two patients' names" in note for note in store.info["notes"])
