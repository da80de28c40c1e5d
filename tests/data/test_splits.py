import random
from collections import Counter

import pytest

from retinalesion.data.photograph import Photograph
from retinalesion.data.splits import Fold, assignment_of, folds_of, make_splits
from retinalesion.data.store import Row, Store, write_tables
from retinalesion.errors import UserError
from retinalesion.geometry import Box

LOOKED_FOR = frozenset({"MA", "iHE"})


def set_of(count, **fields):
    """Photographs p000, p001, ...; a field may be a function of the number."""
    return [
        Photograph(
            f"p{number:03}",
            f"{number}.jpg",
            **{key: value(number) if callable(value) else value for key, value in fields.items()},
        )
        for number in range(count)
    ]


def test_without_a_published_split_groups_part_70_10_20():
    assert Counter(make_splits(set_of(200), [], 0).values()) == {"train": 140, "val": 20, "test": 40}


def test_an_eighth_of_the_training_half_validates_and_the_test_half_tests():
    photographs = set_of(107, half=lambda number: "test" if number >= 80 else "train")
    splits = make_splits(photographs, [], 0)
    assert Counter(splits.values()) == {"train": 70, "val": 10, "test": 27}
    assert all(splits[f"p{number:03}"] == "test" for number in range(80, 107))


def test_a_training_photograph_with_a_twin_in_the_test_half_is_left_out():
    photographs = set_of(40, half=lambda number: "test" if number >= 30 else "train")
    splits = make_splits(photographs, [("p004", "p033"), ("p004", "p005")], 0)
    assert {id for id, split in splits.items() if split == "none"} == {"p004", "p005"}
    assert splits["p033"] == "test"


@pytest.mark.parametrize("half", ["", "train"])
@pytest.mark.parametrize("seed", range(5))
def test_patients_and_twins_stay_together_over_one_another(half, seed):
    photographs = set_of(
        60, half=half, patient=lambda number: f"patient {number // 2}" if number < 40 else ""
    )
    twins = [("p001", "p050"), ("p050", "p003"), ("p041", "p042")]
    splits = make_splits(photographs, twins, seed)
    for number in range(0, 40, 2):
        assert splits[f"p{number:03}"] == splits[f"p{number + 1:03}"]
    assert splits["p000"] == splits["p050"] == splits["p002"]
    assert splits["p041"] == splits["p042"]


def test_annotated_photographs_are_shared_out_apart_from_the_others():
    photographs = set_of(
        400, half="train", annotated=lambda number: LOOKED_FOR if number < 40 else frozenset()
    )
    splits = make_splits(photographs, [], 3)
    assert Counter(splits[f"p{number:03}"] for number in range(40)) == {"train": 35, "val": 5}


def test_splits_do_not_depend_on_the_order_of_files():
    photographs = set_of(90, patient=lambda number: str(number // 3))
    twins = [("p001", "p050"), ("p050", "p070")]
    splits = make_splits(photographs, twins, 7)
    random.Random(0).shuffle(photographs)
    assert make_splits(photographs, [pair[::-1] for pair in reversed(twins)], 7) == splits


def test_another_seed_draws_others():
    assert make_splits(set_of(60), [], 0) != make_splits(set_of(60), [], 1)


def test_grading_photographs_added_to_a_set_leave_the_annotated_ones_where_they_are():
    """So that a grader and the lesion network inside it are validated on the same eyes."""
    annotated = set_of(48, half="train", annotated=LOOKED_FOR)
    grading = [Photograph(f"q{number:03}", "", half="train", grade=2) for number in range(300)]
    alone = make_splits(annotated, [], 0)
    both = make_splits(annotated + grading, [(f"p{n:03}", f"q{n + 9:03}") for n in range(0, 48, 2)], 0)
    assert {id: both[id] for id in alone} == alone


@pytest.mark.parametrize(
    ("count", "expected"), [(1, {"train"}), (2, {"train"}), (3, {"train", "val", "test"})]
)
def test_small_sets_train_first(count, expected):
    assert set(make_splits(set_of(count), [], 0).values()) == expected


def test_a_group_stays_on_one_side():
    photographs = set_of(60, group=lambda n: f"block {n // 10}")
    splits = make_splits(photographs, [], 0)
    for first in range(0, 60, 10):
        assert len({splits[f"p{n:03}"] for n in range(first, first + 10)}) == 1


def store_of(path, count=200, shots=(), **fields):
    """The tables of a store, without its pictures."""
    rows = [
        Row(
            f"p{n:03}",
            width=8,
            height=8,
            box=Box(0, 0, 8),
            **{
                **{"name": f"{n}.jpg", "sha256": f"{n:064x}", "split": "train", "grade": n * 5 // count},
                **{k: value(n) for k, value in fields.items()},
            },
        )
        for n in range(count)
    ]
    info = {"side": 8, "fingerprint": "", "source": "", "seed": 0, "second_shots": shots}
    write_tables(path, rows, info)
    return Store(path)


def test_folds_balance_grades_and_masks_and_part_no_group(tmp_path):
    store = store_of(
        tmp_path,
        group=lambda n: f"block {n // 4}",
        split=lambda n: ("test", "train", "val")[0 if n >= 196 else 1 + (n % 3 == 0)],
        annotated=lambda n: frozenset(["MA"]),
        pixels=lambda n: {"MA": int(n % 8 < 4)},
    )
    folds = folds_of(store, 5)
    assert folds.keys() == {f"p{n:03}" for n in range(196)}
    assert all(len({folds[f"p{n:03}"] for n in range(b, b + 4)}) == 1 for b in range(0, 196, 4))
    parts = [[row for row in store.rows if folds.get(row.id) == fold] for fold in range(5)]
    assert all(Counter(row.grade for row in part)[grade] == 8 for part in parts for grade in range(4))
    assert all(12 <= sum(row.pixels["MA"] for row in part) <= 28 for part in parts)


@pytest.mark.parametrize(
    "kept_together",
    [
        {"patient": lambda n: "one" if n in (3, 150) else ""},
        {"twins": lambda n: ("p150",) if n == 3 else ()},
        {"shots": [["p003", "p150"]]},
    ],
    ids=["patient", "twins", "second shot"],
)
def test_folds_part_neither_patients_nor_twins_nor_second_shots(tmp_path, kept_together):
    folds = folds_of(store_of(tmp_path, **kept_together), 7)
    assert folds["p003"] == folds["p150"]
    assert sorted(Counter(folds.values())) == list(range(7))


def test_whatever_photographs_are_named_are_dealt_and_no_others(tmp_path):
    store = store_of(tmp_path, group=lambda n: f"block {n // 4}", split=lambda n: "test" if n % 2 else "none")
    named = [f"p{n:03}" for n in range(20, 120)]
    folds = folds_of(store, 5, named)
    assert sorted(folds) == named
    assert all(len({folds[f"p{n:03}"] for n in range(b, b + 4)}) == 1 for b in range(20, 120, 4))
    with pytest.raises(UserError, match="5 folds need 5 patients or groups; there are 1"):
        folds_of(store, 5, named[:4])


def test_an_assignment_is_of_originals_and_their_folds_alone(tmp_path):
    store = store_of(tmp_path / "one", 20)
    folds = folds_of(store, 5)
    mark = assignment_of(store, folds)
    renamed = store_of(tmp_path / "other", 20, name=lambda n: "x", oedema=lambda n: n % 3)
    assert assignment_of(renamed, folds) == mark
    assert assignment_of(store, folds_of(store, 4)) != mark
    moved = {**folds, "p000": (folds["p000"] + 1) % 5}
    assert assignment_of(store, moved) != mark
    others = store_of(tmp_path / "others", 20, sha256=lambda n: f"{n + 1:064x}")
    assert assignment_of(others, folds) != mark


@pytest.mark.parametrize(
    "kept",
    [
        None,
        "x",
        3,
        {},
        {"count": 5, "fold": 5, "assignment": "a"},
        {"count": 5, "fold": "0", "assignment": "a"},
    ],
)
def test_what_is_no_fold_is_refused(kept):
    assert Fold.told(Fold(5, 0, "a").kept()) == Fold(5, 0, "a")
    with pytest.raises(ValueError, match="fold"):
        Fold.told(kept)


def test_more_folds_than_groups_are_refused(tmp_path):
    store = store_of(tmp_path, 20, group=lambda n: f"block {n // 10}")
    with pytest.raises(UserError, match=r"5 folds need 5 patients or groups.*there are 2"):
        folds_of(store, 5)
