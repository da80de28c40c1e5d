from functools import cache

import cv2
import numpy as np
import pytest

from retinalesion.data.decode import Camera
from retinalesion.data.field import find_field, to_square
from retinalesion.data.spots import Spot
from retinalesion.geometry import Box
from retinalesion.lesions import CODES
from retinalesion.reading.camera import Cameras, recurring, set_aside
from retinalesion.reading.reading import Finding, Quality, Reading

CAMERA = Camera(1000, 800)
KNOWN = np.ones((400, 500), bool)  # the mean picture is half as large
LEARNED = CODES[:4]


def spot(x, y, radius=14, kind="dark"):
    return Spot(kind, x, y, radius, -0.05 if kind == "dark" else 0.05, 9.0)


def reading(*places, lesion="MA"):
    found = tuple(
        Finding(lesion, n, x, y, int(x), int(y), 1, 1, 1, 0.0, "", None, 0.9)
        for n, (x, y) in enumerate(places, 1)
    )
    return Reading("p", "p.jpg", learned=LEARNED, findings=found)


def confirmed(spots, groups):
    return [(one.x, one.y, one.found) for one in recurring(spots, CAMERA, KNOWN, groups)]


def photographs(times, *places, of=40, lesion="MA"):
    """One of each patient, some with findings."""
    return [[reading(*(places if n < times else ()), lesion=lesion)] for n in range(of)]


@pytest.mark.parametrize("lesion", ["MA", "iHE"])
@pytest.mark.parametrize(("times", "found"), [(0, []), (2, []), (3, [(400, 300, 3)]), (40, [(400, 300, 40)])])
def test_a_spot_is_the_cameras_where_findings_recur(times, found, lesion):
    groups = photographs(times, (403, 292), lesion=lesion)
    assert confirmed([spot(700, 500), spot(400, 300), spot(410, 600)], groups) == found


def test_bright_spots_are_told_by_bright_lesions_only():
    spots = [spot(400, 300, kind="bright"), spot(700, 500)]
    places = (400, 300), (700, 500)
    assert confirmed(spots, photographs(20, *places, lesion="HaEx")) == [(400, 300, 20)]
    assert confirmed(spots, photographs(20, *places, lesion="CWS")) == [(400, 300, 20)]
    assert confirmed(spots, photographs(20, *places, lesion="MA")) == [(700, 500, 20)]
    assert confirmed(spots, photographs(20, *places, lesion="vHE")) == []


@pytest.mark.parametrize("more", [0, 15])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_all_around_as_well_moves_and_is_the_eyes(seed, more):
    rng = np.random.default_rng(seed)
    groups = []
    for n in range(40):
        angles, away = rng.uniform(0, 2 * np.pi, 3), 70 * np.sqrt(rng.uniform(0, 1, 3))
        places = np.stack([400 + away * np.cos(angles), 300 + away * np.sin(angles)], 1).tolist()
        groups.append([reading(*places, *([(401, 301)] if n < more else []))])
    at_it = sum(np.hypot(f.x - 400, f.y - 300) <= 14 for (one,) in groups for f in one.findings)
    assert at_it >= 3
    assert bool(confirmed([spot(400, 300)], groups)) == bool(more)


def test_a_patient_counts_once_however_many_photographs_were_taken():
    ill = [reading((400, 300)) for _ in range(20)]
    others = photographs(0)
    assert confirmed([spot(400, 300)], [ill, *others]) == []
    assert confirmed([spot(400, 300)], [ill, *photographs(1, (400, 300))]) == []
    assert confirmed([spot(400, 300)], [ill, *photographs(2, (400, 300))]) == [(400, 300, 3)]
    assert confirmed([spot(400, 300)], [*([one] for one in ill), *others]) == [(400, 300, 20)]


def test_what_is_found_in_some_photographs_of_a_patient_counts_in_part():
    pairs = [[reading((400, 300)), reading()] for _ in range(5)]
    assert confirmed([spot(400, 300)], pairs) == []
    assert confirmed([spot(400, 300)], pairs + pairs[:1]) == [(400, 300, 3)]


def test_what_lies_on_another_spot_does_not_hide_one():
    groups = [
        [reading(*([(400, 300)] if n < 4 else []), *([(442, 300)] if n < 35 else []))] for n in range(40)
    ]
    assert confirmed([spot(400, 300)], groups) == []
    assert confirmed([spot(442, 300), spot(400, 300)], groups) == [(442, 300, 35), (400, 300, 4)]


@pytest.mark.parametrize("place", [(0, 0), (999, 0), (0, 799), (999, 799)])
def test_spots_and_findings_may_lie_in_the_very_corner(place):
    assert confirmed([spot(*place)], photographs(5, place)) == [(*place, 5)]


def test_nothing_recurs_in_nothing():
    assert confirmed([], photographs(5, (1, 1))) == []
    assert confirmed([spot(400, 300)], []) == []


SIZE = (160, 240)
FAINT = 0.25


@pytest.fixture
def seen(found_in):
    """Reading, planes, and what is faint, of lesions drawn as discs (code, x, y, radius, probability)."""

    def made(*discs):
        planes, maps = np.zeros(SIZE, np.uint8), {}
        for j, code in enumerate(LEARNED):
            maps[code] = own = np.full(SIZE, FAINT, np.float32)
            for disc in discs:
                if disc[0] == code:
                    cv2.circle(own, disc[1:3], disc[3], disc[4], cv2.FILLED)
            planes |= (own > 0.5).astype(np.uint8) << j
        probability = {code: float(own.max()) for code, own in maps.items()}
        findings = found_in(maps, Box(0, 0, 240))
        one = Reading("p", "p.jpg", learned=LEARNED, findings=findings, probability=probability)
        return one, planes, dict.fromkeys(LEARNED, FAINT)

    return made


def test_what_lies_on_a_spot_is_the_cameras(seen):
    before, planes, faint = seen(("MA", 50, 60, 4, 0.9), ("MA", 150, 60, 5, 0.7), ("HaEx", 50, 60, 3, 0.8))
    kept = planes.copy()
    after, left, aside = set_aside(before, planes, [spot(200, 100, 9), spot(52, 61, 9)], faint)
    (mine,) = after.camera
    assert (mine.lesion, mine.x, mine.y, mine.spot) == ("MA", 50, 60, 2)
    assert [(f.lesion, f.x, f.spot) for f in after.findings] == [("MA", 150, None), ("HaEx", 50, None)]
    assert after.probability == pytest.approx({"MA": 0.7, "iHE": FAINT, "HaEx": 0.8, "CWS": FAINT})
    assert aside.sum() == mine.pixels
    assert np.array_equal(aside, planes != left)
    assert not (left & 1)[aside].any()
    assert np.array_equal(left & ~np.uint8(1), planes & ~np.uint8(1))
    assert np.array_equal(planes, kept)


def test_where_nothing_else_was_found_the_lesion_is_no_longer_present(seen):
    before, planes, faint = seen(("iHE", 50, 60, 4, 0.9), ("MA", 51, 60, 3, 0.8))
    after, left, _ = set_aside(before, planes, [spot(50, 60, 9)], faint)
    assert before.present == ("MA", "iHE")
    assert after.present == after.findings == ()
    assert after.probability == dict.fromkeys(LEARNED, FAINT)
    assert {f.lesion for f in after.camera} == {"MA", "iHE"}
    assert not left.any()


@pytest.mark.parametrize(("x", "goes"), [(50, True), (54, True), (62, False), (80, False)])
def test_only_what_mostly_lies_on_a_spot_goes(seen, x, goes):
    before, planes, faint = seen(("MA", x, 60, 4, 0.9))
    after, *_ = set_aside(before, planes, [spot(50, 60, 7)], faint)
    assert (len(after.camera), len(after.findings)) == (goes, not goes)


def test_a_large_haemorrhage_over_a_spot_stays(seen):
    before, planes, faint = seen(("iHE", 60, 60, 25, 0.9))
    after, left, aside = set_aside(before, planes, [spot(60, 60, 9)], faint)
    assert after == before
    assert np.array_equal(left, planes)
    assert not aside.any()


@pytest.mark.parametrize(
    ("kind", "codes"), [("dark", ("MA", "iHE")), ("bright", ("HaEx", "CWS"))], ids=["dust", "reflex"]
)
def test_a_spot_takes_only_what_it_is_mistaken_for(seen, kind, codes):
    before, planes, faint = seen(*((code, 50, 60, 4, 0.9) for code in LEARNED))
    after, *_ = set_aside(before, planes, [spot(50, 60, 9, kind)], faint)
    assert tuple(f.lesion for f in after.camera) == codes
    assert not set(after.present) & set(codes)
    assert len(after.present) == 2


def test_what_lies_across_two_spots_goes_to_the_nearer(seen):
    before, planes, faint = seen(("MA", 54, 60, 7, 0.9), ("MA", 66, 60, 7, 0.9))
    (whole,) = before.findings
    spots = [spot(45, 60, 12), spot(73, 60, 12)]
    for one in spots:
        assert set_aside(before, planes, [one], faint)[0] == before
    after, left, aside = set_aside(before, planes, spots, faint)
    assert [f.spot for f in after.camera] == [2]
    assert after.findings == ()
    assert aside.sum() == whole.pixels
    assert not left.any()


@pytest.mark.parametrize("spots", [(), (spot(200, 20, 9),), (spot(-40, 60, 9),), (spot(50, 900, 9),)])
def test_without_spots_or_beside_them_nothing_changes(seen, spots):
    before, planes, faint = seen(("MA", 50, 60, 4, 0.9), ("CWS", 90, 60, 9, 0.6))
    after, left, aside = set_aside(before, planes, spots, faint)
    assert after == before
    assert np.array_equal(left, planes)
    assert aside.shape == planes.shape
    assert not aside.any()


def test_what_was_set_aside_survives_json_and_older_readings_are_read(seen):
    before, planes, faint = seen(("MA", 50, 60, 4, 0.9), ("MA", 150, 60, 5, 0.7))
    after, *_ = set_aside(before, planes, [spot(50, 60, 9)], faint)
    plain = after.as_dict()
    assert Reading.from_dict(plain) == after
    for finding in plain["findings"]:
        del finding["spot"]
    assert Reading.from_dict({key: value for key, value in plain.items() if key != "camera"}).camera == ()


SMALL = Camera(260, 250)
DUST = (170, 80)


@cache
def eye(seed):
    """A disc with vessels of its own and dust on the lens, uint8 (250, 260, 3)."""
    draw = np.random.default_rng(seed)
    retina = np.ones((250, 260), np.float32)
    for _ in range(10):
        points = np.cumsum(draw.normal(0, 20, (12, 2)), axis=0) + np.array([130, 125])
        cv2.polylines(retina, [points.astype(np.int32)], False, 0.6, int(draw.integers(1, 4)))
    cv2.circle(retina, DUST, 2, 0.8, cv2.FILLED)
    field = cv2.circle(np.zeros_like(retina), (130, 125), 118, 1, cv2.FILLED)
    retina = cv2.GaussianBlur(retina, (0, 0), 1.0) * field + draw.normal(0, 0.01, field.shape)
    return (retina[..., None] * (170, 90, 50)).clip(0, 255).astype(np.uint8)


def gathered(folder, seeds, camera=SMALL):
    cameras = Cameras(folder, {f"p{number}": camera for number in range(len(seeds))})
    for number, seed in enumerate(seeds):
        added(cameras, camera, f"p{number}", eye(seed))
    return cameras


def added(cameras, camera, id, rgb):
    one = Reading(id, id, quality=Quality(True))
    cameras.add(camera, one, rgb, to_square(rgb, find_field(rgb), 256), {})


@pytest.fixture(scope="module")
def enough(tmp_path_factory):
    return gathered(tmp_path_factory.mktemp("enough"), range(30))


def test_two_witnesses_make_a_spot(enough):
    with_findings = {
        id: reading(DUST if number % 2 else (60, 150)) for number, id in enumerate(f"p{i}" for i in range(30))
    }
    ((found, mean),) = enough.maps(with_findings)
    assert (found.camera, found.photographs, found.groups) == (SMALL, 30, 30)
    assert found.looked
    (one,) = found.spots
    assert one.kind == "dark"
    assert (one.x, one.y) == pytest.approx(DUST, abs=1.5)
    assert one.found == 15
    assert mean.shape == (250, 260)


def test_neither_witness_alone_makes_one(enough):
    ids = [f"p{number}" for number in range(30)]
    ((nothing_found, _),) = enough.maps({id: reading() for id in ids})
    ((not_in_the_mean, _),) = enough.maps({id: reading((60, 150)) for id in ids})
    assert nothing_found.spots == not_in_the_mean.spots == ()
    assert "no spots" in str(nothing_found)


@pytest.mark.parametrize(
    ("seeds", "groups"), [(range(29), 29), ([0] * 18 + list(range(13)), 13)], ids=["few", "of few eyes"]
)
def test_of_too_few_photographs_or_eyes_nothing_is_said(tmp_path, seeds, groups):
    cameras = gathered(tmp_path, seeds)
    ((found, _),) = cameras.maps({f"p{number}": reading(DUST) for number in range(len(seeds))})
    assert (found.photographs, found.groups) == (len(seeds), groups)
    assert not found.looked
    assert found.spots == ()
    assert f"{len(seeds)} photographs" in str(found)
    assert ("too few patients" if len(seeds) >= 30 else "too few to look") in str(found)


def test_cameras_are_told_apart_and_pictures_are_kept_of_large_ones_alone(tmp_path):
    other, large = SMALL._replace(serial="other"), [f"p{number}" for number in range(30)]
    mixed = Cameras(tmp_path / "mixed", dict.fromkeys(large, SMALL) | {"q": other})
    for number, id in enumerate(large):
        added(mixed, SMALL, id, eye(number))
    added(mixed, other, "q", eye(0))
    readings = {id: reading() for id in (*large, "q")}
    assert not (tmp_path / "mixed/mean/q.png").exists()
    large, small = mixed.maps(readings)
    assert [(one.camera, one.looked) for one, _ in (large, small)] == [(SMALL, True), (other, False)]
    assert large[1].size > small[1].size == 1
    ((few, _),) = gathered(tmp_path / "few", range(3)).maps({})
    assert (few.camera, few.photographs, few.looked) == (SMALL, 3, False)
    assert Cameras(tmp_path, {}).maps({}) == []
