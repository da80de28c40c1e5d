"""Scores of grades against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from retinalesion.training.grades import (
    accuracy,
    confusion_of,
    kappa_interval,
    quadratic_kappa,
    recall_per_grade,
    referable_figures,
)


def drawn(seed, count=80):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 5, count)
    said = np.clip(truth + random.integers(-1, 2, count), 0, 4)
    return torch.from_numpy(truth), torch.from_numpy(said)


@pytest.mark.parametrize("seed", range(4))
def test_kappa_recall_and_accuracy(seed):
    truth, said = drawn(seed)
    confusion = confusion_of(truth, said)
    assert confusion.tolist() == reference.confusion_matrix(truth, said, labels=range(5)).tolist()
    kappa = reference.cohen_kappa_score(truth, said, weights="quadratic")
    assert float(quadratic_kappa(confusion)) == pytest.approx(kappa)
    recall = reference.recall_score(truth, said, labels=range(5), average=None)
    assert recall_per_grade(confusion).tolist() == pytest.approx(recall)
    assert float(accuracy(confusion)) == pytest.approx(reference.accuracy_score(truth, said))


def test_photographs_without_a_grade_do_not_count():
    truth, said = drawn(0)
    with_others = confusion_of(
        torch.cat([truth, torch.tensor([-1, -1])]), torch.cat([said, torch.tensor([4, 0])])
    )
    assert torch.equal(with_others, confusion_of(truth, said))


@pytest.mark.parametrize(
    ("truth", "said", "kappa"),
    [
        ([0, 4], [0, 4], 1.0),
        ([0, 4], [4, 0], -1.0),
        ([0, 2, 4], [1, 1, 1], 0.0),
        ([2, 2], [2, 2], float("nan")),
    ],
    ids=["right", "upside down", "always the same", "one grade only"],
)
def test_kappa_at_its_ends(truth, said, kappa):
    confusion = confusion_of(torch.tensor(truth), torch.tensor(said))
    assert float(quadratic_kappa(confusion)) == pytest.approx(kappa, nan_ok=True)


def test_the_interval_holds_kappa_and_narrows_with_more_photographs():
    truth, said = drawn(1, 40)
    low, high = kappa_interval(truth, said)
    assert low < float(quadratic_kappa(confusion_of(truth, said))) < high
    closer = kappa_interval(truth.repeat(16), said.repeat(16))
    assert (closer[1] - closer[0]) / (high - low) == pytest.approx(1 / 4, rel=0.2)


def test_referable_is_dr2_or_worse():
    truth = torch.tensor([0, 1, 2, 3, 4, 0])
    probability = torch.tensor(
        [
            [0.9, 0.1, 0, 0, 0],
            [0.2, 0.2, 0.3, 0.3, 0],  # 0.6: refer, falsely
            [0, 0.4, 0.2, 0.2, 0.2],
            [0, 0, 0, 1, 0],
            [0.3, 0.3, 0.1, 0.1, 0.2],  # 0.4: missed
            [0.5, 0.3, 0.1, 0.1, 0],
        ]
    )
    figures = referable_figures(truth, probability)
    assert figures["sensitivity"] == pytest.approx(2 / 3)
    assert figures["specificity"] == pytest.approx(2 / 3)
    auroc = reference.roc_auc_score(truth >= 2, probability[:, 2:].sum(1))
    assert figures["AUROC"] == pytest.approx(auroc)
    assert referable_figures(truth, probability, at=0.3)["sensitivity"] == 1
