"""Every shipped config: opens as it should, and trains and tests with one command."""

import json

import pytest
import yaml

from retinalesion.cli import main
from retinalesion.commands.configs import config_of, shipped_configs

CONFIGS = shipped_configs()
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
