"""What a network costs: parameters, and multiply-adds of one pass."""

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


def parameters(network: nn.Module) -> int:
    """All parameters, frozen ones too."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: nn.Module, side: int) -> int:
    """Multiply-adds of one photograph's pass: those of convolutions and matrix products, the rest is small.

    Nothing is computed, only shapes are followed, so that it takes no memory and no time at any side.

    Args:
        network: that takes an image (n, 3, h, w).
        side: of the image.

    Raises:
        RuntimeError: the network has an operation of which shapes alone do not tell enough.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    image = torch.empty(1, 3, side, side, device="meta")
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            functional_call(network, shapes, (image,))
    finally:
        network.train(was_training)
    return int(counter.get_total_flops()) // 2
