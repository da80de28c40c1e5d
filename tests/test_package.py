"""What a user installs: the wheel, used from an empty folder without the checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from retinalesion.commands.configs import find_config, shipped_configs
from retinalesion.errors import UserError
from retinalesion.reading.reading import Reading

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's contents, as an installer would lay them out."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_wheel_finds_its_configs_from_an_empty_folder(installed, tmp_path):
    code = (
        "from retinalesion.commands.configs import *\n"
        "print(find_config('lnet.yaml'))\nprint(*shipped_configs())"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    found, names = done.stdout.splitlines()
    assert Path(found) == installed / "retinalesion/configs/lnet.yaml"
    assert set(names.split()) == {file.name for file in (CHECKOUT / "configs").glob("*.yaml")}


def test_wheel_is_typed_and_licensed(installed):
    assert (installed / "retinalesion/py.typed").is_file()
    (information,) = installed.glob("*.dist-info")
    assert "Apache License" in (information / "licenses/LICENSE").read_text("utf-8")
    assert not (installed / "tests").exists()


def test_wheel_holds_the_reports_parts_and_the_samples(installed):
    room = CHECKOUT / "retinalesion"
    parts = ("report/static", "report/templates", "samples")
    files = {file.relative_to(room) for part in parts for file in (room / part).glob("*.*")}
    assert len(files) > len(parts)
    for file in files:
        assert (installed / "retinalesion" / file).read_bytes() == (room / file).read_bytes()


OFFLINE = """
import socket, sys
from retinalesion import samples
from retinalesion.cli import main

def refuse(*_):
    raise OSError("no network here")

socket.socket.connect = socket.getaddrinfo = refuse
sys.exit(main(["analyze", *map(str, samples.photographs())]))
"""


def test_wheel_reads_photographs_with_the_model_in_the_box_and_no_network(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    subprocess.run([sys.executable, "-c", OFFLINE], cwd=tmp_path, env=environment, check=True)
    lines = (tmp_path / "analysis/readings.jsonl").read_text("utf-8").splitlines()
    ill, well = (Reading.from_dict(json.loads(line)) for line in lines)
    assert {"MA", "iHE", "HaEx", "CWS"} == set(ill.learned) == set(ill.present)
    assert ill.referable
    assert not well.referable
    assert sum(finding.pixels for finding in well.findings) < 100
    assert (tmp_path / "analysis/report/index.html").is_file()


def test_a_config_here_comes_before_the_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("lnet.yaml") == shipped_configs()["lnet.yaml"]
    (tmp_path / "lnet.yaml").touch()
    assert find_config("lnet.yaml").resolve() == tmp_path / "lnet.yaml"


def test_an_unknown_config_lists_what_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"other\.yaml.*lnet\.yaml"):
        find_config("other.yaml")
