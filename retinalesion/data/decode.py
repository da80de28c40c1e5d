"""Picture files to arrays, with limits: whatever a folder holds, it gives a right picture or a clear message.

Pillow alone decodes: it is as fast as OpenCV on large JPEGs, reads the header before any pixel, and
refuses truncated files, which OpenCV turns half grey without a word.

Photographs come as any viewer shows them: turned by their EXIF orientation, in sRGB, alpha dropped. Masks
are turned by their own tag, if they bear one.
"""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from retinalesion.errors import PhotographError

PIXEL_LIMIT = 100_000_000
LONGEST_SIDE = 12_000  # pixels: a field of view becomes a square
BYTE_LIMIT = 1 << 30
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})

_SIXTEEN_BIT = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_ALPHA = frozenset({"RGBA", "LA", "PA"})
_EIGHT_BIT = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"})
_COLOURED = frozenset({"RGB", "RGBA", "RGBX", "P", "PA", "YCbCr"})  # what is written in red, green and blue
_LONGEST_NAME = 60
_LONGEST_PROFILE = 4 << 20  # bytes; those of printers, the longest, take one or two million
_SAME_COLOUR = 3  # grey levels: sRGB as one program writes it differs so much from another's
_STEPS = np.linspace(0, 255, 8).astype(np.uint8)
_LATTICE = Image.fromarray(np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), -1).reshape(8, 64, 3))
_MODEL, _CAMERA_TAGS, _SERIAL = 0x0110, 0x8769, 0xA431  # of EXIF
_TURNS_ASIDE = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height
_ORIENTATION, _ORIENTATIONS = 0x0112, frozenset(range(1, 9))


class Camera(NamedTuple):
    """Which camera took a photograph, as far as the file tells.

    Attributes:
        width: of its photographs, as a viewer shows them.
        height: likewise.
        model: by EXIF; empty where there is none.
        serial: likewise.
        turned: EXIF's orientation, 1 for upright: dust turns with the picture.
    """

    width: int
    height: int
    model: str = ""
    serial: str = ""
    turned: int = 1

    def __str__(self) -> str:
        named = " ".join(filter(None, (self.model, self.serial)))
        turned = f", turned (orientation {self.turned})" if self.turned != 1 else ""
        return f"{self.width} x {self.height} pixels{turned}" + (f", {named}" if named else "")


def sha256_of(path: Path) -> str:
    """Hex digest of a file.

    Raises:
        PhotographError: missing or not readable.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def read_photograph(path: Path) -> NDArray[np.uint8]:
    """A photograph as uint8 RGB (height, width, 3), as a viewer shows it.

    The format is told by content, not by the file's name. Grey photographs get three equal channels, CMYK is
    converted, 16 bits are brought to 8, alpha is dropped, the EXIF orientation is carried out, and colours of
    another space, by an embedded profile, are brought to sRGB.

    Raises:
        PhotographError: missing, empty, truncated, no picture, of a kind that is not read, or too large.
    """
    with _decoded(path) as image:
        if image.mode in _SIXTEEN_BIT:
            return np.repeat(_eight_bit(path, image, small_as_is=False)[..., None], 3, axis=2)
        # Pillow composes nothing here: converting from RGBA or LA to RGB just leaves alpha out.
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        if image.mode in _COLOURED:
            rgb = _in_srgb(rgb, image.info.get("icc_profile"))
        return np.array(rgb, np.uint8)


def read_mask(path: Path, *, palette: bool = False) -> NDArray[np.uint8]:
    """The values of a mask as stored, uint8 (height, width); alpha never counts.

    Grey masks give their grey, 1-bit masks 0 and 255, colour masks their brightest channel. Palette masks
    give the index: turned grey, IDRiD's 0 and 1 would become 0 and 76. Values of 16-bit masks stay where
    none exceeds 255, else they are brought to 8 bits.

    Args:
        path: of the mask.
        palette: look up palette masks and give the brightest channel of the colour instead of the index;
            right where drawing programs wrote them, since those number colours in any order.

    Raises:
        PhotographError: missing, empty, truncated, no picture, of a kind that is not read, or too large.
    """
    with _decoded(path) as image:
        if image.mode in _SIXTEEN_BIT:
            return _eight_bit(path, image, small_as_is=True)
        if image.mode in ("P", "PA") and not palette:
            values = np.array(image, np.uint8)
            return values if values.ndim == 2 else values[..., 0].copy()
        if image.mode in ("L", "1"):
            return np.array(image.convert("L"), np.uint8)
        channels: NDArray[np.uint8] = np.asarray(image.convert("RGB"), np.uint8).max(axis=2)
        return channels


def read_alpha(path: Path) -> NDArray[np.uint8] | None:
    """The alpha channel of a picture, uint8 (height, width); None where it has none. Only to warn of it.

    Raises:
        PhotographError: as `read_mask`.
    """
    with _decoded(path, only=_ALPHA) as image:
        return np.array(image.getchannel("A"), np.uint8) if image.mode in _ALPHA else None


def require_same_size(path: Path, mask: NDArray[np.uint8], photograph: Path, rgb: NDArray[np.uint8]) -> None:
    """Hold that a mask covers its photograph pixel for pixel.

    Raises:
        PhotographError: it is of another size.
    """
    if mask.shape == rgb.shape[:2]:
        return
    (height, width), (tall, wide) = mask.shape, rgb.shape[:2]
    message = f"{path}: {width} x {height} pixels, but its photograph {photograph} has {wide} x {tall}. "
    if size_of(photograph) == (width, height):
        message += (
            "The photograph's EXIF orientation turns it, and the mask was drawn on the unturned pixels: "
            "turn the mask as well, or take the orientation tag out of the photograph."
        )
    else:
        message += (
            "Bring the mask to the photograph's size by nearest neighbour, or put the right file there."
        )
    raise PhotographError(message)


def size_of(path: Path) -> tuple[int, int]:
    """Width and height by the header, before any turning. Cheap.

    Raises:
        PhotographError: missing, empty, no picture, or too large.
    """
    with _opened(path) as image:
        return image.size


def camera_of(path: Path) -> Camera:
    """The camera of a photograph, by the file's header; no pixel is decoded.

    Raises:
        PhotographError: missing, empty, no picture, or too large.
    """
    with _opened(path) as image:
        width, height = image.size
        try:
            # Pillow decodes all of a PNG in search of tags, and tells a TIFF's size turned already.
            tags = image.getexif() if image.format != "PNG" or "exif" in image.info else Image.Exif()
            told = tags.get(_ORIENTATION)
            turned = told if told in _ORIENTATIONS else 1
            if turned in _TURNS_ASIDE and image.format != "TIFF":
                width, height = height, width
            model, serial = _told(tags.get(_MODEL)), _told(tags.get_ifd(_CAMERA_TAGS).get(_SERIAL))
        except Exception:  # damaged tags tell nothing, and the pixels are sound
            model, serial, turned = "", "", 1
        return Camera(width, height, model, serial, turned)


def read_with_camera(path: Path) -> tuple[NDArray[np.uint8], Camera]:
    """A photograph, uint8 RGB (height, width, 3), and its camera; the size is that of the pixels.

    Raises:
        PhotographError: as `read_photograph` raises.
    """
    rgb = read_photograph(path)
    # Headers may say otherwise: tags that only the decoder finds can turn a picture.
    return rgb, camera_of(path)._replace(width=rgb.shape[1], height=rgb.shape[0])


def _told(value: object) -> str:
    """A tag's text, short and printable."""
    text = value if isinstance(value, str) else ""
    return "".join(letter for letter in text if letter.isprintable()).strip()[:_LONGEST_NAME]


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The header read and judged; no pixel decoded yet."""
    try:
        if not path.is_file():
            what = "is no file" if path.exists() else "leads nowhere" if path.is_symlink() else "no such file"
            raise PhotographError(f"{path}: {what}. Put a photograph there, or leave it out.")
        length = path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error
    if length == 0:
        raise PhotographError(f"{path}: is empty (0 bytes). Copy it again from where it came from.")
    if length > BYTE_LIMIT:
        raise PhotographError(f"{path}: {length / 2**20:.0f} MiB; at most {BYTE_LIMIT >> 20} MiB are read.")
    with warnings.catch_warnings():
        # Pillow warns of large pictures and odd metadata; the limit below is ours, metadata do not matter.
        warnings.simplefilter("ignore")
        try:
            image = Image.open(path, formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise _too_large(path, "") from error
        except OSError as error:
            if error.errno:
                raise _unreadable(path, error) from error
            raise PhotographError(
                f"{path}: is not a picture that can be read. Its content, whatever its name, must be "
                f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}; copy or convert it again."
            ) from error
        except Exception as error:  # a damaged header makes decoders raise almost anything
            raise _damaged(path, error) from error
        with image:
            width, height = image.size
            if width * height > PIXEL_LIMIT:
                raise _too_large(path, f"{width} x {height} pixels; ")
            if max(width, height) > LONGEST_SIDE:
                raise PhotographError(
                    f"{path}: {width} x {height} pixels; sides of at most {LONGEST_SIDE} pixels are read. "
                    "Cut the photograph out of it, or make it smaller, and its masks with it."
                )
            if image.mode not in _SIXTEEN_BIT | _ALPHA | _EIGHT_BIT:
                raise PhotographError(
                    f"{path}: pixels of kind {image.mode!r} are not read. Save it with 8 bits a channel, "
                    "as RGB or grey."
                )
            yield image


@contextmanager
def _decoded(path: Path, only: frozenset[str] | None = None) -> Iterator[Image.Image]:
    """The pixels decoded and turned; where ``only`` is given, left undecoded in any other mode."""
    with _opened(path) as image:
        if only is None or image.mode in only:
            try:
                image.load()
            except Exception as error:  # as above
                raise _damaged(path, error) from error
            _turn(image)
        yield image


def _turn(image: Image.Image) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # a damaged tag tells no orientation, and the pixels are sound
        return


def _in_srgb(rgb: Image.Image, profile: object) -> Image.Image:
    """Brought from the colours of an embedded profile to sRGB; as it is where that says so, or nothing.

    The profile may come from anywhere: a damaged one, or one of other colours than red, green and blue, tells
    nothing, and the pixels are sound.
    """
    if not isinstance(profile, bytes) or not 0 < len(profile) <= _LONGEST_PROFILE:
        return rgb
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        way = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), "RGB", "RGB")
        moved = np.asarray(ImageCms.applyTransform(_LATTICE, way), np.int16) - np.asarray(_LATTICE, np.int16)
        if np.abs(moved).max() <= _SAME_COLOUR:
            return rgb
        brought = ImageCms.applyTransform(rgb, way)
    except Exception:  # littlecms and its wrapper raise several kinds
        return rgb
    return brought or rgb


def _eight_bit(path: Path, image: Image.Image, *, small_as_is: bool) -> NDArray[np.uint8]:
    values = np.asarray(image).astype(np.int64)
    top = int(values.max(initial=0))
    if values.min(initial=0) < 0 or top > 65535:
        raise PhotographError(f"{path}: holds more than 16 bits a pixel. Save it with 8 bits a channel.")
    if small_as_is and top <= 255:
        return values.astype(np.uint8)
    return ((values + 128) // 257).astype(np.uint8)


def _unreadable(path: Path, error: OSError) -> PhotographError:
    reason = error.strerror or str(error)
    return PhotographError(
        f"{path}: cannot be read ({reason}). Check that it is there and that you may read it."
    )


def _damaged(path: Path, error: Exception) -> PhotographError:
    return PhotographError(f"{path}: damaged or cut off ({error}). Copy it again from where it came from.")


def _too_large(path: Path, size: str) -> PhotographError:
    return PhotographError(
        f"{path}: {size}at most {PIXEL_LIMIT // 10**6} million pixels are read. "
        "Make it smaller, and its masks with it."
    )
