"""Teach a small network where disc and fovea are: one of each fold, one of all; and how well they find them.

python bench/anatomy.py STORE OUT [--weights FILE] [--folds 5] [--views 8] [--steps 1000]

The store: ``retinalesion prepare idrid FOLDER STORE --healthy --side 512 --no-camera``, of a folder with part
C or ``centres.csv``. The encoder stays as ImageNet taught it: what it says of every view of every photograph
is kept once in OUT/features (0.3 GB), and the heads learn from that. OUT/fold-K.safetensors and
OUT/all.safetensors are written; what is there is left as it is. The table is of photographs as they are, each
by the network of its fold. On one core about 3 minutes for the features, and 2 for each network.
"""

import argparse
import math
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retinalesion.data.splits import folds_of, groups_in
from retinalesion.data.store import Row, Store
from retinalesion.networks.anatomy import (
    SIDE,
    AnatomyNet,
    anatomy_loss,
    read_anatomy,
    sightings,
    write_anatomy,
)
from retinalesion.scores import REFERABLE, bootstrap, percentiles

BATCH, RATE = 16, 2e-3
GUESSED = 0.2  # weight of a disc's diameter that is the mean of the drawn ones


class Cases(NamedTuple):
    """Views of all photographs; the first of each is the photograph as it is.

    Attributes:
        places: of disc and fovea as shares of the view's side, (n, v, 2, 2); far outside where hidden.
        zoom: of each view, (n, v).
        drawn: diameter of the disc in the whole square, where it was drawn, (n,).
        features: what the encoder says, (n, v, c, h, w).
    """

    places: NDArray[np.float32]
    zoom: NDArray[np.float32]
    drawn: NDArray[np.float32]
    features: NDArray[np.float16]


def places_of(row: Row) -> NDArray[np.float32]:
    """Disc and fovea as shares of the square, (2, 2)."""
    points = [(point.x, point.y) if point else (math.nan, math.nan) for point in (row.disc, row.fovea)]
    return ((np.array(points) + 0.5 - (row.box.x, row.box.y)) / row.box.side).astype(np.float32)


def view_of(
    square: NDArray[np.uint8], places: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32], float]:
    """A photograph as another camera, held otherwise, might take it.

    Args:
        square: uint8 (s, s, 3).
        places: of disc and fovea as shares of its side, (2, 2).
        rng: random numbers.

    Returns:
        uint8 (192, 192, 3), places in it, and how much it enlarges.
    """
    kind = rng.choice(["near", "far", "disc", "fovea"], p=[0.4, 0.3, 0.2, 0.1])
    zoom = math.exp(rng.uniform(math.log(0.7), math.log(2.0)))
    centre = 0.5 + rng.uniform(-0.1, 0.1, 2)
    if kind == "far":
        centre = 0.5 + rng.uniform(-0.5, 0.5, 2)
    known = places[("disc", "fovea").index(kind)] if kind in ("disc", "fovea") else np.full(2, np.nan)
    if np.isfinite(known).all():
        zoom = math.exp(rng.uniform(math.log(1.2), math.log(2.0)))
        centre = known + rng.uniform(-0.1, 0.1, 2) / zoom
    angle, flip = math.radians(rng.uniform(-25, 25)), rng.choice((-1.0, 1.0))
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    linear = np.array([[flip * cos, -sin], [flip * sin, cos]]) @ np.diag(np.exp(rng.uniform(-0.03, 0.03, 2)))
    moved = (places - centre) @ linear.T + 0.5
    size, wide = square.shape[0], 2 * SIDE
    scaled = linear * wide / size
    offset = (0.5 - linear @ centre) * wide - 0.5 + scaled.sum(1) / 2
    view = cv2.warpAffine(square, np.c_[scaled, offset], (wide, wide), flags=cv2.INTER_LINEAR)
    view = cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    view = recoloured(view, rng)
    x, y = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1, moved * 2 - 1
    radius, band = 9.0, 9.0  # the stop of the camera, and what the picture's edge cuts off
    if rng.random() < 0.7:
        radius = rng.uniform(0.9, 1.05)
        if rng.random() < 0.4:
            band = rng.uniform(0.7, 1.0)
    view[(np.hypot(x[:, None], x) > radius) | (np.abs(x[:, None]) > band)] = 0
    hidden = (np.hypot(*y.T) > radius) | (np.abs(y[:, 1]) > band)
    moved[hidden] = -9
    return (view * 255).round().astype(np.uint8), moved.astype(np.float32), zoom


def recoloured(view: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Other light, other film, softer, paler, unevenly lit."""
    if rng.random() < 0.2:
        view = view + rng.uniform(0, 0.7) * (view.mean(2, keepdims=True) - view)
    view = view * np.exp(rng.normal(0, 0.15, 3) + rng.normal(0, 0.2))
    if rng.random() < 0.4:
        ramp, (down, across) = np.linspace(-1, 1, SIDE), rng.normal(0, 0.25, 2)
        view = view * np.exp(down * ramp[:, None] + across * ramp)[..., None]
    view = np.clip(view, 0, 1) ** math.exp(rng.normal(0, 0.2))
    if rng.random() < 0.3:
        view = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.5, 1.5))
    if rng.random() < 0.3:
        view = view + rng.normal(0, 0.02, view.shape)
    return np.clip(view, 0, 1).astype(np.float32)


def cases_of(store: Store, folder: Path, weights: str, views: int) -> Cases:
    """What the encoder says of every view, of the folder where it is there."""
    if not (folder / "whole").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows = store.rows
        network = AnatomyNet(weights).eval().to(memory_format=torch.channels_last)
        shape = network.features(torch.zeros(1, 3, SIDE, SIDE)).shape[1:]
        features = np.lib.format.open_memmap(
            folder / "features.npy", "w+", np.float16, (len(rows), views + 1, *shape)
        )
        places = np.zeros((len(rows), views + 1, 2, 2), np.float32)
        zoom = np.ones((len(rows), views + 1), np.float32)
        drawn = np.full(len(rows), np.nan, np.float32)
        for n, row in enumerate(rows):
            square, rng = store.image(row.id), np.random.default_rng(n)
            places[n, 0] = places_of(row)
            if row.disc and row.disc.diameter > 0:
                drawn[n] = row.disc.diameter / row.box.side
            pictures = [cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA)]
            for v in range(1, views + 1):
                picture, places[n, v], zoom[n, v] = view_of(square, places[n, 0], rng)
                pictures.append(picture)
            image = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                maps = network.features(image.contiguous(memory_format=torch.channels_last))
            features[n] = maps.numpy()
            print(f"\rfeatures: {n + 1} of {len(rows)}", end="", flush=True)
        print()
        for name, values in (("places", places), ("zoom", zoom), ("drawn", drawn)):
            np.save(folder / f"{name}.npy", values)
        features.flush()
        (folder / "whole").touch()
    return Cases(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in Cases._fields))


def taught(cases: Cases, chosen: NDArray[np.intp], weights: str, steps: int) -> AnatomyNet:
    """A network whose head has learned from some photographs."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = AnatomyNet(weights).eval()
    head = network.head.train().to(memory_format=torch.channels_last)
    mean = float(np.nanmean(cases.drawn[chosen]))
    optimizer = torch.optim.AdamW(head.parameters(), RATE, weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    total = 0.0
    for step in range(steps):
        n = np.sort(rng.choice(chosen, BATCH))
        v = rng.integers(cases.zoom.shape[1], size=BATCH)
        drawn = np.nan_to_num(cases.drawn[n], nan=mean)
        trust = np.where(np.isnan(cases.drawn[n]), GUESSED, 1.0)
        loss = anatomy_loss(
            head(_tensor(cases.features[n, v]).contiguous(memory_format=torch.channels_last)),
            *(_tensor(values) for values in (cases.places[n, v], drawn * cases.zoom[n, v], trust)),
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        total += float(loss.detach())
        if step % 100 == 99:
            print(f"  step {step + 1}: loss {total / 100:.3f}", flush=True)
            total = 0.0
    return network.eval()


def _tensor(values: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


class Answers(NamedTuple):
    """What networks say of photographs, each by the network of its fold; n photographs of v views."""

    places: NDArray[np.float32]
    certainties: NDArray[np.float32]
    diameter: NDArray[np.float32]


def answers_of(store: Store, cases: Cases, fold_of: NDArray[np.intp], networks: list[AnatomyNet]) -> Answers:
    """By the network that did not see the photograph: as it is also mirrored, as readings do; views once."""
    n, v = cases.zoom.shape
    said = Answers(*(np.zeros(shape, np.float32) for shape in ((n, v, 2, 2), (n, v, 2), (n, v))))
    with torch.inference_mode():
        for at, row in enumerate(store.rows):
            network = networks[fold_of[at]]
            square = cv2.resize(store.image(row.id), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            whole = network.look(torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255)
            views = sightings(network.head(_tensor(cases.features[at, 1:])))
            for into, first, others in zip(said, whole, views, strict=True):
                into[at] = torch.cat([first, others]).numpy()
    return said


def share(hits: NDArray[np.bool_], groups: list[int]) -> str:
    """A share in words, its 95 % interval by resampling groups."""
    counts = np.stack([hits, np.ones_like(hits)], 1).astype(float)
    drawn = bootstrap(counts, groups, lambda sums: sums[..., 0] / sums[..., 1])
    low, high = percentiles(drawn)
    return f"{hits.mean():.1%} ({low:.1%} to {high:.1%}) of {len(hits)}"


def print_table(store: Store, cases: Cases, said: Answers, fold_of: NDArray[np.intp]) -> None:
    """Errors of photographs as they are; what is said of views in which a landmark is in sight or not."""
    members = groups_in(store, [row.id for row in store.rows])
    of_id = {id: number for number, group in enumerate(members) for id in group}
    group_of = np.array([of_id[row.id] for row in store.rows])
    ill = np.array([row.grade >= REFERABLE for row in store.rows])
    mean = float(np.nanmean(cases.drawn))
    diameter = np.nan_to_num(cases.drawn, nan=mean)
    error = np.linalg.norm(said.places - cases.places, axis=3) / (diameter[:, None] * cases.zoom)[..., None]
    for j, name in enumerate(("disc", "fovea")):
        known = np.isfinite(error[:, 0, j])
        print(f"{name}: median error {np.median(error[known, 0, j]):.3f} disc diameters")
        for reach in (0.125, 0.25, 0.5, 1):
            print(f"  within {reach}: {share(error[known, 0, j] < reach, list(group_of[known]))}")
        for told, part in (("DR0 and DR1", known & ~ill), ("DR2 or worse", known & ill)):
            print(f"  within 0.25, {told}: {share(error[part, 0, j] < 0.25, list(group_of[part]))}")
        folds = [np.mean(error[known & (fold_of == fold), 0, j] < 0.25) for fold in np.unique(fold_of)]
        print(f"  within 0.25 by fold: {', '.join(f'{one:.1%}' for one in folds)}")
        views, sure = cases.places[:, 1:, j], said.certainties[:, 1:, j]
        seen = ((views >= 0) & (views < 1)).all(2)
        hidden = ~seen & ~np.isnan(views[..., 0])
        right = error[:, 1:, j] < 0.5
        for cut in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
            whole = (said.certainties[:, 0, j] >= cut).mean()
            found, wrong = (sure[seen] >= cut).mean(), (~right)[seen & (sure >= cut)].mean()
            print(
                f"  seen from certainty {cut}: {whole:.1%} of photographs; {found:.1%} of "
                f"views with it, {wrong:.1%} of these half a diameter off or more; "
                f"{(sure[hidden] >= cut).mean():.1%} of views without it"
            )
    whole = said.places[:, 0]
    known = ~np.isnan(cases.places[:, 0, :, 0]).any(1)
    truth = cases.places[known, 0, 0, 0] > cases.places[known, 0, 1, 0]
    right_eye = (whole[:, 0, 0] > whole[:, 1, 0])[known]
    print(f"eye: {share(right_eye == truth, list(group_of[known]))}")
    there = np.isfinite(cases.drawn)
    ratio = said.diameter[there, 0] / cases.drawn[there]
    print(
        f"diameter of {there.sum()} drawn discs: mean ratio {ratio.mean():.3f}, deviation {ratio.std():.3f}; "
        f"by their mean {(mean / cases.drawn[there]).std():.3f}"
    )


def main() -> None:
    """Teach all networks, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", default="imagenet", help="of EfficientNet-Lite0: imagenet or a file")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--views", type=int, default=8, help="of each photograph, beside itself")
    parser.add_argument("--steps", type=int, default=1000)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    store = Store(given.store)
    folds = folds_of(store, given.folds)
    fold_of = np.array([folds[row.id] for row in store.rows])
    cases = cases_of(store, given.out / "features", given.weights, given.views)
    files = [
        *(given.out / f"fold-{fold}.safetensors" for fold in range(given.folds)),
        given.out / "all.safetensors",
    ]
    for fold, file in reversed(list(enumerate(files))):  # the one to ship first
        if file.exists():
            print(f"{file}: there", flush=True)
            continue
        print(f"{file}:", flush=True)
        chosen = np.flatnonzero(fold_of != fold)
        about = {
            "trained_on": "IDRiD, CC BY 4.0 (Porwal et al., 2018): training halves of parts A and B",
            "photographs": len(chosen),
            "fold": fold if fold < given.folds else None,
            "folds": given.folds,
            "fingerprint": store.fingerprint,
            "encoder": "tf_efficientnet_lite0, ImageNet (timm, Apache-2.0), cut at stride 16, not trained on",
        }
        write_anatomy(taught(cases, chosen, given.weights, given.steps), file, about)
    networks = [read_anatomy(file) for file in files[:-1]]
    print_table(store, cases, answers_of(store, cases, fold_of, networks), fold_of)


if __name__ == "__main__":
    main()
