"""Lesion-Concat: the lesion vector beside the features, from a lesion model frozen in earnest."""

import pytest
import torch
from torch.nn import functional as F

from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.base import NOT_LEARNED, taught
from retinalesion.networks.lesion_concat import LesionConcat, lesion_vector
from retinalesion.networks.sian import SiAN
from retinalesion.networks.tables import (
    LESION_CLASSIFIERS,
    LESION_MODELS,
    lesion_model,
    lesion_model_from,
    names_in,
)

ENCODER = "test_efficientnet"
KINDS = ["lnet-16s", *LESION_CLASSIFIERS]


def beside(name="lnet-16s", seed=0):
    torch.manual_seed(seed)
    model = lesion_model(name, ENCODER)
    model.learn_only(["MA", "iHE", "HaEx", "CWS"])
    if name.startswith("lnet"):
        torch.nn.init.zeros_(model.head.bias)  # maps that are not all near 0
    return model


def concat(name="lnet-16s", **options):
    return LesionConcat(beside(name), ENCODER, **options)


def image(height=64, width=64):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("height", "width", "side"), [(64, 64, None), (33, 50, None), (64, 64, 32)])
def test_the_head_sees_features_and_lesion_vector(name, height, width, side):
    network, x = concat(name, side=side).eval(), image(height, width)
    with torch.no_grad():
        out, said = network(x), network.lesion_net(x)
        if name.startswith("lnet"):
            vector = said.sigmoid().flatten(2).max(2).values
            torch.testing.assert_close(out.lesions, said)
        else:
            vector = (said if name == "lesions-plain" else said.logits).sigmoid()
        assert vector.shape == (2, 8)
        assert vector[:, 4:].max() < 1e-12  # not learned
        features = network.encoder(network.seen(x))[-1].mean((2, 3))
        weight, bias = network.head.weight, network.head.bias
        expected = features @ weight[:, :-8].T + vector @ weight[:, -8:].T + bias
    torch.testing.assert_close(out.grade, expected)


def test_the_vector_is_the_global_maximum_of_each_map():
    logits = torch.full((1, 8, 5, 7), -9.0)
    logits[0, 2, 4, 6] = 3.0
    vector = lesion_vector(logits)
    assert vector[0, 2] == torch.tensor(3.0).sigmoid()
    assert vector.sum() < 1


def test_the_papers_head_has_2048_and_8_inputs():
    with torch.device("meta"):
        network = LesionConcat(lesion_model("lnet-32s", ENCODER))
    assert network.head.weight.shape == (5, 2048 + 8)


@pytest.mark.parametrize("name", KINDS)
def test_gradient_reaches_all_but_the_lesion_model(name):
    network = concat(name).train()
    F.cross_entropy(network(image()).grade, torch.tensor([0, 3])).backward()
    for key, parameter in network.named_parameters():
        if key.startswith("lesion_net."):
            assert parameter.grad is None
            assert not parameter.requires_grad
        else:
            assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("part", ["", "lesion_net"], ids=["all", "lesion model"])
@pytest.mark.parametrize("name", KINDS)
def test_a_frozen_lesion_model_hears_of_no_training_mode(name, part):
    network = concat(name)
    before = {key: value.clone() for key, value in network.lesion_net.state_dict().items()}
    network.get_submodule(part).train()
    network(image())
    assert not any(module.training for module in network.lesion_net.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.lesion_net.state_dict().items())


@pytest.mark.parametrize("name", KINDS)
def test_it_can_be_exported(name):
    network = concat(name).eval()
    with torch.no_grad():
        exported = torch.export.export(network, (image(),)).module()
        torch.testing.assert_close(network(image()).grade, exported(image()).grade)


@pytest.mark.parametrize("name", LESION_CLASSIFIERS)
def test_lesion_classifiers_know_only_what_they_learned(name):
    network = beside(name).train()
    learned = torch.tensor([code in ("MA", "iHE", "HaEx", "CWS") for code in CODES])
    answers = taught(network(image()))
    for logits in answers:
        assert logits.shape == (2, 8)
        assert (logits[:, ~learned] == NOT_LEARNED).all()
        assert (logits[:, learned] > NOT_LEARNED).all()
    sum(logits.sigmoid().sum() for logits in answers).backward()
    assert (network.head.weight.grad[~learned] == 0).all()
    assert network.head.weight.grad[learned].abs().sum(1).min() > 0


@pytest.fixture(params=KINDS)
def checkpoint(request, tmp_path, keep):
    """Of a lesion model, as a task writes it; with the model's name."""
    file = tmp_path / f"{request.param}.ckpt"
    keep(file, beside(request.param).state_dict(), network=request.param, encoder=ENCODER)
    return file, request.param


def test_a_lesion_model_comes_from_a_checkpoint_of_either_kind(checkpoint):
    file, name = checkpoint
    network = LesionConcat(lesion_model_from(file, LESION_MODELS), ENCODER).eval()
    assert names_in(file, LESION_MODELS) == (name, ENCODER)
    assert network.lesion_net.learned_codes == ("MA", "iHE", "HaEx", "CWS")
    expected = beside(name).eval()(image())
    with torch.no_grad():
        torch.testing.assert_close(network(image()).lesions, taught(expected)[0])


def test_sian_takes_lesion_networks_only(checkpoint):
    file, name = checkpoint
    if name in LESION_CLASSIFIERS:
        for refused in (
            lambda: names_in(file),
            lambda: lesion_model_from(file),
        ):
            with pytest.raises(UserError, match=rf"holds {name}, not a lesion network.*no maps"):
                refused()
        with pytest.raises(UserError, match="lesion maps"):
            SiAN(beside(name), ENCODER)
    else:
        assert lesion_model_from(file).learned_codes == ("MA", "iHE", "HaEx", "CWS")
