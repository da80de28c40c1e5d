"""Store to batch: what a batch holds, which photographs come when, and mistakes that a user can mend."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from retinalesion.data.datamodule import FundusDataModule
from retinalesion.data.store import Row, Store, unpack, write_tables
from retinalesion.errors import UserError
from retinalesion.files import write_png
from retinalesion.geometry import Box
from retinalesion.lesions import CODES

SIDE = 96  # of the drawn store


def trainer(rank=0, processes=1, done=0):
    progress = SimpleNamespace(total=SimpleNamespace(processed=done))
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    return SimpleNamespace(global_rank=rank, world_size=processes, fit_loop=loop)


def module(store, *, rank=0, processes=1, done=0, **options):
    options = {"workers": 0, "batch_size": 4, "batches": 3, **options}
    datamodule = FundusDataModule(str(store.path), **options)
    datamodule.trainer = trainer(rank, processes, done)
    return datamodule


def training(datamodule):
    """One epoch's batches, after which the trainer has counted them."""
    batches = [datamodule.on_after_batch_transfer(batch, 0) for batch in datamodule.train_dataloader()]
    datamodule.trainer.fit_loop.epoch_loop.batch_progress.total.processed += len(batches)
    return batches


def evaluation(datamodule, loader="test"):
    loader = getattr(datamodule, f"{loader}_dataloader")()
    return [datamodule.on_after_batch_transfer(batch, 0) for batch in loader]


def same(one, other):
    return one["id"] == other["id"] and all(
        torch.equal(one[key], other[key]) for key in ("image", "planes", "valid", "grade", "oedema")
    )


@pytest.fixture(scope="module")
def partly_looked_at(tmp_path_factory) -> Store:
    """Side 32; a has MA, some ignored, and HaEx was looked for; b has a grade alone; v, in val, has CWS."""
    path = tmp_path_factory.mktemp("partly") / "store"
    square = np.zeros((32, 32), np.uint8)
    marked, ignored = square.copy(), square.copy()
    marked[4:8, 4:8] = 1 << CODES.index("MA")
    ignored[20:30, 20:30] = 1 << CODES.index("MA")
    softs = square.copy()
    softs[10:20, 10:20] = 1 << CODES.index("CWS")
    rows = []
    for id, split, grade, oedema, annotated, planes, pixels in [
        ("a", "train", -1, -1, {"MA", "HaEx"}, marked, {"MA": 16, "HaEx": 0}),
        ("b", "train", 2, 1, set(), square, {}),
        ("v", "val", 3, 2, {"CWS"}, softs, {"CWS": 100}),
    ]:
        write_png(path / "photographs" / f"{id}.png", np.full((32, 32, 3), (200, 100, 50), np.uint8))
        write_png(path / "planes" / f"{id}.png", planes)
        box = Box(0, 0, 32)
        truth = {"grade": grade, "oedema": oedema, "annotated": frozenset(annotated), "pixels": pixels}
        rows.append(Row(id, id, split, 32, 32, box, id, **truth))
    write_png(path / "ignored" / "a.png", ignored)
    write_tables(path, rows, {"side": 32, "seed": 0, "source": "test", "fingerprint": "0"})
    return Store(path)


@pytest.mark.parametrize(
    ("options", "side"),
    [
        ({}, SIDE),
        ({"side": 64}, 64),
        ({"crop": 32}, 32),
        ({"crop": 32, "side": 64, "lesion_crops": 0.5}, 32),
    ],
    ids=["whole", "smaller", "crop", "lesion crops of smaller"],
)
def test_a_training_batch_is_as_promised(drawn_store, options, side):
    trained = {row.id: row.grade for row in drawn_store.split("train")}
    for batch in training(module(drawn_store, **options)):
        assert batch.keys() == {"image", "planes", "valid", "grade", "oedema", "id"}
        assert batch["image"].shape == (4, 3, side, side)
        assert batch["planes"].shape == batch["valid"].shape == (4, 8, side, side)
        assert batch["image"].dtype == torch.float32
        assert batch["planes"].dtype == batch["valid"].dtype == torch.bool
        assert batch["grade"].dtype == torch.int64
        assert batch["image"].min() >= 0
        assert 0.5 < batch["image"].max() <= 1
        assert [trained[id] for id in batch["id"]] == batch["grade"].tolist()
        assert batch["valid"].any(3).any(2).all()


def test_an_evaluation_batch_is_the_photograph_as_stored(drawn_store):
    batches = evaluation(module(drawn_store))
    assert [batch["id"] for batch in batches] == [[row.id] for row in drawn_store.split("test")]
    for batch in batches:
        (id,) = batch["id"]
        image = batch["image"][0].permute(1, 2, 0) * 255
        assert np.array_equal(image.round().to(torch.uint8).numpy(), drawn_store.image(id))
        assert np.array_equal(batch["planes"][0].numpy(), unpack(drawn_store.planes(id)))
        assert batch["valid"].all()


def test_a_smaller_side_is_made_by_area(drawn_store):
    for batch in evaluation(module(drawn_store, side=32)):
        (id,) = batch["id"]
        reduced = cv2.resize(drawn_store.image(id), (32, 32), interpolation=cv2.INTER_AREA)
        image = batch["image"][0].permute(1, 2, 0).numpy() * 255
        assert np.abs(image - reduced).max() <= 0.51  # OpenCV rounds
        present = unpack(drawn_store.planes(id)).any((1, 2))
        assert batch["planes"][0].any(2).any(1).tolist() == present.tolist()


def test_valid_is_annotated_and_not_ignored(partly_looked_at):
    (batch,) = evaluation(module(partly_looked_at, evaluate="train"))
    valid = torch.zeros(1, 8, 32, 32, dtype=torch.bool)
    valid[0, [CODES.index("MA"), CODES.index("HaEx")]] = True
    valid[0, CODES.index("MA"), 20:30, 20:30] = False
    assert batch["id"] == ["a"]
    assert torch.equal(batch["valid"], valid)


def test_grade_and_risk_of_oedema_are_the_photographs_own(partly_looked_at):
    batches = evaluation(module(partly_looked_at, evaluate="all", truth="grade"))
    known = {batch["id"][0]: (batch["grade"].item(), batch["oedema"].item()) for batch in batches}
    assert known == {"b": (2, 1), "v": (3, 2)}
    (batch,) = training(module(partly_looked_at, batches=1))
    assert batch["oedema"].tolist() == [-1] * 4
    assert batch["oedema"].dtype == torch.int64


@pytest.mark.parametrize("options", [{}, {"crop": 16}], ids=["whole", "crop"])
def test_in_training_what_was_not_looked_for_stays_so(partly_looked_at, options):
    (batch,) = training(module(partly_looked_at, batch_size=16, batches=1, **options))
    looked = torch.tensor([code in ("MA", "HaEx") for code in CODES])
    assert not batch["valid"][:, ~looked].any()
    ma, haex = batch["valid"][:, CODES.index("MA")], batch["valid"][:, CODES.index("HaEx")]
    assert (ma <= haex).all()
    assert (ma != haex).any()  # the ignored pixels of MA came along
    # The photograph is of one colour: HaEx is valid where it is seen, and black all round is not.
    dark = batch["image"].amax(1) < 0.12
    assert not haex[dark].any()
    assert haex[batch["image"][:, 0] > 0.45].float().mean() > 0.95


def test_crops_of_the_border_count_inside_the_photograph_only(drawn_store):
    (batch,) = training(module(drawn_store, crop=64, batch_size=16, batches=1))
    everywhere = batch["valid"].all(1)
    assert torch.equal(everywhere, batch["valid"].any(1))
    assert 0.5 < everywhere.float().mean() < 0.999


@pytest.mark.parametrize("batches", [1, 7])
def test_epochs_have_an_exact_number_of_batches_however_small_the_set(drawn_store, batches):
    datamodule = module(drawn_store, batch_size=16, batches=batches)  # 10 photographs
    for _ in range(2):
        assert len(datamodule.train_dataloader()) == batches == len(training(datamodule))


def test_every_photograph_comes_once_a_turn_in_another_order(drawn_store):
    datamodule = module(drawn_store, batch_size=5, batches=4)
    ids = [id for batch in datamodule.train_dataloader() for id in batch["id"]]
    trained = sorted(row.id for row in drawn_store.split("train"))
    assert sorted(ids[:10]) == sorted(ids[10:]) == trained
    assert ids[:10] != ids[10:]
    assert ids[:10] != trained


@pytest.mark.parametrize("options", [{}, {"crop": 32, "lesion_crops": 0.5}], ids=["whole", "crop"])
@pytest.mark.parametrize("done", [2, 3, 4])
def test_a_resumed_run_draws_what_an_unbroken_one_draws(drawn_store, options, done):
    unbroken = module(drawn_store, **options)
    batches = [*training(unbroken), *training(unbroken)]
    resumed = module(drawn_store, done=done, **options)
    rest = training(resumed)
    if len(rest) + done < len(batches):
        rest += training(resumed)
    assert len(rest) == len(batches) - done
    assert all(same(one, other) for one, other in zip(rest, batches[done:], strict=True))


def test_the_resumed_loader_needs_no_state(drawn_store):
    loader = module(drawn_store).train_dataloader()
    assert loader.state_dict() == {}
    loader.load_state_dict({})


def test_workers_change_nothing(drawn_store):
    options = {"crop": 32, "lesion_crops": 0.5}
    one, other = (training(module(drawn_store, workers=workers, **options)) for workers in (0, 1))
    assert all(same(*pair) for pair in zip(one, other, strict=True))


def test_another_seed_draws_others(drawn_store):
    one, other = (training(module(drawn_store, batches=1, seed=seed))[0] for seed in (0, 1))
    assert not torch.equal(one["image"], other["image"])


def test_two_processes_share_the_draws(drawn_store):
    options = {"crop": 32, "lesion_crops": 0.5}
    whole = training(module(drawn_store, batch_size=4, **options))
    halves = [training(module(drawn_store, batch_size=2, rank=r, processes=2, **options)) for r in (0, 1)]
    for batch, *parts in zip(whole, *halves, strict=True):
        keys = batch.keys() - {"id"}
        joined = {key: torch.cat([part[key] for part in parts]) for key in keys}
        assert same(batch, {**joined, "id": [id for part in parts for id in part["id"]]})


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("loader", ["val", "test", "predict"])
def test_every_photograph_is_evaluated_once(drawn_store, processes, loader):
    split = "val" if loader == "val" else "test"
    shares = [
        evaluation(module(drawn_store, rank=rank, processes=processes), loader) for rank in range(processes)
    ]
    assert len({len(share) for share in shares}) == 1  # or one process would wait for ever
    batches = [batch for share in shares for batch in share]
    ids = [id for batch in batches for id in batch["id"]]
    assert sorted(id for id in ids if id) == [row.id for row in drawn_store.split(split)]
    assert ids.count("") == -len(drawn_store.split(split)) % processes
    for batch in batches:
        assert batch["image"].shape == (1, 3, SIDE, SIDE)
        if batch["id"] == [""]:
            assert not batch["valid"].any()
            assert not batch["planes"].any()
            assert batch["grade"].tolist() == batch["oedema"].tolist() == [-1]


def test_the_split_to_evaluate_is_chosen(drawn_store):
    ids = [batch["id"][0] for batch in evaluation(module(drawn_store, evaluate="all"))]
    assert ids == [row.id for row in drawn_store.rows]


def test_lesion_crops_hold_a_lesion_and_rare_ones_as_often(drawn_store):
    options = {"crop": 24, "batch_size": 64, "batches": 2}
    having, anywhere = (
        torch.cat(
            [b["planes"].any(3).any(2) for b in training(module(drawn_store, **options, lesion_crops=share))]
        )
        for share in (1.0, 0.0)
    )
    assert having.any(1).all()  # those of one pixel too, where a crop is reduced
    assert anywhere.any(1).float().mean() < 0.75
    assert having.sum(0).min() > 8  # each is drawn for an eighth of the 128, however few photographs have it


def test_lesion_crops_of_a_set_without_lesions_are_any_crops(partly_looked_at):
    datamodule = module(partly_looked_at, truth="grade", crop=16, lesion_crops=1.0)
    assert {id for batch in training(datamodule) for id in batch["id"]} == {"b"}


def test_learned_is_what_training_photographs_show(drawn_store, partly_looked_at):
    assert module(drawn_store).learned == CODES
    assert module(partly_looked_at).learned == ("MA",)  # HaEx: looked for, never there; CWS: in val only


def test_truth_chooses_photographs(partly_looked_at):
    assert [row.id for row in module(partly_looked_at).rows("train")] == ["a"]
    assert [row.id for row in module(partly_looked_at, truth="grade").rows("all")] == ["b", "v"]


def test_predictions_need_no_truth(partly_looked_at):
    batches = evaluation(module(partly_looked_at, evaluate="train"), "predict")
    assert [batch["id"] for batch in batches] == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"side": 128}, r"side 128 is larger than the store's 96.*--side 128"),
        ({"crop": 97}, r"crop 97 is larger than side 96"),
        ({"crop": 80, "side": 64}, r"crop 80 is larger than side 64"),
    ],
)
def test_sides_that_do_not_fit_are_refused_every_time(drawn_store, options, words):
    datamodule = module(drawn_store, **options)
    for _ in range(2):  # a notebook asks again
        with pytest.raises(UserError, match=words):
            datamodule.setup("fit")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lesion_crops": 1.5, "crop": 32}, "share from 0 to 1"),
        ({"lesion_crops": 0.5}, "needs a crop"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"batches": 0}, "batches must be 1 or more"),
        ({"side": 0}, "side must be 1 or more"),
        ({"crop": -3}, "crop must be 1 or more"),
    ],
)
def test_numbers_out_of_range_are_refused_at_once(options, words):
    with pytest.raises(UserError, match=words):
        FundusDataModule("store", **options)


def test_no_store_and_no_store_there_are_told_apart(tmp_path):
    with pytest.raises(UserError, match=r"--data\.store STORE"):
        FundusDataModule().setup("fit")
    with pytest.raises(UserError, match="retinalesion prepare"):
        FundusDataModule(str(tmp_path)).setup("fit")


def test_an_empty_split_is_named_with_the_remedy(partly_looked_at):
    with pytest.raises(UserError, match=r"split test has no photograph.*--data\.evaluate"):
        module(partly_looked_at).setup("test")
    without = module(partly_looked_at)
    without.store.rows = without.store.rows[:2]
    with pytest.raises(UserError, match=r"split val has no photograph with annotated lesions.*3 patients"):
        without.setup("fit")


def test_each_photograph_validates_in_one_fold_and_trains_in_the_others(drawn_store):
    folds = [module(drawn_store, folds=3, fold=fold) for fold in range(3)]
    validated = [{row.id for row in data.rows("val")} for data in folds]
    own = {row.id for row in drawn_store.rows if row.split in ("train", "val")}
    assert set().union(*validated) == own
    assert sum(map(len, validated)) == len(own)
    for data, held_back in zip(folds, validated, strict=True):
        assert {row.id for row in data.rows("train")} == own - held_back
        assert {batch["id"][0] for batch in evaluation(data)} == held_back  # what `test` of a fold scores
        assert {row.split for row in data.rows("test")} == {"test"}


@pytest.mark.parametrize("given", [{"folds": 5}, {"fold": 0}, {"folds": 5, "fold": 5}])
def test_folds_and_fold_belong_together(drawn_store, given):
    with pytest.raises(UserError, match="fold"):
        module(drawn_store, **given)
