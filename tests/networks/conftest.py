"""What tests of networks share: checkpoints without a fit."""

import pytest

from retinalesion.networks.checkpoint import FORMAT, write_checkpoint


@pytest.fixture(scope="session")
def keep():
    """Write a network's state dict as a task keeps it, with the task's settings."""

    def write(file, state, **settings):
        contents = {
            "hyper_parameters": {"network": "lnet-32s", "encoder": "test_efficientnet", **settings},
            "retinalesion": {"format": FORMAT, "stage": "only", "fingerprint": "f", "side": 64},
            "state_dict": {f"network.{key}": value for key, value in state.items()},
            "global_step": 7,
        }
        write_checkpoint(contents, file)
        return file

    return write
