"""How often `compare` says "better": of pairs that do not differ, and of pairs that do.

python bench/compare.py [--pairs 300] [--seeds 3] [--rest 500]

Lesions: a photograph has a marked area and, shared by all networks, an ease of its own; a network that is
trained differently does a little better or worse on single photographs, and so does each seed, on single
photographs and as a whole. All are drawn on the scale of logits of recall and precision, with spreads as
those of docs/results: two networks there differ by 0.1 to 0.4 on single photographs, which differ by 0.6 to
1.2 among themselves. Grades: the same of a latent grade. Pairs without a true difference have the same
expected score, not the same scores. The true difference is 0.05, of the expected score.
"""

import argparse
import csv
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from retinalesion.compare.statistics import Difference, Scored, difference
from retinalesion.scores import LEVEL, Score, f1, kappa

LESIONS = ("MA", "iHE", "HaEx", "CWS")
RESULTS = Path(__file__).parents[1] / "docs" / "results" / "idrid-small" / "photographs.csv"
PRESENT = (1.0, 1.0, 1.0, 0.5)
EASE = 0.9  # spread of photographs, on the logit scale
OWN = 0.15  # of a network on single photographs, and of each seed again
Counts = NDArray[np.float64]


class Spreads(NamedTuple):
    """What a pair is drawn with: photographs, and the spread of a seed as a whole (logit, or grades)."""

    photographs: int
    seed: float


@lru_cache
def areas() -> NDArray[np.float64]:
    """Log marked pixels of real photographs: mean and spread per lesion, (2, 4)."""
    with RESULTS.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    marked = [[int(r[f"{code}_hits"]) + int(r[f"{code}_misses"]) for code in LESIONS] for r in rows]
    logs = np.log(np.where(np.array(marked) > 0, marked, np.nan))
    return np.array([np.nanmean(logs, 0), np.nanstd(logs, 0, ddof=1)])


def lesion_counts(
    random: np.random.Generator, spreads: Spreads, shifts: tuple[float, ...], seeds: int
) -> list[Counts]:
    """Hits, alarms and misses (seeds, photographs, 4, 3) of networks that are shifted by so much."""
    shape = (spreads.photographs, len(LESIONS))
    centre, width = areas()
    marked = np.exp(random.normal(centre, width, shape)).astype(int) + 1
    marked *= random.random(shape) < PRESENT
    level = np.array([[0.0, -0.1, 0.2, 0.4], [0.0, 0.7, 1.7, 0.6]])  # recall and precision
    ease = level[:, None] + random.normal(0, EASE, (2, *shape))
    made = []
    for shift in shifts:
        own = ease + shift + random.normal(0, OWN, (2, *shape))
        seed = random.normal(0, spreads.seed, (seeds, 2, 1, len(LESIONS)))
        logit = own + seed + random.normal(0, OWN, (seeds, 2, *shape))
        recall, precision = np.moveaxis(1 / (1 + np.exp(-logit)), 1, 0)
        hits = random.binomial(marked, recall)
        alarms = np.rint(np.maximum(hits, 20) * (1 / precision - 1))
        made.append(np.stack([hits, alarms, marked - hits], -1))
    return made


def grade_counts(
    random: np.random.Generator, spreads: Spreads, shifts: tuple[float, ...], seeds: int
) -> list[Counts]:
    """One count each in confusions (seeds, photographs, 5, 5); a shift makes the latent grade less noisy."""
    photographs = spreads.photographs
    truth = random.choice(5, photographs, p=(0.33, 0.05, 0.32, 0.19, 0.11))  # IDRiD's test half
    ease = random.normal(0, 0.6, photographs)
    made = []
    for shift in shifts:
        own = random.normal(0, 0.45, photographs)
        seed = random.normal(0, spreads.seed, (seeds, 1))
        latent = truth + (1 - shift) * (ease + own + random.normal(0, 0.45, (seeds, photographs))) + seed
        said = np.clip(np.rint(latent), 0, 4).astype(int)
        made.append(np.eye(25)[5 * truth + said].reshape(seeds, photographs, 5, 5))
    return made


Draw = Callable[[np.random.Generator, Spreads, tuple[float, ...], int], list[Counts]]
SCORES: dict[str, tuple[Draw, Score]] = {
    "pixel F1": (lesion_counts, f1),
    "kappa": (grade_counts, lambda sums: kappa(sums)[..., None]),
}


@lru_cache
def shift_for(name: str, gain: float, seed: float) -> float:
    """The shift that raises the expected score by so much."""
    draw, score = SCORES[name]

    def gained(shift: float) -> float:
        random = np.random.default_rng(7)
        plain, better = draw(random, Spreads(1500, seed), (0.0, shift), 30)
        return float(np.mean(score(better.sum(1))) - np.mean(score(plain.sum(1))))

    low, high = 0.0, 1.0
    for _ in range(11):
        middle = (low + high) / 2
        low, high = (middle, high) if gained(middle) < gain else (low, middle)
    return high


def compared(
    name: str, pairs: int, spreads: Spreads, gain: float = 0.0, seeds: int = 3
) -> list[tuple[Difference, Difference]]:
    """Pairs, compared as `compare` does: with all their seeds, and with one a side."""
    draw, score = SCORES[name]
    random = np.random.default_rng(0)
    shift = shift_for(name, gain, spreads.seed) if gain else 0.0
    found = []
    for _ in range(pairs):
        counts = draw(random, spreads, (shift, 0.0), seeds)
        both = [difference(*(Scored.of(c[:few], score) for c in counts)) for few in (seeds, 1)]
        found.append((both[0], both[1]))
    return found


def called(found: list[tuple[Difference, Difference]]) -> float:
    """The share of pairs of which one is called better; of one comparison Holm changes nothing."""
    return float(np.mean([many.p is not None and many.p < 1 - LEVEL for many, _ in found]))


def apart(found: list[tuple[Difference, Difference]]) -> float:
    """The share whose interval over photographs alone, with one seed a side, excludes 0."""
    return float(np.mean([one.low > 0 or one.high < 0 for _, one in found]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rest", type=int, default=500, help="pairs for each line of the second table")
    options = parser.parse_args()
    usual = {"pixel F1": Spreads(50, 0.12), "kappa": Spreads(103, 0.1)}
    console = Console(width=110)
    for name, spreads in usual.items():
        draw, score = SCORES[name]
        runs = draw(np.random.default_rng(1), spreads, (0.0,), 200)[0]
        spread = float(np.std(score(runs.sum(1)).mean(1)))
        same, other = (compared(name, options.pairs, spreads, gain, options.seeds) for gain in (0.0, 0.05))
        console.print(
            f"{name}, {spreads.photographs} photographs, {options.seeds} seeds a side (their spread: "
            f"{spread:.3f}), {options.pairs} pairs: called better without a true difference "
            f"{called(same):.1%}, with one of 0.05 {called(other):.1%}."
        )
    columns = ("score", "photographs", "spread of a seed", "no difference", "difference of 0.05")
    table = Table(*columns, "one seed a side", title="called better")
    for name, seed_spreads in (("pixel F1", (0.0, 0.06, 0.12, 0.24)), ("kappa", (0.0, 0.1, 0.2))):
        for photographs in (27, 100, 400):
            for seed in seed_spreads:
                spreads = Spreads(photographs, seed)
                same, other = (
                    compared(name, options.rest, spreads, gain, options.seeds) for gain in (0.0, 0.05)
                )
                cells = (f"{called(same):.1%}", f"{called(other):.1%}", f"{apart(same):.1%}")
                table.add_row(name, str(photographs), f"{seed:g}", *cells)
    console.print(table)
    console.print("one seed a side: no difference, but the interval over photographs alone excludes 0")


if __name__ == "__main__":
    main()
