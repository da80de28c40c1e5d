"""Scores, thresholds and intervals against scikit-learn, scipy, and by hand in float64."""

import json
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from retinalesion import scores
from retinalesion.files import write_json
from retinalesion.reading.referral import referral_of
from retinalesion.reading.verdict import said_by_network

NAN = float("nan")


def drawn(seed, count=80):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 5, count)
    return truth, np.clip(truth + random.integers(-1, 2, count), 0, 4)


def pixels(photographs=40, lesions=3, seed=0):
    return np.random.default_rng(seed).integers(1, 200, (photographs, lesions, 3))


@pytest.mark.parametrize("seed", range(4))
def test_kappa_recall_and_accuracy_are_scikit_learns(seed):
    truth, said = drawn(seed)
    confusion = scores.confusion_of(truth, said)
    assert confusion.tolist() == reference.confusion_matrix(truth, said, labels=range(5)).tolist()
    kappa = reference.cohen_kappa_score(truth, said, weights="quadratic")
    assert float(scores.kappa(confusion)) == pytest.approx(kappa)
    recall = reference.recall_score(truth, said, labels=range(5), average=None)
    assert scores.recall_per_grade(confusion).tolist() == pytest.approx(recall)
    assert scores.accuracy(confusion) == pytest.approx(reference.accuracy_score(truth, said))


def test_referable_by_grade_or_by_macular_oedema_and_unknown_without_a_grade():
    grade, oedema = [0, 1, 2, 0, 1, 4, 0, -1, -1], [0, -1, 0, 1, 2, -1, -1, -1, 2]
    assert scores.referable_truth(grade, oedema).tolist() == [0, 0, 1, 1, 1, 1, 0, -1, -1]
    assert scores.referable_truth([[1, 2, -1]]).tolist() == [[0, 1, -1]]


def test_photographs_without_a_grade_do_not_count():
    truth, said = drawn(0)
    more = scores.confusion_of(np.append(truth, [-1, -1]), np.append(said, [4, 0]))
    assert (more == scores.confusion_of(truth, said)).all()


@pytest.mark.parametrize(
    ("truth", "said", "kappa"),
    [
        ([0, 4], [0, 4], 1.0),
        ([0, 4], [4, 0], -1.0),
        ([0, 2, 4], [1, 1, 1], 0.0),
        ([2, 2], [2, 2], NAN),
        ([], [], NAN),
    ],
    ids=["right", "upside down", "always the same", "one grade only", "nothing"],
)
def test_kappa_at_its_ends(truth, said, kappa):
    with warnings.catch_warnings(action="error"):
        assert float(scores.kappa(scores.confusion_of(truth, said))) == pytest.approx(kappa, nan_ok=True)


def test_f1_and_iou_are_scikit_learns():
    random = np.random.default_rng(4)
    truth, said = random.random((2, 500)) < [[0.3], [0.4]]
    hits, alarms, misses = (truth & said).sum(), (~truth & said).sum(), (truth & ~said).sum()
    counts = scores.Counts(np.array([[hits, alarms, misses]]), np.zeros((1, 2, 2)), np.zeros((1, 2, 9)))
    assert scores.f1(np.array([hits, alarms, misses])) == pytest.approx(reference.f1_score(truth, said))
    assert scores.pixel_iou(counts)[0] == pytest.approx(reference.jaccard_score(truth, said))


@pytest.mark.parametrize("digits", [1, 9], ids=["many ties", "none"])
def test_auroc_is_scikit_learns(digits):
    random = np.random.default_rng(5)
    truth = random.random(200) < 0.3
    score = np.round(random.random(200) + 0.3 * truth, digits)
    assert scores.auroc(truth, score) == pytest.approx(reference.roc_auc_score(truth, score))
    with warnings.catch_warnings(action="error"):
        assert np.isnan(scores.auroc(truth[truth], score[truth]))


def test_referable_is_dr2_or_worse():
    truth = [0, 1, 2, 3, 4, 0]
    probability = np.array(
        [
            [0.9, 0.1, 0, 0, 0],
            [0.2, 0.2, 0.3, 0.3, 0],  # 0.6: refer, falsely
            [0, 0.4, 0.2, 0.2, 0.2],
            [0, 0, 0, 1, 0],
            [0.3, 0.3, 0.1, 0.1, 0.2],  # 0.4: missed
            [0.5, 0.3, 0.1, 0.1, 0],
        ]
    )
    figures = scores.referable_figures(truth, probability)
    assert figures["sensitivity"] == pytest.approx(2 / 3)
    assert figures["specificity"] == pytest.approx(2 / 3)
    auroc = reference.roc_auc_score(np.array(truth) >= 2, probability[:, 2:].sum(1))
    assert figures["AUROC"] == pytest.approx(auroc)
    assert scores.referable_figures(truth, probability, at=0.3)["sensitivity"] == 1


@pytest.mark.parametrize(
    "grades", [(0.5, 0.0, 0.25, 0.25, 0.0), (0.25, 0.25, 0.5, 0.0, 0.0), (0.5, 0.125, 0.375, 0.0, 0.0)]
)
def test_a_test_and_a_reading_refer_the_same(grades):
    """At the operating point itself too."""
    read = referral_of(said_by_network(grades), 0).outcome == "refer"
    figures = scores.referable_figures([2, 0], [grades, (1.0, 0.0, 0.0, 0.0, 0.0)])
    assert figures["sensitivity"] == read == (sum(grades[2:]) >= 0.5)


def test_the_interval_over_photographs_is_scipys():
    counts = pixels()

    def score(rows):
        hits, alarms, misses = counts[rows, 1].sum(0)
        return 2 * hits / (2 * hits + alarms + misses)

    expected = stats.bootstrap(
        (np.arange(40),), score, vectorized=False, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    found = scores.percentiles(scores.bootstrap(counts, range(40), scores.f1)[:, 1])
    width = expected.high - expected.low
    assert found == pytest.approx((expected.low, expected.high), abs=0.05 * width)


def test_the_interval_holds_kappa_and_narrows_with_more_photographs():
    truth, said = drawn(1, 40)
    each = np.stack([scores.confusion_of([t], [s]) for t, s in zip(truth, said, strict=True)])
    low, high = scores.percentiles(scores.bootstrap(each, range(40), scores.kappa))
    assert low < scores.kappa(each.sum(0)) < high
    many = scores.percentiles(scores.bootstrap(np.tile(each, (16, 1, 1)), range(640), scores.kappa))
    assert (many[1] - many[0]) / (high - low) == pytest.approx(1 / 4, rel=0.2)


def test_a_group_is_drawn_as_one():
    """Ten photographs of each patient that are all alike say no more than one of each."""
    counts = pixels(12)
    single = scores.percentiles(scores.bootstrap(counts, range(12), scores.f1)[:, 0])
    ten = np.repeat(counts, 10, axis=0)
    patients = [f"p{n:02}" for n in range(12) for _ in range(10)]
    assert scores.percentiles(scores.bootstrap(ten, patients, scores.f1)[:, 0]) == pytest.approx(single)
    apart = scores.percentiles(scores.bootstrap(ten, range(120), scores.f1)[:, 0])
    assert apart[1] - apart[0] < 0.5 * (single[1] - single[0])
    assert "12 groups" in scores.over(patients)
    assert scores.over(range(12)) == "photographs"


def test_names_and_order_of_groups_decide_nothing():
    counts, order = pixels(9), np.random.default_rng(0).permutation(9)
    names = [f"eye_{n}" for n in range(9)]
    straight = scores.bootstrap(counts, names, scores.f1)
    turned = scores.bootstrap(counts[order], [names[n] for n in order], scores.f1)
    np.testing.assert_allclose(straight, turned)
    np.testing.assert_allclose(straight, scores.bootstrap(counts, range(9), scores.f1))


def test_scores_without_a_value_are_nan_and_none_in_tables():
    with warnings.catch_warnings(action="error"):
        assert np.isnan(scores.f1(np.zeros((1, 3)))).all()
        assert np.isnan(scores.mean_of_parts(np.array([NAN, NAN])))
        assert np.isnan(scores.percentiles(np.full(7, NAN))).all()
    assert scores.mean_of_parts(np.array([[0.2, NAN, 0.4], [NAN] * 3])) == pytest.approx(
        [0.3, NAN], nan_ok=True
    )
    assert [scores.known(value) for value in (0.25, NAN, np.inf)] == [0.25, None, None]


def test_json_holds_no_number_that_is_none(tmp_path):
    file = tmp_path / "made.json"
    write_json(file, {"a": NAN, "b": [1.5, float("-inf")], "c": {"d": np.float64("inf")}, "e": "NaN"})
    contents = json.loads(file.read_text("utf-8"), parse_constant=pytest.fail)
    assert contents == {"a": None, "b": [1.5, None], "c": {"d": None}, "e": "NaN"}
