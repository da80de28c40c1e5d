import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from retinalesion.errors import UserError
from retinalesion.training.schedule import AVERAGING, AveragedWeights, SwitchAtShare, TwoStageSchedule, cosine


class StagedTask:
    """As much of a task as a schedule sees."""

    def __init__(self, stage):
        self.stage = stage

    def to_dual(self):
        self.stage = "dual"


def trainer_at(score, **differences):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    usual = {
        "sanity_checking": False,
        "state": SimpleNamespace(fn="fit"),
        "callback_metrics": {"score": torch.tensor(score)},
        "optimizers": [optimizer],
        "global_step": 0,
        "should_stop": False,
    }
    return SimpleNamespace(**{**usual, **differences})


def events(scores, stage, interrupted_after=None):
    """What the schedule does at each validation: ``fall``, ``switch``, ``stop``, by number from 1."""
    schedule, task, trainer = TwoStageSchedule("score"), StagedTask(stage), trainer_at(0.0)
    seen = []
    for number, score in enumerate(scores, 1):
        rate, before = trainer.optimizers[0].param_groups[0]["lr"], task.stage
        trainer.callback_metrics["score"] = torch.tensor(score)
        schedule.on_validation_end(trainer, task)
        now = trainer.optimizers[0].param_groups[0]["lr"]
        if now != rate:
            assert math.isclose(now, rate / 10)
            seen.append((number, "fall"))
        if task.stage != before:
            seen.append((number, "switch"))
        if trainer.should_stop:
            return [*seen, (number, "stop")]
        if number == interrupted_after:
            state = schedule.state_dict()
            schedule = TwoStageSchedule("score")
            schedule.load_state_dict(state)
    return seen


SCRIPTS = [
    # three without improvement do nothing, the fourth lets the rate fall
    ("only", [0.5, 0.4, 0.4, 0.4], []),
    ("only", [0.5, 0.4, 0.4, 0.4, 0.4], [(5, "fall")]),
    # an equal score is no improvement; a better one lets both counts start anew
    ("only", [0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6], []),
    # falls at the fourth and eighth, stops at the tenth
    ("only", [0.5] + 12 * [0.4], [(5, "fall"), (9, "fall"), (11, "stop")]),
    # the first fall changes the stage, and a score far below Dice's best is the best of the new stage
    ("dice", [0.5] + 4 * [0.4] + [0.1], [(5, "fall"), (5, "switch")]),
    (
        "dice",
        [0.5] + 4 * [0.4] + 12 * [0.1],
        [(5, "fall"), (5, "switch"), (10, "fall"), (14, "fall"), (16, "stop")],
    ),
    ("dice", [0.1 * n for n in range(9)], []),
]


@pytest.mark.parametrize(("stage", "scores", "expected"), SCRIPTS)
def test_fourth_validation_without_improvement_falls_and_tenth_stops(stage, scores, expected):
    assert events(scores, stage) == expected


@pytest.mark.parametrize("after", [3, 5, 6, 12])
def test_an_interrupted_schedule_goes_on_with_its_counts(after):
    stage, scores, expected = SCRIPTS[5]
    assert events(scores, stage, interrupted_after=after) == expected


@pytest.mark.parametrize(
    "difference",
    [{"sanity_checking": True}, {"state": SimpleNamespace(fn="validate")}],
    ids=["sanity", "validate"],
)
def test_only_validations_of_a_fit_count(difference):
    schedule, task = TwoStageSchedule("score"), StagedTask("dice")
    for _ in range(20):
        schedule.on_validation_end(trainer_at(0.5, **difference), task)
    assert schedule.state_dict() == TwoStageSchedule("score").state_dict()


def test_a_score_that_nobody_logs_is_named_beside_those_that_are():
    with pytest.raises(UserError, match=r"'kappa'.*score"):
        TwoStageSchedule("kappa").on_validation_end(trainer_at(0.5), StagedTask("only"))


@pytest.mark.parametrize(("steps", "first_of_dual"), [(10, 7), (2000, 1400), (1, 1)])
def test_a_run_of_fixed_length_switches_after_seventy_percent(steps, first_of_dual):
    task, switch = StagedTask("dice"), SwitchAtShare()
    stages = []
    for step in range(steps + 1):
        switch.on_train_batch_start(SimpleNamespace(global_step=step, max_steps=steps), task, None, step)
        stages.append(task.stage)
    assert stages.index("dual") == first_of_dual


@pytest.mark.parametrize("steps", [1, 7, 100, 5000])
def test_cosine_rises_shortly_and_falls_to_nearly_nothing(steps):
    rates = [cosine(step, steps) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) > 0.9
    assert top <= 0.06 * steps + 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert steps == 1 or rates[-1] < 0.1
    assert cosine(steps, steps) == pytest.approx(0)


@pytest.mark.parametrize(("steps", "shortest", "longest"), [(100, 3, 15), (5000, 400, 1 / (1 - AVERAGING))])
def test_averaged_weights_leave_the_beginning_behind(steps, shortest, longest):
    """Of weights that grow by one at each step, the mean lags by as many steps as it is taken over."""
    weights = nn.Linear(1, 1, bias=False)
    average = AveragedModel(weights, **AveragedWeights()._kwargs)
    for step in range(steps):
        nn.init.constant_(weights.weight, step)
        average.update_parameters(weights)
    assert shortest < steps - average.module.weight.item() < longest
