"""What holds for every lesion network of the table: sides, begin, gradient, round trips, export."""

import pytest
import torch
from torch import nn

from retinalesion.errors import UserError
from retinalesion.networks.base import NOT_LEARNED
from retinalesion.networks.danet import DANet
from retinalesion.networks.tables import SEGMENTERS, segmenter

TINY = "test_resnet"


@pytest.fixture(params=SEGMENTERS)
def network(request):
    torch.manual_seed(0)
    return segmenter(request.param, TINY)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (33, 65), (50, 31)])
def test_it_takes_any_side_and_gives_eight_logits_a_pixel(network, height, width):
    network.eval()
    image = torch.rand(2, 3, height, width)
    with torch.no_grad():
        logits = network(image)
        padded = torch.zeros(2, 3, height + -height % 32, width + -width % 32)
        padded[..., :height, :width] = image
        torch.testing.assert_close(logits, network(padded)[..., :height, :width])
    assert logits.shape == (2, 8, height, width)


def test_it_trains_on_one_photograph_of_an_odd_side(network):
    # A batch norm over a single value would refuse.
    assert network.train()(torch.rand(1, 3, 65, 97)).shape == (1, 8, 65, 97)


def test_untrained_it_finds_nothing(network):
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 3, 64, 64)).sigmoid().mean() < 0.2


def test_gradient_reaches_every_parameter(network):
    for parameter in network.parameters():
        if not parameter.any():  # scales that begin at 0 let no gradient through at first
            nn.init.normal_(parameter, 1)
    outputs = network.supervised(torch.rand(2, 3, 64, 64))
    sum((logits * torch.rand_like(logits)).sum() for logits in outputs).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_logits_can_be_shifted_lesion_by_lesion(network):
    network.eval()
    image, by = torch.rand(1, 3, 64, 64), torch.linspace(-2, 2, 8)
    with torch.no_grad():
        before = network(image)
        network.shift(by)
        torch.testing.assert_close(network(image), before + by.view(-1, 1, 1), rtol=0, atol=1e-4)


def test_the_first_supervised_output_is_the_one_that_counts(network):
    network.eval().learn_only(("MA", "HaEx"))
    image = torch.rand(1, 3, 64, 64)
    first, *others = network.supervised(image)
    assert torch.equal(first, network(image))
    assert len(others) == (2 if isinstance(network, DANet) else 0)
    assert all((logits[:, 1] == NOT_LEARNED).all() for logits in (first, *others))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_checkpoint_goes_round(name, tmp_path, keep):
    one, other = segmenter(name, TINY).eval(), segmenter(name, TINY).eval()
    other.load_weights(str(keep(tmp_path / "a.ckpt", one.state_dict(), network=name)))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(one(image), other(image))


def test_it_is_exported(network):
    network.eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        exported = torch.export.export(network, (image,)).module()
        torch.testing.assert_close(exported(image), network(image))


@pytest.mark.slow
def test_it_is_compiled(network):
    network.eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(network)(image), network(image), atol=1e-4, rtol=1e-4)


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="lnet-16s"):
        segmenter("lnet-64s")
