"""A training step and a photograph's prediction: L-Net beside segmentation_models_pytorch's U-Net.

python bench/networks.py [--encoder NAME] [--side 448] [--batch 4] [--photograph 896] [--runs 7]

Same encoder, side and batch, random weights, Dice loss; the networks take turns, so that a machine whose
speed drifts slows all alike. Ratios are of medians to the U-Net's. Memory is the peak of a process of its own
that does one step (or one prediction), less what it held before: resident memory on a CPU, allocated memory
on a GPU.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from retinalesion.networks.cost import multiply_adds, parameters
from retinalesion.networks.tables import segmenter
from retinalesion.training.losses import dice_loss

UNET = "U-Net (smp)"
NAMES = (UNET, "lnet-32s", "lnet-16s", "lnet-8s", "lnet-4s", "lnet-2s")


def network(name: str, encoder: str, device: str) -> nn.Module:
    torch.manual_seed(0)
    if name == UNET:
        made: nn.Module = smp.Unet(f"tu-{encoder}", encoder_weights=None, classes=8)
    else:
        made = segmenter(name, encoder)
    return made.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def step_of(net: nn.Module, side: int, batch: int, device: str) -> Callable[[], None]:
    net.train()
    image = torch.rand(batch, 3, side, side, device=device)
    planes = torch.rand(batch, 8, side, side, device=device) < 0.01
    optimizer = torch.optim.SGD(net.parameters(), 0.001, momentum=0.95)

    def step() -> None:
        optimizer.zero_grad()
        dice_loss(net(image).sigmoid(), planes, torch.ones_like(planes)).backward()
        optimizer.step()

    return step


def prediction_of(net: nn.Module, side: int, device: str) -> Callable[[], Tensor]:
    net.eval()
    image = torch.rand(1, 3, side, side, device=device)

    def predict() -> Tensor:
        with torch.inference_mode():
            return net(image).sigmoid()

    return predict


def seconds(work: Callable[[], object], device: str) -> float:
    begin = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def peak() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    # Not ru_maxrss: a child inherits its parent's.
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def memory(name: str, encoder: str, sides: tuple[int, int], batch: int, device: str, train: bool) -> float:
    """MiB that one step or prediction adds to a process."""
    net = network(name, encoder, device)
    small = step_of(net, 32, 2, device) if train else prediction_of(net, 32, device)
    small()
    before = peak()
    (step_of(net, sides[0], batch, device) if train else prediction_of(net, sides[1], device))()
    return peak() - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="tf_efficientnet_lite0")
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--photograph", type=int, default=896)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"

    nets = {name: network(name, options.encoder, device) for name in NAMES}
    steps = {name: step_of(net, options.side, options.batch, device) for name, net in nets.items()}
    taken: dict[str, list[float]] = {name: [] for name in NAMES}
    for _ in range(options.runs + 1):
        for name, step in steps.items():
            taken[name].append(seconds(step, device))
    predictions = {name: prediction_of(net, options.photograph, device) for name, net in nets.items()}
    predicted: dict[str, list[float]] = {name: [] for name in NAMES}
    for _ in range(options.runs + 1):
        for name, predict in predictions.items():
            predicted[name].append(seconds(predict, device))
    apart = multiprocessing.get_context("spawn")
    sides = (options.side, options.photograph)
    held: dict[str, list[float]] = {name: [] for name in NAMES}
    for train in (True, False):
        for name in NAMES:
            with apart.Pool(1) as pool:
                held[name].append(
                    pool.apply(memory, (name, options.encoder, sides, options.batch, device, train))
                )

    title = f"{options.encoder}, {device}: step {options.batch} x {options.side}, "
    table = Table(title=f"{title}photograph {options.photograph}")
    columns = ("network", "parameters", "GMAC", "step s", "x U-Net", "step MiB", "photograph s")
    columns = (*columns, "x U-Net", "photograph MiB")
    for column in columns:
        table.add_column(column, justify="left" if column == "network" else "right")
    for name, net in nets.items():
        step, predict = (statistics.median(t[name][1:]) for t in (taken, predicted))
        unet_step, unet_predict = (statistics.median(t[UNET][1:]) for t in (taken, predicted))
        table.add_row(
            name,
            f"{parameters(net) / 1e6:.2f} M",
            f"{multiply_adds(net, options.photograph) / 1e9:.1f}",
            f"{step:.3f}",
            f"{step / unet_step:.2f}",
            f"{held[name][0]:.0f}",
            f"{predict:.3f}",
            f"{predict / unet_predict:.2f}",
            f"{held[name][1]:.0f}",
        )
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
