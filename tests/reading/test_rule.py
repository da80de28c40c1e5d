"""A rule comes from a file, and that from anywhere."""

import json
import math

import pytest

from retinalesion.errors import UserError
from retinalesion.reading.rule import Logistic, Rule, logistic, logit_of


def test_it_survives_json(rule):
    made = rule(offset=0.25)
    assert Rule.from_dict(json.loads(json.dumps(made.as_dict()))) == made
    assert Rule.from_dict(rule(macula=None).as_dict()).macula is None


def test_a_newer_format_is_refused_by_name(rule):
    with pytest.raises(UserError, match=r"^a\.ckpt: its rule has format 2, and this .* reads 1"):
        Rule.from_dict({**rule().as_dict(), "format": 2}, "a.ckpt")


DEEP = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("low", math.nan),
        ("high", math.inf),
        ("low", "0.5"),
        ("low", True),
        ("low", None),
        ("high", 10**400),
        ("offset", 1e300),
        ("format", "1"),
        ("format", [1, 2]),
        ("prevalence", 0),
        ("prevalence", 1.0),
        ("points", {"MA": {"confidence": 0.5, "area": 0.0}}),
        ("points", {"Drusen": {"confidence": 0.5, "area": 0.0, "number": 1}}),
        ("points", [1, 2]),
        ("points", 5),
        ("macula", {}),
        ("macula", "x" * 10**6),
        ("second_look", {"MA": {"bias": 0.0, "weights": {"area": math.nan}}}),
        ("second_look", {"MA": {"bias": 0.0, "weights": {str(n): 0.0 for n in range(2000)}}}),
        ("second_look", {"x" * 10**6: 0}),
        ("referable", {"bias": 0.0, "weights": {"MA number": -0.1}}),  # more lesions would lower it
        ("referable", {"bias": 0.0, "weights": [1.0]}),
        ("referable", None),
        ("steps", []),
        ("steps", [{"bias": 0.0, "weights": {}}] * 3),
        ("steps", "four"),
        ("roc", {"cut": [], "sensitivity": [], "specificity": []}),
        ("roc", {"cut": [0.0, 1.0], "sensitivity": [1.0], "specificity": [0.0, 1.0]}),
        ("roc", {"cut": [0.0] * 10**5, "sensitivity": [0.0] * 10**5, "specificity": [0.0] * 10**5}),
        ("roc", {"cut": [0.0], "sensitivity": ["<script>"], "specificity": [0.0]}),
        ("told", None),
        ("told", {"a": math.nan}),
        ("told", {"a": object()}),
        ("told", {"a": "x" * 10**6}),
        ("told", {"a": DEEP}),
    ],
)
def test_what_is_damaged_or_hostile_is_refused_in_one_short_message(rule, place, value):
    with pytest.raises(UserError, match=r"^a\.ckpt: its rule is damaged .*calibrate$") as caught:
        Rule.from_dict({**rule().as_dict(), place: value}, "a.ckpt")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "missing", ["format", "second_look", "points", "macula", "referable", "steps", "low", "roc", "told"]
)
def test_what_is_missing_is_named(rule, missing):
    plain = rule().as_dict()
    del plain[missing]
    with pytest.raises(UserError, match=f"it lacks '{missing}'"):
        Rule.from_dict(plain)


def test_a_logistic_model_is_a_weighted_sum():
    model = Logistic(-1.0, {"a": 2.0, "b": 0.5})
    assert model.logit({"a": [1.0, 0.0], "b": [2.0, 0.0], "c": [9.0, 9.0]}).tolist() == [2.0, -1.0]
    assert Logistic(0.0, {}).probability({}) == 0.5


def test_probabilities_and_logits_are_each_others_reverse_and_never_overflow():
    assert logistic(logit_of([0.01, 0.5, 0.9])).tolist() == pytest.approx([0.01, 0.5, 0.9])
    assert logistic([-1e6, 1e6]).tolist() == [0, 1]
    assert logit_of([0.0, 1.0]).tolist() == pytest.approx([-16.1, 16.1], abs=0.1)


def test_cuts_are_those_of_the_curve(rule):
    roc = rule().roc
    assert [roc.cut_of_sensitivity(s) for s in (1.0, 0.95, 0.5)] == [-3, -2, 1]
    assert [roc.cut_of_specificity(s) for s in (0.05, 0.9, 0.99)] == [-3, 0, 1]
