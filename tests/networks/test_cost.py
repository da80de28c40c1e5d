import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from retinalesion.networks.cost import multiply_adds, parameters
from retinalesion.networks.tables import grader, segmenter

ENCODER = "test_efficientnet"


def test_a_convolution_and_a_linear_layer_by_hand():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )
    assert parameters(net) == 4 * (3 * 9 + 1) + 5 * (4 + 1)
    assert multiply_adds(net, 32) == 16 * 16 * 4 * 3 * 9 + 4 * 5


@pytest.mark.parametrize("side", [96, 75])
def test_shapes_alone_tell_what_a_computed_pass_tells(side):
    net = grader("sian", ENCODER, 64, segmenter("lnet-4s", ENCODER)).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.rand(1, 3, side, side))
    assert multiply_adds(net, side) == counter.get_total_flops() // 2


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_a_network_as_it_was(training):
    net = segmenter("lnet-32s", ENCODER).train(training)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    multiply_adds(net, 64)
    assert net.training == training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
