"""The report's files: complete, self-contained, and safe whatever a photograph is called."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from retinalesion.data.decode import Camera
from retinalesion.data.spots import CameraMap, Spot
from retinalesion.errors import UserError
from retinalesion.reading.reading import Reading
from retinalesion.report.page import script, write_report
from retinalesion.report.pictures import photograph_folder, safe_name
from retinalesion.report.rows import Rows, facets_of

MARKUP = "<img src=x onerror=document.title='caught'>\"'&\u2028</script>"


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(report):
    return Page(report.page.read_text("utf-8"))


def called(report, reading):
    """Name and values that a photograph's script hands to the page."""
    source = (photograph_folder(report.folder, reading.id) / "reading.js").read_text("ascii")
    assert not set("<>&") & set(source.strip())
    call = re.fullmatch(r"report\.receive\((.*)\);\n", source, re.DOTALL)
    return json.loads(f"[{call[1]}]")


def test_the_page_needs_nothing_from_elsewhere(report, page):
    addresses = [tag.get("src") or tag.get("href") for _, tag in page.tags if "src" in tag or "href" in tag]
    for address in addresses:
        if address != "data:," and not address.startswith("#"):
            assert (report.folder / address).is_file(), address
    assert all("type" not in attributes for attributes in page.all("script"))
    for file in report.folder.rglob("*.*s"):
        assert not re.search(r"https?:|fetch\(|\bimport\b", file.read_text("utf-8")), file.name


def test_pictures_of_the_list_load_lazily(report, page):
    assert {one["loading"] for one in page.all("img")} == {"lazy"}
    pictures = [one for one in page.all("img") if one.get("class") == "thumbnail"]
    assert len(pictures) == sum(not one.error for one in report.readings)
    assert {(one["width"], one["height"]) for one in pictures} == {("56", "56")}


def test_every_reading_has_a_row_that_can_be_sorted_and_filtered(report, page):
    rows = [one for one in page.all("tr") if "data-name" in one]
    names = {safe_name(one.id): one.id for one in report.readings}
    found = {names[one["data-name"]]: (one["data-outcome"], one["data-grade"]) for one in rows}
    assert list(found.items()) == [  # the most pressing first, then the most probable
        ("eye_8", ("urgent|refer", "DR4")),
        ("eye_10", ("refer", "DR2")),
        ("eye_7", ("uncertain", "DR1|unclear")),
        ("dark", ("retake", "no grade")),
        ("broken", ("error", "")),
        ("eye_6", ("not assessed", "no grade")),
        (MARKUP, ("no referral", "DR1")),
        ("eye_9", ("no referral", "DR0")),
    ]
    assert rows[1]["data-lesion"] == "MA|HaEx"
    assert rows[2]["data-lesion"] == "MA", "what is possible does not count"
    sorts = {one["data-sort"] for one in page.all("button") if "data-sort" in one}
    assert sorts == {"name", "grade", "reference", "agreement", "outcome", "lesions"}
    for row in rows:
        for key in sorts - {"name"}:
            float(row[f"data-by-{key}"])


def test_choices_count_their_rows(report):
    rows = Rows(report.readings, lambda reading: None)
    counts = {facet.key: {one.value: one.amount for one in facet.choices} for facet in facets_of(rows)}
    assert counts == {
        "outcome": {
            **{"urgent": 1, "refer": 2, "uncertain": 1, "retake": 1},
            **{"error": 1, "not assessed": 1, "no referral": 2},
        },
        "grade": {"DR0": 1, "DR1": 2, "DR2": 1, "DR4": 1, "unclear": 1, "no grade": 2},
        "agreement": {"agrees": 3, "not graded": 2, "cannot be judged": 1, "below evidence": 1},
        "lesion": {"MA": 2, "iHE": 1, "HaEx": 1, "CWS": 1},
    }


def test_markup_in_a_name_stays_text(report, page):
    odd = report.readings[-1].id
    assert odd in page.text
    assert not [one for one in page.all("img") if one["src"] == "x"]
    name, values = called(report, report.readings[-1])
    assert name == safe_name(odd)
    assert (values["id"], values["file"]) == (odd, f"{odd}.jpg")


def test_a_script_gets_findings_summed_up_and_its_pictures(report):
    name, values = called(report, report.readings[0])
    assert name == "eye_10"
    assert "findings" not in values
    sums = {"pixels": 400, "share": 0.0004, "disc_areas": 0.01}
    assert values["lesions"]["HaEx"] == {"count": 1, "possible": 0, **sums}
    layers = {"layers": ["MA", "HaEx"], "truth": ["MA"], "annotated": ["MA", "iHE"]}
    assert values["pictures"] == {**layers, "possible": [], "camera": False}
    assert values["camera"] == {}
    assert called(report, report.readings[4])[1]["pictures"] is None


def test_what_does_not_count_is_summed_up_apart(report):
    (unclear,) = (one for one in report.readings if one.id == "eye_7")
    values = called(report, unclear)[1]
    nothing = {"pixels": 0, "share": 0, "disc_areas": 0}
    assert values["lesions"]["HaEx"] == {"count": 0, "possible": 1, **nothing}
    assert values["present"] == values["pictures"]["layers"] == ["MA"]
    assert values["pictures"]["possible"] == ["HaEx"]


def test_findings_on_the_cameras_spots_are_summed_up_apart(report):
    values = called(report, report.readings[1])[1]
    assert values["camera"] == {"MA": {"count": 2, "spots": [1]}, "HaEx": {"count": 1, "spots": [2]}}
    assert (values["lesions"], values["present"]) == ({}, [])
    assert values["pictures"]["camera"]


@pytest.mark.parametrize("text", ["</script>", "<!--", "\u2028\u2029", "&lt;", "\udcff", 'quote"\\', "\x00"])
def test_values_in_scripts_hold_no_markup_and_come_back(text):
    written = script({text: [text]})
    assert written.isascii()
    assert not set("<>&") & set(written)
    assert json.loads(written) == {text: [text]}


def test_a_name_that_is_no_unicode_stops_no_report(tmp_path):
    write_report(tmp_path, [Reading("eye\udcff", "eye\udcff.jpg", error="damaged")])
    assert "eye?" in (tmp_path / "index.html").read_text("utf-8")


def test_research_and_oedema_are_told_on_list_and_photograph(page):
    assert page.text.count("For research, not for diagnosis.") == 2
    assert page.text.count("Macular oedema is not judged") == 2
    assert page.text.count("Macular oedema is not judged; exudates near the fovea ask for a look.") == 1


def test_written_again_a_report_holds_the_new_readings_only(tmp_path):
    write_report(tmp_path, [Reading("one", "one.jpg", error="damaged")])
    page = write_report(tmp_path, [Reading("two", "two.jpg", error="damaged")])
    rows = [one for one in Page(page.read_text("utf-8")).all("tr") if "data-name" in one]
    assert [one["data-name"] for one in rows] == ["two"]


def looked_at(width, model="", spots=()):
    return CameraMap(Camera(width, 480, model), 40, 36, tuple(spots))


def few(width):
    return CameraMap(Camera(width, 480), photographs=2, groups=2)


def page_of(folder, *cameras):
    mean = np.full((24, 32), 128, np.uint8)
    return Page(write_report(folder, [], [(camera, mean) for camera in cameras]).read_text("utf-8"))


def test_spots_of_a_camera_are_pictured_and_listed(report, page):
    assert str(report.camera) in page.text
    assert [one["href"] for one in page.all("a") if "cameras" in one["href"]] == ["cameras/1.png"]
    (picture,) = [one for one in page.all("img") if "cameras" in one["src"]]
    assert (picture["width"], picture["height"]) == ("320", "240")
    words = " ".join(page.text.split())
    assert "2 spots of its own" in words
    assert "1 3.4 % darker 200, 100 40 px 9 of 36" in words
    assert "2 1.1 % brighter 400, 300 24 px –" in words


def test_no_camera_no_section(tmp_path):
    assert "Camera" not in page_of(tmp_path).text


def test_cameras_with_few_photographs_are_told_in_words(tmp_path):
    one = page_of(tmp_path, few(640))
    assert str(few(640)) in one.text
    assert not one.all("img")
    many = page_of(tmp_path, *map(few, range(600, 700)))
    assert "100 cameras with 200 photographs together: too few of each" in many.text
    assert str(few(640)) not in many.text
    assert not (tmp_path / "cameras").exists()


def test_a_camera_without_spots_is_said_to_have_none(tmp_path):
    page = page_of(tmp_path, looked_at(640))
    assert str(looked_at(640)) in page.text
    assert "no spots of its own" in page.text
    assert not [one for one in page.all("table") if one.get("class") == "spots"]


def test_markup_in_the_name_of_a_camera_stays_text(tmp_path):
    odd = looked_at(640, "<img src=x>\"'&", [Spot("dark", 9, 9, 4, -0.1, 9.0)])
    page = page_of(tmp_path, odd, few(320))
    assert str(odd) in page.text
    assert [one["src"] for one in page.all("img")] == ["cameras/1.png"]


def test_written_again_a_report_holds_the_new_cameras_only(tmp_path):
    page_of(tmp_path, looked_at(640), looked_at(800))
    assert {file.name for file in (tmp_path / "cameras").iterdir()} == {"1.png", "2.png"}
    page = page_of(tmp_path, few(320), looked_at(1000))
    assert {file.name for file in (tmp_path / "cameras").iterdir()} == {"1.png"}
    assert "1000 x 480" in page.text
    assert "640 x 480" not in page.text
    assert "cameras" not in page_of(tmp_path).text
    assert not (tmp_path / "cameras").exists()


def test_a_report_of_nothing_opens(tmp_path):
    assert "0 photographs" in write_report(tmp_path, []).read_text("utf-8")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_report(tmp_path / "file" / "report", [Reading("one", "one.jpg", error="damaged")])


def test_a_map_from_elsewhere_is_told_without_a_picture(report, tmp_path):
    page = write_report(tmp_path, report.readings[:1], [(report.camera, None)]).read_text("utf-8")
    assert "9 of 36" in page
    assert "cameras/1.png" not in page
    assert not (tmp_path / "cameras").exists()
