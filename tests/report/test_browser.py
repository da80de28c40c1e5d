"""The report in headless Chromium, from disk: what a person does with it, seen in screenshots."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from retinalesion.pictures import ASIDE
from retinalesion.report.pictures import photograph_folder

SHOWN = """
const done = arguments[0];
const pictures = [...document.querySelectorAll("#sheet img")];
Promise.allSettled(pictures.map((one) => one.decode()))
  .then(() => requestAnimationFrame(() => requestAnimationFrame(done)));
"""


class Reader:
    """A person before the report."""

    def __init__(self, driver, page):
        self.driver, self.page = driver, page.as_uri()

    def open(self, name="", width=1200, height=800):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get("about:blank")  # the same page with another hash would not load again
        self.driver.get(f"{self.page}#{name}")
        if name:
            self.wait(lambda: self.find("#panel").is_displayed())

    def wait(self, condition):
        WebDriverWait(self.driver, 10, 0.02).until(lambda _: condition())

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def press(self, *keys):
        ActionChains(self.driver, 0).send_keys(*keys).perform()

    def run(self, code):
        return self.driver.execute_script(code)

    def listed(self):
        return self.run(
            "return [...document.querySelectorAll('#rows tr')].filter((r) => !r.hidden)"
            ".map((r) => r.querySelector('.id').textContent)"
        )

    def choose(self, facet, value):
        self.find(f"[data-facet={facet}] [data-value='{value}']").click()

    def title(self):
        return self.find("#title").text

    def stage(self):
        """The photograph's part of a screenshot."""
        self.driver.execute_async_script(SHOWN)
        screen = Image.open(BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")
        box = self.run(
            "const b = document.getElementById('sheet').parentElement.getBoundingClientRect();"
            "return [b.left, b.top, b.right - 70, b.bottom]"
        )  # without the zoom buttons
        return np.asarray(screen.crop([round(edge) for edge in box]), np.int16)


@pytest.fixture
def reader(driver, report):
    yield Reader(driver, report.page)
    assert driver.get_log("browser") == []


def changed(before, after):
    return int((np.abs(before - after).max(axis=2) > 8).sum())


def test_switching_a_layer_changes_the_picture(reader):
    reader.open("eye_10")
    both = reader.stage()
    reader.find("#layer-HaEx").click()
    one = reader.stage()
    reader.press("1")
    none = reader.stage()
    assert changed(both, one) > 100
    assert changed(one, none) > 100
    blue = np.array([0, 0, 255])
    assert (np.abs(both - blue).max(axis=2) < 30).any()
    assert not (np.abs(one - blue).max(axis=2) < 30).any()
    reader.press("0")
    assert changed(both, reader.stage()) == 0
    reader.press("5")  # a lesion without a layer
    assert changed(both, reader.stage()) == 0


def test_fading_changes_the_picture_and_f_brings_it_back(reader):
    reader.open("eye_10")
    full = reader.stage()
    reader.press("f")
    faint = reader.stage()
    assert changed(full, faint) > 100
    reader.run("const f = document.getElementById('fade'); f.value = 0; f.dispatchEvent(new Event('input'))")
    gone = reader.stage()
    assert changed(faint, gone) > 100
    reader.press("0")
    assert changed(gone, reader.stage()) == 0
    reader.press("0", "f")
    assert changed(full, reader.stage()) == 0


def test_truth_has_layers_of_its_own_where_there_is_truth(reader):
    reader.open("eye_10")
    without = reader.stage()
    reader.press("t")
    assert changed(without, reader.stage()) > 100
    assert reader.find("[data-lesion=iHE] .truth .quiet").text == "none"
    reader.open("eye_9")
    assert not reader.find("#truth-MA").is_displayed()


def test_evidence_lights_up_its_lesion(reader):
    reader.open("eye_10")
    plain = reader.stage()
    near, *lines = reader.driver.find_elements(By.CSS_SELECTOR, "button.line")
    assert near.text == "3 hard exudates near the fovea"
    assert [line.text for line in lines] == ["1 MA was seen", "1 HaEx was seen"]
    lines[0].click()
    first = reader.stage()
    assert changed(plain, first) > 100
    lines[1].click()
    assert changed(first, reader.stage()) > 100
    assert reader.find(".layers .lit").get_attribute("data-lesion") == "HaEx"
    lines[1].click()
    reader.run("document.activeElement.blur()")
    ActionChains(reader.driver, 0).move_to_element(reader.find("#title")).perform()
    assert changed(plain, reader.stage()) == 0


def test_what_lies_on_the_cameras_spots_is_told_and_shown_in_grey(reader):
    reader.open("eye_9")
    words = "On the camera's own spots, not counted: 2 MA (spot 1), 1 HaEx (spot 2)"
    assert reader.find("#camera label").text == words
    assert reader.find("[data-lesion=MA] .amount").text == "none"
    shown = reader.stage()
    grey = np.abs(shown - np.array(ASIDE)).max(axis=2) < 30
    assert grey.any()
    reader.press("c")
    assert not reader.find("#layer-camera").is_selected()
    assert changed(shown, reader.stage()) > 100
    reader.find("#layer-camera").click()
    assert changed(shown, reader.stage()) == 0
    reader.press("0")  # lesions only
    assert changed(shown, reader.stage()) == 0
    reader.open("eye_10")
    assert not reader.find("#camera").is_displayed()
    without = reader.stage()
    reader.press("c")
    assert changed(without, reader.stage()) == 0


def test_cameras_unfold_to_their_spots(reader):
    reader.open()
    assert "2 spots of its own" in reader.find(".cameras summary").text
    assert not reader.find(".spots").is_displayed()
    reader.find(".cameras summary").click()
    reader.wait(lambda: reader.find(".camera img").is_displayed())
    reader.wait(lambda: reader.run("return document.querySelector('.camera img').naturalWidth") == 320)
    rows = reader.driver.find_elements(By.CSS_SELECTOR, ".spots tbody tr")
    assert [row.text for row in rows] == [
        "1 3.4 % darker 200, 100 40 px 9 of 36",
        "2 1.1 % brighter 400, 300 24 px –",
    ]


def test_zoom_and_pan(reader):
    reader.open("eye_10")
    whole = reader.stage()
    reader.press("+")
    near = reader.stage()
    assert changed(whole, near) > 100
    ActionChains(reader.driver, 0).drag_and_drop_by_offset(reader.find("#stage"), 60, 40).perform()
    moved = reader.stage()
    assert changed(near, moved) > 100
    reader.find("#nearer").click()
    reader.run(
        "document.getElementById('stage').dispatchEvent("
        "new WheelEvent('wheel', { deltaY: -150, clientX: 200, clientY: 200, cancelable: true }))"
    )
    assert changed(moved, reader.stage()) > 100
    reader.find("#whole").click()
    assert changed(whole, reader.stage()) == 0


def test_filters_filter_and_count(reader, report):
    reader.open()
    everything = reader.listed()
    odd = report.readings[-1].id
    assert everything == ["eye_8", "eye_10", "eye_7", "dark", "broken", "eye_6", odd, "eye_9"]
    reader.choose("outcome", "refer")
    assert reader.listed() == ["eye_8", "eye_10"]
    assert reader.find("[data-facet=lesion] [data-value=CWS] .count").text == "0"
    reader.choose("lesion", "MA")
    assert reader.listed() == ["eye_10"]
    reader.choose("lesion", "iHE")
    assert reader.listed() == ["eye_8", "eye_10"]
    assert reader.find("#shown").text == "2 of 8 shown"
    reader.find("#clear").click()
    assert reader.listed() == everything
    for facet, value, name in (
        ("outcome", "urgent", "eye_8"),
        ("outcome", "uncertain", "eye_7"),
        ("outcome", "retake", "dark"),
        ("outcome", "not assessed", "eye_6"),
        ("outcome", "error", "broken"),
        ("grade", "unclear", "eye_7"),
        ("agreement", "cannot be judged", "eye_8"),
        ("grade", "DR0", "eye_9"),
    ):
        reader.choose(facet, value)
        assert reader.listed() == [name]
        reader.choose(facet, value)


def test_every_column_sorts_both_ways(reader):
    reader.open()
    assert reader.find("[aria-sort=descending]").text.startswith("Outcome"), "the list comes sorted by it"
    found = {}
    for heading in reader.driver.find_elements(By.CSS_SELECTOR, "[data-sort]"):
        heading.click()
        once = reader.listed()
        heading.click()
        found[heading.get_attribute("data-sort")] = once
        assert reader.listed() != once
    names = ["eye_6", "eye_7", "eye_8", "eye_9", "eye_10"]
    assert [name for name in found["name"] if "eye" in name] == names
    assert found["grade"][:2] == ["eye_8", "eye_10"]
    assert found["grade"][-1] == "broken"
    assert found["reference"][0] == "eye_10"
    assert found["outcome"][:4] == ["eye_8", "eye_10", "eye_7", "dark"]
    assert found["lesions"][0] == "eye_10"
    assert found["agreement"][1] == "eye_8"


def test_keys_lead_through_the_photographs_and_back(reader):
    reader.open()
    reader.find("[data-sort=name]").click()
    for outcome in ("refer", "retake"):
        reader.choose("outcome", outcome)
    reader.run("document.activeElement.blur()")
    reader.press("j", Keys.ENTER)
    reader.wait(lambda: reader.title() == "dark")
    reader.press("j")
    reader.wait(lambda: reader.title() == "eye_8")
    reader.press(Keys.ARROW_RIGHT)
    reader.wait(lambda: reader.title() == "eye_10")
    assert reader.find("#position").text == "3 of 3"
    reader.press("j")  # there is no further one
    reader.press("k")
    reader.wait(lambda: reader.title() == "eye_8")
    reader.press("?")
    assert reader.find("#help").is_displayed()
    reader.press(Keys.ESCAPE)
    assert not reader.find("#help").is_displayed()
    reader.press(Keys.ESCAPE)
    reader.wait(lambda: reader.find(".list").is_displayed())
    assert reader.listed() == ["dark", "eye_8", "eye_10"]
    assert reader.run("return document.activeElement.closest('tr').dataset.name") == "eye_8"


def test_what_was_not_read_says_why(reader):
    reader.open("dark")
    assert reader.find(".headline").text.split("\n") == ["Retake", "it cannot be read, take it again"]
    assert reader.find("#outcome").text == "", "why stands below"
    assert reader.find("#quality").text.endswith("it is too dark")
    assert not reader.find("#odds").is_displayed()
    reader.open("broken")
    assert reader.find("#grade").text == "Not read"
    assert "broken.jpg: not a picture" in reader.find("#error").text
    assert reader.find("#outcome").text == ""


def test_a_verdict_is_told_with_its_cuts_and_its_rule(reader):
    reader.open("eye_10")
    assert reader.find(".headline").text.split("\n") == ["DR2", "moderate non-proliferative"]
    assert reader.find("#outcome").text.split("\n") == ["refer", "exudates"]
    told = reader.find("#odds-told").text
    assert "macular oedema at risk: 20 %" in told
    assert "No referral below 15 %, refer from 20 %" in told
    assert "sensitivity 95 % (93 to 97 %)" in reader.find("#rule").text.lower()
    assert reader.find("#oedema").text == (
        "Macular oedema is not judged; exudates near the fovea ask for a look."
    )
    assert "right eye · disc seen (98 %) · fovea seen (90 %)" in reader.find("#facts").text
    reader.open("eye_8")
    chips = reader.driver.find_elements(By.CSS_SELECTOR, "#outcome .chip")
    assert [chip.text for chip in chips] == ["urgent", "refer"]
    assert reader.find("#oedema").text == "Macular oedema is not judged."
    reader.open("eye_6")
    assert reader.find(".headline").text.split("\n") == ["Not assessed"]
    assert not reader.find("#rule").is_displayed()


def test_what_is_possible_is_dashed_and_switched_apart(reader):
    reader.open("eye_7")
    assert reader.find(".headline").text.split("\n") == ["DR0 – DR3", "the grade is unclear"]
    assert reader.find("[data-lesion=HaEx] .amount").text == "none"
    assert reader.find("[data-lesion=HaEx] .possible").text == "1"
    both = reader.stage()
    blue = np.array([0, 0, 255])
    assert (np.abs(both - blue).max(axis=2) < 30).any()
    reader.press("p")
    without = reader.stage()
    assert not (np.abs(without - blue).max(axis=2) < 30).any()
    assert changed(both, without) > 20
    reader.press("p")
    assert changed(both, reader.stage()) == 0
    reader.find("button.line").click()  # the sentence on what is possible
    assert changed(both, reader.stage()) > 100
    reader.open("eye_10")
    assert not reader.find("#possible").is_displayed()


def test_disc_and_fovea_are_marked_on_request(reader):
    reader.open("eye_10")
    plain = reader.stage()
    reader.press("a")
    marked = reader.stage()
    assert changed(plain, marked) > 50
    # In the box (80, 0, 480) the disc lies left of the middle, half way down, and is 60 wide.
    rows, columns = np.nonzero(np.abs(plain - marked).max(axis=2) > 60)
    side = min(marked.shape[0], marked.shape[1] + 70)
    left = (marked.shape[1] + 70 - side) / 2
    assert (columns.min() - left) / side == pytest.approx((200 - 80 - 30) / 480, abs=0.02)
    assert (rows.max() - rows.min()) / side == pytest.approx(60 / 480, abs=0.02)
    reader.find("#layer-marks").click()
    assert changed(plain, reader.stage()) == 0
    reader.open("eye_9")
    assert not reader.find("#marks").is_displayed()


def test_a_reading_that_is_missing_from_the_folder_is_named(reader, report):
    file = photograph_folder(report.folder, "eye_9") / "reading.js"
    aside = file.rename(file.with_suffix(".aside"))
    try:
        reader.open("eye_9")
        assert "photographs/eye_9/reading.js is missing" in reader.find("#error").text
    finally:
        aside.rename(file)
    (told,) = reader.driver.get_log("browser")
    assert "ERR_FILE_NOT_FOUND" in told["message"]


def test_what_was_not_learned_is_named(reader):
    reader.open("eye_9")
    assert reader.find("#unlearned").text.startswith("Not learned by this model: vitreous haemorrhage, ")
    assert reader.find("[data-lesion=MA] .amount").text == "none"
    assert not reader.find(".layers [data-lesion=NV]").is_displayed()


def test_markup_in_a_name_stays_text(reader, report):
    odd = report.readings[-1].id
    reader.open()
    assert odd in reader.listed()
    place = reader.listed().index(odd)
    reader.run(f"document.querySelectorAll('.who a')[{place}].click()")
    reader.wait(lambda: reader.run("return document.getElementById('title').textContent") == odd)
    reader.wait(lambda: reader.find("#panel").is_displayed())
    assert f"{odd}.jpg" in reader.run("return document.getElementById('facts').textContent")
    assert not reader.run("return document.querySelectorAll('img[src=x]').length")
    assert reader.driver.title.startswith("<img src=x onerror=")


@pytest.mark.parametrize("name", ["", "eye_10", "eye_7", "dark", "broken"])
def test_a_phone_needs_no_scrolling_sideways(reader, name):
    reader.open(name, width=390, height=844)
    assert reader.run("return document.documentElement.scrollWidth") == 390
    if name:
        reader.find("#next").click()
    else:
        reader.find(".filter summary").click()
        reader.find(".cameras summary").click()
        assert reader.run("return document.documentElement.scrollWidth") == 390
