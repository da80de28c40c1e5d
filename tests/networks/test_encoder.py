"""Any encoder as maps at strides 2 to 32, with weights from a file or from the hub."""

import logging

import pytest
import timm
import torch
from huggingface_hub import constants as hub
from safetensors.torch import save_file

from retinalesion.errors import UserError
from retinalesion.networks import encoder as encoder_module
from retinalesion.networks.encoder import STRIDES, Encoder, SamePaddedInceptionV3, run

TINY = "test_resnet"  # of timm, made for tests


@pytest.fixture(scope="module")
def tiny_state():
    torch.manual_seed(1)
    return timm.create_model(TINY).state_dict()


@pytest.fixture
def weights_file(tiny_state, tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file(tiny_state, file)
    return str(file)


def test_the_papers_encoder_has_the_papers_maps():
    with torch.device("meta"):
        encoder = Encoder("inception_v3")
        maps = encoder(torch.empty(1, 3, 896, 896))
    assert [tuple(m.shape[2:]) for m in maps] == [(s, s) for s in (448, 224, 112, 56, 28)]
    assert [m.shape[1] for m in maps] == list(encoder.channels) == [64, 192, 288, 768, 2048]


def test_the_papers_encoder_takes_timms_state_dict_key_for_key():
    with torch.device("meta"):
        ours, timms = Encoder("inception_v3").body, timm.create_model("inception_v3")
    theirs = {key: tensor.shape for key, tensor in timms.state_dict().items() if not key.startswith("fc.")}
    assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == theirs


@pytest.mark.parametrize(("block", "channels"), [("Conv2d_1a_3x3", 3), ("Mixed_6a", 288), ("Mixed_7a", 768)])
def test_same_padding_computes_what_timm_computes_away_from_borders(block, channels):
    torch.manual_seed(0)
    ours, timms = SamePaddedInceptionV3().eval(), timm.create_model("inception_v3", num_classes=0).eval()
    ours.load_state_dict(timms.state_dict())
    x = torch.rand(1, channels, 24, 24)
    with torch.no_grad():
        theirs = getattr(timms, block)(x)
        # with padding, windows begin a pixel earlier
        same = run(getattr(ours, block), x.roll((1, 1), (2, 3)))
    assert same.shape[2:] == (12, 12)
    torch.testing.assert_close(same[..., 4:9, 4:9], theirs[..., 3:8, 3:8])


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", TINY, "test_efficientnet"])
def test_any_encoder_with_five_strides_does(name):
    encoder = Encoder(name).eval()
    maps = encoder(torch.rand(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, 64 // s, 96 // s) for c, s in zip(encoder.channels, STRIDES, strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("convnext_tiny", "strides 4, 8, 16, 32"),  # no stride 2
        ("inception_v4", "inception_v4"),  # valid padding: strides as told, maps too small
        ("vit_tiny_patch16_224", "vit_tiny_patch16_224"),  # takes one side only
        ("resnet19", "unknown to timm"),
    ],
)
def test_an_encoder_that_does_not_fit_is_named_with_ones_that_do(name, words):
    with pytest.raises(UserError, match=words) as error:
        Encoder(name)
    assert "resnet" in str(error.value)


def test_encoders_normalise_by_themselves():
    encoder = Encoder(TINY).eval()
    pretrained = timm.get_pretrained_cfg(TINY)
    image = torch.rand(1, 3, 32, 32)
    mean, deviation = torch.tensor(pretrained.mean), torch.tensor(pretrained.std)
    by_hand = encoder.body(((image.permute(0, 2, 3, 1) - mean) / deviation).permute(0, 3, 1, 2))
    for ours, expected in zip(encoder(image), by_hand, strict=True):
        torch.testing.assert_close(ours, expected)
    assert {"mean", "deviation"} <= encoder.state_dict().keys()


@pytest.mark.parametrize("name", [TINY, "test_efficientnet", "inception_v3"])
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_weights_come_from_a_file_without_a_word(name, ending, tmp_path, caplog):
    torch.manual_seed(1)
    state = {
        key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in timm.create_model(name).state_dict().items()
    }
    file = tmp_path / f"weights.{ending}"
    save_file(state, file) if ending == "safetensors" else torch.save(state, file)
    with caplog.at_level(logging.WARNING):
        loaded = Encoder(name, str(file)).body.state_dict()
    assert all(tensor.dtype == torch.float32 for tensor in loaded.values() if tensor.is_floating_point())
    assert all(torch.equal(tensor.to(state[key].dtype), state[key]) for key, tensor in loaded.items())
    assert "Unexpected keys" not in caplog.text


def test_a_classifier_of_other_classes_lends_its_features(tmp_path):
    state = timm.create_model(TINY, num_classes=5).state_dict()
    save_file(state, tmp_path / "five.safetensors")
    loaded = Encoder(TINY, str(tmp_path / "five.safetensors")).body.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.items())


def test_warnings_are_silenced_only_while_weights_load(weights_file, caplog):
    Encoder(TINY, weights_file)
    with caplog.at_level(logging.WARNING):
        logging.getLogger("timm.models._builder").warning("Unexpected keys in something else")
    assert "something else" in caplog.text


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"nowhere\.pth: no such checkpoint.*imagenet, or null"):
        Encoder(TINY, "nowhere.pth")


@pytest.mark.parametrize("content", ["text", "cut", "empty", "tensors", "module"])
def test_a_file_that_holds_no_weights_is_named(content, weights_file, tmp_path):
    file = tmp_path / ("bad.pth" if content == "module" else "bad.safetensors")
    match content:
        case "text":
            file.write_text("no weights")
        case "cut":
            file.write_bytes((tmp_path / "weights.safetensors").read_bytes()[:-1000])
        case "empty":
            file.touch()
        case "tensors":
            save_file({"a": torch.zeros(3)}, file)
        case "module":
            torch.save(timm.create_model(TINY), file)  # a pickled object: never unpickled
    says = {"cut": "cut off", "empty": "cut off", "tensors": f"not the weights of timm's {TINY}"}.get(
        content, "no file of weights"
    )
    with pytest.raises(UserError, match=rf"{file.name}: {says}.*null for random"):
        Encoder(TINY, str(file))


@pytest.mark.parametrize("other", ["test_efficientnet", "resnet18", "inception_v3"])
def test_another_models_file_is_refused(other, weights_file):
    with pytest.raises(UserError, match=rf"not the weights of timm's {other}"):
        Encoder(other, weights_file)


def test_a_smaller_relatives_file_is_refused(tmp_path):
    # resnet18's tensors all have the names of resnet34's, which would be filled in part.
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "18.safetensors")
    with pytest.raises(UserError, match="80 of 216 tensors are missing"):
        Encoder("resnet34", str(tmp_path / "18.safetensors"))


class Session:
    """In place of the hub's: reachable or not."""

    def __init__(self, reachable):
        self.reachable = reachable

    def head(self, url, timeout):
        if not self.reachable:
            raise ConnectionError("no route")


@pytest.mark.parametrize("reachable", [True, False])
def test_the_hub_is_not_waited_for_where_it_cannot_be_reached(reachable, monkeypatch):
    asked = []

    def create_model(*_, **__):
        asked.append(hub.HF_HUB_OFFLINE)
        raise OSError("not in the cache")

    encoder = Encoder(TINY)
    before = hub.HF_HUB_OFFLINE
    monkeypatch.setattr(encoder_module, "get_session", lambda: Session(reachable))
    monkeypatch.setattr(encoder_module.timm, "create_model", create_model)
    with pytest.raises(UserError, match=rf"weights of {TINY}.*\(not in the cache\).*FILE.*null"):
        encoder.load_weights("imagenet")
    assert asked == [before or not reachable]
    assert before == hub.HF_HUB_OFFLINE


def test_without_network_the_cache_is_used(tiny_state, monkeypatch, tmp_path):
    repository = tmp_path / f"models--timm--{TINY}.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(tiny_state, repository / "snapshots" / ("0" * 40) / "model.safetensors")
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(encoder_module, "get_session", lambda: Session(reachable=False))
    loaded = Encoder(TINY, "imagenet").body.state_dict()
    assert all(torch.equal(tensor, tiny_state[key]) for key, tensor in loaded.items())
