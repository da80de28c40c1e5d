import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from retinalesion.errors import UserError
from retinalesion.networks.anatomy import (
    SHIPPED,
    SIDE,
    AnatomyNet,
    Choices,
    anatomy_loss,
    read_anatomy,
    sightings,
    write_anatomy,
)

CELLS = 24


def best_choices(places):
    """What a network that knew the answer would say, found by the loss."""
    cells = torch.zeros(len(places), 2, CELLS, CELLS, requires_grad=True)
    absent = torch.zeros(len(places), 2, requires_grad=True)
    optimizer = torch.optim.Adam([cells, absent], 0.5)
    for _ in range(150):
        choices = Choices(cells, absent, torch.full((len(places),), 0.15))
        loss = anatomy_loss(choices, places, torch.full((len(places),), 0.15), torch.ones(len(places)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Choices(*(values.detach() for values in choices))


def test_places_come_back_within_a_fraction_of_a_cell_and_what_is_out_of_sight_is_told():
    places = torch.tensor([[[0.2, 0.51], [0.57, 0.53]], [[0.9, 0.1], [-9, -9]], [[math.nan] * 2, [0.5, 1.2]]])
    said = sightings(best_choices(places))
    inside = [(0, 0), (0, 1), (1, 0)]
    for at in inside:
        assert said.places[at].tolist() == pytest.approx(places[at].tolist(), abs=0.3 / CELLS)
        assert said.certainties[at] > 0.9
    assert said.certainties[1, 1] < 0.02  # not in sight
    assert said.certainties[2, 1] < 0.02  # below the picture
    assert said.certainties[2, 0] < 0.1  # nothing known, nothing learned


def test_a_mirror_image_counts_as_much_as_the_image():
    places = torch.tensor([[[0.2, 0.5], [0.57, 0.52]]])
    mirrored = places.clone()
    mirrored[..., 0] = 1 - places[..., 0]
    one = best_choices(places)
    both = sightings(one, best_choices(mirrored))
    assert torch.allclose(both.places, sightings(one).places, atol=0.01)
    assert (both.certainties > 0.9).all()
    doubted = sightings(one, best_choices(torch.full((1, 2, 2), -9.0)))
    assert ((doubted.certainties > 0.4) & (doubted.certainties < 0.55)).all()


@pytest.mark.parametrize("side", [1, -1])
def test_where_the_picture_leaves_a_doubt_the_fovea_is_where_eyes_have_it(side):
    cells = torch.full((1, 2, CELLS, CELLS), -9.0)
    cells[0, 0, 11, 11] = 9.0  # a disc of 0.15 in the middle
    right, wrong = 11 + side * 9, 11 - side * 4  # 2.5 diameters from it, and one
    cells[0, 1, 11, right] = cells[0, 1, 11, wrong] = 3.0
    said = sightings(Choices(cells, torch.full((1, 2), -9.0), torch.full((1,), 0.15)))
    assert said.places[0, 1, 0] == pytest.approx((right + 0.5) / CELLS, abs=0.5 / CELLS)
    assert said.certainties[0, 1] == pytest.approx(0.5, abs=0.1)  # what is seen there and no more
    cells[0, 1, 11, wrong] = 9.0
    said = sightings(Choices(cells, torch.full((1, 2), -9.0), torch.full((1,), 0.15)))
    assert said.places[0, 1, 0] == pytest.approx((wrong + 0.5) / CELLS, abs=0.5 / CELLS)


def test_the_discs_diameter_is_learned_where_it_is_in_sight_and_by_trust():
    places = torch.tensor([[[0.5, 0.5]] * 2, [[-9.0, -9.0]] * 2])
    choices = Choices(
        torch.zeros(2, 2, 4, 4), torch.zeros(2, 2), torch.tensor([0.1, 0.1], requires_grad=True)
    )
    loss = [anatomy_loss(choices, places, torch.tensor([d, 0.3]), torch.ones(2)) for d in (0.1, 0.2)]
    assert float(loss[1] - loss[0]) == pytest.approx(math.log(2))
    unlearned = anatomy_loss(choices, places, torch.full((2,), 0.2), torch.zeros(2))
    assert float(unlearned) == pytest.approx(float(loss[0]))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    torch.manual_seed(0)
    network, file = AnatomyNet().eval(), tmp_path_factory.mktemp("anatomy") / "a.safetensors"
    write_anatomy(network, file, {"trained_on": "nothing"})
    return network, file


def test_a_file_gives_the_network_back(written):
    network, file = written
    image = torch.rand(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        for one, other in zip(network(image), read_anatomy(file)(image), strict=True):
            assert torch.allclose(one, other, atol=0.02)  # float16


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda data, file: file.write_bytes(data[: len(data) // 2]), "cut off"),
        (lambda data, file: file.write_bytes(data[:100]), "cut off"),
        (lambda data, file: file.write_bytes(b""), "not a file"),
        (lambda data, file: file.write_bytes(b"text" * 100), "not a file"),
        (lambda data, file: None, "cannot be read"),
        (lambda data, file: save_file({"a": torch.zeros(3)}, file), "not a file"),
        (lambda data, file: save_file({"a": torch.zeros(3)}, file, {"anatomy": "{}"}), "do not fit"),
    ],
    ids=["half", "header", "empty", "text", "missing", "foreign", "of other tensors"],
)
def test_any_other_file_is_named(written, tmp_path, spoil, says):
    file = tmp_path / "spoilt.safetensors"
    spoil(written[1].read_bytes(), file)
    with pytest.raises(UserError, match=rf"spoilt\.safetensors.*{says}"):
        read_anatomy(file)


def test_weights_that_are_not_finite_are_refused(written, tmp_path):
    tensors = load_file(written[1])
    tensors["head.cells.bias"][0] = math.nan
    save_file(tensors, tmp_path / "a.safetensors", {"anatomy": "{}"})
    with pytest.raises(UserError, match="not finite"):
        read_anatomy(tmp_path / "a.safetensors")


def test_the_shipped_file_is_small_and_says_what_trained_it():
    data = SHIPPED.read_bytes()
    assert len(data) < 2e6
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    about = json.loads(header["__metadata__"]["anatomy"])
    assert "IDRiD" in about["trained_on"]
    assert about["photographs"] == 450
    assert "anatomy.safetensors" in SHIPPED.with_name("README.md").read_text("utf-8")
