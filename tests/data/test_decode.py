import hashlib
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from retinalesion.data import decode
from retinalesion.data.decode import read_alpha, read_mask, read_photograph, sha256_of
from retinalesion.errors import PhotographError


@pytest.fixture
def rgb():
    """No two channels alike, not square, smooth enough for JPEG."""
    rows, columns = np.mgrid[:60, :80]
    return np.stack([rows * 3, columns * 2, 200 - rows], axis=2).astype(np.uint8)


def grey_of(rgb):
    return np.asarray(Image.fromarray(rgb).convert("L"))


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_lossless_formats_come_back_as_they_were(tmp_path, rgb, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(rgb).save(path)
    assert np.array_equal(read_photograph(path), rgb)


def test_jpeg_equals_the_reference_decoder(tmp_path, rgb):
    path = tmp_path / "a.jpg"
    Image.fromarray(rgb).save(path, quality=90)
    assert np.array_equal(read_photograph(path), cv2.imread(str(path))[..., ::-1])


def test_format_is_told_by_content(tmp_path, rgb):
    path = tmp_path / "a.jpg"
    Image.fromarray(rgb).save(path, format="PNG")
    assert np.array_equal(read_photograph(path), rgb)


def test_grey_photograph_gets_three_equal_channels(tmp_path, rgb):
    path = tmp_path / "a.png"
    Image.fromarray(grey_of(rgb)).save(path)
    assert np.array_equal(read_photograph(path), np.repeat(grey_of(rgb)[..., None], 3, axis=2))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_become_eight(tmp_path, rgb, suffix, channels):
    path = tmp_path / f"a.{suffix}"
    wanted = rgb if channels == 3 else np.repeat(rgb[..., :1], 3, axis=2)
    cv2.imwrite(str(path), (wanted[..., ::-1] if channels == 3 else rgb[..., 0]).astype(np.uint16) * 257)
    assert np.array_equal(read_photograph(path), wanted)


@pytest.mark.parametrize("suffix", ["tif", "jpg"])
def test_cmyk_is_converted(tmp_path, rgb, suffix):
    path = tmp_path / f"a.{suffix}"
    flat = np.full_like(rgb, (200, 90, 30))
    Image.fromarray(flat).convert("CMYK").save(path)
    assert np.abs(read_photograph(path).astype(int) - flat).max() <= 2


def test_alpha_of_a_photograph_is_dropped_not_composed(tmp_path, rgb):
    path = tmp_path / "a.png"
    Image.fromarray(np.dstack([rgb, np.zeros(rgb.shape[:2], np.uint8)])).save(path)
    assert np.array_equal(read_photograph(path), rgb)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_exif_orientation_is_carried_out_as_in_a_viewer(tmp_path, rgb, suffix):
    plain, turned = tmp_path / f"plain.{suffix}", tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(rgb).save(plain)
    Image.fromarray(rgb).save(turned, exif=exif)
    assert np.array_equal(read_photograph(turned), np.rot90(read_photograph(plain), -1))


def test_damaged_exif_does_not_matter(tmp_path, rgb):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgb).save(path, exif=exif)
    content = path.read_bytes()
    start = content.index(b"Exif\0\0") + 6
    path.write_bytes(content[:start] + b"\xff" * 6 + content[start + 6 :])
    assert read_photograph(path).shape == rgb.shape


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp", "webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_off_files_are_refused_not_half_grey(tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(PhotographError, match=rf"a\.{suffix}.*[Cc]opy"):
        read_photograph(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "0 bytes"), (b"<html>not found</html>", "not a picture"), (b"\xff\xd8\xff\xe0", "not a picture")],
)
def test_what_is_no_picture_is_named(tmp_path, content, says):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(PhotographError, match=says) as caught:
        read_photograph(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder_are_named(tmp_path):
    (tmp_path / "b.jpg").mkdir()
    for name in ("a.jpg", "b.jpg"):
        with pytest.raises(PhotographError, match=name):
            read_photograph(tmp_path / name)
    with pytest.raises(PhotographError, match=r"c\.jpg"):
        sha256_of(tmp_path / "c.jpg")


def bomb(side):
    """A PNG of some hundred bytes that says it is side x side; its pixels would take 3 x side^2 bytes."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = side.to_bytes(4) * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    return bytes(content)


@pytest.mark.parametrize("side", [10_001, 40_000])
def test_bombs_are_refused_before_decoding(tmp_path, monkeypatch, side):
    path = tmp_path / "a.png"
    path.write_bytes(bomb(side))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    for read in (read_photograph, read_mask):
        with pytest.raises(PhotographError, match=r"a\.png.*100 million pixels.*smaller"):
            read(path)


def test_pixels_of_other_kinds_are_refused(tmp_path, rgb):
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), rgb[..., 0].astype(np.float32))
    for read in (read_photograph, read_mask):
        with pytest.raises(PhotographError, match=r"a\.tif.*8 bits"):
            read(path)


def test_executable_formats_are_not_opened(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(PhotographError, match="not a picture"):
        read_photograph(path)


def test_sha256_is_of_the_file(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")
    assert sha256_of(path) == hashlib.sha256(b"abc").hexdigest()


def palette(indices, colours):
    picture = Image.fromarray(indices)
    picture.putpalette([channel for colour in colours for channel in colour])
    return picture


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_palette_masks_give_the_index_or_the_colour_on_request(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    indices = np.zeros((4, 6), np.uint8)
    indices[1:3, 2:5] = 1
    palette(indices, [(0, 0, 0), (255, 0, 0)]).save(path)
    assert np.array_equal(read_mask(path), indices)
    assert np.array_equal(read_mask(path, palette=True), indices * 255)


def test_a_drawing_programs_swapped_palette_is_no_swapped_mask(tmp_path):
    path = tmp_path / "a.png"
    drawn = np.zeros((4, 6), np.uint8)
    drawn[1:3, 2:5] = 255
    palette((drawn == 0).astype(np.uint8), [(255, 255, 255), (0, 0, 0)]).save(path)
    assert np.array_equal(read_mask(path, palette=True), drawn)


def test_grey_masks_keep_their_values(tmp_path):
    path = tmp_path / "a.png"
    values = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    Image.fromarray(values).save(path)
    assert np.array_equal(read_mask(path), values)


@pytest.mark.parametrize(("stored", "wanted"), [((0, 1), (0, 1)), ((0, 65535), (0, 255))])
def test_sixteen_bit_masks(tmp_path, stored, wanted):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.array([stored], np.uint16))
    assert read_mask(path).tolist() == [list(wanted)]


def test_one_bit_masks_give_0_and_255(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[True, False]])).save(path)
    assert read_mask(path).tolist() == [[255, 0]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_alpha_of_a_mask_never_counts(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    values = np.zeros((4, 6, 4), np.uint8)
    values[..., 3] = 255
    values[1, 2, 0] = 255
    Image.fromarray(values).save(path)
    assert np.array_equal(read_mask(path), values[..., 0])
    assert np.array_equal(read_alpha(path), values[..., 3])


def test_grey_with_alpha(tmp_path):
    path = tmp_path / "a.png"
    grey = np.array([[0, 255]], np.uint8)
    Image.fromarray(np.dstack([grey, 255 - grey]), "LA").save(path)
    assert np.array_equal(read_mask(path), grey)


def test_a_picture_without_alpha_says_so(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.png")
    assert read_alpha(tmp_path / "a.png") is None


def test_limits_are_those_that_the_guide_names():
    guide = (Path(__file__).parents[2] / "docs" / "folder-layout.md").read_text("utf-8")
    assert f"{decode.PIXEL_LIMIT // 10**6} million pixels" in guide
    assert f"{decode.LONGEST_SIDE} on a side" in guide
    assert f"{decode.BYTE_LIMIT >> 30} GiB" in guide


def profile_of(gamma, red, green, blue):
    """An ICC profile of a colour space by its primaries (XYZ, for D50) and its gamma."""

    def fixed(*values):
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {
        name: b"XYZ " + bytes(4) + fixed(*xyz)
        for name, xyz in zip(("rXYZ", "gXYZ", "bXYZ"), (red, green, blue), strict=True)
    }
    tags |= dict.fromkeys(("rTRC", "gTRC", "bTRC"), curve)
    tags["wtpt"] = b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249)
    place, table, data = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name.encode() + struct.pack(">II", place + len(data), len(value))
        data += value
    head = b"lcms" + bytes.fromhex("02400000") + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += fixed(0.9642, 1.0, 0.8249)
    return struct.pack(">I", place + len(data)) + head.ljust(124, b"\0") + table + data


ADOBE_RGB = profile_of(
    2.19921875, (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)
)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_colours_of_an_embedded_profile_are_brought_to_srgb(tmp_path, suffix):
    """What Adobe RGB writes for colours of sRGB, read as those."""
    rgb = np.zeros((40, 60, 3), np.uint8) + np.array([170, 80, 40], np.uint8)
    # by the formulas of both spaces
    linear = np.where(rgb / 255 <= 0.04045, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    to_adobe = np.array([[0.71512, 0.28488, 0.0], [0.0, 1.0, 0.0], [0.0, 0.04117, 0.95883]])
    stored = np.rint(255 * (linear @ to_adobe.T) ** (1 / 2.19921875)).astype(np.uint8)
    assert np.abs(stored.astype(int) - rgb).max() > 10
    options = {"lossless": True} if suffix == "webp" else {"quality": 100} if suffix == "jpg" else {}
    for name, profile in (("with", ADOBE_RGB), ("without", None)):
        Image.fromarray(stored).save(tmp_path / f"{name}.{suffix}", icc_profile=profile, **options)
    brought, as_it_is = (
        read_photograph(tmp_path / f"{name}.{suffix}").astype(int) for name in ("with", "without")
    )
    assert np.abs(brought - rgb).max() <= 3
    assert np.abs(as_it_is - stored).max() <= 2


HOSTILE = {
    "nothing": b"",
    "text": b"sRGB IEC61966-2.1",
    "cut off": ADOBE_RGB[:200],
    "tags beyond its end": ADOBE_RGB[:128] + struct.pack(">I", 2**31) + ADOBE_RGB[132:],
    "of printers' colours": ADOBE_RGB.replace(b"RGB XYZ ", b"CMYKLab "),
    "grey": ADOBE_RGB.replace(b"RGB XYZ ", b"GRAYXYZ "),
    "too long": ADOBE_RGB + bytes(5 << 20),
    "noise": np.random.default_rng(0).bytes(5000),
    "sRGB itself": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
}


@pytest.mark.parametrize("profile", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_profile_that_tells_nothing_leaves_the_pixels_as_they_are(tmp_path, rgb, profile, mode):
    Image.fromarray(rgb).convert(mode).save(tmp_path / "a.tif")
    Image.fromarray(rgb).convert(mode).save(tmp_path / "b.tif", icc_profile=profile)
    assert np.array_equal(read_photograph(tmp_path / "a.tif"), read_photograph(tmp_path / "b.tif"))


@pytest.mark.parametrize("mode", ["L", "CMYK", "1"])
def test_a_profile_of_other_colours_than_the_pixels_tells_nothing(tmp_path, rgb, mode):
    Image.fromarray(rgb).convert(mode).save(tmp_path / "a.tif")
    Image.fromarray(rgb).convert(mode).save(tmp_path / "b.tif", icc_profile=ADOBE_RGB)
    assert np.array_equal(read_photograph(tmp_path / "a.tif"), read_photograph(tmp_path / "b.tif"))


def test_a_profile_damaged_anywhere_stops_nothing(tmp_path, rgb):
    rng, path = np.random.default_rng(1), tmp_path / "a.png"
    for _ in range(60):
        spoilt = bytearray(ADOBE_RGB)
        for place in rng.integers(0, len(spoilt), 6):
            spoilt[place] = rng.integers(256)
        Image.fromarray(rgb).save(path, icc_profile=bytes(spoilt))
        assert read_photograph(path).shape == rgb.shape
