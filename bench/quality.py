"""How many photographs are called ungradable: IDRiD's as they are, and spoilt in many ways?

python bench/quality.py IDRID_FOLDER [--store STORE] [--count 54]

Each photograph goes the whole way: its field is found anew after it was spoilt. Limits are the shipped ones,
and, where a store is named, also those of the store's training photographs. Spoilt are the photographs with
masks (part A); the readable ones are those of all parts and halves that are there.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from retinalesion.data.decode import read_photograph
from retinalesion.data.field import find_field, to_square
from retinalesion.data.quality import LIMITS, Limits, judge, limits_of, measure
from retinalesion.data.sources.idrid import IdridSource
from retinalesion.data.store import Store

Picture = NDArray[np.uint8]
Spoil = Callable[[Picture], Picture]


def blurred(share: float) -> Spoil:
    """A mean over a square thrice comes near to a Gaussian, and takes as long for any sigma."""

    def spoil(rgb: Picture) -> Picture:
        reach = round((4 * (share * find_field(rgb).side) ** 2 + 1) ** 0.5) | 1
        soft = rgb.astype(np.float32)
        for _ in range(3):
            soft = np.asarray(cv2.blur(soft, (reach, reach)), np.float32)
        return np.asarray(soft.round(), np.uint8)

    return spoil


def lit(factor: float, more: float = 0) -> Spoil:
    table = np.clip(np.arange(256) * factor + more, 0, 255).astype(np.uint8)
    return lambda rgb: table[rgb]


def covered(rows: slice, columns: slice) -> Spoil:
    """Black between shares of the field's box."""

    def spoil(rgb: Picture) -> Picture:
        box, result = find_field(rgb), rgb.copy()
        row, column = (
            slice(*(max(0, round(start + share * box.side)) for share in (part.start, part.stop)))
            for start, part in ((box.y, rows), (box.x, columns))
        )
        result[row, column] = 0
        return result

    return spoil


ALL, FIRST, SECOND = slice(-1, 2), slice(-1, 0.5), slice(0.5, 2)
SPOILT: dict[str, Spoil] = {
    **{
        f"blurred, sigma {100 * share:g} % of the field": blurred(share)
        for share in (0.04, 0.02, 0.01, 0.005)
    },
    **{f"blurred, sigma {100 * share:g} % (mild)": blurred(share) for share in (0.004, 0.003)},
    "black": lit(0),
    "dark, a tenth of the light": lit(0.1),
    "over-lit, 3 times the light": lit(3),
    "over-lit, 150 grey levels more": lit(1, 150),
    "white": lit(0, 255),
    "left half covered": covered(ALL, FIRST),
    "right half covered": covered(ALL, SECOND),
    "upper half covered": covered(FIRST, ALL),
    "lower half covered": covered(SECOND, ALL),
    "left third covered": covered(ALL, slice(-1, 1 / 3)),
    "a quarter covered": covered(FIRST, FIRST),
}


def no_fundus(rng: np.random.Generator, height: int, width: int) -> Iterator[tuple[str, Picture]]:
    """Pictures of other things, drawn differently each time."""
    page = np.full((height, width, 3), 245, np.uint8)
    for y in range(height // 12, height - height // 12, height // 30):
        words = " ".join("x" * int(rng.integers(1, 9)) for _ in range(12))
        cv2.putText(page, words, (width // 12, y), cv2.FONT_HERSHEY_SIMPLEX, height / 1000, (20,) * 3, 3)
    yield "text page", page
    yield "noise", rng.integers(0, 256, (height, width, 3), np.uint8)
    red = rng.normal((150, 80, 30), 40, (height, width, 3))
    yield "noise of a retina's colours", red.clip(0, 255).astype(np.uint8)
    ramp = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None]
    yield "grey gradient", np.broadcast_to(ramp, (height, width, 3)).copy()
    colour = rng.integers(0, 256, 3)
    yield "solid colour", np.broadcast_to(colour.astype(np.uint8), (height, width, 3)).copy()
    yield "solid orange", np.broadcast_to(np.array((160, 80, 30), np.uint8), (height, width, 3)).copy()
    disc = np.zeros((height, width, 3), np.uint8)
    cv2.circle(disc, (width // 2, height // 2), height // 2 - 5, (160, 80, 30), cv2.FILLED)
    yield "solid orange disc", disc
    for name, sky, ground in (
        ("landscape, day", (90, 150, 230), (60, 110, 40)),
        ("landscape, sunset", (200, 110, 50), (90, 50, 25)),
    ):
        yield name, _landscape(rng, height, width, sky, ground)


def _landscape(
    rng: np.random.Generator,
    height: int,
    width: int,
    sky: tuple[int, int, int],
    ground: tuple[int, int, int],
) -> Picture:
    """Sky that grows lighter towards hills, hills of soft noise, the sun, some trunks."""
    down = np.linspace(0, 1, height)[:, None, None]
    scene = np.array(sky) * (0.7 + 0.5 * down) * np.ones((1, width, 1))
    cv2.circle(scene, (int(rng.integers(width)), height // 4), height // 12, (255, 240, 200), cv2.FILLED)
    grain = sum(
        cv2.resize(rng.normal(0, 1, (4 * 2**k, 6 * 2**k)), (width, height), interpolation=cv2.INTER_CUBIC)
        / 2**k
        for k in range(6)
    )
    ridge = (0.5 + 0.1 * np.sin(np.linspace(0, rng.uniform(4, 12), width))) * height
    hills = np.arange(height)[:, None] > ridge
    scene[hills] = (np.array(ground) * (1 + 0.25 * np.asarray(grain)[..., None]))[hills]
    for x in rng.integers(width, size=6):
        cv2.line(scene, (int(x), height), (int(x), height // 2), (60, 40, 25), width // 100)
    return np.asarray(scene.clip(0, 255), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("idrid", type=Path)
    parser.add_argument("--store", help="take limits from its training photographs too")
    parser.add_argument("--count", type=int, default=54, help="photographs to spoil")
    options = parser.parse_args()
    cv2.setNumThreads(1)

    limits: dict[str, Limits] = {"shipped": LIMITS}
    if options.store:
        store = Store(options.store)
        rows = track(store.split("train"), "measuring the store", transient=True)
        limits["store's"] = limits_of([measure(store.image(row.id)) for row in rows])
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * (1 + len(limits)))

    def tell(version: str, rgb: Picture, side: int | None = None) -> None:
        box = find_field(rgb)
        figures = measure(to_square(rgb, box, side or min(box.side, 1024)))
        counts[version][0] += 1
        for place, known in enumerate(limits.values(), 1):
            counts[version][place] += bool(judge(figures, known))

    photographs = IdridSource(options.idrid).photographs()
    for photograph in track(photographs, "as they are"):
        assert photograph.file is not None
        tell(f"readable, {photograph.id.partition('_IDRiD')[0]}", read_photograph(photograph.file))
    rng = np.random.default_rng(0)
    for photograph in track(
        IdridSource(options.idrid, part="segmentation").photographs()[: options.count], "spoilt"
    ):
        assert photograph.file is not None
        rgb = read_photograph(photograph.file)
        tell("readable, at 256", rgb, 256)
        for version, spoil in SPOILT.items():
            tell(version, spoil(rgb))
        for version, other in no_fundus(rng, 864, 1300):
            tell(version, other)

    table = Table(title="called ungradable")
    for column in ("version", "photographs", *(f"by the {name} limits" for name in limits)):
        table.add_column(column, justify="left" if column == "version" else "right")
    for version, row in counts.items():
        table.add_row(version, *map(str, row))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
