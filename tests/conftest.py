"""What tests of several wings share."""

from pathlib import Path

import pytest

from retinalesion.data.prepare import prepare
from retinalesion.data.store import Store
from retinalesion.data.synthetic import SyntheticSource


@pytest.fixture(scope="session")
def drawn_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Sixteen drawn photographs at side 96: 10 to train with, 2 for val, 4 for test. Not to be written to."""
    path: Path = tmp_path_factory.mktemp("drawn") / "store"
    return prepare(SyntheticSource(count=16, side=128, seed=0), path, side=96, jobs=1).store
