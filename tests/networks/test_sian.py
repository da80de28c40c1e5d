"""SiAN: three tasks of one pass, a side branch that stays as it is, and Eq. 5 to 7."""

from itertools import product

import pytest
import torch
from torch.nn import functional as F

from retinalesion.errors import UserError
from retinalesion.networks.base import Classifier
from retinalesion.networks.sian import SiAN
from retinalesion.networks.tables import lesion_model_from, segmenter
from retinalesion.training.segmentation import SegmentationTask

ENCODER = "test_efficientnet"
TABLE_7 = list(product(("features", "input"), ("conv", "max")))


def lesion_net(seed=0):
    torch.manual_seed(seed)
    network = segmenter("lnet-16s", ENCODER)
    torch.nn.init.zeros_(network.head.bias)  # maps that are not all near 0
    network.learn_only(["MA", "iHE", "HaEx", "CWS"])
    return network


def sian(**options):
    return SiAN(lesion_net(), ENCODER, **options)


def image(side=64, count=2):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("fusion", "attention"), TABLE_7)
@pytest.mark.parametrize("side", [None, 32], ids=["own side", "smaller main side"])
def test_one_pass_gives_lesions_and_grade(fusion, attention, side):
    network = sian(fusion=fusion, attention=attention, side=side)
    calls = {"main": 0, "side": 0}
    network.encoder.register_forward_hook(lambda *_: calls.update(main=calls["main"] + 1))
    network.lesion_net.register_forward_hook(lambda *_: calls.update(side=calls["side"] + 1))
    out = network(image())
    assert out.lesions.shape == (2, 8, 64, 64)
    assert out.grade.shape == (2, 5)
    assert calls == {"main": 1, "side": 1}


@pytest.mark.parametrize(("height", "width"), [(33, 33), (50, 71)])
def test_any_side_is_taken_and_lesions_are_the_lesion_networks_own(height, width):
    network = sian().eval()
    odd = torch.rand(1, 3, height, width)
    out = network(odd)
    assert out.lesions.shape[-2:] == (height, width)
    torch.testing.assert_close(out.lesions, network.lesion_net(odd))


@pytest.mark.parametrize(("height", "width"), [(33, 33), (50, 71), (64, 64)])
@pytest.mark.parametrize("side", [None, 32, 40, 96])
def test_both_branches_and_the_plain_grader_get_the_same_photograph(side, height, width):
    odd = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(2))
    network, plain, got = sian(side=side).eval(), Classifier(ENCODER, side=side).eval(), []
    for one in (network, plain):
        one.encoder.register_forward_hook(lambda _, given, __: got.append(given[0]))
    network.lesion_net.register_forward_hook(lambda _, given, __: got.append(given[0]))
    network(odd)
    plain(odd)
    beside, ours, plains = got
    assert torch.equal(ours, plains)
    assert torch.equal(beside, odd)


@pytest.mark.parametrize("side", [None, 40, 64, 96])
@pytest.mark.parametrize("fusion", ["features", "input"])
def test_a_lesion_weighs_where_the_main_branch_sees_it(fusion, side):
    """At any side the lower right corner of a photograph is the corner of its lesion maps too."""
    network, weighed = sian(side=side, fusion=fusion, attention="max").eval(), []
    corner = torch.full((1, 8, 50, 50), -20.0)
    corner[:, 0, 45:, 45:] = 20.0
    network.lesion_net.forward = lambda image: corner
    network.weigh.register_forward_hook(lambda *given: weighed.append(given[2][0, 0]))
    network(torch.rand(1, 3, 50, 50))
    weights, shown = weighed[0], side or 50  # the photograph's own part of what is padded to 32s
    share = shown / (-(-shown // 32) * 32)
    rows = (weights > 0.5).any(1).nonzero().flatten()
    last = share * len(weights)
    assert last - 1 <= rows.max() + 1e-6 < last
    assert rows.min() >= 0.9 * last - 1.01


@pytest.mark.parametrize("side", [None, 32, 64, 96])
@pytest.mark.parametrize("reduction", ["max", "area"])
def test_at_multiples_of_32_nothing_changed(reduction, side):
    """Checkpoints of earlier versions say the same, bit for bit: maps are brought down once."""
    network, x = sian(side=side, reduction=reduction).eval(), image(64)
    with torch.no_grad():
        small = x if side in (None, 64) else F.interpolate(x, size=(side, side), mode="area")
        maps, probability = network.encoder(small)[-1], network.lesion_net(x).sigmoid()
        size = maps.shape[-2:]
        down = (
            F.adaptive_max_pool2d(probability, size)
            if reduction == "max"
            else F.interpolate(probability, size=size, mode="area")
        )
        assert torch.equal(network(x).grade, network.classify(maps * network.weigh(down)))


@pytest.mark.parametrize(("fusion", "attention"), TABLE_7)
def test_gradient_reaches_all_but_the_frozen_branch(fusion, attention):
    network = sian(fusion=fusion, attention=attention).train()
    F.cross_entropy(network(image()).grade, torch.tensor([0, 3])).backward()
    for name, parameter in network.named_parameters():
        if name.startswith("lesion_net."):
            assert parameter.grad is None
            assert not parameter.requires_grad
        elif not name.startswith("encoder.body"):
            assert parameter.grad.abs().sum() > 0, name
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.encoder.parameters())


@pytest.mark.parametrize("part", ["", "lesion_net"], ids=["all", "branch"])
def test_a_frozen_branch_hears_of_no_training_mode(part):
    network = sian()
    before = {key: value.clone() for key, value in network.lesion_net.state_dict().items()}
    network.get_submodule(part).train()
    network(image())
    assert not network.lesion_net.training
    after = network.lesion_net.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_both_branches_can_learn():
    network = sian(freeze=False).train()
    assert network.lesion_net.training
    network(image()).grade.sum().backward()
    assert network.lesion_net.head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("attention", ["conv", "max"])
def test_weights_are_those_of_the_equations(attention):
    """In float64: maps times weight maps (Eq. 5) by the maximum (Eq. 6) or two convolutions (Eq. 7)."""
    network = sian(attention=attention).double().eval()
    x = image(96).double()
    maps = network.encoder(x)[-1]
    size = maps.shape[-1]
    lesions = network.lesion_net(x).sigmoid()
    cell = 96 // size
    brought_down = lesions.unflatten(3, (size, cell)).unflatten(2, (size, cell)).amax((3, 5))
    if attention == "max":
        weights = brought_down.max(1, keepdim=True).values.expand_as(maps)
    else:
        first, _, last = network.weigh
        hidden = F.conv2d(brought_down, first.weight, first.bias, padding=1).clamp(min=0)
        weights = F.conv2d(hidden, last.weight, last.bias, padding=1)
    assert weights.shape == maps.shape
    expected = (maps * weights).sum((2, 3)) / size**2 @ network.head.weight.T + network.head.bias
    torch.testing.assert_close(network(x).grade, expected)


def test_training_starts_near_the_plain_grader():
    network = sian().eval()
    plain = Classifier(ENCODER).eval()
    plain.load_state_dict(
        {k: v for k, v in network.state_dict().items() if k.startswith(("encoder", "head"))}
    )
    x = image()
    torch.testing.assert_close(network(x).grade, plain(x), atol=0.05, rtol=0.2)


def test_a_microaneurysm_survives_to_the_main_branch_and_only_by_the_maximum():
    probability = torch.zeros(1, 8, 64, 64)
    probability[0, 0, 37, 21] = 1
    maps = torch.zeros(1, 4, 2, 2)
    assert sian()._brought_to(maps, probability).max() == 1
    assert sian(reduction="area")._brought_to(maps, probability).max() < 0.01


def test_lesions_not_learned_weigh_nothing():
    network = sian(attention="max").eval()
    with torch.no_grad():
        probability = network(image()).lesions.sigmoid()
    assert probability[:, 4:].max() < 1e-12
    assert probability[:, :4].max() > 0.1


def test_from_a_lesion_nets_checkpoint(tmp_path, keep):
    file = tmp_path / "lnet.ckpt"
    task = SegmentationTask("lnet-16s", ENCODER, weights=None)
    task.network.learn_only(["MA"])
    keep(file, task.network.state_dict(), **task.hparams)
    network = SiAN(lesion_model_from(file), ENCODER, side=32)
    assert network.lesion_net.learned_codes == ("MA",)
    file.unlink()
    with pytest.raises(UserError, match="no such checkpoint"):
        lesion_model_from(file)


@pytest.mark.parametrize("contents", [b"", b"no checkpoint", None], ids=["empty", "text", "a grader's"])
def test_what_is_no_lesion_net_is_refused(tmp_path, contents, keep):
    file = tmp_path / "wrong.ckpt"
    if contents is None:
        keep(file, {}, network="plain")
    else:
        file.write_bytes(contents)
    with pytest.raises(UserError, match=r"wrong\.ckpt"):
        lesion_model_from(file)
