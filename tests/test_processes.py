"""Two processes as a user's script starts them, by a plain Trainer: one killed, the other does not wait."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ENDLESS = """
import os, sys
from pathlib import Path
from lightning.pytorch import Callback, Trainer
from retinalesion.data.datamodule import FundusDataModule
from retinalesion.training.segmentation import SegmentationTask

class Here(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 3:
            Path(sys.argv[2], f"rank{trainer.global_rank}").write_text(str(os.getpid()))

data = FundusDataModule(sys.argv[1], batch_size=2, batches=10_000_000, workers=1)
trainer = Trainer(
    default_root_dir=sys.argv[2], accelerator="cpu", devices=2, strategy="ddp", callbacks=[Here()],
    logger=False, enable_progress_bar=False, num_sanity_val_steps=0,
)
trainer.fit(SegmentationTask("lnet-32s", "test_efficientnet", weights=None), data)
"""


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("killed", [0, 1])
def test_one_process_killed_ends_the_other_within_a_minute(drawn_store, tmp_path, killed):
    script = tmp_path / "script.py"
    script.write_text(ENDLESS)
    command = [sys.executable, str(script), str(drawn_store.path), str(tmp_path)]
    first = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    notes = [tmp_path / f"rank{rank}" for rank in (0, 1)]
    while not all(note.exists() and note.read_text() for note in notes):
        assert first.poll() is None
        time.sleep(0.1)
    pids = [int(note.read_text()) for note in notes]
    family = [first.pid, *(child.pid for child in psutil.Process(first.pid).children(recursive=True))]
    assert set(pids) <= set(family)
    os.kill(pids[killed], signal.SIGKILL)
    since = time.monotonic()
    try:
        while any(map(alive, family)):  # their loading processes too
            first.poll()
            assert time.monotonic() - since < 60
            time.sleep(0.1)
    finally:
        for pid in filter(alive, family):
            os.kill(pid, signal.SIGKILL)
    assert first.wait() != 0
