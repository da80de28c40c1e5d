"""What a GPU makes of every shipped config, of half precision, of L-Net beside SMP's U-Net, and of `analyze`.

python bench/gpu.py [--seconds 330] [--workers 8] [--smp FOLDER_OR_WHEEL] [--device cuda|cpu] [--quick]

Prints markdown line by line, and ends after about the seconds given. Configs train as their fits would, at
their own batch, side and network, in float32 as they ask for, and in bfloat16; from random weights, on random
pictures, which are augmented where kornia is installed. Command line and loggers are not needed. Memory is
the peak that torch allocated. --quick makes all of it tiny: a trial of this script where no GPU is.
"""

import argparse
import gc
import importlib.util
import logging
import os
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from retinalesion.commands.configs import shipped_configs
from retinalesion.data.augment import ZOOM, augment, pack, unpack, window_of
from retinalesion.data.synthetic import SyntheticSource
from retinalesion.lesions import CODES, GRADES
from retinalesion.networks.base import Segmenter, answers
from retinalesion.reading.reader import Reader
from retinalesion.report.analyze import analyze
from retinalesion.training.tasks import task_of

AUGMENTED = importlib.util.find_spec("kornia") is not None
BEFORE = {"box-sian.yaml": "box-lnet.yaml", "demo-sian.yaml": "demo.yaml"}  # whose network they grade on
DEMO_SIDE = 256  # of the store that `retinalesion demo` makes
WARM_UP, STEPS = 2, 10
ENCODER = "tf_efficientnet_lite0"  # SMP's Inception-v3 is another
PHOTOGRAPHS, WIDTH, HEIGHT = 12, 4288, 2848


class Work(NamedTuple):
    """Settings of a config's task, and what each of its batches is."""

    model: dict[str, Any]
    count: int
    side: int  # of what the network sees
    crop: bool
    zoom: tuple[float, float]
    sharpness: float


def work_of(name: str, quick: bool) -> Work:
    written = yaml.safe_load(shipped_configs()[name].read_text("utf-8"))
    model = {"network": "lnet-16s", "encoder": "inception_v3"} | written.get("model", {})
    data = written.get("data", {})
    if name in BEFORE:
        before = yaml.safe_load(shipped_configs()[BEFORE[name]].read_text("utf-8"))["model"]
        model |= {f"lesion_{key}": before[key] for key in ("network", "encoder")}
    if "lesion_network" in model:
        model.setdefault("lesion_encoder", "inception_v3")
    model["weights"] = None
    model.pop("calibrate", None)  # comes after the last step
    side = data.get("crop") or data.get("side") or (DEMO_SIDE if name.startswith("demo") else 896)
    count = data.get("batch_size", 8)
    if quick:
        small = {"encoder": "test_resnet", "lesion_encoder": "test_resnet", "side": 32}
        model |= {key: value for key, value in small.items() if key in model}
        side, count = 64, 2
    return Work(model, count, side, "crop" in data, data.get("zoom", ZOOM), data.get("sharpness", 1.0))


class Batches:
    """At most so many batches of random pictures with a few marks; fewer where the time is over."""

    def __init__(self, work: Work, device: torch.device, most: int, seconds: float) -> None:
        self.work, self.device, self.most = work, device, most
        self.until = time.perf_counter() + seconds

    def __iter__(self) -> Iterator[dict[str, Any]]:
        _, count, side, crop, zoom, sharpness = self.work
        window = window_of(side, zoom) if crop and AUGMENTED else side
        image = torch.rand(count, 3, window, window, device=self.device)
        planes = pack(torch.rand(count, len(CODES), window, window, device=self.device) < 0.01)
        told = {"grade": torch.arange(count, device=self.device) % len(GRADES), "id": ["drawn"] * count}
        for step in range(self.most):
            if step > WARM_UP and time.perf_counter() > self.until:
                return
            seen = image, planes, torch.full_like(planes, 255)
            if AUGMENTED:
                draws = torch.arange(count) + step * count
                seen = augment(*seen, draws, 0, side, crop, zoom, sharpness)
            yield {"image": seen[0], "planes": unpack(seen[1]), "valid": unpack(seen[2]), **told}


class Stopwatch(Callback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def begin(device: torch.device) -> None:
    """What came before takes no memory any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(device: torch.device) -> str:
    return f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if device.type == "cuda" else "-"


def fit(work: Work, precision: str, device: torch.device, seconds: float, most: int) -> LightningModule:
    """A task after some steps, with the median of their seconds in ``task.taken``."""
    torch.manual_seed(0)
    task, watch = task_of(work.model["network"])(**work.model), Stopwatch()
    task.begin = lambda datamodule: None  # would ask for weights of a lesion network
    trainer = Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=precision,
        max_steps=most,
        max_epochs=1,
        callbacks=[watch],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, Batches(work, device, most, seconds))
    task.taken = statistics.median(np.diff(watch.ends)[WARM_UP - 1 :])
    return task


@torch.inference_mode()
def worst_difference(task: LightningModule, image: Tensor) -> float:
    """Of any probability, between bfloat16 and float32."""
    task.eval().to(image.device)
    for part in (part for part in task.modules() if isinstance(part, nn.BatchNorm2d)):
        # statistics of these very pictures: untrained, its maps are absurd
        part.reset_running_stats()
        part.momentum, part.training = None, True
    task(image)
    task.eval()
    told = []
    for half in (False, True):
        with torch.autocast(image.device.type, torch.bfloat16, enabled=half):
            told.append(answers(task.network, image))
    pairs = [pair for pair in zip(*told, strict=True) if pair[0] is not None]
    return max(float((single - half).abs().max()) for single, half in pairs)


def row(name: str, device: torch.device, seconds: float, quick: bool) -> str:
    """Of the table of configs."""
    work, difference = work_of(name, quick), ""
    cells = [name, work.model["network"], work.model["encoder"], f"{work.count} x {work.side}"]
    for precision in ("32-true", "bf16-mixed"):
        begin(device)
        try:
            task = fit(work, precision, device, seconds / 2, WARM_UP + (2 if quick else STEPS))
            cells += ["yes", peak(device), f"{task.taken:.3f}"]
            if precision == "32-true":
                image = torch.rand(2, 3, work.side, work.side, device=device)
                difference = f"{worst_difference(task, image):.4f}"
            del task
        except torch.OutOfMemoryError:
            cells += ["**does not fit**", "", ""]
        except Exception as error:  # one config must not lose the table
            traceback.print_exc()
            cells += [f"failed: {type(error).__name__}", "", ""]
    return line(*cells, difference)


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def heading(*cells: str) -> str:
    return f"\n{line(*cells)}\n|{'---|' * len(cells)}"


class Quiet(Segmenter):
    """A network that finds nothing: of random weights a read would be spent on outlines of noise."""

    def logits_of(self, image: Tensor) -> Tensor:
        return self.encoder(image) - 20  # here a whole network


def beside_smp(device: torch.device, photograph: Path, quick: bool) -> Iterator[str]:
    """A step of L-Net and of SMP's U-Net, and a read from file to reading with either."""
    try:
        from networks import UNET, network, seconds, step_of  # the bench beside this one
    except ImportError as error:
        yield f"\nL-Net beside U-Net was not measured: {error}. It comes with --smp FOLDER_OR_WHEEL."
        return
    encoder, count, side = ("test_resnet", 2, 64) if quick else (ENCODER, 8, 896)
    yield heading(
        f"on {encoder}, {count} x {side}", "step s", "x U-Net", "step GiB", "full read s", "x U-Net"
    )
    unet: list[float] = []
    for name in (UNET, "lnet-16s", "lnet-4s"):
        begin(device)
        net = network(name, encoder, device.type)
        step = step_of(net, side, count, device.type)
        steps = [seconds(step, device.type) for _ in range(WARM_UP + STEPS)]
        memory, reader = peak(device), Reader(Quiet(net), side)
        reads = [seconds(lambda r=reader: r.read(photograph, "drawn"), device.type) for _ in range(5)]
        taken = [statistics.median(each[WARM_UP:]) for each in (steps, reads)]
        unet = unet or taken
        ratios = [f"{own / its:.2f}" for own, its in zip(taken, unet, strict=True)]
        yield line(name, f"{taken[0]:.3f}", ratios[0], memory, f"{taken[1]:.3f}", ratios[1])
        del net, step, reader


def draw(folder: Path, quick: bool) -> list[Path]:
    """Photographs of a fundus camera's size, drawn smaller and enlarged."""
    count, shape = (2, (HEIGHT // 8, WIDTH // 8, 3)) if quick else (PHOTOGRAPHS, (HEIGHT, WIDTH, 3))
    source, files = SyntheticSource(count, shape[0] // 4), []
    for number, one in enumerate(source.photographs()):
        drawn = source.read(one).rgb[..., ::-1]
        drawn = cv2.resize(drawn, (shape[0], round(shape[0] * drawn.shape[0] / drawn.shape[1])))
        whole = np.zeros(shape, np.uint8)
        top, left = (shape[0] - drawn.shape[0]) // 2, (shape[1] - shape[0]) // 2
        whole[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
        files.append(folder / f"drawn_{number:02}.jpg")
        cv2.imwrite(str(files[-1]), whole)
    return files


def analyses(files: list[Path], folder: Path, device: torch.device, workers: int) -> Iterator[str]:
    """Seconds of `analyze`, with the model in the box, by the number of workers."""
    yield heading(f"analyze, {len(files)} photographs", "seconds", "a photograph")
    for number in sorted({1, workers}):
        start = time.perf_counter()
        analyze(files, folder / f"by_{number}", device=device.type, workers=number)
        taken = time.perf_counter() - start
        yield line(f"{number} worker{'s' if number > 1 else ''}", f"{taken:.1f}", f"{taken / len(files):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=330)
    parser.add_argument("--workers", type=int, default=min(8, len(os.sched_getaffinity(0))))
    parser.add_argument(
        "--smp", type=Path, help="where segmentation_models_pytorch is, if it is not installed"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    start, device = time.perf_counter(), torch.device(options.device)
    if options.smp:
        sys.path.insert(0, str(options.smp.resolve()))
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    card = torch.cuda.get_device_name() if device.type == "cuda" else "no GPU"
    how = "augmented" if AUGMENTED else "not augmented (no kornia)"
    print(f"{card}, torch {torch.__version__}; batches {how}{'; a quick trial' if options.quick else ''}.")
    columns = [f"{what}, {kind}" for kind in ("float32", "bfloat16") for what in ("fits", "GiB", "step s")]
    print(heading("config", "network", "encoder", "batch", *columns, "worst difference"), flush=True)
    names = list(shipped_configs())
    for done, name in enumerate(names):
        left = 0.7 * options.seconds - (time.perf_counter() - start)
        print(row(name, device, left / (len(names) - done), options.quick), flush=True)
    with tempfile.TemporaryDirectory() as place:
        files = draw(Path(place), options.quick)
        for text in beside_smp(device, files[0], options.quick):
            print(text, flush=True)
        for text in analyses(files, Path(place), device, options.workers):
            print(text, flush=True)
    print(f"\nAll of it took {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
