"""L-Net: strides, sides, weight of the expansive path, lesions not learned."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.base import NOT_LEARNED
from retinalesion.networks.encoder import STRIDES
from retinalesion.networks.lnet import LNet

TINY = "test_resnet"


@pytest.mark.parametrize("stride", STRIDES)
def test_the_path_ends_at_its_stride(stride):
    network = LNet(stride, TINY).eval()
    seen = []
    network.head.register_forward_hook(lambda _, __, out: seen.append(out.shape))
    network(torch.rand(1, 3, 64, 64))
    assert seen == [(1, 8, 64 // stride, 64 // stride)]


def multiply_adds(module, *arguments):
    counter = FlopCounterMode(display=False)
    with counter:
        module(*arguments)
    return counter.get_total_flops() // 2


def test_the_papers_path_is_light_beside_its_encoder():
    with torch.device("meta"):
        network, image = LNet(16).eval(), torch.empty(1, 3, 896, 896)
    with torch.no_grad():
        contracting = multiply_adds(network.encoder, image)
        expansive = multiply_adds(network, image) - contracting
    assert contracting > 50e9  # Inception-v3 at 896
    assert 0 < expansive <= contracting / 5


def test_a_stride_that_is_none_is_refused():
    with pytest.raises(UserError, match="not 64"):
        LNet(64, TINY)


def test_lesions_not_learned_have_no_probability_and_teach_nothing():
    network = LNet(16, TINY).eval()
    network.learn_only(["MA", "HaEx"])
    logits = network(torch.rand(1, 3, 64, 64))
    learned = torch.tensor([code in ("MA", "HaEx") for code in CODES])
    assert (logits[:, ~learned] == NOT_LEARNED).all()
    assert (logits[:, learned] > NOT_LEARNED).all()
    logits.sum().backward()
    gradient = network.head.weight.grad
    assert (gradient[~learned] == 0).all()
    assert gradient[learned].abs().amax((1, 2, 3)).min() > 0


def test_what_was_learned_travels_with_the_weights():
    network, copy = LNet(32, TINY), LNet(32, TINY)
    network.learn_only(["iHE", "CWS"])
    copy.load_state_dict(network.state_dict())
    assert copy.learned_codes == ("iHE", "CWS")
