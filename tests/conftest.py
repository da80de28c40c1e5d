"""What tests of several wings share."""

import shutil
import signal
from pathlib import Path

import pytest
from selenium import webdriver

from retinalesion.data.prepare import prepare
from retinalesion.data.store import Store
from retinalesion.data.synthetic import SyntheticSource

# Begun in the background of a script, a process ignores Ctrl-C, and so do all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--force-prefers-reduced-motion"),
)


@pytest.fixture(scope="session")
def drawn_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Sixteen drawn photographs at side 96: 10 to train with, 2 for val, 4 for test. Not to be written to."""
    path: Path = tmp_path_factory.mktemp("drawn") / "store"
    return prepare(SyntheticSource(count=16, side=128, seed=0), path, side=96, jobs=1).store


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A browser to look at pages with."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and chromium-driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()
