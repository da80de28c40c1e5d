"""From maps to readings: truth sent as maps comes back where it was; the unreadable is never healthy."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from retinalesion import samples
from retinalesion.data.field import View, find_field, to_square
from retinalesion.data.quality import LIMITS
from retinalesion.data.sources.idrid import IdridSource
from retinalesion.data.synthetic import SyntheticSource
from retinalesion.errors import PhotographError, UserError
from retinalesion.lesions import CODES
from retinalesion.networks.checkpoint import write_checkpoint
from retinalesion.networks.lnet import LNet
from retinalesion.reading.reader import Model, Reader, Subject, see
from retinalesion.reading.reading import Reading
from retinalesion.training.grading import GradingTask
from retinalesion.training.segmentation import SegmentationTask

SIDE = 896
TINY = "test_efficientnet"
ANY = {name: (-float("inf"), float("inf")) for name in LIMITS}
SEVERE, NONE = (0.0, 0.1, 0.1, 0.7, 0.1), (0.9, 0.1, 0.0, 0.0, 0.0)


def shares(planes, box, side):
    """Truth at the side that networks see, as the share of each pixel's area."""
    maps = np.zeros((len(CODES), side, side), np.float32)
    for code, plane in planes.items():
        maps[CODES.index(code)] = to_square(plane.astype(np.uint8) * np.uint8(255), box, side) / 255
    return maps


def sent_through(pixels, learned=CODES, grades=(), side=SIDE, limits=ANY):
    view = View.of(pixels.rgb, side)
    maps = shares(pixels.planes, view.box, side)
    return see(Subject("p", "p.png"), view, maps, grades, Model("m", learned, limits))


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def shifts(one, other):
    """Distances between the centres of regions that meet each other and no more."""
    (count, first, _, there), (number, second, _, back) = (
        cv2.connectedComponentsWithStats(plane.astype(np.uint8), connectivity=8) for plane in (one, other)
    )
    both = (first > 0) & (second > 0)
    a, b = np.unique(np.c_[first[both], second[both]], axis=0).T
    alone = (np.bincount(a, minlength=count)[a] == 1) & (np.bincount(b, minlength=number)[b] == 1)
    return np.hypot(*(there[a[alone]] - back[b[alone]]).T).tolist()


def plane_of(seen, code):
    return (seen.planes >> CODES.index(code)) & 1 == 1


@pytest.fixture(scope="module")
def drawn():
    source = SyntheticSource(count=6, side=640, seed=2)
    return [source.read(photograph) for photograph in source.photographs()]


def test_truth_sent_as_maps_comes_back_where_it_was(drawn):
    for pixels in drawn:
        seen = sent_through(pixels)
        for code, truth in pixels.planes.items():
            assert dice(plane_of(seen, code), truth) > 0.9
            rows, columns = np.nonzero(truth)
            found = [finding for finding in seen.reading.findings if finding.lesion == code]
            weights = [finding.pixels for finding in found]
            assert np.average([f.x for f in found], weights=weights) == pytest.approx(columns.mean(), abs=2)
            assert np.average([f.y for f in found], weights=weights) == pytest.approx(rows.mean(), abs=2)


def test_nothing_is_found_where_the_camera_saw_nothing(drawn):
    for pixels in drawn:
        everywhere = np.ones((len(CODES), SIDE, SIDE), np.float32)
        subject, model = Subject("p", "p.png"), Model("m", CODES, ANY)
        planes = see(subject, View.of(pixels.rgb, SIDE), everywhere, (), model).planes
        dark = pixels.rgb.max(axis=2) < 12
        assert dark.mean() > 0.1
        assert (planes[dark] > 0).mean() < 0.05
        assert (planes[~dark] > 0).mean() > 0.95


def test_planes_findings_and_lesions_present_agree(drawn):
    learned = ("MA", "iHE", "HaEx")
    for pixels in drawn:
        seen = sent_through(pixels, learned)
        reading = seen.reading
        assert reading.learned == learned
        assert set(reading.probability) == set(learned)
        for code in CODES:
            found = sum(finding.pixels for finding in reading.findings if finding.lesion == code)
            assert found == plane_of(seen, code).sum()
            assert (code in reading.present) == bool(found) == (reading.probability.get(code, 0) > 0.5)


def test_a_reading_survives_json(drawn):
    reading = sent_through(drawn[0], CODES[:5], SEVERE).reading
    plain = json.loads(reading.as_json())
    assert plain["schema"] == 2
    assert Reading.from_dict(plain) == reading
    with pytest.raises(ValueError, match="schema 3"):
        Reading.from_dict({**plain, "schema": 3})


@pytest.mark.parametrize("grades", [SEVERE, NONE, ()], ids=["severe", "healthy", "not graded"])
def test_what_cannot_be_read_is_to_be_taken_again_and_never_healthy(drawn, grades):
    impossible = {**ANY, "sharpness": (1e9, float("inf"))}
    reading = sent_through(drawn[0], grades=grades, limits=impossible).reading
    assert not reading.quality.gradable
    assert reading.quality.reasons
    assert reading.outcome == "retake"
    assert all(reason in reading.outcome_reason for reason in reading.quality.reasons)
    assert reading.referable is None
    assert reading.referable_probability is None
    assert reading.grade is None
    assert reading.grade_probabilities == ()
    assert reading.supported is None
    assert not any(line.role == "none" for line in reading.evidence)


def test_the_grade_is_the_likeliest_and_its_agreement_told(drawn):
    healthy = sent_through(blank(drawn[0]), grades=NONE)
    assert healthy.reading.grade == 0
    assert healthy.reading.agreement == "agrees"
    assert not healthy.reading.referable
    severe = sent_through(blank(drawn[0]), CODES[:4], SEVERE).reading
    assert severe.grade == 3
    assert severe.agreement == "above evidence"
    assert severe.referable
    assert severe.referable_probability == pytest.approx(0.9)


def blank(pixels):
    return type(pixels)(pixels.rgb, {}, {}, pixels.sha256)


@pytest.mark.parametrize("place", [0, 1], ids=["DR4", "DR0"])
def test_the_samples_can_be_read_and_blurred_they_cannot(reader, tmp_path, place):
    file = samples.photographs()[place]
    reading = reader.read(file, "p").reading
    assert reading.quality.gradable
    with Image.open(file) as photograph:
        blurred = photograph.filter(ImageFilter.GaussianBlur(photograph.height / 100))
    blurred.save(tmp_path / "blurred.jpg")
    reading = reader.read(tmp_path / "blurred.jpg", "p").reading
    assert not reading.quality.gradable
    assert "blurred" in " ".join(reading.quality.reasons)


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(0)
    task = GradingTask("sian", TINY, None, lesion_network="lnet-32s", lesion_encoder=TINY)
    task.network.lesion_net.learn_only(["MA", "HaEx"])
    return Reader(task, side=512)


TASKS = {
    "lnet": lambda: SegmentationTask("lnet-32s", TINY, None),
    "mirrored": lambda: SegmentationTask("lnet-32s", TINY, None, flips=True),
    "sian": lambda: GradingTask("sian", TINY, None, lesion_network="lnet-32s", lesion_encoder=TINY, side=64),
    "abn": lambda: GradingTask("abn", "test_resnet", None),
}


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_a_file_a_task_and_lightnings_prediction_agree_bit_for_bit(make, drawn, tmp_path):
    torch.manual_seed(1)
    task = make()
    task.trained_side = 96
    contents = {"hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
    task.on_save_checkpoint(contents)
    write_checkpoint(contents, tmp_path / "a.ckpt")
    of_task, of_file = Reader(task), Reader.from_checkpoint(tmp_path / "a.ckpt", "cpu")
    assert of_task.side == of_file.side == 96
    assert of_task.model == of_file.model
    square = to_square(drawn[0].rgb, find_field(drawn[0].rgb), 96)
    image = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        told = task.predict_step({"image": image, "id": ["p"]}, 0)
    for one in (of_task.predict(square), of_file.predict(square)):
        for part, value in one._asdict().items():
            assert (value is None) == (told[part] is None)
            assert value is None or torch.equal(value, told[part])
    maps, grades = of_file.maps_of(square)
    assert maps.shape == (8, 96, 96)
    assert len(grades) == (0 if isinstance(task, SegmentationTask) else 5)


def test_a_network_alone_can_read(drawn):
    network = LNet(32, TINY)
    network.learn_only(["MA"])
    reader = Reader(network, side=96)
    assert not network.training
    assert reader.model.learned == ("MA",)
    assert reader.model.name.startswith("LNet, retinalesion")
    assert reader.see(drawn[0].rgb, "p.png", "p").reading.learned == ("MA",)


def test_pixels_of_another_kind_are_refused_and_a_name_is_a_file(reader, drawn, tmp_path):
    rgb = drawn[0].rgb
    for other in (rgb / 255, rgb[..., 0], rgb.transpose(2, 0, 1), np.dstack([rgb, rgb[..., :1]])):
        with pytest.raises(UserError, match=r"p\.png: pixels of shape .*uint8, 0 to 255"):
            reader.see(other, "p.png", "p")
    Image.fromarray(rgb).save(tmp_path / "p.png")
    file = str(tmp_path / "p.png")
    assert reader.read(file, "p").reading == reader.see(rgb, file, "p").reading


def test_what_is_not_finite_is_no_reading(drawn, tmp_path):
    file = tmp_path / "p.png"
    Image.fromarray(drawn[0].rgb).save(file)
    network = LNet(32, TINY)
    torch.nn.init.constant_(network.head.bias, float("nan"))
    with pytest.raises(UserError, match=r"p\.png: .*not finite"):
        Reader(network, side=96).read(file, "p")


@pytest.mark.parametrize("device", ["tpu?", "cuda:77", "meta"])
def test_a_device_that_is_not_there_is_named(device, tmp_path):
    with pytest.raises(UserError, match=rf"{device[:4]}.*no such device"):
        Reader.from_checkpoint(tmp_path / "nowhere.ckpt", device)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA"])
def test_any_photograph_is_read_at_its_own_size(reader, drawn, tmp_path, mode):
    file = tmp_path / f"some photograph.{'tif' if mode == 'CMYK' else 'png'}"
    Image.fromarray(drawn[0].rgb).resize((300, 200)).convert(mode).save(file)
    seen = reader.read(file, "p")
    assert seen.planes.shape == (200, 300)
    assert seen.square.shape == (512, 512, 3)
    assert (seen.reading.width, seen.reading.height) == (300, 200)
    assert seen.reading.learned == ("MA", "HaEx")


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\n" + b"0" * 50], ids=["empty", "text", "cut off"]
)
def test_a_file_that_is_no_photograph_says_so_in_its_reading(reader, tmp_path, content):
    file = tmp_path / "bad.png"
    file.write_bytes(content)
    with pytest.raises(PhotographError) as caught:
        reader.read(file, "bad")
    reading = reader.unread(file, "bad", caught.value)
    assert "bad.png" in reading.error
    assert reading.grade is None
    assert reading.referable is None


@pytest.mark.skipif("RETINALESION_IDRID" not in os.environ, reason="RETINALESION_IDRID names no folder")
@pytest.mark.timeout(1200)
def test_idrids_masks_survive_the_way_through_the_square():
    """Truth reduced to area fractions and sent as a map: mean Dice per lesion and centres at own size."""
    source = IdridSource(Path(os.environ["RETINALESION_IDRID"]), part="segmentation", half="train")
    scores, moved = {}, []
    for photograph in source.photographs():
        pixels = source.read(photograph)
        seen = sent_through(pixels, tuple(sorted(photograph.annotated, key=CODES.index)), side=SIDE)
        for code, truth in pixels.planes.items():
            plane = plane_of(seen, code)
            scores.setdefault(code, []).append(dice(plane, truth))
            moved += shifts(truth, plane)
    means = {code: np.mean(values) for code, values in scores.items()}
    print({code: round(float(mean), 4) for code, mean in means.items()}, len(moved), "regions,", max(moved))
    assert min(means.values()) >= 0.96
    assert len(moved) > 10_000
    assert max(moved) <= 2
