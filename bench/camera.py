"""How much dust is found on a camera, and how often the eye is taken for it?

python bench/camera.py [--out FOLDER] [--photographs FOLDER]

Drawn eyes, 1072 pixels wide, are seen through 24 specks of dust of one depth, from a microaneurysm's size to
a small haemorrhage's, and stored as JPEG; dust shows by 30 % more or less from photograph to photograph.
Findings are simulated: of dust in min(0.6, 6 x depth) of the photographs, and by chance two anywhere in the
field and two within a tenth of the width of the fovea. Two lines have no dust: clean eyes, and eyes with a
lesion at the fovea each. Last, a patient with twenty photographs of one haemorrhage comes among forty others.
The texture of drawn retinas lies on a grid, alike in all, and does not average out as a real one's does.

With a folder of photographs of one camera, its spots instead, and what they cost.
"""

import argparse
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import cv2
import joblib
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from retinalesion.data.camera import ALONE, BESIDE_FINDINGS, MeanPicture, relative_to_surroundings
from retinalesion.data.decode import SUFFIXES, Camera, camera_of, read_photograph
from retinalesion.data.spots import Spot
from retinalesion.data.synthetic import SyntheticSource
from retinalesion.geometry import Point
from retinalesion.reading.camera import recurring
from retinalesion.reading.reading import Finding, Reading

WIDTH = 1072
NUMBERS = (10, 30, 60, 100, 300)
DEPTHS = (0.005, 0.01, 0.02, 0.04, 0.07, 0.10)
RADII = (2.5, 4.0, 6.0, 9.0)
OF_A_RADIUS = 6
OTHERS, SHOTS = 40, 20  # patients, and photographs of the one who comes again and again
QUALITY = 90
MOST_FOUND, FOUND = 0.6, 6.0  # share of photographs in which dust is found, at most and times its depth
CHANCE = 2  # findings that are none, anywhere and near the fovea
SPREAD = WIDTH / 10

Picture = NDArray[np.uint8]


class Speck(NamedTuple):
    """Dust, or a lesion, in pixels and as a share of the light."""

    x: float
    y: float
    radius: float
    depth: float


class OneCamera(SyntheticSource):
    """Drawn eyes of many patients, all taken by the first one's camera."""

    def _rng(self, *key: int) -> np.random.Generator:
        return super()._rng(*((1, 0) if key[0] == 1 else key))


EYES = OneCamera(2 * max(NUMBERS) + 2, WIDTH, seed=1)
_ALL = EYES.photographs()
RECORDS = [_ALL[2 * n + n % 2] for n in range(max(NUMBERS) + 1)]  # right and left in turn


def scattered(rng: np.random.Generator, height: int, count: int) -> NDArray[np.float64]:
    """Places in the field, (count, 2)."""
    middle = np.array([WIDTH, height]) / 2
    places = middle + rng.uniform(-0.42, 0.42, (20 * count + 100, 2)) * WIDTH
    inside = np.hypot(*(places - middle).T) < 0.42 * WIDTH
    return places[inside & (np.abs(places[:, 1] - middle[1]) < middle[1] - 0.04 * WIDTH)][:count]


def dust(depth: float, height: int) -> list[Speck]:
    """Specks that do not touch each other."""
    places: list[NDArray[np.float64]] = []
    for place in scattered(np.random.default_rng(round(1000 * depth)), height, 500):
        if len(places) < OF_A_RADIUS * len(RADII) and all(np.hypot(*(place - p)) > 60 for p in places):
            places.append(place)
    return [Speck(*place, RADII[n % len(RADII)], depth) for n, place in enumerate(places)]


def darkened(rgb: Picture, specks: list[Speck]) -> Picture:
    """What is seen with specks in the way; their rims are soft."""
    light = np.ones(rgb.shape[:2], np.float32)
    for x, y, radius, depth in specks:
        top, left = (max(0, int(middle - 2 * radius)) for middle in (y, x))
        window = np.s_[top : top + int(4 * radius) + 2, left : left + int(4 * radius) + 2]
        rows, columns = np.mgrid[window]
        light[window] -= (depth * np.clip(1.5 - np.hypot(columns - x, rows - y) / radius, 0, 1))[
            : light.shape[0] - top, : light.shape[1] - left
        ]
    return np.asarray((rgb * light[..., None]).round(), np.uint8)


def stored(rgb: Picture) -> Picture:
    """As it comes back from a JPEG."""
    data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def drawn(number: int) -> tuple[Picture, Point]:
    cv2.setNumThreads(1)
    record = RECORDS[number]
    assert record.fovea
    return EYES.read(record).rgb, record.fovea


def versions(number: int) -> tuple[Point, list[Picture]]:
    """An eye's fovea; and it relative to its surroundings: clean, through each dust, with a lesion."""
    rgb, fovea = drawn(number)
    shows = np.random.default_rng(number).uniform(0.7, 1.3)
    specks: list[list[Speck]] = [[]]
    for depth in DEPTHS:
        specks.append([speck._replace(depth=shows * depth) for speck in dust(depth, rgb.shape[0])])
    specks.append([Speck(fovea.x, fovea.y, 5, 0.2)])
    return fovea, [relative_to_surroundings(stored(darkened(rgb, some))) for some in specks]


def finding(lesion: str, x: float, y: float) -> Finding:
    return Finding(lesion, x, y, int(x), int(y), 1, 1, 1, 0.0, "", None, 0.9)


def reading(rng: np.random.Generator, height: int, fovea: Point, specks: list[Speck]) -> Reading:
    """What a network would find: some of the specks, and what is none."""
    seen = [s for s in specks if rng.random() < min(MOST_FOUND, FOUND * s.depth)]
    angles, away = rng.uniform(0, 2 * np.pi, CHANCE), SPREAD * np.sqrt(rng.uniform(0, 1, CHANCE))
    places = [
        *(np.array([s.x, s.y]) + rng.normal(0, 1, 2) for s in seen),
        *scattered(rng, height, CHANCE),
        *(np.array(fovea) + np.stack([np.cos(angles), np.sin(angles)], 1) * away[:, None]),
    ]
    return Reading("p", "", findings=tuple(finding(str(rng.choice(["MA", "iHE"])), *at) for at in places))


def judged(spots: tuple[Spot, ...], specks: list[Speck]) -> tuple[int, int]:
    """How many specks are found, and how many spots are none."""
    hit = {n for n, s in enumerate(specks) for at in spots if at.kind == "dark" and _on(at, s)}
    return len(hit), sum(not any(_on(at, s) for s in specks) for at in spots)


def _on(spot: Spot, speck: Speck) -> bool:
    return bool(np.hypot(spot.x - speck.x, spot.y - speck.y) <= max(spot.radius, speck.radius))


def called(mean: MeanPicture, camera: Camera, groups: list[list[Reading]]) -> dict[str, tuple[Spot, ...]]:
    """Spots by either way."""
    spots = mean.spots(camera, BESIDE_FINDINGS)
    return {
        "alone": tuple(spot for spot in spots if spot.strength > ALONE),
        "beside findings": recurring(spots, camera, mean.values()[1], groups),
    }


def drawn_eyes(out: Path | None) -> None:
    rgb, _ = drawn(max(NUMBERS))
    height = rgb.shape[0]
    camera = Camera(WIDTH, height)
    lines: dict[str, list[Speck]] = {
        "clean": [],
        **{f"dust, {depth:.1%}": dust(depth, height) for depth in DEPTHS},
        "a lesion at every fovea": [],
    }
    means = {line: MeanPicture() for line in lines}
    readings: dict[str, list[Reading]] = {line: [] for line in lines}
    results: dict[tuple[str, int, str], tuple[int, int]] = {}
    rng = np.random.default_rng(0)
    eyes = joblib.Parallel(2, return_as="generator")(
        joblib.delayed(versions)(number) for number in range(max(NUMBERS))
    )
    others, foveae = MeanPicture(), []
    for number, (fovea, relatives) in enumerate(track(eyes, "eyes", max(NUMBERS), transient=True), 1):
        foveae.append(fovea)
        for (line, specks), relative in zip(lines.items(), relatives, strict=True):
            means[line].add(relative)
            lesion = [Speck(*fovea, 5, 0.2)] if line == "a lesion at every fovea" else []
            readings[line].append(reading(rng, height, fovea, specks + lesion))
            if number in NUMBERS:
                ways = called(means[line], camera, [[one] for one in readings[line]])
                results |= {(line, number, way): judged(spots, specks) for way, spots in ways.items()}
        if number <= OTHERS:
            others.add(relatives[0])

    console = Console(width=110)
    for way, cut in (("alone", ALONE), ("beside findings", BESIDE_FINDINGS)):
        table = Table(title=f"the mean picture {way}, {cut} times its noise: specks found, wrong spots")
        table.add_column("photographs")
        for number in NUMBERS:
            table.add_column(str(number), justify="right")
        for line, specks in lines.items():
            cells = (results[line, number, way] for number in NUMBERS)
            table.add_row(
                line, *(f"{hit / len(specks):.0%}, {none}" if specks else str(none) for hit, none in cells)
            )
        console.print(table)
    moves = np.std(np.array(foveae), axis=0)
    console.print(f"The fovea moves by {moves[0]:.0f} and {moves[1]:.0f} pixels (deviation across and down).")

    same, fovea = rgb, RECORDS[max(NUMBERS)].fovea
    assert fovea
    bleeding = [Speck(WIDTH / 2 + 120, height / 2 - 90, 6, 0.25)]
    shots = [[reading(rng, height, fovea, bleeding)] for _ in range(SHOTS)]
    few = readings["clean"][:OTHERS]
    for number in range(1, SHOTS + 1):
        noisy = np.clip(darkened(same, bleeding) + rng.normal(0, 2, same.shape), 0, 255).astype(np.uint8)
        others.add(relative_to_surroundings(stored(noisy)))
        if number in (2, SHOTS):
            grouped = [[one] for one in few] + [[one for shot in shots[:number] for one in shot]]
            apart = [[one] for one in few] + shots[:number]
            told = {
                **called(others, camera, grouped),
                "beside findings, patients not known": called(others, camera, apart)["beside findings"],
            }
            for way, spots in told.items():
                hit, none = judged(spots, bleeding)
                console.print(
                    f"{OTHERS} patients and {number} photographs of one haemorrhage, {way}: "
                    f"{'called the camera' if hit else 'stays'}; {none} other spots."
                )
    if out:
        out.mkdir(parents=True, exist_ok=True)
        for line, mean in means.items():
            cv2.imwrite(str(out / f"mean {line.replace('%', 'percent')}.png"), mean.picture())
        seen = stored(darkened(rgb, dust(DEPTHS[-1], height)))
        cv2.imwrite(str(out / "dusty.png"), seen[..., ::-1])


def real(folder: Path, out: Path | None) -> None:
    files = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in SUFFIXES]
    cameras = {file: camera_of(file) for file in files}
    camera, count = Counter(cameras.values()).most_common(1)[0]
    mean, seconds = MeanPicture(), []
    cv2.setNumThreads(1)
    for file in track([file for file in files if cameras[file] == camera], "photographs", transient=True):
        begin = time.perf_counter()
        rgb = read_photograph(file)
        decoded = time.perf_counter()
        mean.add(relative_to_surroundings(rgb))
        seconds.append((decoded - begin, time.perf_counter() - decoded))
    console = Console(width=110)
    begin = time.perf_counter()
    spots = mean.spots(camera, BESIDE_FINDINGS)
    searched = time.perf_counter() - begin
    columns = ("kind", "x", "y", "radius", "depth", "strength", "alone")
    table = Table(*columns, title=f"{count} photographs of {camera}: spots by the mean picture")
    for spot in spots:
        alone = "yes" if spot.strength > ALONE else ""
        numbers = (f"{spot.x:.0f}", f"{spot.y:.0f}", f"{spot.radius:.0f}", f"{spot.depth:.1%}")
        table.add_row(spot.kind, *numbers, f"{spot.strength:.1f}", alone)
    console.print(table)
    decoding, dividing = (statistics.median(times) for times in zip(*seconds, strict=True))
    console.print(
        f"A photograph: {decoding:.2f} s to decode, {dividing:.2f} s relative to its surroundings; "
        f"{searched:.1f} s to search the mean."
    )
    if out:
        out.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(out / "mean.png"), mean.picture())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--photographs", type=Path, help="of one camera; of several, the one with most counts"
    )
    parser.add_argument("--out", type=Path, help="folder for pictures to look at")
    options = parser.parse_args()
    if options.photographs:
        real(options.photographs, options.out)
    else:
        drawn_eyes(options.out)


if __name__ == "__main__":
    main()
