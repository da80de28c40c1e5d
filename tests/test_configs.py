"""Every shipped config: opens as it should, and trains and tests with one command."""

import inspect
import json

import pytest
import yaml

from retinalesion.cli import main
from retinalesion.commands.configs import config_of, shipped_configs
from retinalesion.paper import paper
from retinalesion.training.tasks import task_of

CONFIGS = shipped_configs()
OF_THE_PAPER = [name for name, file in CONFIGS.items() if file.read_text("utf-8").startswith("# Table")]
# Small enough for a step on a CPU; what is typed wins over the config.
TINY = [
    *("--model.encoder=test_resnet", "--model.weights=null", "--data.side=64", "--data.workers=0"),
    *("--data.crop=null", "--data.lesion_crops=0", "--data.batch_size=2", "--data.batches=1"),
    *("--trainer.max_steps=1", "--trainer.accelerator=cpu"),
    *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
]


def settings_of(file):
    return yaml.safe_load(file.read_text("utf-8"))


@pytest.fixture(scope="module")
def fitted(drawn_store, tmp_path_factory):
    """The test folder of a config's run of one step, made when first asked for."""
    folder, done = tmp_path_factory.mktemp("configs"), {}

    def fit(name):
        if name not in done:
            model = {"network": "lnet-16s"} | settings_of(CONFIGS[name])["model"]
            words = [*TINY, "--run", str(folder / name), "--data.store", str(drawn_store.path)]
            if model.get("side"):
                words.append("--model.side=32")
            if model["network"] in ("sian", "lesion-concat"):
                words.append(f"--model.lesion_net={lesion_net_of(model.get('lesion_network'))}")
            assert main(["fit", "--config", name, *words]) == 0
            assert main(["test", "--run", str(folder / name)]) == 0
            done[name] = folder / name
        return done[name]

    def lesion_net_of(network):
        needed = network or "lnet-16s"
        return fit(config_of(needed)) / "checkpoints/last.ckpt"

    return fit


@pytest.mark.parametrize("name", CONFIGS)
def test_it_trains_and_tests_with_one_command(fitted, name):
    graded = settings_of(CONFIGS[name]).get("data", {}).get("truth") == "grade"
    summary = fitted(name) / "test" / ("grades.json" if graded else "summary.json")
    assert json.loads(summary.read_text("utf-8"))["photographs"] == 4


def rows_served_by(name):
    """The paper's rows by the number of their table, from the config's settings and the defaults in code."""
    model = settings_of(CONFIGS[name])["model"]
    parameters = inspect.signature(task_of(model["network"])).parameters.values()
    settings = {parameter.name: parameter.default for parameter in parameters} | model
    return paper().rows_of({**settings, "side": settings.get("side") or 896})


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_it_opens_with_its_rows_and_their_figures(name):
    expected = []
    for table, row in rows_served_by(name).items():
        figures = (f"{score} {f.get('mean', f.get('kappa')):.3f}" for score, f in row.figures.items())
        expected.append(f"# Table {table}, row {row.name}: {', '.join(figures)}")
    lines = CONFIGS[name].read_text("utf-8").splitlines()
    assert [line for line in lines if line.startswith("# Table")] == expected
    assert f"# Command   retinalesion fit --config {name} --data.store STORE" in lines


def test_every_row_of_the_paper_is_one_config():
    assert len(OF_THE_PAPER) == 30
    served = [(table, row.name) for name in OF_THE_PAPER for table, row in rows_served_by(name).items()]
    assert sorted(served) == sorted(
        (table.number, row.name) for table in paper().tables for row in table.rows
    )
