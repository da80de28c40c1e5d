"""Scores from counts: by hand, against scikit-learn, and where there is nothing to score."""

import math
from dataclasses import fields

import pytest
import torch
from sklearn.metrics import average_precision_score

from retinalesion.lesions import CODES
from retinalesion.training.metrics import (
    Counts,
    always_yes_f1,
    aupr,
    best_cut,
    count,
    image_f1,
    mean_over,
    pixel_f1,
    pixel_iou,
    specificity,
)

NOTHING_MARKED = CODES.index("FiP")
SCORES = (pixel_f1, pixel_iou, image_f1, always_yes_f1, specificity, aupr)


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
    assert counts.hits.sum() == counts.alarms.sum() == 0


@pytest.mark.parametrize("score", SCORES)
def test_scores_are_those_of_the_set_whatever_its_batches(score):
    logits, planes, valid = batch(0)
    parts = [count(logits[i : i + 1], planes[i : i + 1], valid[i : i + 1]) for i in range(len(logits))]
    together = count(logits, planes, valid)
    summed = parts[0] + parts[1] + parts[2] + parts[3]
    for field in fields(Counts):
        assert torch.equal(getattr(summed, field.name), getattr(together, field.name))
    assert score(summed).nan_to_num(-1).equal(score(together).nan_to_num(-1))


def test_what_is_not_valid_is_not_counted():
    logits, planes, valid = batch(1)
    valid[1, 2] = valid[:, 5] = False
    counts = count(logits, planes, valid)
    changed = count(torch.where(valid, logits, -logits), torch.where(valid, planes, ~planes), valid)
    for field in fields(Counts):
        assert torch.equal(getattr(counts, field.name), getattr(changed, field.name))
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
    highest, reached = (
        torch.stack(tried).amax(0),
        pixel_f1(count(logits - cuts.view(-1, 1, 1), planes, valid)),
    )
    marked = torch.arange(len(CODES)) != NOTHING_MARKED
    assert (reached >= highest - 1e-3)[marked].all()
    assert cuts[NOTHING_MARKED] == 0


@pytest.mark.parametrize("off", [-9.0, 9.0])
def test_a_lesion_never_learned_is_cut_no_farther_than_three(off):
    logits, planes, valid = batch(6)
    assert best_cut(count(logits + off, planes, valid)).abs().max() <= 3


def test_logits_beyond_all_steps_count_in_the_last():
    logits, planes, valid = example()
    extreme = torch.where(logits > 0, math.inf, -math.inf)
    expected, ours = aupr(count(logits, planes, valid)), aupr(count(extreme, planes, valid))
    torch.testing.assert_close(ours, expected, equal_nan=True)


def test_nothing_to_find_has_a_score_only_where_something_was_found():
    planes = torch.zeros(2, len(CODES), 2, 2, dtype=torch.bool)
    logits = torch.full(planes.shape, -1.0)
    logits[0, 0, 0, 0] = 1
    counts = count(logits, planes, torch.ones_like(planes))
    for score in (pixel_f1, pixel_iou, image_f1):
        assert score(counts)[0] == 0
        assert score(counts)[1:].isnan().all()
    assert specificity(counts).tolist() == [0.5] + [1.0] * 7
    assert aupr(counts).isnan().all()


def test_specificity_has_no_value_where_every_photograph_has_the_lesion():
    planes = torch.ones(2, len(CODES), 2, 2, dtype=torch.bool)
    assert specificity(count(planes.float(), planes, planes)).isnan().all()


@pytest.mark.parametrize(
    ("learned", "expected"),
    [([1, 1, 0, 0], 0.5), ([1, 0, 1, 0], 0.2), ([0, 0, 0, 1], 0.9), ([0, 0, 1, 0], None)],
)
def test_means_are_over_learned_lesions_that_have_a_score(learned, expected):
    mean = mean_over(torch.tensor([0.2, 0.8, math.nan, 0.9]), torch.tensor(learned, dtype=torch.bool))
    assert math.isnan(mean) if expected is None else mean == pytest.approx(expected)
