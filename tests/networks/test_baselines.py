"""The paper's segmentation baselines, against hand-counted formulas and plain versions of their parts."""

import pytest
import torch
from torch.nn import functional as F

from retinalesion.errors import UserError
from retinalesion.networks.danet import ChannelAttention, PositionAttention
from retinalesion.networks.encoder import Encoder
from retinalesion.networks.fcn import FCN, Doubling
from retinalesion.networks.lnet import LNet
from retinalesion.networks.sliding import STEP, WINDOW, PatchFCN
from retinalesion.networks.tables import segmenter
from retinalesion.networks.unet import UNet

TINY = "test_resnet"
ENCODERS = (TINY, "tf_efficientnet_lite0", "inception_v3")
DILATED = [(name, coarsest) for name in ENCODERS for coarsest in (16, 8)]


def count(module):
    return sum(p.numel() for p in module.parameters())


def head_of(network):
    """Parameters outside the encoder, and the encoder's channels by stride."""
    channels = dict(zip((2, 4, 8, 16, 32), network.encoder.channels, strict=True))
    return count(network) - count(network.encoder), channels


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("stride", [32, 16, 8])
def test_fcn_has_a_score_layer_a_stride_and_a_transposed_convolution_between(encoder, stride):
    size, c = head_of(FCN(stride, encoder))
    scored = [at for at in (32, 16, 8) if at >= stride]
    assert size == sum(8 * c[at] + 8 for at in scored) + (len(scored) - 1) * 8 * 8 * 4 * 4


@pytest.mark.parametrize("encoder", ENCODERS)
def test_unet_mirrors_its_encoder(encoder):
    size, c = head_of(UNet(encoder))

    def level(given, copied, to):
        deconvolution = 4 * given * to + to
        return deconvolution + 9 * (to + copied) * to + 2 * to + 9 * to * to + 2 * to

    levels = [level(c[2 * at], c[at], c[at]) for at in (16, 8, 4, 2)]
    assert size == sum(levels) + level(c[2], 0, 32) + 8 * 32 + 8


@pytest.mark.parametrize("encoder", ENCODERS)
def test_deeplab_has_the_published_heads(encoder):
    size, c = head_of(segmenter("deeplabv3+", encoder))
    normed = 2 * 256
    pyramid = 256 * c[32] + normed + 3 * (9 * 256 * c[32] + normed) + (256 * c[32] + 256)
    project = 5 * 256 * 256 + normed
    skip = 48 * c[4] + 2 * 48
    decoder = 9 * (256 + 48) * 256 + normed + 9 * 256 * 256 + normed
    assert size == pyramid + project + skip + decoder + 8 * 256 + 8


def test_unet_and_lnet_2s_differ_where_the_paper_says():
    unet, lnet = UNet(TINY), LNet(2, TINY)
    kinds = {type(module).__name__ for module in unet.path.modules()}
    assert "ConvTranspose2d" in kinds  # deconvolution, where L-Net has a 1x1 convolution and interpolation
    assert "ConvTranspose2d" not in {type(module).__name__ for module in lnet.path.modules()}
    assert len(unet.path) == 5  # as long as the contracting path
    assert len(lnet.path) == 4


def test_a_doubling_begins_as_bilinear_interpolation():
    scores = torch.rand(2, 8, 9, 7)
    wanted = F.interpolate(scores, scale_factor=2, mode="bilinear", align_corners=False)
    inside = (..., slice(1, -1), slice(1, -1))  # the border sees zeros beyond
    torch.testing.assert_close(Doubling()(scores)[inside], wanted[inside])


def test_fcn_begins_with_the_coarsest_scores_alone():
    network = FCN(8, TINY).eval()
    assert not any(score.weight.any() for score in network.added)


def test_a_stride_that_fcn_has_not_is_refused():
    with pytest.raises(UserError, match="not 4"):
        FCN(4, TINY)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (352, 448), (96, 320)])
def test_patches_are_averaged_where_windows_overlap(height, width):
    network = PatchFCN(TINY).eval()
    image = torch.rand(1, 3, height, width)
    whole = F.pad(image, (0, 600 - width, 0, 600 - height))
    total, times = torch.zeros(1, 8, 600, 600), torch.zeros(600, 600)
    with torch.no_grad():
        for top in range(0, max(height - WINDOW + STEP - 1, 0) // STEP * STEP + 1, STEP):
            for left in range(0, max(width - WINDOW + STEP - 1, 0) // STEP * STEP + 1, STEP):
                place = (..., slice(top, top + WINDOW), slice(left, left + WINDOW))
                total[place] += plain(network, whole[place])
                times[place] += 1
        seen = network(image).sigmoid()
    torch.testing.assert_close(seen, (total / times)[..., :height, :width], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("whole", [True, False], ids=["network in half", "autocast"])
def test_patches_that_are_sure_stay_finite_in_half_precision(kind, whole):
    network = PatchFCN(TINY).eval()
    torch.nn.init.constant_(network.head.bias, 20.0)
    image = torch.rand(1, 3, 300, 300, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        if whole:
            logits = network.to(kind)(image.to(kind))
            assert logits.dtype == kind
        else:
            with torch.autocast("cpu", kind):
                logits = network(image)
    assert logits.isfinite().all()
    assert logits.max() > 10  # and as sure as in float32


def plain(network, window):
    """Probabilities of FCN-32s with the same weights on one window."""
    fcn = FCN(32, TINY).eval()
    fcn.load_state_dict(network.state_dict())
    return fcn(window).sigmoid()


def test_in_training_patches_do_not_overlap():
    network = PatchFCN(TINY).train()
    seen = []
    network.encoder.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    network(torch.rand(2, 3, 896, 896))
    assert seen == [(2 * 16, 3, 224, 224)]


def test_position_attention_is_the_plain_matrix_version():
    torch.manual_seed(0)
    attention, x = PositionAttention(16), torch.randn(2, 16, 5, 7)
    torch.nn.init.constant_(attention.gamma, 0.7)
    wanted = torch.empty_like(x)
    for i, one in enumerate(x):
        query, key, value = (
            layer.weight[:, :, 0, 0] @ one.flatten(1) + (0 if layer.bias is None else layer.bias[:, None])
            for layer in (attention.query, attention.key, attention.value)
        )
        similar = torch.softmax(query.T @ key, dim=1)  # a row a position: how much it takes of each other
        wanted[i] = 0.7 * (value @ similar.T).view(16, 5, 7) + one
    torch.testing.assert_close(attention(x), wanted)


def test_channel_attention_is_the_plain_matrix_version():
    torch.manual_seed(0)
    attention, x = ChannelAttention(), torch.randn(2, 6, 5, 7)
    torch.nn.init.constant_(attention.gamma, 0.7)
    wanted = torch.empty_like(x)
    for i, one in enumerate(x):
        flat = one.flatten(1)
        energy = flat @ flat.T
        unlike = energy.max(1, keepdim=True).values - energy
        weight = unlike.exp() / unlike.exp().sum(1, keepdim=True)
        wanted[i] = 0.7 * (weight @ flat).view(6, 5, 7) + one
    torch.testing.assert_close(attention(x), wanted)


@pytest.mark.parametrize("attention", [PositionAttention(8), ChannelAttention()])
def test_attentions_begin_as_identity(attention):
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(attention(x), x)


@pytest.mark.parametrize(("name", "coarsest"), DILATED)
def test_a_dilated_encoder_keeps_its_maps_side_and_its_weights(name, coarsest):
    plain, dilated = Encoder(name).eval(), Encoder(name, coarsest=coarsest).eval()
    dilated.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        wanted, maps = plain(image), dilated(image)
    assert [128 // m.shape[-1] for m in maps] == [min(at, coarsest) for at in (2, 4, 8, 16, 32)]
    assert [m.shape[1] for m in maps] == list(plain.channels)
    finer = [at for at in (2, 4, 8, 16) if at <= coarsest]
    for one, other in zip(wanted[: len(finer)], maps, strict=False):
        torch.testing.assert_close(one, other)


def test_inception_dilates_after_the_stride_it_gave_up():
    body = Encoder("inception_v3", coarsest=16).body
    assert body.Mixed_7a.branch3x3_2.conv.stride == (1, 1)
    assert body.Mixed_7a.branch3x3_2.conv.dilation == (1, 1)
    assert body.Mixed_7b.branch3x3_2a.conv.dilation == (2, 2)
    assert body.Mixed_6a.branch3x3.conv.stride == (2, 2)


def test_an_encoder_that_cannot_be_dilated_is_refused():
    with pytest.raises(UserError, match="resnet50"):
        Encoder("densenet121", coarsest=8)
