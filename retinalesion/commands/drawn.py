"""The small drawn store on which the commands work where no store is named."""

import logging
import os
import shutil
from pathlib import Path

from platformdirs import user_cache_path

from retinalesion import __version__
from retinalesion.data.prepare import prepare
from retinalesion.data.synthetic import SyntheticSource

SIDE = 256  # small enough for a machine without a GPU

log = logging.getLogger("retinalesion")


def drawn_store() -> Path:
    """A store of 60 drawn photographs in the user's cache, made on the first call."""
    store = user_cache_path("retinalesion") / f"synthetic-{SIDE}-{__version__}"
    if not store.is_dir():
        beside = store.with_name(f"{store.name}.{os.getpid()}")
        prepare(SyntheticSource(side=SIDE), beside, side=SIDE)
        try:
            beside.rename(store)
        except OSError:  # another process was faster
            shutil.rmtree(beside)
    log.warning("No store named (--data.store STORE): working on 60 drawn photographs in %s", store)
    return store
