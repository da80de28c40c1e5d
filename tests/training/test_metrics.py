"""From maps to counts to scores: by hand, against scikit-learn, and where there is nothing to score."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from retinalesion.errors import UserError
from retinalesion.lesions import CODES
from retinalesion.scores import (
    always_yes_f1,
    aupr,
    best_cut,
    image_f1,
    mean_over,
    pixel_f1,
    pixel_iou,
    specificity,
)
from retinalesion.training import metrics
from retinalesion.training.metrics import found_in

NOTHING_MARKED = CODES.index("FiP")
SCORES = (pixel_f1, pixel_iou, image_f1, always_yes_f1, specificity, aupr)


def count(logits, planes, valid):
    return metrics.count(logits, planes, valid).to_score()


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def batch(seed, photographs=4, side=24):
    random = torch.Generator().manual_seed(seed)
    planes = torch.rand(photographs, len(CODES), side, side, generator=random) < 0.1
    planes[: photographs // 2, 3:6] = False
    planes[:, NOTHING_MARKED] = False
    logits = torch.randn(planes.shape, generator=random) * 2 + 3 * planes - 3
    valid = torch.rand(planes.shape, generator=random) < 0.9
    return logits, planes, valid


def example():
    """MA in three photographs of 1 x 6 pixels: found in part, missed, falsely found."""
    truth = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    said = torch.tensor([[1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1]], dtype=torch.bool)
    planes = torch.zeros(3, len(CODES), 1, 6, dtype=torch.bool)
    planes[:, 0, 0] = truth
    logits = torch.full(planes.shape, -5.0)
    logits[:, 0, 0] = torch.where(said, 4.0, -4.0)
    return logits, planes, torch.ones_like(planes)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (pixel_f1, 2 * 2 / (2 * 2 + 3 + 2)),  # pooled: 2 hits, 1 + 2 alarms, 1 + 1 misses
        (pixel_iou, 2 / 7),
        (image_f1, 2 * 1 / (2 * 1 + 1 + 1)),
        (always_yes_f1, 2 * 2 / (2 * 2 + 1)),
        (specificity, 0.0),
    ],
)
def test_scores_of_an_example_counted_by_hand(score, expected):
    assert score(count(*example()))[0].item() == pytest.approx(expected)


def test_a_probability_of_exactly_a_half_is_not_found():
    logits, planes, valid = example()
    counts = count(torch.zeros_like(logits), planes, valid)
    assert counts.pixels[:, :2].sum() == 0


@pytest.mark.parametrize("score", SCORES)
def test_scores_are_those_of_the_set_whatever_its_batches(score):
    logits, planes, valid = batch(0)
    parts = [count(logits[i : i + 1], planes[i : i + 1], valid[i : i + 1]) for i in range(len(logits))]
    together = count(logits, planes, valid)
    summed = parts[0] + parts[1] + parts[2] + parts[3]
    assert same(summed, together)
    np.testing.assert_array_equal(score(summed), score(together))


def test_what_is_not_valid_is_not_counted():
    logits, planes, valid = batch(1)
    valid[1, 2] = valid[:, 5] = False
    counts = count(logits, planes, valid)
    changed = count(torch.where(valid, logits, -logits), torch.where(valid, planes, ~planes), valid)
    assert same(counts, changed)
    assert counts.image[2].sum() == len(logits) - 1
    assert counts.image[5].sum() == counts.histogram[5].sum() == 0
    assert counts.histogram.sum() == valid.sum()


@pytest.mark.parametrize("spread", [1.0, 6.0, 10.0], ids=["smooth", "crowded", "as trained with Dice"])
def test_aupr_is_scikit_learns_average_precision(spread):
    random = torch.Generator().manual_seed(3)
    planes = torch.rand(1, len(CODES), 128, 128, generator=random) < 0.03
    noise = torch.randn(planes.shape, generator=random)
    logits = spread * (planes * 1.5 - 1 + 0.6 * noise)
    valid = torch.rand(planes.shape, generator=random) < 0.9
    for ours, p, t, v in zip(
        aupr(count(logits, planes, valid)).tolist(), logits[0], planes[0], valid[0], strict=True
    ):
        expected = average_precision_score(t[v], p[v])
        assert 0.1 < expected < 0.99
        assert ours == pytest.approx(expected, abs=1e-3)


def test_at_the_best_cut_pixel_f1_is_the_highest():
    logits, planes, valid = batch(5)
    cuts = best_cut(count(logits, planes, valid))
    tried = [pixel_f1(count(logits - cut, planes, valid)) for cut in torch.linspace(-3, 3, 121)]
    shifted = logits - torch.from_numpy(cuts).view(-1, 1, 1)
    highest, reached = np.max(tried, axis=0), pixel_f1(count(shifted, planes, valid))
    marked = np.arange(len(CODES)) != NOTHING_MARKED
    assert (reached >= highest - 1e-3)[marked].all()
    assert cuts[NOTHING_MARKED] == 0


@pytest.mark.parametrize("off", [-9.0, 9.0])
def test_a_lesion_never_learned_is_cut_no_farther_than_three(off):
    logits, planes, valid = batch(6)
    assert np.abs(best_cut(count(logits + off, planes, valid))).max() <= 3


def test_logits_beyond_all_steps_count_in_the_last():
    logits, planes, valid = example()
    extreme = torch.where(logits > 0, 1e30, -1e30)
    expected, ours = aupr(count(logits, planes, valid)), aupr(count(extreme, planes, valid))
    np.testing.assert_allclose(ours, expected)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_count(wrong):
    logits, planes, valid = example()
    logits[1, 3, 0, 2] = wrong
    with pytest.raises(UserError, match="photograph b: the network's output is not finite"):
        metrics.count(logits, planes, valid, ["a", "b", "c"])


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_found_is_what_the_written_probability_says(kind):
    """A logit so small that its probability is a half is not found, though it is above 0."""
    logits = torch.tensor([-1e-3, 0.0, 1e-9, 1e-3, 0.1], dtype=kind)
    written = [f"{p:.9g}" for p in logits.float().sigmoid().tolist()]
    assert found_in(logits).tolist() == [float(p) > 0.5 for p in written] == [False] * 3 + [True] * 2


def test_nothing_to_find_has_a_score_only_where_something_was_found():
    planes = torch.zeros(2, len(CODES), 2, 2, dtype=torch.bool)
    logits = torch.full(planes.shape, -1.0)
    logits[0, 0, 0, 0] = 1
    counts = count(logits, planes, torch.ones_like(planes))
    for score in (pixel_f1, pixel_iou, image_f1):
        assert score(counts)[0] == 0
        assert np.isnan(score(counts)[1:]).all()
    assert specificity(counts).tolist() == [0.5] + [1.0] * 7
    assert np.isnan(aupr(counts)).all()


def test_specificity_has_no_value_where_every_photograph_has_the_lesion():
    planes = torch.ones(2, len(CODES), 2, 2, dtype=torch.bool)
    assert np.isnan(specificity(count(planes.float(), planes, planes))).all()


@pytest.mark.parametrize(
    ("learned", "expected"),
    [([1, 1, 0, 0], 0.5), ([1, 0, 1, 0], 0.2), ([0, 0, 0, 1], 0.9), ([0, 0, 1, 0], None)],
)
def test_means_are_over_learned_lesions_that_have_a_score(learned, expected):
    mean = mean_over([0.2, 0.8, math.nan, 0.9], learned)
    assert math.isnan(mean) if expected is None else mean == pytest.approx(expected)
