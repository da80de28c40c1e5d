"""Augmentation: image, planes and what is kept move together, by the draw alone."""

import math

import numpy as np
import pytest
import torch

from retinalesion.data.augment import ZOOM, augment, pack, resize, unpack, window_of

SIDE = 48
CUT = window_of(SIDE)
ALL = 255


def blobs(side, seed=0):
    """A smooth picture in red; where it is bright, lesion 3 is marked; what is left of the middle is kept."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    phase = torch.rand(4, generator=torch.Generator().manual_seed(seed)) * 6
    red = (
        0.5
        + 0.25 * torch.sin(5 * x + phase[0]) * torch.cos(4 * y + phase[1])
        + 0.2 * torch.sin(3 * y + 2 * x)
    )
    image = torch.stack([red, (x + 1) / 2, (y + 1) / 2])[None].clamp(0, 1)
    return (
        image,
        (red > 0.6).to(torch.uint8)[None, None] << 3,
        torch.full((1, 1, side, side), ALL, dtype=torch.uint8),
    )


def augmented(image, planes, kept, draws, cut=True, seed=0):
    n = len(draws)
    batch = (tensor.expand(n, *tensor.shape[1:]) for tensor in (image, planes, kept))
    return augment(*batch, torch.tensor(draws), seed, SIDE, cut)


@pytest.fixture
def colourless(monkeypatch):
    """Warp only, so that colours say where a pixel came from."""
    monkeypatch.setattr("retinalesion.data.augment._colours", lambda _: [0.0, 1.0, 1.0])


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.usefixtures("colourless")
def test_image_planes_and_kept_move_together(cut):
    image, planes, kept = blobs(CUT)
    kept[..., : kept.shape[3] // 2] = 0  # ignored: where green is below a half
    moved, marked, still = augmented(image, planes, kept, list(range(12)), cut)
    white = augmented(torch.ones_like(image), planes, kept, list(range(12)), cut)[0]
    inside = white.amin(1) > 0.999  # pixels at the rim are blended with the black outside
    red, green = moved[:, 0], moved[:, 1]
    clear = inside & ((red - 0.6).abs() > 0.03)
    assert torch.equal((red > 0.6)[clear], unpack(marked)[:, 3][clear])
    clear = inside & ((green - 0.5).abs() > 0.03)
    assert torch.equal((green > 0.5)[clear], (still[:, 0] == ALL)[clear])
    others = torch.arange(8) != 3
    assert not unpack(marked)[:, others].any()
    assert unpack(marked)[:, 3].any(2).any(1).all()


@pytest.mark.usefixtures("colourless")
def test_outside_the_photograph_nothing_is_kept():
    white = torch.ones(1, 3, SIDE, SIDE)
    kept = torch.full((1, 1, SIDE, SIDE), ALL, dtype=torch.uint8)
    moved, _, still = augmented(white, torch.zeros_like(kept), kept, list(range(16)), cut=False)
    outside = moved[:, 0] == 0
    assert (still[:, 0][outside] == 0).all()
    assert (still[:, 0][moved[:, 0] > 0.999] == ALL).all()
    assert 0.02 < outside.float().mean() < 0.4


@pytest.mark.usefixtures("colourless")
def test_a_window_holds_its_crop_however_it_is_turned():
    white = torch.ones(1, 3, CUT, CUT)
    kept = torch.full((1, 1, CUT, CUT), ALL, dtype=torch.uint8)
    moved, _, still = augmented(white, torch.zeros_like(kept), kept, list(range(200)))
    assert moved.min() > 0.999
    assert (still == ALL).all()


@pytest.mark.usefixtures("colourless")
def test_pictures_are_turned_mirrored_and_zoomed():
    y, x = torch.meshgrid(*[torch.linspace(0, 1, CUT)] * 2, indexing="ij")
    image = torch.stack([x, y, x])[None]  # colours are coordinates
    kept = torch.full((1, 1, CUT, CUT), ALL, dtype=torch.uint8)
    moved, _, _ = augmented(image, torch.zeros_like(kept), kept, list(range(200)))
    step = CUT - 1
    across = (moved[:, :2, 24, 40] - moved[:, :2, 24, 8]).double() * step / 32
    down = (moved[:, :2, 40, 24] - moved[:, :2, 8, 24]).double() * step / 32
    reduction = across.norm(dim=1)
    torch.testing.assert_close(reduction, down.norm(dim=1), atol=1e-3, rtol=0)
    torch.testing.assert_close((across * down).sum(1), torch.zeros(200).double(), atol=1e-2, rtol=0)
    assert 1 / ZOOM[1] - 0.01 < reduction.min() < 0.85
    assert 1.2 < reduction.max() < 1 / ZOOM[0] + 0.01
    mirrored = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0] < 0
    assert 60 < mirrored.sum() < 140
    quarters = torch.histc(torch.atan2(across[:, 1], across[:, 0]), 4, -math.pi, math.pi)
    assert quarters.min() > 25
    # A window cut around a place keeps that place.
    middle = moved[:, :2, 23:25, 23:25].mean((2, 3)) * step
    torch.testing.assert_close(middle, torch.full((200, 2), step / 2), atol=0.05, rtol=0)


@pytest.mark.parametrize("cut", [True, False])
def test_a_draw_gives_the_same_whatever_batch_it_is_in(cut):
    sample = blobs(CUT if cut else SIDE)
    alone = augmented(*sample, [5], cut)
    among = augmented(*sample, [3, 8, 5, 1], cut)
    for one, many in zip(alone, among, strict=True):
        assert torch.equal(one[0], many[2])


@pytest.mark.parametrize(("draws", "seeds"), [((1, 2), (0, 0)), ((1, 1), (0, 1))], ids=["draws", "seeds"])
def test_other_draws_and_other_seeds_give_others(draws, seeds):
    sample = blobs(CUT)
    one, other = (augmented(*sample, [draw], seed=seed)[0] for draw, seed in zip(draws, seeds, strict=True))
    assert (one - other).abs().mean() > 0.02


def test_colours_change_within_bounds():
    patches = torch.tensor([0.5, 0.35, 0.2]).view(1, 3, 1, 1).expand(1, 3, CUT, CUT)
    kept = torch.full((1, 1, CUT, CUT), ALL, dtype=torch.uint8)
    moved, _, _ = augmented(patches, torch.zeros_like(kept), kept, list(range(100)))
    mean = moved.mean((2, 3))
    assert ((mean >= 0) & (mean <= 1)).all()
    light = mean.mean(1) - 0.35
    assert light.abs().max() < 0.2
    assert light.std() > 0.03
    spread = (mean[:, 0] - mean[:, 2]) / 0.3  # saturation: how far red stays from blue
    assert 0.5 < spread.min() < 0.85
    assert 1.15 < spread.max() < 1.65
    assert (mean[:, 0] > mean[:, 1]).all()
    assert (mean[:, 1] > mean[:, 2]).all()


@pytest.mark.parametrize("seed", range(3))
def test_packing_is_reversible(seed):
    planes = torch.rand(2, 8, 5, 5, generator=torch.Generator().manual_seed(seed)) < 0.5
    packed = pack(planes)
    assert packed.dtype == torch.uint8
    assert torch.equal(unpack(packed), planes)
    by_hand = (planes.numpy() * 2 ** np.arange(8).reshape(1, 8, 1, 1)).sum(1)
    assert np.array_equal(packed[:, 0].numpy(), by_hand)


def test_at_its_own_side_nothing_is_resized():
    image, planes, kept = blobs(SIDE)
    for before, after in zip((image, planes, kept), resize(image, planes, kept, SIDE), strict=True):
        assert torch.equal(before, after)


def test_resize_goes_by_area():
    image = torch.rand(1, 3, 8, 8)
    kept = torch.ones(1, 8, 8, 8, dtype=torch.bool)
    planes = torch.zeros(1, 8, 8, 8, dtype=torch.bool)
    planes[0, 1, :2, :4] = True  # two whole pixels of the result
    planes[0, 1, 4, :2] = True  # half of a third
    planes[0, 1, 6, 6] = True  # a quarter of a fourth
    kept[0, :, 0, :2] = kept[0, :, 6, 6:] = kept[0, :, 7, 6] = False
    small, marked, still = resize(image, pack(planes), pack(kept), 4)
    torch.testing.assert_close(small[0, 0, 1, 2], image[0, 0, 2:4, 4:6].mean())
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[0, 0] = expected[0, 1] = expected[2, 0] = True
    assert torch.equal(unpack(marked)[0, 1], expected)
    gone = torch.ones(4, 4, dtype=torch.bool)
    gone[3, 3] = False  # three quarters ignored; (0, 0), ignored by half, still counts
    assert torch.equal(unpack(still)[0, 1], gone)


@pytest.mark.parametrize("side", [32, 20, 12])
def test_a_lesion_that_is_present_stays_present(side):
    planes = torch.zeros(1, 8, 64, 64, dtype=torch.bool)
    for lesion in range(7):
        planes[0, lesion, 9 * lesion, 5 * lesion + 3] = True  # a pixel each, none of the last
    kept = torch.full((1, 1, 64, 64), ALL, dtype=torch.uint8)
    _, marked, _ = resize(torch.zeros(1, 3, 64, 64), pack(planes), kept, side)
    assert unpack(marked)[0].any(2).any(1).tolist() == [True] * 7 + [False]


def specks(side, count):
    """Each lesion on one pixel, on other places in each of a number of pictures; all in the middle part."""
    random, planes = np.random.default_rng(5), torch.zeros(count, 8, side, side, dtype=torch.bool)
    y, x = random.integers(0.36 * side, 0.64 * side, (2, count, 8))
    planes[np.arange(count)[:, None], np.arange(8), y, x] = True
    return torch.zeros(count, 3, side, side), pack(planes)


@pytest.mark.parametrize("cut", [True, False])
def test_a_lesion_of_one_pixel_stays_in_every_crop_that_it_lies_in(cut):
    image, planes = specks(CUT if cut else 3 * SIDE, 60)  # whole photographs are brought down to a third
    kept = torch.full_like(planes, ALL)
    _, marked, still = augment(image, planes, kept, torch.arange(60), 0, SIDE, cut)
    shown = unpack(marked & still).flatten(2).sum(2)
    assert (shown > 0).all()
    assert shown.float().mean() < 1.3  # and by what is enlarged alone they grow


def test_lesions_that_fall_between_pixels_together_all_stay():
    packed = torch.zeros(1, 1, 3 * SIDE, 3 * SIDE, dtype=torch.uint8)
    packed[..., 70:72, 70] = torch.tensor([0b101, 0b110], dtype=torch.uint8)
    image, kept = torch.zeros(1, 3, 3 * SIDE, 3 * SIDE), torch.full_like(packed, ALL)
    for draw in range(40):
        _, marked, _ = augment(image, packed, kept, torch.tensor([draw]), 0, SIDE, cut=False)
        assert unpack(marked)[0].flatten(1).any(1).tolist() == [True] * 3 + [False] * 5


def test_what_lies_outside_of_the_crop_or_is_ignored_does_not_come_back():
    image, planes = torch.zeros(1, 3, CUT, CUT), torch.zeros(1, 1, CUT, CUT, dtype=torch.uint8)
    kept = torch.full_like(planes, ALL)
    planes[0, 0, CUT // 2, CUT // 2] = planes[0, 0, 0, 0] = 0b11
    kept[0, 0, CUT // 2, CUT // 2] = ALL - 1  # the first lesion is ignored there
    for draw in range(20):
        _, marked, still = augment(image, planes, kept, torch.tensor([draw]), 0, SIDE, cut=True)
        assert unpack(marked & still)[0].flatten(1).any(1).tolist() == [False, True] + [False] * 6


def test_what_is_seen_already_is_left_as_it_is(monkeypatch):
    image, planes, kept = blobs(CUT)
    now = augmented(image, planes, kept, list(range(8)))
    monkeypatch.setattr("retinalesion.data.augment._lost", lambda _, after, __: torch.zeros_like(after))
    for one, other in zip(now, augmented(image, planes, kept, list(range(8))), strict=True):
        assert torch.equal(one, other)
