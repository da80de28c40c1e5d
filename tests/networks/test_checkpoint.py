"""Files of trained networks: each is read everywhere or refused in one sentence; none runs code."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from retinalesion.errors import UserError
from retinalesion.networks.checkpoint import Checkpoint, export, find, read_checkpoint, read_weights
from retinalesion.networks.encoder import Encoder
from retinalesion.networks.tables import grader, lesion_model_from, names_in, segmenter

TINY = "test_efficientnet"


class Payload:
    """Unpickled by whoever trusts a file, it makes a file of its own."""

    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return Path.touch, (self.made,)


@pytest.fixture(scope="module")
def lnet():
    network = segmenter("lnet-32s", TINY).eval()
    network.learn_only(["MA", "HaEx"])
    return network


@pytest.fixture(scope="module")
def written(lnet, keep, tmp_path_factory):
    """A run's checkpoint and the file exported of it, by ending."""
    folder = tmp_path_factory.mktemp("files")
    run = keep(folder / "best.ckpt", lnet.state_dict(), weights="/home/me/secret.pth")
    export(read_checkpoint(run), folder / "given.safetensors")
    return {".ckpt": run, ".safetensors": folder / "given.safetensors"}


@pytest.fixture(params=[".ckpt", ".safetensors"])
def file(written, request):
    return written[request.param]


def test_either_file_tells_the_same_whatever_it_is_called(file, lnet, tmp_path):
    renamed = tmp_path / "model.bin"
    renamed.write_bytes(file.read_bytes())
    read = read_checkpoint(renamed)
    assert (read.network, read.settings["encoder"], read.about["side"]) == ("lnet-32s", TINY, 64)
    for key, value in lnet.state_dict().items():
        torch.testing.assert_close(read.tensors()[key], value, atol=1e-3, rtol=1e-3)
    assert read.tensors("encoder.").keys() == lnet.encoder.state_dict().keys()


def test_what_is_exported_keeps_no_path_and_no_step(written):
    assert b"secret" not in written[".safetensors"].read_bytes()
    assert (read_checkpoint(written[".ckpt"]).step, read_checkpoint(written[".safetensors"]).step) == (7, 0)
    assert written[".safetensors"].stat().st_size < 0.6 * written[".ckpt"].stat().st_size


def test_an_exported_file_can_be_exported_again(written, tmp_path):
    export(read_checkpoint(written[".safetensors"]), tmp_path / "b.safetensors", side=96)
    one, other = (read_checkpoint(f) for f in (written[".safetensors"], tmp_path / "b.safetensors"))
    assert all(torch.equal(value, other.tensors()[key]) for key, value in one.tensors().items())
    assert other.about == {**one.about, "side": 96}


def test_what_float16_cannot_hold_is_exported_as_it_is(lnet, keep, tmp_path):
    state = {key: value.clone() for key, value in lnet.state_dict().items()}
    place = next(key for key in state if key.endswith("running_var"))
    state[place].fill_(1e5)
    export(read_checkpoint(keep(tmp_path / "a.ckpt", state)), tmp_path / "a.safetensors")
    assert torch.equal(read_checkpoint(tmp_path / "a.safetensors").tensors()[place], state[place])


def test_a_run_is_found_by_name_by_folder_and_by_what_counts(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/first/checkpoints")
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match="after its first validation"):
        find("first")
    for name in ("best", "last"):
        (folder / f"{name}.ckpt").write_bytes(written[".ckpt"].read_bytes())
    assert find("first") == find("runs/first") == find(Path("runs/first").absolute()).relative_to(tmp_path)
    assert find("first").name == "best.ckpt"
    (folder.parent / "finished").write_text("last counts; finished after 7 steps\n")
    assert find("first").name == "last.ckpt"
    assert names_in("first").network == "lnet-32s"


@pytest.mark.parametrize("use", [read_checkpoint, lesion_model_from, Encoder(TINY).load_weights])
@pytest.mark.parametrize("kept", [0, 1, 4, 7, 9, 60, 0.5, 0.99])
def test_a_file_that_was_cut_off_says_so(file, tmp_path, kept, use):
    whole = file.read_bytes()
    cut = tmp_path / f"cut{file.suffix}"
    cut.write_bytes(whole[: kept if kept >= 1 or kept == 0 else int(kept * len(whole))])
    with pytest.raises(UserError, match=rf"cut{file.suffix}: (cut off|no)"):
        use(str(cut))
    if not 0 < kept < 10:  # so little tells nobody what it was to become
        with pytest.raises(UserError, match="cut off"):
            use(str(cut))


def foreign(kind, file, made):
    if kind == "text":
        file.write_text("no weights")
    elif kind == "pickle":
        file.write_bytes(pickle.dumps(Payload(made)))
    elif kind == "torch":
        torch.save({"state_dict": {"network.a": torch.ones(1)}, "retinalesion": Payload(made)}, file)
    elif kind == "old torch":
        torch.save({"a": Payload(made)}, file, _use_new_zipfile_serialization=False)
    elif kind == "zip":
        with zipfile.ZipFile(file, "w") as parts:
            parts.writestr("archive/data.pkl", pickle.dumps(Payload(made)))
    elif kind == "packed":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as parts:
            parts.writestr("archive/data.pkl", b"0" * 1_000_000)
    elif kind == "list":
        torch.save([torch.ones(1)], file)
    else:
        file.write_bytes(os.urandom(2000))
    return file


@pytest.mark.parametrize("use", [read_checkpoint, lesion_model_from, Encoder(TINY).load_weights])
@pytest.mark.parametrize("kind", ["text", "pickle", "torch", "old torch", "zip", "packed", "list", "noise"])
def test_what_others_made_is_refused_and_runs_no_code(kind, use, tmp_path):
    file, made = tmp_path / "other.ckpt", tmp_path / "made"
    foreign(kind, file, made)
    with pytest.raises(UserError, match=r"other\.ckpt: (not a checkpoint of|no file of weights)"):
        use(str(file))
    assert not made.exists()


@pytest.mark.parametrize(
    "about",
    [{}, {"retinalesion": {}}, {"retinalesion": {"format": 1}, "hyper_parameters": {"network": 3}}],
)
def test_checkpoints_of_other_programs_are_refused(about, tmp_path):
    torch.save({"state_dict": {}, **about}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"other\.ckpt: not a checkpoint of retinalesion"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_a_newer_format_is_named(written, tmp_path):
    contents = {**read_checkpoint(written[".ckpt"]).contents, "retinalesion": {"format": 2}}
    torch.save(contents, tmp_path / "new.ckpt")
    export(Checkpoint(tmp_path, contents), tmp_path / "new.safetensors")
    for file in (tmp_path / "new.ckpt", tmp_path / "new.safetensors"):
        with pytest.raises(UserError, match=rf"{file.name}: has format 2, and this version.* reads 1"):
            read_checkpoint(file)


def test_what_promises_more_than_it_holds_is_refused(keep, tmp_path):
    file = keep(tmp_path / "huge.ckpt", {"a": torch.ones(1).expand(10**13)})
    assert file.stat().st_size < 10_000
    with pytest.raises(UserError, match="not a checkpoint"):
        read_checkpoint(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value, lnet, keep, tmp_path):
    state = {key: tensor.clone() for key, tensor in lnet.state_dict().items()}
    state["head.bias"][2] = value
    file = keep(tmp_path / "astray.ckpt", state)
    for use in (read_checkpoint, lesion_model_from, read_weights):
        with pytest.raises(UserError, match=r"astray\.ckpt: has weights that are not finite \(head\.bias\)"):
            use(str(file))


@pytest.mark.parametrize("name", ["sian", "lesion-concat"])
def test_a_grader_gives_the_lesion_network_at_its_side(name, lnet, keep, tmp_path):
    network = grader(name, TINY, lesion_net=lnet)
    file = keep(
        tmp_path / "a.ckpt",
        network.state_dict(),
        network=name,
        lesion_network="lnet-32s",
        lesion_encoder=TINY,
    )
    export(read_checkpoint(file), tmp_path / "a.safetensors")
    for one in (file, tmp_path / "a.safetensors"):
        given = lesion_model_from(one)
        assert given.learned_codes == ("MA", "HaEx")
        torch.testing.assert_close(given.head.weight, lnet.head.weight, atol=1e-3, rtol=1e-3)


def test_a_whole_network_begins_with_an_exported_one(written, lnet):
    begun = segmenter("lnet-32s", TINY)
    begun.load_weights(str(written[".safetensors"]))
    torch.testing.assert_close(begun.head.weight, lnet.head.weight, atol=1e-3, rtol=1e-3)
    with pytest.raises(UserError, match="holds lnet-32s, not this network"):
        segmenter("unet", TINY).load_weights(str(written[".safetensors"]))


def test_settings_that_are_no_json_are_refused(tmp_path):
    state = {"network.a": torch.ones(1)}
    for about in ("[" * 100_000, "nothing", json.dumps({"format": 1})):
        save_file(state, tmp_path / "a.safetensors", {"retinalesion": about})
        with pytest.raises(UserError, match="not a checkpoint of retinalesion"):
            read_checkpoint(tmp_path / "a.safetensors")
