"""ABN: two branches that both learn, and an attention map between them, on encoders of several kinds."""

from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from retinalesion.errors import UserError
from retinalesion.networks.abn import ABN
from retinalesion.networks.base import answer, taught
from retinalesion.networks.encoder import Encoder
from retinalesion.networks.stages import LastStageAtStride1, cut, through

TINY = "test_resnet"
ENCODERS = [TINY, "tf_efficientnet_lite0", "inception_v3"]
BEFORE, LAST = "before", "last"


@cache
def built(encoder, outputs):
    torch.manual_seed(0)
    return ABN(encoder, outputs=outputs)


def abn(encoder=TINY, outputs=5):
    """Whose residual blocks are awake: timm begins many with a last norm of 0, which lets no gradient in."""
    network = deepcopy(built(encoder, outputs))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.ones_(module.weight)
    return network


def image(height=64, width=64):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def reached(network, loss):
    """Names of the parameters that a loss teaches; those of the encoder by the half that they lie in."""
    network.zero_grad()
    loss.backward()
    halves = zip((BEFORE, LAST), cut(network.encoder), strict=True)
    half = {p: name for name, blocks in halves for block in blocks for p in block.parameters()}
    taught = [(n, p) for n, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    return {half.get(p, name) for name, p in taught}


@pytest.mark.parametrize("name", [*ENCODERS, "mobilenetv3_small_050", "resnet10t"])
def test_a_cut_encoder_computes_what_the_whole_one_does(name):
    encoder = (abn(name).encoder if name in ENCODERS else Encoder(name)).eval()
    keys = list(encoder.state_dict())
    before, last = cut(encoder)
    with torch.no_grad():
        x = image(64, 96)
        *_, sixteenth, whole = encoder(x)
        maps = through(before, encoder.normalised(x))
        torch.testing.assert_close(maps, sixteenth)
        torch.testing.assert_close(through(last, maps), whole)
    assert list(encoder.state_dict()) == keys


@pytest.mark.parametrize("name", ENCODERS)
def test_the_attention_branch_begins_as_the_last_stage_at_stride_1(name):
    encoder = abn(name).encoder.eval()
    stage = LastStageAtStride1(encoder).eval()
    maps = torch.rand(1, encoder.channels[-2], 6, 5)
    own = [p for block in cut(encoder)[1] for p in block.parameters()]
    copied = list(stage.parameters())
    with torch.no_grad():
        assert stage(maps).shape == (1, encoder.channels[-1], 6, 5)
    assert all(torch.equal(a, b) for a, b in zip(own, copied, strict=True))
    assert not set(own) & set(copied)


@pytest.mark.parametrize(("name", "outputs"), [(name, 5) for name in ENCODERS] + [(TINY, 8)])
def test_one_pass_gives_two_answers_and_a_map(name, outputs):
    network = abn(name, outputs).eval()
    with torch.no_grad():
        out = network(image(64, 96))
    assert out.logits.shape == out.attention_logits.shape == (2, outputs)
    assert out.attention.shape == (2, 1, 4, 6)
    assert 0 <= out.attention.min() < out.attention.max() <= 1
    assert answer(out) is out.logits


@pytest.mark.parametrize(("height", "width", "side"), [(33, 50, None), (71, 31, None), (90, 90, 48)])
def test_any_side_is_taken(height, width, side):
    network = abn().eval()
    network.side = side
    x = image(height, width)
    with torch.no_grad():
        out, seen = network(x), network.seen(x)
        assert out.logits.shape == (2, 5)
        assert out.attention.shape == (2, 1, seen.shape[2] // 16, seen.shape[3] // 16)
        network.side = None
        torch.testing.assert_close(out.logits, network(seen).logits)


@pytest.mark.parametrize(
    ("name", "first"),
    [(TINY, "layer4"), ("tf_efficientnet_lite0", "blocks.5"), ("inception_v3", "Mixed_7a.branch3x3_1")],
)
def test_the_perception_branch_sees_the_maps_weighed_and_added(name, first):
    """g * M + g goes into the encoder's own last stage, and the answer follows from it."""
    network, seen = abn(name).eval(), {}

    def see(place):
        def hook(_, inputs, __):
            seen[place] = inputs[0].clone()

        return hook

    network.attention.register_forward_hook(see("maps"))
    network.encoder.body.get_submodule(first).register_forward_hook(see("perception"))
    with torch.no_grad():
        out = network(image())
        torch.testing.assert_close(seen["perception"], seen["maps"] * out.attention + seen["maps"])
        last = through(cut(network.encoder)[1], seen["perception"])
        torch.testing.assert_close(out.logits, network.head(last.mean((2, 3))))


def test_each_loss_reaches_its_branch_and_the_map_learns_from_perception():
    network, grade = abn().train(), torch.tensor([0, 3])

    def loss(which):
        return F.cross_entropy(getattr(network(image()), which), grade)

    of_perception, of_attention = (reached(network, loss(which)) for which in ("logits", "attention_logits"))
    shared = {name for name, _ in network.named_parameters() if name.startswith("attention.stage")}
    own_head, map_makers = {"attention.head.weight", "attention.head.bias"}, {"attention.attend.0.weight"}
    assert shared <= of_attention
    assert own_head <= of_attention
    assert not of_attention & (map_makers | {LAST, "head.weight"})
    assert shared | map_makers | {BEFORE, LAST, "head.weight", "head.bias"} <= of_perception
    assert not of_perception & own_head


@pytest.mark.parametrize("name", ENCODERS)
def test_every_parameter_learns(name):
    network = abn(name).train()
    sum(F.cross_entropy(logits, torch.tensor([0, 3])) for logits in taught(network(image()))).backward()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still


def test_an_attention_map_of_zeros_leaves_the_plain_network():
    network = abn().eval()
    norm = network.attention.attend[1]
    nn.init.zeros_(norm.weight)
    nn.init.constant_(norm.bias, -100.0)
    x = image()
    with torch.no_grad():
        torch.testing.assert_close(network(x).logits, network.classify(network.encoder(x)[-1]))


def test_weights_come_back(tmp_path):
    network, again = abn().train(), ABN(TINY)
    network(image())  # so that running means differ
    torch.save(network.state_dict(), tmp_path / "abn.pth")
    again.load_state_dict(torch.load(tmp_path / "abn.pth", weights_only=True))
    for one, other in zip(network.eval()(image()), again.eval()(image()), strict=True):
        torch.testing.assert_close(one, other)


def test_an_encoders_weights_begin_both_branches(tmp_path, keep):
    lender = Encoder(TINY)
    keep(tmp_path / "a.ckpt", {f"encoder.{key}": value for key, value in lender.state_dict().items()})
    network = ABN(TINY)
    network.load_weights(str(tmp_path / "a.ckpt"))
    lent = [p for block in cut(lender)[1] for p in block.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(lent, network.attention.stage.parameters(), strict=True))


@pytest.mark.parametrize("name", [TINY, "tf_efficientnet_lite0"])
def test_it_can_be_exported(name):
    network = abn(name).eval()
    with torch.no_grad():
        exported = torch.export.export(network, (image(),)).module()
        for one, other in zip(network(image()), exported(image()), strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["hrnet_w18_small", "selecsls42"])
def test_an_encoder_that_cannot_be_cut_is_named_with_ones_that_can(name):
    with pytest.raises(UserError, match=rf"{name}.*tf_efficientnet_lite0"):
        ABN(name)
