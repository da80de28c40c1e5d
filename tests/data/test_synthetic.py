import pickle

import numpy as np
import pytest
from scipy import ndimage

from retinalesion.data.synthetic import SyntheticSource
from retinalesion.errors import PhotographError, UserError
from retinalesion.guideline import MANY_HAEMORRHAGES, count_by_quadrant, weigh
from retinalesion.lesions import CODES

SIDE = 320


@pytest.fixture(scope="module")
def drawn():
    source = SyntheticSource(24, side=SIDE)
    return [(photograph, source.read(photograph)) for photograph in source.photographs()]


def test_same_seed_same_bytes_in_any_order_and_after_pickling():
    source = SyntheticSource(6, side=160, seed=3)
    forth = [source.read(photograph) for photograph in source.photographs()]
    other = pickle.loads(pickle.dumps(SyntheticSource(40, side=160, seed=3)))
    for photograph, pixels in reversed(list(zip(other.photographs()[:6], forth, strict=True))):
        again = other.read(photograph)
        assert again.rgb.tobytes() == pixels.rgb.tobytes()
        assert again.sha256 == pixels.sha256
        assert {code: plane.tobytes() for code, plane in again.planes.items()} == {
            code: plane.tobytes() for code, plane in pixels.planes.items()
        }
    assert source.photographs() == other.photographs()[:6]


def test_another_seed_draws_other_eyes():
    first, second = (SyntheticSource(1, side=160, seed=seed) for seed in (0, 1))
    assert first.read(first.photographs()[0]).sha256 != second.read(second.photographs()[0]).sha256


def test_every_mark_is_there_and_lies_in_the_field(drawn):
    for photograph, pixels in drawn:
        height, width = pixels.rgb.shape[:2]
        assert width == SIDE
        assert photograph.annotated == frozenset(CODES)
        for code, plane in pixels.planes.items():
            assert plane.shape == (height, width)
            assert plane.any(), (photograph.id, code)
            assert pixels.rgb[plane].max(axis=-1).mean() > 20, (photograph.id, code)
        assert pixels.rgb[[0, 0, -1, -1], [0, -1, 0, -1]].max() < 40  # corners lie outside the field


def test_grades_follow_the_guideline_from_what_is_marked(drawn):
    for photograph, pixels in drawn:
        haemorrhages = pixels.planes.get("iHE", np.zeros(pixels.rgb.shape[:2], bool))
        quadrants = count_by_quadrant(haemorrhages, photograph.fovea)
        assert weigh(set(pixels.planes), quadrants).lifted == photograph.grade, photograph.id


def test_some_eyes_are_severe_by_haemorrhages_alone():
    source = SyntheticSource(240, side=SIDE)
    severe = 0
    for photograph in source.photographs():
        if photograph.grade != 3:
            continue
        planes = source.read(photograph).planes
        if "CWS" not in planes:
            assert min(count_by_quadrant(planes["iHE"], photograph.fovea)) > MANY_HAEMORRHAGES
            severe += 1
    assert severe


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_grades_and_lesions_all_occur_often(seed):
    photographs = SyntheticSource(60, seed=seed).photographs()
    assert all(sum(photograph.grade == grade for photograph in photographs) >= 5 for grade in range(5))
    source = SyntheticSource(60, side=96, seed=seed)
    present = [set(source.read(photograph).planes) for photograph in source.photographs()]
    assert all(sum(code in codes for codes in present) >= 5 for code in CODES)
    assert sum(not codes for codes in present) >= 5  # healthy


def test_lesions_are_small_and_rare_and_overlap(drawn):
    share = np.mean([[pixels.planes.get(code, np.zeros(1)).mean() for code in CODES] for _, pixels in drawn])
    assert share < 0.01
    assert any(
        np.sum([plane.astype(int) for plane in pixels.planes.values()], axis=0).max() > 1
        for _, pixels in drawn
        if pixels.planes
    )


def test_lesions_look_like_themselves(drawn):
    # against a ring around each mark: blood is darker, lipid and fibre are brighter
    brighter = {code: [] for code in CODES}
    for _, pixels in drawn:
        green = pixels.rgb[..., 1].astype(float)
        elsewhere = ~np.any([*pixels.planes.values(), np.zeros(green.shape, bool)], axis=0)
        for code, plane in pixels.planes.items():
            around = ndimage.binary_dilation(plane, iterations=6) & elsewhere
            brighter[code].append(green[plane].mean() - green[around].mean())
    assert all(np.mean(brighter[code]) < -3 for code in ("MA", "iHE", "vHE", "pHE", "NV"))
    assert all(np.mean(brighter[code]) > 3 for code in ("HaEx", "CWS", "FiP"))


def test_two_eyes_of_a_patient_mirror_each_other(drawn):
    photographs = [photograph for photograph, _ in drawn]
    assert [photograph.eye for photograph in photographs[:2]] == ["right", "left"]
    assert len({photograph.patient for photograph in photographs}) == len(photographs) // 2
    for right, left in zip(photographs[::2], photographs[1::2], strict=True):
        assert right.patient == left.patient
        assert right.disc.x > right.fovea.x
        assert left.disc.x < left.fovea.x


def test_disc_is_where_the_record_says(drawn):
    for photograph, pixels in drawn:
        if "vHE" in pixels.planes or "NV" in pixels.planes or "FiP" in pixels.planes:
            continue
        height, width = pixels.rgb.shape[:2]
        y, x = np.mgrid[:height, :width]
        far = np.hypot(x - photograph.disc.x, y - photograph.disc.y)
        green = pixels.rgb[..., 1].astype(float)
        radius = photograph.disc.diameter / 2
        rim = (far > 1.6 * radius) & (far < 2.2 * radius) & (pixels.rgb.max(axis=-1) > 40)
        assert green[far < 0.8 * radius].mean() > green[rim].mean() + 10, photograph.id


@pytest.mark.parametrize("arguments", [{"count": 0}, {"side": 10}, {"seed": -1}])
def test_what_cannot_be_drawn_is_refused(arguments):
    with pytest.raises(UserError):
        SyntheticSource(**arguments)


def test_a_photograph_of_another_source_is_refused():
    source = SyntheticSource(2)
    stranger = source.photographs()[0].__class__(id="IDRiD_01", name="IDRiD_01")
    with pytest.raises(PhotographError, match="IDRiD_01"):
        source.read(stranger)
