"""A checkpoint knows the photographs that trained it: only their store goes on, and tests tell of them."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Trainer

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.store import Store, write_tables
from retinalesion.errors import UserError
from retinalesion.networks.checkpoint import export, read_checkpoint, write_as_called
from retinalesion.networks.tables import trained_from
from retinalesion.training.grading import GradingTask
from retinalesion.training.seen import Seen
from retinalesion.training.segmentation import SegmentationTask
from retinalesion.training.tasks import task_from

ENCODER = "test_efficientnet"


def trainer_in(folder, steps=-1):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return Trainer(
        default_root_dir=folder, max_steps=steps, accelerator="cpu", num_sanity_val_steps=0, **quiet
    )


def data(store, **options):
    options = {"side": 64, "batch_size": 2, "batches": 1, "workers": 0, **options}
    return FundusDataModule(str(store.path), **options)


def fit(folder, task, datamodule, steps=1, resume=None):
    trainer_in(folder, steps).fit(task, datamodule, ckpt_path=resume)
    return folder / "checkpoints/last.ckpt"


def lesion_task(weights=None):
    return SegmentationTask("lnet-32s", ENCODER, weights=weights)


def prints(store, split):
    return {row.sha256[:16] for row in store.split(split)}


def warned(task, datamodule, folder):
    """What a test warns of, of this kind."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer_in(folder).test(task, datamodule, verbose=False)
    return [str(one.message) for one in caught if "trained this network" in str(one.message)]


@pytest.fixture(scope="module")
def trained(drawn_store, tmp_path_factory):
    """The checkpoint of a lesion network."""
    return fit(tmp_path_factory.mktemp("run"), lesion_task(), data(drawn_store))


@pytest.fixture(scope="module")
def other_store(drawn_store, tmp_path_factory) -> Store:
    """The same photographs, of which val has become train, and train val."""
    path = tmp_path_factory.mktemp("other") / "turned"
    path.mkdir()
    for folder in ("photographs", "planes"):
        (path / folder).symlink_to(drawn_store.path / folder)
    turned = {"train": "val", "val": "train"}
    rows = [replace(row, split=turned.get(row.split, row.split)) for row in drawn_store.rows]
    write_tables(path, rows, {**drawn_store.info, "fingerprint": "0123456789abcdef"})
    return Store(path)


def test_a_checkpoint_keeps_eight_bytes_of_each_photograph_and_so_does_what_is_given_away(
    trained, drawn_store, tmp_path
):
    checkpoint = read_checkpoint(trained)
    export(checkpoint, tmp_path / "given.safetensors")
    for one in (checkpoint, read_checkpoint(tmp_path / "given.safetensors")):
        assert Seen.kept_in(one.about).all == prints(drawn_store, "train")
        assert len(one.about["photographs"]) <= 11 * len(drawn_store.split("train")) + 4


def test_no_other_store_goes_on_with_a_checkpoint(trained, drawn_store, other_store, tmp_path):
    words = rf"trained on store .*{drawn_store.fingerprint}.* this is turned .*0123456789abcdef"
    with pytest.raises(UserError, match=words):
        fit(tmp_path, lesion_task(), data(other_store), 2, trained)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_no_other_fold_goes_on_with_a_checkpoint(drawn_store, tmp_path):
    first = fit(tmp_path / "first", lesion_task(), data(drawn_store, folds=3, fold=0))
    with pytest.raises(UserError, match=r"other photographs of store .*data\.fold"):
        fit(tmp_path / "next", lesion_task(), data(drawn_store, folds=3, fold=1), 2, first)
    fit(tmp_path / "next", lesion_task(), data(drawn_store, folds=3, fold=0), 2, first)


@pytest.fixture(scope="module")
def of_a_fold(drawn_store, tmp_path_factory):
    """The checkpoint of a lesion network of fold 0 of 3."""
    return fit(tmp_path_factory.mktemp("fold"), lesion_task(), data(drawn_store, folds=3, fold=0))


def test_a_checkpoint_keeps_its_fold_and_so_does_what_is_given_away(
    trained, of_a_fold, drawn_store, tmp_path
):
    given = tmp_path / "given.safetensors"
    export(read_checkpoint(of_a_fold), given)
    assigned = data(drawn_store, folds=3, fold=0).assigned
    for file in (of_a_fold, given):
        assert read_checkpoint(file).about["folds"] == {
            "count": 3,
            "fold": 0,
            "assignment": assigned.assignment,
        }
        assert Seen.kept_in(read_checkpoint(file).about).fold == assigned
    assert "folds" not in read_checkpoint(trained).about


@pytest.mark.parametrize(("folds", "fold"), [(3, 1), (4, 0)], ids=["another fold", "another assignment"])
def test_a_grader_and_a_test_of_another_fold_are_refused_with_both_named(
    of_a_fold, drawn_store, tmp_path, folds, fold
):
    others = data(drawn_store, folds=folds, fold=fold, truth="grade")
    words = rf"fold 0 of 3 \(assignment \w+\), and this is fold {fold} of {folds} \(assignment \w+\)"
    with pytest.raises(UserError, match=rf"last\.ckpt: this lesion network is of {words}"):
        fit(tmp_path, GradingTask("sian", ENCODER, None, str(of_a_fold)), others)
    task = task_from(read_checkpoint(of_a_fold))
    with pytest.raises(UserError, match=rf"This network is of {words}"):
        trainer_in(tmp_path).test(task, data(drawn_store, folds=folds, fold=fold), verbose=False)
    assert not list(tmp_path.rglob("*.ckpt")) + list(tmp_path.rglob("*.json"))


def test_a_grader_of_the_same_fold_is_taken_and_tested_on_it_alone(of_a_fold, drawn_store, tmp_path):
    same = data(drawn_store, folds=3, fold=0, truth="grade")
    task = GradingTask("sian", ENCODER, None, str(of_a_fold))
    fit(tmp_path, task, same)
    assert not warned(task, same, tmp_path)
    for name in ("grades", "summary"):
        report = json.loads((tmp_path / f"test/{name}.json").read_text("utf-8"))
        sizes = [len(data(drawn_store, folds=3, fold=fold, truth="grade").rows("val")) for fold in range(3)]
        assert report["tested on"]["folds"] == {**same.assigned.kept(), "photographs": sizes}
        assert report["photographs"] == sizes[0]


def test_a_network_of_a_fold_is_tested_on_what_is_in_no_fold(of_a_fold, drawn_store, tmp_path):
    task = task_from(read_checkpoint(of_a_fold))
    for options in ({}, {"folds": 3, "fold": 0, "evaluate": "test"}):
        assert not warned(task, data(drawn_store, **options), tmp_path)
        report = json.loads((tmp_path / "test/summary.json").read_text("utf-8"))
        assert report["tested on"]["part"] == "test"
        assert "folds" not in report["tested on"]


def test_a_test_tells_of_photographs_that_it_knows(trained, drawn_store, tmp_path):
    export(read_checkpoint(trained), tmp_path / "given.safetensors")
    for file in (trained, tmp_path / "given.safetensors"):
        task = task_from(read_checkpoint(file))
        assert not warned(task, data(drawn_store), tmp_path)
        (told,) = warned(task, data(drawn_store, evaluate="all"), tmp_path)
        assert told.startswith("10 of the 16 photographs tested trained this network")
        assert all(row.id in told for row in drawn_store.split("train")[:5])
        assert "and 5 more" in told


def test_checkpoints_of_earlier_versions_do_not_tell_and_are_taken(trained, drawn_store, tmp_path):
    checkpoint = torch.load(trained, weights_only=True)
    for name in ("photographs", "earlier_photographs", "store"):
        del checkpoint["retinalesion"][name]
    old = tmp_path / "old.ckpt"
    torch.save(checkpoint, old)
    assert not warned(task_from(read_checkpoint(old)), data(drawn_store, evaluate="all"), tmp_path)
    fit(tmp_path / "run", lesion_task(), data(drawn_store), 2, old)
    grader = GradingTask("sian", ENCODER, None, str(old))
    fit(tmp_path / "graded", grader, data(drawn_store, truth="grade"))


def test_what_trained_the_weights_trained_what_begins_with_them(trained, drawn_store, other_store, tmp_path):
    task = lesion_task(str(trained))
    fit(tmp_path, task, data(other_store))
    assert task.seen.trained == prints(drawn_store, "val")
    assert task.seen.earlier == prints(drawn_store, "train")


def test_a_grader_is_refused_a_lesion_network_that_saw_what_validates_it(
    trained, drawn_store, other_store, tmp_path
):
    grader = GradingTask("sian", ENCODER, None, str(trained))
    with pytest.raises(UserError, match=r"last\.ckpt: 10 of the 10 photographs that validate the grader"):
        fit(tmp_path, grader, data(other_store, truth="grade"))
    kept = fit(tmp_path, grader, data(drawn_store, truth="grade"))
    assert Seen.kept_in(read_checkpoint(kept).about).all == prints(drawn_store, "train")


def test_a_grader_knows_the_photographs_of_its_lesion_network(trained, drawn_store, tmp_path):
    """Here alone: the grader itself was trained on none of the store."""
    grader = GradingTask("sian", ENCODER, None, str(trained))
    kept = fit(tmp_path, grader, data(drawn_store, truth="grade"))
    task = task_from(read_checkpoint(kept))
    task.seen = replace(task.seen, trained=frozenset())
    (told,) = warned(task, data(drawn_store, truth="grade", evaluate="train"), tmp_path)
    assert told.startswith("10 of the 10 photographs tested trained this network, or the lesion network")


def with_rule(file, folder):
    """The same network with a rule, as files of both kinds keep it."""
    checkpoint = read_checkpoint(file).with_rule({"format": 1})
    files = [folder / f"ruled{ending}" for ending in (".ckpt", ".safetensors")]
    for one in files:
        write_as_called(checkpoint, one)
    return files


def test_a_rule_goes_where_its_network_goes(trained, drawn_store, tmp_path):
    for file in with_rule(trained, tmp_path):
        assert read_checkpoint(file).prints == prints(drawn_store, "train")
        export(read_checkpoint(file), tmp_path / "given.safetensors")
        for one in (file, tmp_path / "given.safetensors"):
            task = task_from(read_checkpoint(one))
            assert task.trained.rule == trained_from(read_checkpoint(one)).rule == {"format": 1}


def test_a_fit_drops_the_rule_of_what_it_goes_on_from_or_begins_with(trained, drawn_store, tmp_path):
    ruled, given = with_rule(trained, tmp_path)
    begun = fit(tmp_path / "begun", lesion_task(str(given)), data(drawn_store))
    task = lesion_task()
    went_on = fit(tmp_path / "run", task, data(drawn_store), 2, ruled)
    for one in (begun, went_on):
        assert "rule" not in read_checkpoint(one).about
    assert not task.trained.rule
