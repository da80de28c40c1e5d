"""Pictures of the report: nothing small is lost, layers are see-through, names are safe."""

import json

import numpy as np
import pytest
from PIL import Image

from retinalesion.data.camera import marked
from retinalesion.data.decode import Camera
from retinalesion.data.spots import CameraMap, Spot
from retinalesion.lesions import CODES, LESIONS
from retinalesion.pictures import ASIDE, RINGS
from retinalesion.report.pictures import (
    SIDE,
    THUMBNAIL,
    Pictures,
    photograph_folder,
    pictures_of,
    safe_name,
    write_pictures,
)


def square(side):
    return np.full((side, side, 3), 90, np.uint8), np.zeros((len(CODES), side, side), bool)


def layer(folder, name):
    return np.asarray(Image.open(photograph_folder(folder, "eye") / f"{name}.png").convert("RGBA"))


def test_only_lesions_that_were_found_or_marked_have_layers(tmp_path):
    rgb, planes = square(64)
    truth = planes.copy()
    planes[0, 5, 5] = truth[0, 5, 5] = truth[2, 9, 9] = truth[7, 9, 9] = True
    write_pictures(tmp_path, "eye", rgb, planes, truth, {"HaEx", "iHE", "MA"})
    assert pictures_of(tmp_path, "eye") == Pictures(("MA",), ("MA", "HaEx"), ("MA", "iHE", "HaEx"))
    names = {file.name for file in photograph_folder(tmp_path, "eye").iterdir()}
    layers = {"MA.png", "truth-MA.png", "truth-HaEx.png"}
    assert names == {"photograph.jpg", "thumbnail.jpg", "pictures.json", *layers}
    write_pictures(tmp_path, "eye", rgb, np.zeros_like(planes))
    assert pictures_of(tmp_path, "eye") == Pictures((), (), ())


def test_what_lies_on_the_cameras_spots_is_a_grey_line_around_a_tint(tmp_path):
    rgb, planes = square(200)
    planes[0, 80:120, 80:120] = True
    write_pictures(tmp_path, "eye", rgb, np.zeros_like(planes), aside=planes[0])
    assert pictures_of(tmp_path, "eye") == Pictures((), (), (), camera=True)
    drawn = layer(tmp_path, "camera")
    assert 0 < drawn[100, 100, 3] < 128
    assert tuple(drawn[100, 78]) == (*ASIDE, 255)
    assert not drawn[:70, :, 3].any()
    write_pictures(tmp_path, "eye", rgb, planes, aside=np.zeros_like(planes[0]))
    assert pictures_of(tmp_path, "eye") == Pictures(("MA",), (), ())


def test_pictures_of_an_earlier_version_have_no_layer_of_the_camera(tmp_path):
    rgb, planes = square(64)
    write_pictures(tmp_path, "eye", rgb, planes)
    index = photograph_folder(tmp_path, "eye") / "pictures.json"
    index.write_text(json.dumps({"layers": ["MA"], "truth": [], "annotated": []}))
    assert pictures_of(tmp_path, "eye") == Pictures(("MA",), (), (), camera=False)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"layers": 1}', '{"camera": true}'])
def test_an_index_that_is_none_means_no_pictures(tmp_path, text):
    index = photograph_folder(tmp_path, "eye") / "pictures.json"
    index.parent.mkdir(parents=True)
    index.write_text(text)
    assert pictures_of(tmp_path, "eye") is None


def test_spots_of_a_camera_are_ringed_where_they_lie_on_a_smaller_picture():
    spot = Spot("bright", x=601.5, y=201.5, radius=40, depth=0.02, strength=9.0)
    camera = CameraMap(Camera(800, 400), photographs=40, groups=40, spots=(spot,))
    drawn = marked(camera, np.full((100, 200), 128, np.uint8)).astype(np.int16)
    ring = np.abs(drawn - RINGS["bright"]).max(axis=-1) < 40
    rows = np.nonzero(ring[:, 138:163].any(axis=1))[0]
    assert (rows.min(), rows.max()) == (39, 61)
    assert not ring[45:56, 145:156].any()


def test_a_photograph_without_pictures_has_none(tmp_path):
    assert pictures_of(tmp_path, "eye") is None


def test_large_squares_are_brought_down_and_lose_no_pixel(tmp_path):
    rgb, planes = square(3001)
    places = np.random.default_rng(0).integers(3001, size=(50, 2))
    planes[0, places[:, 0], places[:, 1]] = True
    write_pictures(tmp_path, "eye", rgb, planes)
    drawn = layer(tmp_path, "MA")
    assert drawn.shape == (SIDE, SIDE, 4)
    rows, columns = (places * SIDE // 3001).T
    assert (drawn[rows, columns, 3] > 0).all()
    folder = photograph_folder(tmp_path, "eye")
    assert Image.open(folder / "photograph.jpg").size == (SIDE, SIDE)
    assert Image.open(folder / "thumbnail.jpg").size == (THUMBNAIL, THUMBNAIL)


@pytest.mark.parametrize("lesion", LESIONS, ids=lambda lesion: lesion.code)
def test_a_layer_is_a_line_around_a_tint_and_nothing_elsewhere(tmp_path, lesion):
    rgb, planes = square(200)
    planes[CODES.index(lesion.code), 80:120, 80:120] = True
    write_pictures(tmp_path, "eye", rgb, planes, planes)
    drawn = layer(tmp_path, lesion.code)
    assert 0 < drawn[100, 100, 3] < 128
    assert tuple(drawn[100, 78]) == (*lesion.colour, 255)
    assert not drawn[:70, :, 3].any()
    truth = layer(tmp_path, f"truth-{lesion.code}")
    assert ((truth[..., 3] > 0) == planes[CODES.index(lesion.code)]).all()


def test_shapes_that_do_not_belong_together_are_refused(tmp_path):
    rgb, planes = square(64)
    with pytest.raises(ValueError, match="belong together"):
        write_pictures(tmp_path, "eye", rgb, planes[:, :32])
    with pytest.raises(ValueError, match="belong together"):
        write_pictures(tmp_path, "eye", rgb, planes, planes[:4])
    with pytest.raises(ValueError, match="belong together"):
        write_pictures(tmp_path, "eye", rgb, planes, aside=planes[0, :32])


def test_ordinary_ids_name_their_folder():
    for id in ("A_train_IDRiD_01", "eye-7.left", "0001"):
        assert safe_name(id) == id


def test_odd_ids_get_safe_names_of_their_own():
    odd = ["a/b", "a b", "a%b", "a#b", "..", ".", "", "-a", "ä", "a.", "\udcff", "x" * 300, "<b>", "<i>"]
    names = [safe_name(id) for id in odd]
    assert len(set(names)) == len(odd)
    for name in names:
        assert name.isascii()
        assert name.replace("_", "").replace("-", "").isalnum()
        assert len(name) < 100
