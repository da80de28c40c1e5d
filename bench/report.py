"""How soon is a report's list there, and sortable?

python bench/report.py [--count 1000] [--runs 5]

Headless Chromium (Debian's chromium and chromium-driver) opens a drawn report from disk. The time runs from
navigation until a click on a heading has brought the list into another order, as seen from outside.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from selenium import webdriver
from selenium.webdriver.common.by import By

from retinalesion.geometry import Box
from retinalesion.lesions import CODES
from retinalesion.reading.reading import EvidenceLine, Finding, Quality, Reading
from retinalesion.report.page import write_report
from retinalesion.report.pictures import write_pictures

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1400,900"),
)
FIRST = "return document.querySelector('#rows tr').dataset.name"


def reading(number: int, rng: np.random.Generator) -> Reading:
    codes = [code for code in CODES if rng.random() < 0.5]
    findings = tuple(
        Finding(code, 5, 5, 0, 0, 10, 10, 100, 1e-4, "upper left", None, 0.9)
        for code in codes
        for _ in range(40)
    )
    probabilities = rng.dirichlet(np.ones(5))
    return Reading(
        id=f"photograph_{number:05}",
        file=f"photographs/photograph_{number:05}.jpg",
        width=4288,
        height=2848,
        box=Box(0, 0, 2848),
        quality=Quality(True),
        learned=CODES,
        findings=findings,
        grade=int(probabilities.argmax()),
        grade_probabilities=tuple(probabilities.tolist()),
        evidence=tuple(EvidenceLine(f"40 regions of {code}", "supports", 2, (code,)) for code in codes),
        agreement="agrees",
        referable=bool(probabilities[2:].sum() > 0.5),
        referable_probability=float(probabilities[2:].sum()),
        model="drawn",
    )


def seconds(driver: webdriver.Chrome, page: Path) -> float:
    driver.get("about:blank")
    start = time.perf_counter()
    driver.get(page.as_uri())
    before = driver.execute_script(FIRST)
    driver.find_element(By.CSS_SELECTOR, "[data-sort=refer]").click()
    if driver.execute_script(FIRST) == before:
        raise RuntimeError("the list was not sorted")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    driver_file = shutil.which("chromedriver")
    if not driver_file:
        sys.exit("This bench needs Debian's chromium and chromium-driver.")
    rng = np.random.default_rng(0)
    readings = [reading(number, rng) for number in range(arguments.count)]
    with tempfile.TemporaryDirectory() as place:
        report, profile = Path(place, "report"), Path(place, "profile")
        for one in readings:
            rgb = rng.integers(256, size=(5, 5, 3), dtype=np.uint8).repeat(40, axis=0).repeat(40, axis=1)
            write_pictures(report, one.id, rgb, np.zeros((len(CODES), 200, 200), np.bool_))
        start = time.perf_counter()
        page = write_report(report, readings)
        written = time.perf_counter() - start
        options = webdriver.ChromeOptions()
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService(driver_file))
        times = [seconds(driver, page) for _ in range(arguments.runs)]
        driver.quit()
        table = Table("what", "figure", title=f"A report of {arguments.count} photographs")
        table.add_row("page and scripts written", f"{written:.1f} s")
        table.add_row("size of the page", f"{page.stat().st_size / 1e6:.2f} MB")
        table.add_row("from navigation to a sorted list, median", f"{statistics.median(times):.2f} s")
        table.add_row("each", " ".join(f"{one:.2f}" for one in times))
        Console().print(table)


if __name__ == "__main__":
    main()
