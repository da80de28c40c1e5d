"""The healthy eye and the camera: layout, vessels, retina, and what a lens does to them."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from retinalesion.data.synthetic.brush import Canvas, Map, Path, Vector, direction, mix, stain

ARTERY = (0.82, 0.58, 0.60)  # light let through, red green blue
VEIN = (0.72, 0.50, 0.55)
STEP = 0.008  # of a vessel, from point to point


@dataclass(frozen=True)
class Camera:
    """What one camera makes of every eye.

    Attributes:
        height: of the photograph, in widths; below the field's diameter, the field is cut above and below.
        radius: of the field.
        tint: factor on red, green and blue.
        vignette: darkening at the rim, as a share.
        softness: deviation of the lens's blur.
        noise: deviation of a pixel's noise, 0 to 1.
        tab: a mark beside the field, as many cameras leave: 0 none, 1 bulging out, -1 cut in.
        black: brightness outside the field, 0 to 1.
    """

    height: float
    radius: float
    tint: tuple[float, float, float]
    vignette: float
    softness: float
    noise: float
    tab: int
    black: float


@dataclass(frozen=True)
class Layout:
    """Where things lie in one photograph, in photograph widths."""

    camera: Camera
    field: tuple[float, float]
    disc: tuple[float, float]
    disc_radius: float
    fovea: tuple[float, float]

    @property
    def temporal(self) -> float:
        """Direction from the disc to the fovea, radians."""
        return float(np.arctan2(self.fovea[1] - self.disc[1], self.fovea[0] - self.disc[0]))

    def depth(self, point: Vector) -> float:
        """How far inside the visible field a point lies; negative outside."""
        inside = self.camera.radius - float(np.hypot(*(point - self.field)))
        return min(inside, float(point[1]), self.camera.height - float(point[1]))


class Vessel(NamedTuple):
    """A vessel from its root to its tip."""

    path: Path
    widths: NDArray[np.float64]
    vein: bool


def sample_camera(rng: Generator) -> Camera:
    """A camera: colour, field, cut, sharpness."""
    gain = rng.uniform(0.80, 1.08)
    return Camera(
        height=float(rng.choice([0.82, 0.86, 0.92, 1.0])),
        radius=rng.uniform(0.455, 0.485),
        tint=(gain, gain * rng.uniform(0.82, 1.08), gain * rng.uniform(0.35, 1.02)),
        vignette=rng.uniform(0.15, 0.5),
        softness=rng.uniform(0.0003, 0.0013),
        noise=rng.uniform(0.006, 0.02),
        tab=int(rng.choice([-1, 0, 0, 1])),
        black=float(rng.choice([0.0, 0.01, 0.03])),
    )


def sample_layout(rng: Generator, camera: Camera, eye: str) -> Layout:
    """Where field, disc and fovea lie; the disc is on the nasal side, right in a right eye."""
    field = np.array([0.5 + rng.normal(0, 0.003), camera.height / 2 + rng.normal(0, 0.004)])
    fovea = field + rng.normal((-0.02, 0), 0.02)
    disc = fovea + rng.uniform(0.30, 0.34) * direction(np.radians(rng.normal(-5, 3)))
    if eye == "left":
        mirror = np.array([-1, 1]), np.array([1, 0])
        field, disc, fovea = (place * mirror[0] + mirror[1] for place in (field, disc, fovea))
    return Layout(
        camera=camera,
        field=(float(field[0]), float(field[1])),
        disc=(float(disc[0]), float(disc[1])),
        disc_radius=rng.uniform(0.055, 0.068),
        fovea=(float(fovea[0]), float(fovea[1])),
    )


def grow_vessels(rng: Generator, layout: Layout) -> list[Vessel]:
    """Two arteries and two veins run in arcades around the fovea, as many to the nose; all branch."""
    disc, fovea = np.array(layout.disc), np.array(layout.fovea)
    reach = float(np.hypot(*(fovea - disc)))
    forward = direction(layout.temporal) * reach
    upward = np.array([-forward[1], forward[0]]) * (1 if forward[0] < 0 else -1)

    vessels: list[Vessel] = []
    for up in (1, -1):
        for vein in (False, True):
            spread = rng.uniform(0.85, 1.1) + 0.12 * vein
            arcade = [(0, 0), (-0.05, 0.75), (0.55, 1.15), (2.5, rng.uniform(0.2, 0.7))]
            nasal = [(0, 0), (-0.10, 0.30), (-0.45, 0.65), (-1.1, rng.uniform(0.6, 1.0))]
            for corners, size in ((arcade, 1.0), (nasal, 0.75)):
                bend = [(x, y * spread * up + rng.normal(0, 0.05)) for x, y in corners]
                curve = _bezier(np.array([disc + x * forward + y * upward for x, y in bend]))
                root = (0.0125 if vein else 0.0095) * size * rng.uniform(0.85, 1.15)
                widths = np.linspace(root, root * 0.4, len(curve))
                trunk = Vessel(_wriggle(rng, curve, 0.006), widths, vein)
                vessels += _inside(trunk, layout)
    for trunk in tuple(vessels):
        vessels += _branches(rng, layout, trunk, generation=0)
    return vessels


def _bezier(corners: Path) -> Path:
    """A cubic curve, in steps of equal length."""
    t = np.linspace(0, 1, 200)[:, None]
    a, b, c, d = corners
    curve = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    run = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
    even = np.linspace(0, run[-1], max(12, int(run[-1] / STEP)))
    return np.stack([np.interp(even, run, curve[:, 0]), np.interp(even, run, curve[:, 1])], axis=1)


def _wriggle(rng: Generator, path: Path, size: float) -> Path:
    t = np.linspace(0, 1, len(path))
    away = np.zeros(len(path))
    for wave in (2, 3, 5, 8):
        away += rng.normal() / wave**0.5 * np.sin(2 * np.pi * (wave * t + rng.uniform()))
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    side = np.stack([-along[:, 1], along[:, 0]], axis=1)
    moved: Path = path + (size * np.minimum(1, 4 * t) * away)[:, None] * side
    return moved


def _inside(vessel: Vessel, layout: Layout) -> list[Vessel]:
    """The part from the root to where the field ends."""
    away = np.hypot(*(vessel.path - layout.field).T) > layout.camera.radius + 0.01
    end = int(np.argmax(away)) if away.any() else len(away)
    return [Vessel(vessel.path[:end], vessel.widths[:end], vessel.vein)] if end > 4 else []


def _branches(rng: Generator, layout: Layout, parent: Vessel, generation: int) -> list[Vessel]:
    fovea = np.array(layout.fovea)
    grown: list[Vessel] = []
    count = round(len(parent.path) * STEP * rng.uniform(5, 10))  # so many on a photograph's width
    for at in rng.uniform(0.12, 0.95, count):
        root = int(at * (len(parent.path) - 2))
        along = parent.path[root + 1] - parent.path[root]
        turn = rng.choice([-1, 1]) * rng.uniform(0.4, 1.0)
        heading = float(np.arctan2(along[1], along[0])) + turn
        width = parent.widths[root] * rng.uniform(0.35, 0.65)
        if width < 0.0012:
            continue
        steps = int(rng.uniform(12, 42) * (1.0 if generation == 0 else 0.6))
        bends = np.convolve(rng.normal(0, 0.17, steps + 6), np.ones(7) / 7, "valid") - 0.6 * turn / steps
        headings = heading + np.cumsum(bends)
        path = parent.path[root] + np.cumsum(STEP * np.stack([np.cos(headings), np.sin(headings)], 1), axis=0)
        path = np.concatenate([parent.path[root : root + 1], path])
        near = np.hypot(*(path - fovea).T) < 0.05  # the fovea has no vessels
        end = int(np.argmax(near)) if near.any() else len(path)
        branch = Vessel(
            path[:end], np.linspace(width, max(0.001, width * 0.35), len(path))[:end], parent.vein
        )
        for kept in _inside(branch, layout):
            grown.append(kept)
            if generation < 1:
                grown += _branches(rng, layout, kept, generation + 1)
    return grown


def paint_retina(rng: Generator, canvas: Canvas, layout: Layout) -> NDArray[np.float32]:
    """Reflectance of retina, disc and macula without vessels: float32 (height, width, 3), about 0 to 1."""
    image = np.empty((canvas.height, canvas.width, 3), np.float32)
    pigment = rng.uniform(0.8, 1.15)
    image[:] = (0.80, 0.44 * pigment, 0.27 * pigment)
    texture = sum(canvas.clouds(rng, cells) * size for cells, size in ((5, 0.05), (14, 0.03), (45, 0.022)))
    image *= 1 + np.asarray(texture, np.float32)[..., None] * np.array([0.5, 1.0, 1.2], np.float32)
    choroid = 1 - np.abs(canvas.clouds(rng, 34))  # ridges: the vessels beneath the retina
    image *= 1 + rng.choice([0.0, 0.03, 0.07]) * choroid[..., None] * np.array([0.6, 1.0, 1.0], np.float32)
    image *= 1 + canvas.clouds(rng, 150)[..., None] * np.float32(0.014)

    far = np.hypot(canvas.x - layout.fovea[0], canvas.y - layout.fovea[1])
    dark = np.float32(rng.uniform(0.14, 0.30))
    stain(image, dark * np.exp(-((far / 0.10) ** 2)), (0.6, 0.2, 0.1))
    stain(image, dark * np.float32(1.6) * np.exp(-((far / 0.026) ** 2)), (0.5, 0.25, 0.2))
    if rng.random() < 0.4:  # the pit's reflex
        mix(image, np.float32(0.35) * np.exp(-((far / 0.005) ** 2)), (1.0, 0.85, 0.6))
    _paint_disc(rng, canvas, layout, image, pale=rng.uniform(0, 1))
    return image


def _paint_disc(
    rng: Generator, canvas: Canvas, layout: Layout, image: NDArray[np.float32], pale: float
) -> None:
    outward = -direction(layout.temporal)
    across = np.array([-outward[1], outward[0]])
    dx, dy = canvas.x - layout.disc[0], canvas.y - layout.disc[1]
    along = (dx * outward[0] + dy * outward[1]) * rng.uniform(1.05, 1.15)
    level = dx * across[0] + dy * across[1]
    far = np.hypot(along, level) / layout.disc_radius
    edge = rng.uniform(0.05, 0.10)
    haze = np.exp(-((np.maximum(far - 1, 0) / 0.7) ** 2))
    mix(image, np.float32(rng.uniform(0.05, 0.2)) * haze, (0.95, 0.62, 0.38))
    if rng.random() < 0.35:  # a crescent of atrophy on the temporal side
        moon = _step(1.22 - np.hypot(along + 0.15 * layout.disc_radius, level) / layout.disc_radius, edge)
        mix(image, np.float32(0.5) * moon, (0.92, 0.68, 0.46))
    mix(image, np.float32(0.95) * _step(1 - far, edge), (0.98, 0.70 + 0.1 * pale, 0.42 + 0.15 * pale))
    cup = np.hypot(along + 0.1 * layout.disc_radius, level) / layout.disc_radius
    mix(image, np.float32(0.8) * _step(rng.uniform(0.35, 0.6) - cup, 0.15), (1.0, 0.90, 0.70))


def _step(distance: Map, width: float) -> Map:
    """0 below, 1 above zero, with a soft passage of a width."""
    return np.asarray(np.clip(distance / width + 0.5, 0, 1), np.float32)


def paint_vessels(canvas: Canvas, vessels: list[Vessel], image: NDArray[np.float32]) -> None:
    """Lay the vessels over the image, in place; arteries bear a bright line along their middle."""
    layers = {vein: canvas.layer(zoom=2) for vein in (False, True)}
    shine = canvas.layer(zoom=2)
    for vessel in sorted(vessels, key=lambda vessel: vessel.widths[0]):
        canvas.stroke(layers[vessel.vein], vessel.path, vessel.widths)
        if not vessel.vein and vessel.widths[0] > 0.005:
            canvas.stroke(shine, vessel.path, vessel.widths * 0.3)
    stain(image, canvas.blur(canvas.reduce(layers[True]), 0.0008), VEIN)
    stain(image, canvas.blur(canvas.reduce(layers[False]), 0.0008), ARTERY)
    image *= 1 + np.float32(0.22) * canvas.reduce(shine)[..., None]


def visible(canvas: Canvas, layout: Layout) -> Map:
    """The field, 1 inside and 0 outside, with the camera's tab or notch."""
    camera = layout.camera
    far = np.hypot(canvas.x - layout.field[0], canvas.y - layout.field[1])
    field = _step(camera.radius - far, 2 / canvas.width)
    if camera.tab:
        outward = direction(-0.42)
        foot = np.array(layout.field) + outward * (camera.radius - (0.012 if camera.tab < 0 else 0.005))
        side = np.array([-outward[1], outward[0]]) * 0.016
        layer = canvas.layer()
        canvas.fill(layer, np.array([foot - side, foot + side, foot + outward * 0.02]))
        tab = canvas.reduce(layer)
        field = np.maximum(field, tab) if camera.tab > 0 else np.minimum(field, 1 - tab)
    return field


def expose(rng: Generator, canvas: Canvas, layout: Layout, image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What the camera records of a reflectance: light, dust and reflexes, blur, noise; uint8 RGB."""
    camera = layout.camera
    dx, dy = canvas.x - layout.field[0], canvas.y - layout.field[1]
    lean = direction(rng.uniform(0, 2 * np.pi)) * rng.uniform(0, 0.25)
    light = 1 - camera.vignette * (dx**2 + dy**2) / camera.radius**2 + lean[0] * dx + lean[1] * dy
    image = (
        image * (light * np.float32(rng.uniform(0.92, 1.08)))[..., None] * np.asarray(camera.tint, np.float32)
    )
    _dirty_lens(rng, canvas, layout, image)
    field = visible(canvas, layout)
    image = image * field[..., None] + np.float32(camera.black) * (1 - field[..., None])
    sigma = camera.softness * canvas.width
    if sigma > 0.2:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(camera.noise)
    image += grain * (np.float32(0.25) + np.float32(0.75) * field[..., None])
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), np.uint8)


def _dirty_lens(rng: Generator, canvas: Canvas, layout: Layout, image: NDArray[np.float32]) -> None:
    """Dust out of focus, and now and then a reflex or the haze of a small pupil."""
    for _ in range(rng.poisson(1.5)):
        place = np.array(layout.field) + rng.uniform(-0.4, 0.4, 2)
        far = np.hypot(canvas.x - place[0], canvas.y - place[1])
        stain(
            image,
            np.float32(rng.uniform(0.1, 0.3)) * _step(rng.uniform(0.004, 0.012) - far, 0.006),
            (0.6,) * 3,
        )
    if rng.random() < 0.25:
        place = np.array(layout.field) + direction(rng.uniform(0, 2 * np.pi)) * layout.camera.radius
        far = np.hypot(canvas.x - place[0], canvas.y - place[1])
        mix(
            image,
            np.float32(rng.uniform(0.2, 0.5)) * np.exp(-((far / rng.uniform(0.06, 0.14)) ** 2)),
            (0.8, 0.75, 0.8),
        )
