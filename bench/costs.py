"""Parameters and multiply-adds of every network, as the table of docs/networks.md.

python bench/costs.py [--encoder inception_v3] [--side 896]

Shapes alone are followed: no memory, and seconds on any machine.
"""

import argparse
from collections.abc import Iterator

import torch
from torch import nn

from retinalesion.networks.cost import multiply_adds, parameters
from retinalesion.networks.tables import (
    GRADERS,
    LESION_CLASSIFIERS,
    LESION_MODELS_FOR,
    SEGMENTERS,
    grader,
    lesion_classifier,
    segmenter,
)

BESIDE = "lnet-16s"  # the lesion network at a grader's side


def networks(encoder: str) -> Iterator[tuple[str, str, nn.Module]]:
    """What it is for, name, and network, without memory."""
    with torch.device("meta"):
        for name in SEGMENTERS:
            yield "lesion maps", name, segmenter(name, encoder)
        for name in LESION_CLASSIFIERS:
            yield "lesions present", name, lesion_classifier(name, encoder)
        for name in GRADERS:
            beside = segmenter(BESIDE, encoder) if name in LESION_MODELS_FOR else None
            shown = f"{name} on {BESIDE}" if beside else name
            yield "grade", shown, grader(name, encoder, lesion_net=beside)


def table(encoder: str, side: int) -> str:
    """Markdown."""
    lines = ["| for | network | parameters, millions | multiply-adds, billions |", "|---|---|---|---|"]
    for task, name, network in networks(encoder):
        millions, billions = parameters(network) / 1e6, multiply_adds(network, side) / 1e9
        lines.append(f"| {task} | {name} | {millions:.1f} | {billions:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="inception_v3")
    parser.add_argument("--side", type=int, default=896)
    options = parser.parse_args()
    print(table(options.encoder, options.side))


if __name__ == "__main__":
    main()
