"""Dice and the dual loss against references written from the paper's equations."""

import numpy as np
import pytest
import torch
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from retinalesion.lesions import CODES
from retinalesion.training.losses import (
    classification_dice_loss,
    dice_loss,
    dual_loss,
    focal_loss,
    weighted_cross_entropy,
)

DICE = {
    "dice": dice_loss,
    "dual": dual_loss,
    "dice per lesion": lambda p, t, v: dice_loss(p, t, v, per_lesion=True),
    "dual per lesion": lambda p, t, v: dual_loss(p, t, v, per_lesion=True),
}
WEIGHTS = torch.tensor([100, 30, 10, 50, 1, 2, 3, 4.5])
OF_LOGITS = {
    "weighted cross-entropy": lambda x, t, v: weighted_cross_entropy(x, t, v, WEIGHTS),
    "focal": focal_loss,
}
LOSSES = DICE | {
    name: lambda p, t, v, loss=loss: loss(torch.logit(p), t, v) for name, loss in OF_LOGITS.items()
}
MA, HAEX = CODES.index("MA"), CODES.index("HaEx")


def batch(seed, side=12, photographs=3):
    """Random probabilities and planes, some pixels ignored, NV annotated nowhere, CWS not in photograph 0."""
    random = torch.Generator().manual_seed(seed)
    shape = (photographs, len(CODES), side, side)
    probability = torch.rand(shape, generator=random)
    planes = torch.rand(shape, generator=random) < 0.2
    planes[0, MA] = planes[:, HAEX] = False  # absent in one photograph, and in all
    valid = torch.rand(shape, generator=random) < 0.8
    valid[:, CODES.index("NV")] = False
    valid[0, CODES.index("CWS")] = False
    return probability, planes, valid


def dice_of(pairs):
    """Eq. 3 (and the unnumbered one after it) over pairs of probability and truth, one by one in float64."""
    overlap = squares = marked = 0.0
    for p, t in pairs:
        overlap += p * t
        squares += p * p
        marked += t * t
    return 1 - 2 * overlap / (squares + marked)


def cross_entropy_of(name, p, t, lesion):
    if name == "focal":  # alpha 0.8, gamma 2
        return -(0.8 * (1 - p) ** 2 * np.log(p) if t else 0.2 * p**2 * np.log(1 - p))
    return -(WEIGHTS[lesion].item() * np.log(p) if t else np.log(1 - p))


def reference(name, probability, planes, valid):
    p, t, v = probability.double().numpy(), planes.double().numpy(), valid.numpy()
    lesions, photographs = range(p.shape[1]), range(p.shape[0])

    def pixels(j):
        return [(p[i, j, y, x], t[i, j, y, x]) for i in photographs for y, x in np.argwhere(v[i, j])]

    if name in OF_LOGITS:
        places = map(tuple, np.argwhere(v))
        return np.mean([cross_entropy_of(name, p[place], t[place], place[1]) for place in places])
    if "per lesion" in name:
        occurring = [j for j in lesions if any(truth for _, truth in pixels(j))]
        segmentation = np.mean([dice_of(pixels(j)) for j in occurring])
    else:
        segmentation = dice_of([pair for j in lesions for pair in pixels(j)])
    if "dual" not in name:
        return segmentation
    looked = [(i, j) for i in photographs for j in lesions if v[i, j].any()]
    classification = dice_of([(p[i, j][v[i, j]].max(), t[i, j][v[i, j]].max()) for i, j in looked])
    return 0.8 * segmentation + 0.2 * classification  # Eq. 2


@pytest.mark.parametrize("misses", [0.5, 0.6, 0.8])
def test_misses_may_weigh_more_than_false_alarms(misses):
    """Of hard labels it is 1 - hits / (hits + (1 - misses) alarms + misses misses), the Tversky index."""
    _, planes, valid = batch(3)
    found = batch(4)[1]
    hits, alarms, missed = (
        (a & b & valid).sum().item() for a, b in ((found, planes), (found, ~planes), (~found, planes))
    )
    tversky = 1 - hits / (hits + (1 - misses) * alarms + misses * missed)
    loss = dice_loss(found.float(), planes, valid, misses=misses).item()
    assert loss == pytest.approx(tversky, abs=1e-6)
    if misses == 0.5:
        assert loss == dice_loss(found.float(), planes, valid).item()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_are_the_papers(name, seed):
    sample = batch(seed)
    assert LOSSES[name](*sample).item() == pytest.approx(reference(name, *sample), abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_the_papers(name):
    probability, planes, valid = batch(2, side=4)
    probability.requires_grad_()
    LOSSES[name](probability, planes, valid).backward()
    step = 1e-6
    for place in [(1, MA, 2, 3), (2, 1, 0, 0), (0, 4, 3, 1)]:
        up, down = (probability.detach().double().clone() for _ in "ud")
        up[place] += step
        down[place] -= step
        slope = reference(name, up, planes, valid) - reference(name, down, planes, valid)
        assert probability.grad[place].item() == pytest.approx(slope / (2 * step), abs=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_weight_balances_both_parts(weight):
    sample = batch(3)
    expected = weight * dice_loss(*sample) + (1 - weight) * classification_dice_loss(*sample)
    torch.testing.assert_close(dual_loss(*sample, weight=weight), expected)


def test_a_small_false_blob_moves_dual_and_hardly_dice():
    # Table 2: one photograph, one lesion of 1,000 pixels found but for its rim, one false pixel of another.
    planes = torch.zeros(1, len(CODES), 64, 64, dtype=torch.bool)
    planes[0, HAEX].view(-1)[:1000] = True
    right = planes.float()
    right[0, HAEX].view(-1)[900:1000] = 0
    wrong = right.clone()
    wrong[0, MA, 50, 50] = 1
    valid = torch.ones_like(planes)
    moved = {name: loss(wrong, planes, valid) - loss(right, planes, valid) for name, loss in DICE.items()}
    assert 0 < moved["dice"] < 0.01
    assert moved["dual"] > 0.04


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_valid_changes_neither_loss_nor_gradient(name):
    probability, planes, valid = batch(4)
    results = []
    for change in (False, True):
        p = torch.where(valid, probability, 1 - probability) if change else probability.clone()
        t = torch.where(valid, planes, ~planes) if change else planes
        p.requires_grad_()
        loss = LOSSES[name](p, t, valid)
        loss.backward()
        results.append((loss.detach(), p.grad))
    (loss, gradient), (changed_loss, changed_gradient) = results
    assert torch.equal(loss, changed_loss)
    assert torch.equal(gradient, changed_gradient)
    assert (gradient[~valid] == 0).all()
    assert gradient[valid].abs().max() > 0


@pytest.mark.parametrize("name", DICE)
@pytest.mark.parametrize(("says", "expected"), [("nothing", 1.0), ("truth", 0.0)])
def test_losses_of_an_empty_and_of_a_perfect_prediction(name, says, expected):
    _, planes, valid = batch(5)
    probability = torch.full(planes.shape, 1e-4) if says == "nothing" else planes.float()
    assert LOSSES[name](probability, planes, valid).item() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("name", LOSSES)
def test_where_nothing_is_valid_nothing_is_taught(name):
    probability, planes, valid = batch(6)
    probability.requires_grad_()
    loss = LOSSES[name](probability, planes, torch.zeros_like(valid))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(probability.grad, torch.zeros_like(probability))


@pytest.mark.parametrize("name", DICE)
def test_where_nothing_is_marked_and_nothing_said_gradients_are_finite(name):
    probability = torch.zeros(1, len(CODES), 4, 4, requires_grad=True)
    nothing = torch.zeros(probability.shape, dtype=torch.bool)
    LOSSES[name](probability, nothing, ~nothing).backward()
    assert probability.grad.isfinite().all()


def test_the_mean_over_lesions_weighs_small_and_large_alike():
    planes = torch.zeros(1, len(CODES), 64, 64, dtype=torch.bool)
    planes[0, HAEX, :32] = True  # 2048 pixels, all found
    planes[0, MA, 40, :8] = True  # 8 pixels, none found
    found = planes.float()
    found[0, MA] = 0
    valid = torch.ones_like(planes)
    assert dice_loss(found, planes, valid) < 0.01
    assert dice_loss(found, planes, valid, per_lesion=True).item() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("name", OF_LOGITS)
def test_losses_of_logits_are_finite_and_float32_whatever_the_logits(name):
    _, planes, valid = batch(7)
    logits = torch.where(planes, -60.0, 60.0).bfloat16().requires_grad_()  # all wrong, and sure of it
    with torch.autocast("cpu", torch.bfloat16):
        loss = OF_LOGITS[name](logits, planes, valid)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss > 1
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", DICE)
def test_sums_are_float32_under_autocast(name):
    # In bfloat16 a sum of 40,000 ones stops at 256.
    planes = torch.ones(1, len(CODES), 200, 200, dtype=torch.bool)
    probability = torch.full(planes.shape, 0.5, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = LOSSES[name](probability, planes, planes)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.2, abs=1e-5)  # 1 - 2 * 0.5 / (0.25 + 1)


def tiny_network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 1))
    return network.eval()


def photographs():
    # The halves differ much: means over processes of Dice would be far from Dice over all.
    torch.manual_seed(7)
    image = torch.rand(4, 3, 16, 16)
    planes = torch.rand(4, len(CODES), 16, 16) < torch.tensor([0.02, 0.05, 0.5, 0.6]).view(4, 1, 1, 1)
    planes[:2, MA] = False
    valid = torch.rand(planes.shape) < 0.9
    valid[2:, HAEX] = False
    return image, planes, valid


def gradients_of(network, image, planes, valid):
    gradients = {}
    for name, loss in LOSSES.items():
        network.zero_grad()
        loss(network(image).sigmoid(), planes, valid).backward()
        gradients[name] = [parameter.grad.clone() for parameter in network.parameters()]
    return gradients


def half_of_the_batch(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    network = DistributedDataParallel(tiny_network())
    half = [tensor[2 * rank : 2 * rank + 2] for tensor in photographs()]
    torch.save(gradients_of(network, *half), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_have_the_gradients_of_one(tmp_path):
    multiprocessing.spawn(half_of_the_batch, (str(tmp_path),), nprocs=2)
    whole = gradients_of(tiny_network(), *photographs())
    for rank in (0, 1):
        halves = torch.load(tmp_path / f"{rank}.pt")
        for name in LOSSES:
            for ours, expected in zip(halves[name], whole[name], strict=True):
                torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert max(gradient.abs().max() for gradient in whole["dice"]) > 1e-3
