"""`bench/gpu.py` on a CPU, tiny: on the day that a GPU is at hand, it has to run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from retinalesion.commands.configs import shipped_configs

SCRIPT = Path(__file__).parents[1] / "bench" / "gpu.py"
# A GPU machine may have none of these.
WITHOUT = ("kornia", "jsonargparse", "wandb")


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells_of(row):
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_a_config_has_its_row(gpu):
    cells = cells_of(gpu.row("sian.yaml", torch.device("cpu"), 1, quick=True))
    assert (cells[0], cells[4], cells[7]) == ("sian.yaml", "yes", "yes")
    assert float(cells[6]) > 0
    assert 0 < float(cells[10]) < 0.1


def test_what_does_not_fit_is_told(gpu, monkeypatch):
    def fit(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(gpu, "fit", fit)
    cells = cells_of(gpu.row("lnet.yaml", torch.device("cpu"), 1, quick=False))
    assert cells[:5] == ["lnet.yaml", "lnet-16s", "inception_v3", "8 x 896", "**does not fit**"]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_script_prints_all_its_tables_on_a_machine_without_what_only_the_command_line_needs(tmp_path):
    hidden = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({WITHOUT})); "
        f"sys.argv = ['gpu.py', '--device', 'cpu', '--quick', '--seconds', '60', '--workers', '2']; "
        f"sys.path.insert(0, {str(SCRIPT.parent)!r}); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", hidden], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "failed" not in done.stdout
    assert "no kornia" in done.stdout
    rows = [cells_of(row)[0] for row in done.stdout.splitlines() if row.startswith("| ")]
    assert {*shipped_configs(), "lnet-4s", "1 worker"} <= set(rows)
