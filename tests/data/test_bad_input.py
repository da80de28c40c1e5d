"""Bad files: each is named with its remedy, nothing is half written, and the rest can be kept."""

import io
import re
import zlib

import numpy as np
import pytest
from PIL import Image

from retinalesion.data.prepare import prepare
from retinalesion.data.sources.folder import FolderSource
from retinalesion.errors import PhotographError, UserError

GOOD = "photographs/good.png"


def encoded(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def bomb():
    content = bytearray(encoded(np.zeros((8, 8, 3), np.uint8), "PNG"))
    content[16:24] = (40_000).to_bytes(4) * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    return bytes(content)


def turned(pixels):
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(pixels, "PNG", exif=exif)


@pytest.fixture
def bad(request, photograph, mask):
    """The files of one photograph called ``bad``, of which one is at fault."""
    jpeg = encoded(photograph, "JPEG")
    return {
        "empty": {"photographs/bad.jpg": b""},
        "cut off": {"photographs/bad.jpg": jpeg[: len(jpeg) // 2]},
        "text": {"photographs/bad.jpg": b"<html>404</html>"},
        "bomb": {"photographs/bad.png": bomb()},
        "mask cut off": {"photographs/bad.jpg": jpeg, "masks/MA/bad.png": encoded(mask, "PNG")[:60]},
        "mask empty": {"photographs/bad.jpg": jpeg, "masks/MA/bad.png": b""},
        "mask a bomb": {"photographs/bad.jpg": jpeg, "masks/MA/bad.png": bomb()},
        "mask of another size": {"photographs/bad.jpg": jpeg, "masks/MA/bad.png": mask[:48]},
        "mask not turned": {"photographs/bad.png": turned(photograph), "masks/MA/bad.png": mask},
        "mask of labels": {
            "photographs/bad.jpg": jpeg,
            "masks/MA/bad.png": np.where(mask, 2, 1).astype("uint8"),
        },
    }[request.param]


FAULTS = [
    ("empty", r"bad\.jpg.*0 bytes.*Copy it again"),
    ("cut off", r"bad\.jpg.*cut off.*Copy it again"),
    ("text", r"bad\.jpg.*not a picture"),
    ("bomb", r"bad\.png.*100 million pixels.*smaller"),
    ("mask cut off", r"MA/bad\.png.*Copy it again"),
    ("mask empty", r"MA/bad\.png.*0 bytes.*Copy it again"),
    ("mask a bomb", r"MA/bad\.png.*100 million pixels"),
    ("mask of another size", r"MA/bad\.png.*128 x 48.*bad\.jpg has 128 x 96.*nearest"),
    ("mask not turned", r"MA/bad\.png.*EXIF.*turn the mask"),
    ("mask of labels", r"MA/bad\.png.*1, 2.*one mask per lesion"),
]


@pytest.mark.parametrize(("bad", "says"), FAULTS, indirect=["bad"], ids=[name for name, _ in FAULTS])
def test_one_bad_photograph(folder_of, tmp_path_factory, photograph, bad, says):
    root = folder_of({GOOD: photograph, **bad})
    store = tmp_path_factory.mktemp("out") / "store"
    with pytest.raises(PhotographError, match=f"(?s){says}.*--skip-bad"):
        prepare(FolderSource(root), store, side=64, jobs=1)
    assert not (store / "store.json").exists()
    prepared = prepare(FolderSource(root), store, side=64, jobs=1, skip_bad=True)
    assert [row.id for row in prepared.store.rows] == ["good"]
    assert [skipped.id for skipped in prepared.skipped] == ["bad"]
    assert re.search(says, prepared.skipped[0].message)
    written = sorted(path.stem for path in store.rglob("*.png"))
    assert written == ["good", "good"]


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("a.jpg", lambda rgb: encoded(rgb, "PNG")),
        ("a.tif", lambda rgb: encoded(rgb, "TIFF")),
        ("a.png", lambda rgb: encoded(np.dstack([rgb, np.zeros(rgb.shape[:2], np.uint8)]), "PNG")),
    ],
    ids=["PNG named jpg", "TIFF", "alpha"],
)
def test_odd_but_sound_photographs_are_stored_as_plain_ones(
    folder_of, tmp_path_factory, photograph, name, draw
):
    root = folder_of({"plain/a.png": photograph, f"odd/{name}": draw(photograph)})
    out = tmp_path_factory.mktemp("out")
    stores = [
        prepare(FolderSource(root / kind), out / kind, side=64, jobs=1).store for kind in ("plain", "odd")
    ]
    assert np.array_equal(stores[0].image("a"), stores[1].image("a"))
    assert stores[0].image("a").max() > 100


def test_masks_stay_aligned_when_exif_turns_both(folder_of, tmp_path_factory, photograph, mask):
    """Turned photograph and turned mask, each by its own tag, give the store of the pair drawn that way."""
    upright, marked = np.rot90(photograph, -1), np.rot90(mask, -1)
    root = folder_of(
        {
            "plain/photographs/a.png": np.ascontiguousarray(upright),
            "plain/masks/MA/a.png": np.ascontiguousarray(marked),
            "turned/photographs/a.png": turned(photograph),
            "turned/masks/MA/a.png": turned(mask),
        }
    )
    out = tmp_path_factory.mktemp("out")
    plain, other = (
        prepare(FolderSource(root / kind), out / kind, side=64, jobs=1).store for kind in ("plain", "turned")
    )
    assert np.array_equal(plain.image("a"), other.image("a"))
    assert np.array_equal(plain.planes("a"), other.planes("a"))
    assert plain.planes("a").any()


def test_a_wrong_grade_stops_before_anything_is_written(folder_of, tmp_path_factory, photograph):
    root = folder_of({GOOD: photograph, "grades.csv": "id,grade\ngood,9\n"})
    store = tmp_path_factory.mktemp("out") / "store"
    with pytest.raises(UserError, match=r"grades\.csv, line 2: grade '9'"):
        prepare(FolderSource(root), store, side=64, jobs=1, skip_bad=True)
    assert not store.exists()
