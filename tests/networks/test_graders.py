"""What all networks that grade have in common."""

import pytest
import torch

from retinalesion.errors import UserError
from retinalesion.networks.base import answer
from retinalesion.networks.tables import GRADERS, grader, segmenter

ENCODER = "test_efficientnet"


def build(name):
    lesion_net = segmenter("lnet-16s", ENCODER)
    torch.nn.init.zeros_(lesion_net.head.bias)  # maps that are not all near 0
    return grader(name, ENCODER, 32, lesion_net).eval()


def image(side=50, count=2):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", GRADERS)
def test_any_side_is_taken_and_weights_come_back(name):
    network, again = build(name), build(name)
    again.load_state_dict(network.state_dict())
    assert answer(network(image())).shape == (2, 5)
    torch.testing.assert_close(answer(network(image())), answer(again(image())))


@pytest.mark.parametrize("name", GRADERS)
def test_it_is_exported(name):
    network = build(name)
    with torch.no_grad():
        exported = torch.export.export(network, (image(),)).module()
        torch.testing.assert_close(answer(exported(image())), answer(network(image())))


@pytest.mark.slow
@pytest.mark.parametrize("name", GRADERS)
def test_it_is_compiled(name):
    network = build(name)
    with torch.no_grad():
        compiled = torch.compile(network)(image())
        torch.testing.assert_close(answer(compiled), answer(network(image())), atol=1e-4, rtol=1e-3)


def test_names_and_needs_are_told():
    with pytest.raises(UserError, match=r"unknown.*plain, sian"):
        grader("resnet")
    with pytest.raises(UserError, match="needs a lesion network"):
        grader("sian", ENCODER)
