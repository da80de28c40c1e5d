"""Where users type commands: a folder with a finished run, drawn photographs and a tiny encoder."""

import csv
import logging
import os
import shutil
from pathlib import Path

import pytest

from retinalesion.cli import main
from retinalesion.commands.fit import newest_lesion_net


@pytest.fixture(scope="session")
def tiny():
    """The text of a config for a network, or a grader, that is trained in seconds."""

    def text(network="lnet-32s", steps=4, grades=False):
        truth = "truth: grade, " if grades else ""
        return (
            f"model: {{network: {network}, encoder: test_efficientnet, weights: null}}\n"
            f"data: {{{truth}batch_size: 2, batches: 2, workers: 0}}\n"
            f"trainer: {{max_steps: {steps}, accelerator: cpu, enable_progress_bar: false, "
            "enable_model_summary: false}\n"
        )

    return text


@pytest.fixture(scope="session")
def folder(tmp_path_factory, tiny):
    """Where the user works."""
    path = tmp_path_factory.mktemp("work")
    (path / "tiny.yaml").write_text(tiny())
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def run(folder, drawn_store):
    """A finished run named ``first``."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        # options may stand before the command, as users type them
        command = ["--config", "tiny.yaml", "fit", "--data.store", str(drawn_store.path), "--run", "first"]
        assert main(command) == 0
    finally:
        os.chdir(before)
    return folder / "runs" / "first"


@pytest.fixture(scope="session")
def sian(run, drawn_store, tmp_path_factory, tiny):
    """A finished SiAN, fitted beside two L-Nets of which none was named; and what was said meanwhile."""
    folder, said = tmp_path_factory.mktemp("sian"), logging.StreamHandler()
    (folder / "tiny-sian.yaml").write_text(tiny("sian", grades=True))
    for name in ("older", "newer"):
        shutil.copytree(run, folder / "runs" / name)
    os.utime(folder / "runs/older/finished", (0, 0))
    before = Path.cwd()
    os.chdir(folder)
    said.setStream((folder / "said").open("w"))
    logging.getLogger("retinalesion").addHandler(said)
    try:
        store = str(drawn_store.path)
        assert main(["fit", "--config", "tiny-sian.yaml", "--data.store", store, "--run", "graded"]) == 0
        assert newest_lesion_net().parts[1] == "newer"  # though SiAN finished later
    finally:
        logging.getLogger("retinalesion").removeHandler(said)
        os.chdir(before)
    return folder / "runs" / "graded"


@pytest.fixture
def refused(capsys):
    """The message with which a command ends; it must be a message, with status 2."""

    def message(*command):
        capsys.readouterr()
        assert main(command) == 2
        lines = capsys.readouterr().err.splitlines()
        assert "Traceback" not in lines
        return " ".join(line for line in lines if line)

    return message


@pytest.fixture(scope="session")
def readings_in():
    """The rows of an analysis, by file."""

    def table(out):
        with (out / "readings.csv").open(newline="", encoding="utf-8-sig") as lines:
            return {row["file"]: row for row in csv.DictReader(lines)}

    return table
