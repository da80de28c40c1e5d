"""Tested runs that nobody trained."""

import csv
import json

import numpy as np
import pytest
import yaml

from retinalesion.lesions import CODES

LEARNED = ("MA", "iHE", "HaEx", "CWS")


def _make_run(folder, settings, seed=0, lift=0.0, learned=LEARNED, photographs=24, **about):
    """A tested run: lesions found the better, the higher the lift; or grades, by a network that grades."""
    random = np.random.default_rng([seed, *str(settings).encode()])
    (folder / "test").mkdir(parents=True)
    config = {
        "seed_everything": seed,
        "model": {"encoder": "inception_v3", "weights": f"/somewhere/{seed}/imagenet.pth", **settings},
        "data": {"store": f"/somewhere/{seed}", "side": settings.get("side", 896), "seed": seed},
        "trainer": {"max_steps": -1},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
    report = {"photographs": photographs, "side": 896, "trained on store": "f00d", **about}
    ids = [f"eye_{i:02}" for i in range(photographs)]
    if settings["network"] in ("plain", "sian", "abn", "lesion-concat"):
        truth = np.arange(photographs) % 5
        said = np.where(random.random(photographs) < 0.5 + lift, truth, (truth + 1) % 5)
        rows = [
            dict(zip(("id", "grade", "said"), cells, strict=True))
            for cells in zip(ids, truth, said, strict=True)
        ]
        _write_rows(folder / "test" / "grades.csv", rows)
        (folder / "test" / "grades.json").write_text(json.dumps(report), "utf-8")
        return folder
    marked = np.random.default_rng(1).integers(100, 3000, (photographs, len(CODES)))
    ease = np.random.default_rng(2).uniform(0.4, 0.6, marked.shape)
    hits = (marked * np.clip(ease + lift + random.normal(0, 0.01, marked.shape), 0, 1)).astype(int)
    rows = []
    for i, id in enumerate(ids):
        row = {"id": id, "grade": ""}
        for j, code in enumerate(CODES):
            if code in LEARNED and settings["network"].startswith("lesions-"):
                row[f"{code}_present"] = int(i % 3 > 0)
            elif code in LEARNED:
                row |= {f"{code}_hits": hits[i, j], f"{code}_alarms": 500}
                row |= {f"{code}_misses": marked[i, j] - hits[i, j]}
            row[f"{code}_probability"] = f"{0.9 - 0.6 * (i % 4 == 0):.4f}"
        rows.append(row)
    _write_rows(folder / "test" / "photographs.csv", rows)
    lesions = [{"lesion": code, "learned": code in learned, "AUPR": 0.5 + lift} for code in CODES]
    (folder / "test" / "summary.json").write_text(json.dumps({**report, "lesions": lesions}), "utf-8")
    return folder


def _write_rows(file, rows):
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="session")
def make_run():
    """Makes the folder of a tested run."""
    return _make_run


@pytest.fixture(scope="session")
def write_rows():
    """Writes a table of a run."""
    return _write_rows
