import numpy as np
import pytest
from PIL import Image

from retinalesion.data.sources.folder import FolderSource
from retinalesion.errors import PhotographError, UserError


def by_id(source):
    return {photograph.id: photograph for photograph in source.photographs()}


def test_a_flat_folder_of_photographs_is_enough(folder_of, photograph):
    source = FolderSource(folder_of({"b.jpg": photograph, "a.PNG": photograph, "notes.txt": "no picture"}))
    found = source.photographs()
    assert [(p.id, p.name, p.annotated, p.grade) for p in found] == [
        ("a", "a.PNG", frozenset(), -1),
        ("b", "b.jpg", frozenset(), -1),
    ]
    pixels = source.read(found[0])
    assert np.array_equal(pixels.rgb, photograph)
    assert not pixels.planes


def test_what_a_missing_mask_means(folder_of, photograph, mask):
    root = folder_of(
        {
            **{f"photographs/{stem}.png": photograph for stem in ("marked", "cleared", "unseen")},
            "masks/MA/marked.png": mask,
            "masks/ihe/cleared.png": np.zeros_like(mask),
        }
    )
    source = FolderSource(root)
    found = by_id(source)
    assert found["marked"].annotated == found["cleared"].annotated == {"MA", "iHE"}
    assert found["unseen"].annotated == set()
    assert source.read(found["marked"]).planes.keys() == {"MA"}
    assert source.read(found["cleared"]).planes == {}
    assert any("unseen" in note for note in source.notes)


def colours(values, palette):
    picture = Image.fromarray(values)
    picture.putpalette([channel for colour in palette for channel in colour])
    return picture


@pytest.mark.parametrize(
    "draw",
    [
        lambda m: m,
        lambda m: m // 255,
        lambda m: np.dstack([m, 0 * m, 0 * m]),
        lambda m: np.dstack([m, m, m, np.full_like(m, 255)]),
        lambda m: np.dstack([m, m, m, np.zeros_like(m)]),
        lambda m: colours(m // 255, [(0, 0, 0), (0, 0, 200)]),
        lambda m: colours(1 - m // 255, [(255, 255, 255), (0, 0, 0)]),
        lambda m: np.where(m > 0, 250, 3).astype(np.uint8) + (np.arange(m.shape[1]) % 3).astype(np.uint8),
        lambda m: m > 0,
    ],
    ids=["white", "ones", "red", "opaque", "transparent", "blue palette", "swapped palette", "jpeg", "1 bit"],
)
def test_one_drawing_in_many_kinds_of_mask(folder_of, photograph, mask, draw):
    source = FolderSource(folder_of({"photographs/a.png": photograph, "masks/MA/a.png": draw(mask)}))
    (record,) = source.photographs()
    assert np.array_equal(source.read(record).planes["MA"], mask > 0)


def test_numbers_of_labels_are_not_taken_for_grey(folder_of, photograph, mask):
    labels = mask // 255
    labels[0, 0] = 2
    source = FolderSource(folder_of({"photographs/a.png": photograph, "masks/MA/a.png": labels}))
    (record,) = source.photographs()
    with pytest.raises(PhotographError, match=r"a\.png: holds the values 0, 1, 2.*one mask per lesion"):
        source.read(record)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_table_of_grades_in_a_spreadsheets_habits(folder_of, photograph, separator, end):
    lines = [
        [" ID ", "Patient", "eye", "Grade ", "", "remarks", " Oedema"],
        ["A.JPG", " p1 ", "OS", "DR3", "", "", "2.0"],
        ["b", "p1", "Right", " 0 ", "", "x", "0"],
        [],
        ["c", "", "", "", "", "", ""],
        ["", "", "", "", "", "", ""],
    ]
    text = "\ufeff" + end.join(separator.join(line) for line in lines) + end
    root = folder_of({**{f"photographs/{stem}.jpg": photograph for stem in "abc"}, "grades.csv": text})
    found = FolderSource(root).photographs()
    assert [(p.grade, p.oedema, p.patient, p.eye) for p in found] == [
        (3, 2, "p1", "left"),
        (0, 0, "p1", "right"),
        (-1, -1, "", ""),
    ]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("2,2,2", 2),
        ("2,3,2", 2),
        ("1,2,3", -1),
        ("2,3,", -1),
        ("2,,", 2),
        (",,", -1),
        ("0,0,DR0", 0),
    ],
)
def test_a_grade_given_by_more_than_half_is_kept(folder_of, photograph, given, wanted):
    text = f"id,grade_1,grade_2,grade_3\na,{given}\n"
    source = FolderSource(folder_of({"photographs/a.png": photograph, "grades.csv": text}))
    assert source.photographs()[0].grade == wanted
    disagree = wanted == -1 and given != ",,"
    assert any("more than half" in note and "a (DR" in note for note in source.notes) == disagree


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,grade\na,2\nb,5\n", r"grades\.csv, line 3: grade '5'.*0 to 4"),
        ("id,grade\na,severe\n", r"line 2: grade 'severe'"),
        ("id,grade\na,2.5\n", r"line 2: grade '2\.5'"),
        ("id,grade,oedema\na,2,1\nb,2,3\n", r"line 3: risk of macular oedema '3'.*0, 1, 2"),
        ("id,grade,oedema\na,2,yes\n", r"line 2: risk of macular oedema 'yes'"),
        ("id,grade\na,2\nA.png,2\n", r"line 3: 'A\.png' stands here a second time"),
        ("id,grade\n,2\n", r"line 2: the cell 'id' is empty"),
        ("id,grade,eye\na,2,middle\n", r"line 2: eye 'middle'"),
        ("id,grade\na,2,left\n", r"line 2: 3 cells, but the first line names 2"),
        ("id,grade,grade\na,2,2\n", r"two columns"),
        ("name,grade\na,2\n", r"no column 'id'"),
        ("id,level\na,2\n", r"'grade_1'.*The first line names: id, level"),
        ("id,grade,grade_1\na,2,2\n", r"either one column 'grade'"),
        ("id,grade\n7,2\n", r"no line is about a photograph"),
        ("", r"names no column"),
        (b"id,grade\na,\xe9\n", r"not UTF-8"),
        (b"id,grade\na,2\x00\n", r"line 2"),
    ],
)
def test_wrong_tables_are_named_with_their_line(folder_of, photograph, text, says):
    root = folder_of({"photographs/a.png": photograph, "photographs/b.png": photograph, "grades.csv": text})
    with pytest.raises(UserError, match=says):
        FolderSource(root).photographs()


def test_lines_and_photographs_that_do_not_meet_are_noted(folder_of, photograph):
    root = folder_of({"a.png": photograph, "b.png": photograph, "grades.csv": "id,grade\na,1\nz,1\n"})
    notes = " | ".join(FolderSource(root).notes)
    assert "without a photograph, left out: 1: z" in notes
    assert "without a line in grades.csv: 1: b" in notes


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["photographs/a.png", "photographs/A.jpg"], "same name"),
        (["photographs/a b.png", "photographs/a_b.png"], "same id 'a_b'"),
        (["photographs/a.png", "masks/MA/b.png"], r"b\.png: there is no photograph of that name"),
        (["photographs/a.png", "masks/exudates/a.png"], "exudates: is no lesion.*MA, iHE"),
        (["photographs/a.png", "masks/MA/a.png", "masks/MA/a.tif"], "same name"),
        (["pictures/a.png"], "holds no photograph"),
    ],
)
def test_wrong_names_are_refused(folder_of, photograph, names, says):
    with pytest.raises(UserError, match=says):
        FolderSource(folder_of(dict.fromkeys(names, photograph))).photographs()


def test_a_name_that_cannot_be_an_id_is_changed_and_kept_as_name(folder_of, photograph, mask):
    root = folder_of({"photographs/eye 1 (left).png": photograph, "masks/MA/eye 1 (left).png": mask})
    (record,) = FolderSource(root).photographs()
    assert (record.id, record.name) == ("eye_1__left_", "eye 1 (left).png")
    assert record.masks.keys() == {"MA"}
