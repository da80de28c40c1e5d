import json
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from retinalesion.data.camera import (
    ALONE,
    BESIDE_FINDINGS,
    MeanPicture,
    relative_to_surroundings,
)
from retinalesion.data.decode import Camera, camera_of, read_photograph
from retinalesion.data.photograph import Photograph
from retinalesion.data.spots import (
    CameraMap,
    Spot,
    read_cameras,
    regions_on,
    spots_drawn,
    told,
    write_cameras,
)
from retinalesion.data.survey import map_of, survey
from retinalesion.errors import PhotographError, UserError
from retinalesion.geometry import Box
from retinalesion.lesions import CODES

SIZE = (340, 380)
CAMERA = Camera(380, 340)
SPOTS = {(120, 100): -0.06, (250, 200): -0.08, (170, 260): -0.05, (270, 120): 0.06}


def glass(spots, size=SIZE, radius=3.0):
    """How much light the camera lets through, 1 where it is clean."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    light = np.ones(size, np.float32)
    for (x, y), depth in spots.items():
        light += depth * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / radius**2)
    return light


def photograph(seed, light=1.0, size=SIZE):
    """A disc lit from somewhere, with vessels and lesions of its own, seen through a glass."""
    draw = np.random.default_rng(seed)
    height, width = size
    rows, columns = np.ogrid[:height, :width]
    x, y = ((columns - width / 2) / width).astype("f"), ((rows - height / 2) / width).astype("f")
    slope_x, slope_y = draw.uniform(-0.4, 0.4, 2)
    eye = 1.0 - 1.2 * (x**2 + y**2) + slope_x * x + slope_y * y
    for _ in range(9):
        points = np.cumsum(draw.normal(0, 28, (14, 2)), axis=0) + draw.uniform(0, (width, height))
        cv2.polylines(eye, [points.astype(np.int32)], False, draw.uniform(0.6, 0.8), int(draw.integers(2, 6)))
        middle = draw.integers(0, (width, height)).tolist()
        cv2.circle(eye, middle, int(draw.integers(2, 9)), draw.choice([0.6, 1.3]), cv2.FILLED)
    eye = cv2.GaussianBlur(eye, (0, 0), 1.0) * light + draw.standard_normal(size, np.float32) / 60
    eye[x**2 + y**2 > 0.48**2] = 0.01
    return cv2.convertScaleAbs(cv2.merge([170 * eye, 90 * eye, 50 * eye]))


def label(one):
    return cv2.putText(one, "OD 45", (4, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (240, 240, 240), 2)


def notch(one):
    return cv2.circle(one, (371, 160), 8, (2, 2, 2), cv2.FILLED)


def mean_of(photographs):
    mean = MeanPicture()
    for one in photographs:
        mean.add(relative_to_surroundings(one))
    return mean


@pytest.fixture(scope="module")
def clean():
    return mean_of(photograph(seed) for seed in range(30))


@pytest.fixture(scope="module")
def dusty():
    light = glass(SPOTS)
    return mean_of(photograph(seed, light) for seed in range(30))


def test_dust_is_found_where_it_is_as_dark_and_a_reflex_as_bright(dusty):
    spots = dusty.spots(CAMERA, ALONE)
    assert len(spots) == len(SPOTS)
    for spot in spots:
        place = min(SPOTS, key=lambda at: np.hypot(at[0] - spot.x, at[1] - spot.y))
        assert (spot.x, spot.y) == pytest.approx(place, abs=2)
        assert spot.kind == ("dark" if SPOTS[place] < 0 else "bright")
        assert spot.depth == pytest.approx(SPOTS[place], rel=0.5)
        assert 3 < spot.radius < 12
    assert [spot.strength for spot in spots] == sorted((spot.strength for spot in spots), reverse=True)
    assert all(spot.strength > ALONE and spot.found is None for spot in spots)


def test_a_clean_camera_has_no_spots_nor_has_the_rim(clean):
    assert clean.spots(CAMERA, ALONE) == ()


def test_the_mean_for_eyes_shows_what_was_found(dusty):
    picture = dusty.picture()
    assert picture.shape == SIZE
    for (x, y), depth in SPOTS.items():
        assert np.sign(int(picture[y, x]) - 128) == np.sign(depth)
        assert abs(int(picture[y, x]) - 128) > 40
    assert np.median(picture) == pytest.approx(128, abs=2)
    assert (picture[:20, :20] == 128).all()


@pytest.mark.parametrize("sign", [-1, 1])
def test_strong_dust_makes_no_spots_of_the_other_kind_around_it(sign):
    light = glass({(120, 100): 0.3 * sign, (250, 200): 0.5 * sign}, radius=5)
    mean = mean_of(photograph(seed, light) for seed in range(20))
    for x, y in ((120, 100), (250, 200)):
        near = [s.kind for s in mean.spots(CAMERA, BESIDE_FINDINGS) if np.hypot(s.x - x, s.y - y) < 20]
        assert set(near) == {"dark" if sign < 0 else "bright"}


def test_a_hair_is_no_row_of_dark_spots():
    light = cv2.line(np.ones(SIZE, np.float32), (80, 0), (300, 340), 0.9, 2, cv2.LINE_AA)
    spots = mean_of(photograph(seed, light) for seed in range(20)).spots(CAMERA, ALONE)
    assert not any(spot.kind == "dark" for spot in spots)


@pytest.mark.parametrize("size", [(400, 2144), (1608, 500)], ids=["wide", "tall"])
def test_places_are_in_the_photographs_own_pixels(size):
    height, width = size
    place = (width // 2 - 90, height // 2 + 70)
    light = glass({place: -0.3}, size, radius=6)
    mean = mean_of(photograph(seed, light, size) for seed in range(3))
    spot = mean.spots(Camera(width, height), ALONE)[0]
    assert (spot.x, spot.y) == pytest.approx(place, abs=3)
    assert 5 < spot.radius < 20


@pytest.mark.parametrize("framed", [label, notch])
def test_what_a_camera_leaves_beside_the_field_is_no_spot(framed):
    assert mean_of(framed(photograph(seed)) for seed in range(20)).spots(CAMERA, ALONE) == ()


def test_what_is_saturated_tells_nothing():
    white = np.full((*SIZE, 3), 255, np.uint8)
    assert not relative_to_surroundings(white).any()


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (40, 40), (2000, 3000)])
def test_any_size_is_brought_to_the_working_size(size):
    relative = relative_to_surroundings(np.full((*size, 3), 90, np.uint8))
    assert max(relative.shape) == min(1072, max(size))
    assert set(np.unique(relative)) <= {0, 128}
    assert (relative == 128).any() or min(size) < 4


def test_memory_does_not_grow_with_photographs(clean):
    assert len(pickle.dumps(clean)) == len(pickle.dumps(mean_of([photograph(0)])))


def test_without_photographs_there_is_no_mean():
    with pytest.raises(ValueError, match="no photograph"):
        MeanPicture().values()


def exif(**told):
    tags = Image.Exif()
    tags[0x0110] = told.get("model", "Fundus 7")
    tags.get_ifd(0x8769)[0xA431] = told.get("serial", "A-12")
    if "orientation" in told:
        tags[0x0112] = told["orientation"]
    return tags


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_the_camera_is_told_by_its_tags(tmp_path, suffix):
    file = tmp_path / f"a.{suffix}"
    Image.new("RGB", (60, 40)).save(file, exif=exif())
    assert camera_of(file) == Camera(60, 40, "Fundus 7", "A-12")
    assert str(camera_of(file)) == "60 x 40 pixels, Fundus 7 A-12"


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_no_pixel_is_decoded_to_tell_the_camera(tmp_path, monkeypatch, suffix):
    file = tmp_path / f"a.{suffix}"
    Image.new("RGB", (60, 40)).save(file)
    decoded = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image))
    assert camera_of(file) == Camera(60, 40)
    assert decoded == []


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_its_size_is_that_of_the_photograph_as_it_is_read(tmp_path, orientation, suffix):
    file = tmp_path / f"a.{suffix}"
    Image.new("RGB", (60, 40)).save(file, exif=exif(orientation=orientation))
    camera = camera_of(file)
    assert (camera.height, camera.width) == read_photograph(file).shape[:2]


@pytest.mark.parametrize("tags", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0none", b""])
def test_damaged_or_missing_tags_tell_nothing(tmp_path, tags):
    file = tmp_path / "a.jpg"
    Image.new("RGB", (60, 40)).save(file, exif=tags)
    assert camera_of(file) == Camera(60, 40)
    assert str(camera_of(file)) == "60 x 40 pixels"


def test_a_name_is_made_fit_to_print(tmp_path):
    file = tmp_path / "a.jpg"
    Image.new("RGB", (60, 40)).save(file, exif=exif(model=" Fun\ndus\x1b[31m " + "x" * 900))
    model = camera_of(file).model
    assert model.startswith("Fundus[31m x")
    assert model.isprintable()
    assert len(model) < 100


def test_what_is_no_photograph_has_no_camera(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_text("none")
    with pytest.raises(PhotographError, match=r"a\.jpg"):
        camera_of(file)


MAPS = (
    CameraMap(
        Camera(3000, 2000, "Fundus 7", "A-12"),
        photographs=210,
        groups=64,
        spots=(Spot("dark", 700.5, 300.25, 12.0, -0.05, 21.5, 33), Spot("bright", 1500, 90, 8.0, 0.02, 7.5)),
    ),
    CameraMap(Camera(400, 400), photographs=3, groups=2),
)


def test_maps_survive_their_file(tmp_path):
    file = tmp_path / "new" / "cameras.json"
    write_cameras(file, MAPS)
    assert read_cameras(file) == MAPS
    spots = json.loads(file.read_text("utf-8"))["cameras"][0]["spots"]
    assert [spot["number"] for spot in spots] == [1, 2]


def test_a_map_says_what_to_do():
    spots, few = told(MAPS)
    assert not MAPS[1].looked
    assert "3 photographs" in few
    assert "too few" in few
    assert "30 are needed" in few
    for words in ("210 photographs", "1 dark", "dust", "1 bright", "reflexes"):
        assert words in spots
    assert "cleaned" in spots
    assert "no spots" in str(MAPS[0]._replace(spots=()))


def changed(change):
    """The text of a sound file after a change to its first camera."""

    def text(plain):
        change(plain["cameras"][0])
        return json.dumps(plain)

    return text


@pytest.mark.parametrize(
    "text",
    [
        lambda plain: "no json",
        lambda plain: "",
        lambda plain: json.dumps([plain]),
        lambda plain: json.dumps(plain | {"format": 2}),
        lambda plain: json.dumps({"format": 1}),
        lambda plain: json.dumps({"format": 1, "cameras": {"a": 1}}),
        changed(lambda camera: camera.pop("width")),
        changed(lambda camera: camera.update(photographs=float("inf"))),
        changed(lambda camera: camera.update(spots=[1])),
        changed(lambda camera: camera["spots"][0].pop("strength")),
        changed(lambda camera: camera["spots"][0].update(x=float("nan"))),
        changed(lambda camera: camera["spots"][0].update(y=1e300)),
        changed(lambda camera: camera["spots"][0].update(x=-40)),
        changed(lambda camera: camera["spots"][0].update(radius=1e6)),
        changed(lambda camera: camera["spots"][0].update(radius=0)),
        changed(lambda camera: camera["spots"][0].update(depth=10**400)),
        changed(lambda camera: camera["spots"][0].update(kind="green")),
        changed(lambda camera: camera["spots"][0].update(kind=["dark"])),
    ],
)
def test_what_is_no_map_is_refused_by_name_and_with_a_remedy(tmp_path, text):
    file = tmp_path / "cameras.json"
    write_cameras(file, MAPS)
    file.write_text(text(json.loads(file.read_text("utf-8"))))
    with pytest.raises(UserError, match=r"cameras\.json.* [Mm]ake (it|one)"):
        read_cameras(file)


@pytest.mark.parametrize("make", [lambda file: None, lambda file: file.mkdir()], ids=["missing", "a folder"])
def test_a_missing_map_is_told_with_the_command_that_makes_one(tmp_path, make):
    file = tmp_path / "cameras.json"
    make(file)
    with pytest.raises(UserError, match=r"cameras\.json.*retinalesion camera"):
        read_cameras(file)


@pytest.mark.parametrize(("kind", "codes"), [("dark", {"MA", "iHE"}), ("bright", {"HaEx", "CWS"})])
def test_a_spot_is_drawn_for_the_lesions_that_it_is_taken_for(kind, codes):
    packed = spots_drawn([Spot(kind, 500, 260, 20, 0, 9)], (250, 250), Box(300, -40, 1000))
    assert {code for j, code in enumerate(CODES) if (packed >> j & 1).any()} == codes
    rows, columns = np.nonzero(packed)
    assert columns.mean() == pytest.approx((500 - 300) / 4, abs=0.6)
    assert rows.mean() == pytest.approx((260 + 40) / 4, abs=0.6)
    assert np.ptp(columns) + 1 == pytest.approx(2 * 20 / 4, abs=2)
    assert np.ptp(rows) == np.ptp(columns)


def test_spots_of_both_kinds_on_one_place_are_both_drawn():
    spots = [Spot("dark", 50, 50, 9, 0, 9), Spot("bright", 50, 50, 9, 0, 9)]
    packed = spots_drawn(spots, (100, 100))
    assert {code for j, code in enumerate(CODES) if packed[50, 50] >> j & 1} == {"MA", "iHE", "HaEx", "CWS"}


def test_a_spot_outside_of_the_box_does_nothing():
    spots = [Spot("dark", x, y, 20, 0, 9) for x, y in ((100, 500), (900, 500), (500, 90), (500, 950))]
    assert not spots_drawn(spots, (128, 128), Box(300, 200, 500)).any()


def test_regions_lie_on_spots_from_half_of_their_area():
    plane, spots = np.zeros((30, 60), bool), np.zeros((30, 60), bool)
    plane[5:9, 5:15] = plane[5:9, 25:35] = plane[20:25, 20:30] = True
    spots[:, 10:29] = True  # half of the first, less of the second, nearly all of the third
    spots[0:3, 40:50] = True  # nothing there
    labels, stats, on = regions_on(plane, spots)
    assert sorted(stats[label].tolist() for label in on) == [[5, 5, 10, 4, 40], [20, 20, 10, 5, 50]]
    assert set(on) == {labels[6, 6], labels[22, 22]}
    assert regions_on(np.zeros_like(plane), spots)[2] == []
    assert regions_on(plane, np.zeros_like(spots))[2] == []


@pytest.fixture
def folder(tmp_path):
    """Files of two cameras, as a function of how many each has taken and of which patient."""

    def write(**patients):
        found = []
        for camera, own in patients.items():
            for number, patient in enumerate(own):
                file = tmp_path / f"{camera}{number}.png"
                Image.new("RGB", (60, 40) if camera == "a" else (40, 60)).save(file)
                found.append(Photograph(file.stem, file.name, patient=patient, file=file))
        return found

    return write


def test_photographs_enter_the_mean_of_their_own_camera(folder):
    photographs = folder(a=[""] * 31, b=[""] * 30)
    found = survey(photographs)
    wide, tall = Camera(60, 40), Camera(40, 60)
    assert found.cameras == {one.id: wide if one.id.startswith("a") else tall for one in photographs}
    assert found.averaged == {
        camera: [id for id, own in found.cameras.items() if own == camera] for camera in (wide, tall)
    }


def test_of_a_patient_two_enter_and_below_thirty_none(folder):
    ill = ["ill"] * 20
    enough = survey(folder(a=[*ill, *map(str, range(28))]))
    assert enough.averaged[Camera(60, 40)][:3] == ["a0", "a1", "a20"]
    few = survey(folder(a=[*ill, *map(str, range(27))]))
    assert few.averaged == {}
    assert len(few.cameras) == 47


def test_of_very_many_photographs_some_enter_evenly(folder, monkeypatch):
    monkeypatch.setattr("retinalesion.data.survey.MOST", 40)
    ids = survey(folder(a=[""] * 100)).averaged[Camera(60, 40)]
    assert ids == [f"a{number}" for number in range(0, 100, 3)]


def test_drawn_and_damaged_photographs_have_no_camera(tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("none")
    assert survey([Photograph("drawn", "drawn"), Photograph("bad", "bad", file=bad)]) == ({}, {})


@pytest.mark.parametrize(
    ("photographs", "alike", "looked"), [(30, 16, True), (30, 17, False), (29, 1, False)]
)
def test_a_camera_is_looked_at_only_with_enough_photographs_of_enough_eyes(photographs, alike, looked):
    mean = MeanPicture()
    relative = relative_to_surroundings(photograph(0, glass({(120, 100): -0.3})))
    for _ in range(photographs):
        mean.add(relative)
    ids = [f"p{number}" for number in range(photographs)]
    one = map_of(CAMERA, mean, ids, [("p0", id) for id in ids[1:alike]] + [("p1", "of another camera")])
    assert one[1:3] == (photographs, photographs - alike + 1)
    assert one.looked == bool(one.spots) == looked


def test_photographs_turned_upside_down_are_another_cameras(tmp_path):
    for orientation in (1, 3):
        tags = Image.Exif()
        tags[0x0112] = orientation
        Image.new("RGB", (40, 30)).save(tmp_path / f"{orientation}.jpg", exif=tags)
    upright, turned = (camera_of(tmp_path / f"{orientation}.jpg") for orientation in (1, 3))
    assert upright == Camera(40, 30)
    assert turned == Camera(40, 30, turned=3)
    assert "turned" in str(turned)
