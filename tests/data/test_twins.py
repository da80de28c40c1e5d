import csv
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from retinalesion.data.field import find_field, to_square
from retinalesion.data.twins import VIEW_SIDE, Pair, find_pairs, groups_of, view_of


def eye(seed, shift=0):
    """A disc with vessels of its own; uint8 (360, 480, 3)."""
    draw = np.random.default_rng(seed)
    photograph = np.zeros((360, 480, 3), np.uint8)
    cv2.circle(photograph, (240, 180), 170, (170, 90, 50), -1)
    vessels = photograph.copy()
    for _ in range(12):
        points = np.cumsum(draw.normal(0, 28, (14, 2)), axis=0) + np.array([240 + shift, 180])
        cv2.polylines(vessels, [points.astype(np.int32)], False, (110, 30, 20), int(draw.integers(2, 5)))
    inside = photograph.any(axis=2, keepdims=True)
    soft = cv2.GaussianBlur(vessels, (0, 0), 1.0)
    return np.where(inside, soft, 0).astype(np.uint8)


def jpeg(photograph, quality):
    data = cv2.imencode(".jpg", photograph[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def look(photograph):
    return view_of(to_square(photograph, find_field(photograph), VIEW_SIDE))


def pairs_of(photographs):
    names = {id: f"file {id}" for id in photographs}
    return list(find_pairs(names, {id: look(photograph) for id, photograph in photographs.items()}))


@pytest.mark.parametrize(
    "change",
    [
        lambda photograph: cv2.resize(photograph, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA),
        lambda photograph: cv2.resize(photograph, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC),
        lambda photograph: jpeg(photograph, 30),
        lambda photograph: np.pad(photograph, ((10, 40), (90, 5), (0, 0))),
        lambda photograph: (photograph * 0.6).astype(np.uint8),
    ],
    ids=["smaller", "larger", "compressed", "framed", "darker"],
)
def test_a_changed_copy_is_a_twin(change):
    photographs = {f"p{seed}": eye(seed) for seed in range(8)} | {"copy": change(eye(3))}
    pairs = pairs_of(photographs)
    assert [pair[:2] for pair in pairs] == [("copy", "p3")]
    assert pairs[0].twins


def test_different_eyes_are_no_pairs():
    assert pairs_of({f"p{seed}": eye(seed) for seed in range(30)}) == []


def test_small_fields_on_a_large_canvas_are_no_pairs_and_twins_all_the_same():
    """Mostly black, all of them were alike."""
    framed = {f"p{seed}": np.pad(eye(seed), ((0, 720), (0, 960), (0, 0))) for seed in range(8)}
    assert pairs_of(framed) == []
    assert [pair[:2] for pair in pairs_of({**framed, "same": eye(3)})] == [("p3", "same")]


def test_a_shifted_second_shot_is_no_twin():
    assert not any(pair.twins for pair in pairs_of({"first": eye(5), "second": eye(5, shift=4)}))


def test_byte_identical_files_are_twins_even_without_any_structure():
    black = np.zeros((VIEW_SIDE, VIEW_SIDE), np.uint8)
    assert list(find_pairs({"a": "same", "b": "same"}, {"a": black, "b": black})) == [Pair("a", "b", 1.0)]


def test_black_photographs_are_not_all_twins():
    black = np.zeros((VIEW_SIDE, VIEW_SIDE), np.uint8)
    assert list(find_pairs({"a": "one", "b": "other"}, {"a": black, "b": black})) == []


def test_no_photographs_no_pairs():
    assert list(find_pairs({}, {})) == []


def test_groups_join_over_others():
    assert groups_of("edcbaf", [("a", "c"), ("e", "d"), ("c", "e")]) == [("a", "c", "d", "e"), ("b",), ("f",)]


@pytest.mark.skipif("RETINALESION_IDRID" not in os.environ, reason="RETINALESION_IDRID is not set")
@pytest.mark.timeout(600)
def test_idrid_segmentation_photographs_find_their_grading_twins_and_no_others():
    from retinalesion.data.sources.idrid import IdridSource

    root = Path(os.environ["RETINALESION_IDRID"])
    with (root / "twins.csv").open(encoding="utf-8") as lines:
        known = {(row["segmentation_photograph"], row["grading_photograph"]) for row in csv.DictReader(lines)}
    files = {
        photograph.id: photograph.file
        for photograph in IdridSource(root, half="train").photographs()
        if photograph.file
    }
    views, digests = {}, {}
    for id, file in files.items():
        views[id] = look(cv2.imread(str(file), cv2.IMREAD_COLOR_RGB))
        digests[id] = id
    pairs = [pair for pair in find_pairs(digests, views) if pair.twins]
    across = {(a[8:], b[8:]) for a, b, _ in pairs if a.startswith("A_") and b.startswith("B_")}
    assert across == known
    within = {(a[-3:], b[-3:]) for a, b, _ in pairs if a.startswith("B_")}
    assert within == {("021", "391"), ("045", "333"), ("079", "279")}
    assert len(pairs) == len(across) + len(within)
