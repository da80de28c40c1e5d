"""Fits, resumes and tests of graders as a notebook makes them."""

import csv
import json
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Trainer

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.store import Store, write_tables
from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.networks.checkpoint import export, read_checkpoint
from retinalesion.training.classification import LesionClassificationTask
from retinalesion.training.grading import GradingTask
from retinalesion.training.segmentation import SegmentationTask
from retinalesion.training.tasks import task_from

ENCODER = "test_efficientnet"


def trainer_in(folder, steps=-1, **others):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return Trainer(
        default_root_dir=folder, max_steps=steps, accelerator="cpu", logger=False, **quiet, **others
    )


def data(store, **options):
    options = {"side": 64, "batch_size": 2, "batches": 5, "workers": 0, "truth": "grade", **options}
    return FundusDataModule(str(store.path), **options)


def save(task, file):
    checkpoint = {"hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
    task.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, file)


@pytest.fixture(scope="module")
def lesion_net(drawn_store, tmp_path_factory):
    """The checkpoint of a lesion network that learned two lesions."""
    file = tmp_path_factory.mktemp("lnet") / "lnet.ckpt"
    torch.manual_seed(3)
    task = SegmentationTask("lnet-32s", ENCODER, weights=None)
    torch.nn.init.zeros_(task.network.head.bias)
    task.network.learn_only(["MA", "iHE"])
    save(task, file)
    return file


@pytest.fixture(scope="module", params=["sgd", "adamw"])
def fitted(request, drawn_store, lesion_net, tmp_path_factory):
    """A SiAN after 20 steps, its run and its trainer."""
    run = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    task = GradingTask("sian", ENCODER, None, str(lesion_net), optimizer=request.param)
    trainer = trainer_in(run, 20)
    trainer.fit(task, datamodule=data(drawn_store))
    return run, trainer, task


def branch_of(state):
    place = "network.lesion_net."
    return {key.removeprefix(place): value for key, value in state.items() if key.startswith(place)}


def test_nothing_of_the_frozen_branch_moves(fitted, lesion_net):
    run, trainer, task = fitted
    began = torch.load(lesion_net, weights_only=True)["state_dict"]
    for state in (task.state_dict(), read_checkpoint(run / "checkpoints/last.ckpt").contents["state_dict"]):
        branch = branch_of(state)
        assert len(branch) == len(began)
        assert all(torch.equal(value, began[f"network.{key}"]) for key, value in branch.items())
    frozen = set(task.network.lesion_net.parameters())
    (optimizer,) = trainer.optimizers
    assert not frozen & {p for group in optimizer.param_groups for p in group["params"]}
    assert not frozen & set(optimizer.state)
    assert any(key not in began for key in task.state_dict())


def test_the_best_checkpoint_is_by_kappa(fitted):
    run, trainer, _ = fitted
    assert "val/kappa" in trainer.callback_metrics
    assert (run / "checkpoints/best.ckpt").is_file()


def test_a_checkpoint_stands_alone(fitted, drawn_store, lesion_net, tmp_path):
    """The lesion network's file is gone: test and resume run all the same."""
    run, _, _ = fitted
    kept = lesion_net.read_bytes()
    lesion_net.unlink()
    try:
        last = run / "checkpoints/last.ckpt"
        again = GradingTask.load_from_checkpoint(last, weights_only=True)
        assert again.hparams["lesion_network"] == "lnet-32s"
        trainer_in(tmp_path).test(again, datamodule=data(drawn_store), verbose=False)
        trainer_in(tmp_path, 25).fit(again, datamodule=data(drawn_store), ckpt_path=last, weights_only=True)
        assert again.network.lesion_net.learned_codes == ("MA", "iHE")
    finally:
        lesion_net.write_bytes(kept)


def test_one_pass_of_test_scores_three_tasks(fitted, drawn_store, tmp_path, capsys):
    _, _, task = fitted
    passes = []
    hook = task.network.encoder.register_forward_hook(
        lambda _, given, __: passes.append(given[0].device.type)
    )
    (scores,) = trainer_in(tmp_path).test(task, datamodule=data(drawn_store), verbose=False)
    hook.remove()
    tested = drawn_store.split("test")
    assert passes.count("cpu") == len(tested)  # counting multiply-adds computes nothing
    grades = json.loads((tmp_path / "test/grades.json").read_text())
    with (tmp_path / "test/grades.csv").open(newline="") as lines:
        rows = {row["id"]: row for row in csv.DictReader(lines)}
    assert {id: int(row["grade"]) for id, row in rows.items()} == {row.id: row.grade for row in tested}
    for row in rows.values():
        likely = [float(row[f"P(DR{grade})"]) for grade in range(5)]
        assert sum(likely) == pytest.approx(1, abs=1e-3)
        assert likely[int(row["said"])] == max(likely)
    assert grades["photographs"] == len(tested) == sum(map(sum, grades["confusion"]))
    assert scores["test/kappa"] == pytest.approx(grades["kappa"], abs=1e-3)
    lesions = json.loads((tmp_path / "test/summary.json").read_text())["lesions"]
    assert [row["lesion"] for row in lesions if row["learned"]] == ["MA", "iHE", "mean"]
    printed = capsys.readouterr().out
    assert "kappa" in printed
    assert "Macular oedema is not judged" in printed


@pytest.mark.parametrize("some", [True, False], ids=["one left", "none left"])
def test_photographs_without_a_grade_are_left_out(drawn_store, tmp_path, some):
    rows = [row for row in drawn_store.rows if row.split == "train"]
    kept = [rows[0].id] if some else []
    folder = tmp_path / "store"
    folder.mkdir()
    for part in ("photographs", "planes"):
        (folder / part).symlink_to(drawn_store.path / part)
    ungraded = [
        row if row.split != "train" or row.id in kept else replace(row, grade=-1) for row in drawn_store.rows
    ]
    info = {key: drawn_store.info[key] for key in ("side", "seed", "source", "fingerprint")}
    write_tables(folder, ungraded, info)
    module = data(Store(folder))
    if kept:
        assert [row.id for row in module.rows("train")] == kept
        return
    with pytest.raises(UserError, match="a grade"):
        trainer_in(tmp_path, 2).fit(GradingTask("plain", ENCODER, None), datamodule=module)


def test_a_grade_of_minus_one_in_a_batch_changes_nothing(drawn_store):
    task = GradingTask("plain", ENCODER, None).eval()
    task.log = lambda *_, **__: None
    image = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    grade = torch.tensor([1, 4, -1])
    loss = task.training_step({"image": image, "grade": grade}, 0)
    known = task.training_step({"image": image[:2], "grade": grade[:2]}, 0)
    torch.testing.assert_close(loss, known)
    assert task.training_step({"image": image[2:], "grade": grade[2:]}, 0) == 0


def test_a_plain_grader_has_no_lesion_tables(drawn_store, tmp_path):
    task = GradingTask("plain", ENCODER, None)
    trainer_in(tmp_path).test(task, datamodule=data(drawn_store), verbose=False)
    assert {file.name for file in (tmp_path / "test").iterdir()} == {"grades.json", "grades.csv"}


def test_abn_learns_from_both_branches_and_shows_its_attention(drawn_store, tmp_path):
    torch.manual_seed(0)
    task = GradingTask("abn", ENCODER, None)
    batch = {"image": torch.rand(2, 3, 64, 64), "grade": torch.tensor([1, 4]), "id": ["a", "b"]}
    task.eval().log = lambda *_, **__: None
    out = task.network(batch["image"])
    both = sum(torch.nn.functional.cross_entropy(one, batch["grade"]) for one in out[:2])
    torch.testing.assert_close(task.training_step(batch, 0), both)
    said = task.predict_step(batch, 0)
    assert said["lesions"] is None
    torch.testing.assert_close(said["grade"], out.logits.softmax(1))
    torch.testing.assert_close(said["attention"], out.attention)
    assert said["attention"].shape == (2, 1, 4, 4)

    task = GradingTask("abn", ENCODER, None)
    trainer_in(tmp_path, 2).fit(task, datamodule=data(drawn_store, batches=2))
    last = task_from(read_checkpoint(tmp_path / "checkpoints/last.ckpt")).eval()
    torch.testing.assert_close(last(batch["image"])[1], task.eval().cpu()(batch["image"])[1])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """The checkpoint of a lesion classifier that learned two lesions."""
    file = tmp_path_factory.mktemp("classifier") / "classifier.ckpt"
    task = LesionClassificationTask("lesions-plain", ENCODER, weights=None)
    task.network.learn_only(["MA", "iHE"])
    save(task, file)
    return file


@pytest.mark.parametrize("beside", ["lnet-32s", "lesions-plain"])
def test_lesion_concat_stands_alone_on_either_kind_of_lesion_model(
    beside, lesion_net, classifier, drawn_store, tmp_path
):
    file = lesion_net if beside == "lnet-32s" else classifier
    began = torch.load(file, weights_only=True)["state_dict"]
    task = GradingTask("lesion-concat", ENCODER, None, str(file))
    trainer = trainer_in(tmp_path, 2)
    trainer.fit(task, datamodule=data(drawn_store, batches=2))
    branch = branch_of(task.state_dict())
    assert all(torch.equal(value, began[f"network.{key}"]) for key, value in branch.items())
    frozen = set(task.network.lesion_net.parameters())
    assert not frozen & {p for group in trainer.optimizers[0].param_groups for p in group["params"]}

    again = GradingTask.load_from_checkpoint(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert (again.hparams["lesion_network"], again.hparams["lesion_encoder"]) == (beside, ENCODER)
    assert again.network.lesion_net.learned_codes == ("MA", "iHE")
    trainer_in(tmp_path).test(again, datamodule=data(drawn_store), verbose=False)
    has_maps = beside == "lnet-32s"
    assert (tmp_path / "test/lesions.csv").is_file() == has_maps
    assert again.learned.any() == has_maps  # without maps, a reading calls no lesion absent


def test_sian_refuses_a_lesion_classifier(classifier):
    with pytest.raises(UserError, match=r"holds lesions-plain, not a lesion network.*no maps"):
        GradingTask("sian", ENCODER, None, str(classifier))


def test_an_encoder_begins_from_an_earlier_run(lesion_net, drawn_store, tmp_path):
    task = GradingTask("plain", ENCODER, str(lesion_net), rate=1e-12)
    trainer_in(tmp_path, 1).fit(task, datamodule=data(drawn_store, batches=1))
    began = torch.load(lesion_net, weights_only=True)["state_dict"]
    for name, value in task.network.encoder.named_parameters():
        torch.testing.assert_close(value.cpu(), began[f"network.encoder.{name}"], atol=1e-8, rtol=0)


def test_a_portable_checkpoint_says_the_same(fitted, lesion_net, drawn_store, tmp_path):
    run, _, _ = fitted
    whole = read_checkpoint(run / "checkpoints/last.ckpt")
    file = tmp_path / "small.safetensors"
    export(whole, file)
    assert (
        file.stat().st_size < 0.6 * sum(v.numel() * 4 for v in whole.contents["state_dict"].values()) + 50_000
    )
    one, other = task_from(whole).eval(), task_from(read_checkpoint(file)).eval()
    assert one.quality_limits == other.quality_limits
    assert str(lesion_net).encode() not in file.read_bytes()
    assert one.trained_side == other.trained_side == 64
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for a, b in zip(one(image), other(image), strict=True):
        torch.testing.assert_close(a, b, atol=0.05, rtol=0.05)
    bare = trainer_in(tmp_path, 1, enable_checkpointing=False)
    bare.validate(GradingTask(**whole.settings), data(drawn_store), ckpt_path=str(file), verbose=False)
    assert one.learned.tolist() == other.learned.tolist() == [code in ("MA", "iHE") for code in CODES]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"text", lambda b: b""])
@pytest.mark.parametrize("ending", [".ckpt", ".safetensors"])
def test_what_is_no_checkpoint_is_told(fitted, tmp_path, damage, ending):
    run, _, _ = fitted
    file = tmp_path / f"broken{ending}"
    whole = run / "checkpoints/last.ckpt"
    if ending == ".safetensors":
        export(read_checkpoint(whole), file)
        file.write_bytes(damage(file.read_bytes()))
    else:
        file.write_bytes(damage(whole.read_bytes()))
    with pytest.raises(UserError, match="broken"):
        read_checkpoint(file)
