"""FROC of a test: as a table to read, and as curves for a spreadsheet."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from retinalesion.lesions import CODES
from retinalesion.scores import known
from retinalesion.training.froc import RATES, Regions, froc, sensitivity_at, thresholds


def froc_rows(regions: Regions) -> list[dict[str, Any]]:
    """Per lesion looked for: sensitivity at some rates of false findings, and as the maps find them."""
    at = {f"sensitivity at {rate}": sensitivity_at(regions, rate) for rate in RATES}
    at |= dict(
        zip(("sensitivity", "false a photograph"), (curve[:, -1] for curve in froc(regions)), strict=True)
    )
    return [
        {
            "lesion": code,
            "marked regions": int(regions.marked[j]),
            "photographs": int(regions.photographs[j]),
            **{name: known(of[j]) for name, of in at.items()},
        }
        for j, code in enumerate(CODES)
        if regions.photographs[j]
    ]


def froc_lines(regions: Regions) -> list[dict[str, Any]]:
    """``froc.csv``: of each lesion a line for every threshold of the peak at which something is found."""
    sensitivity, false = froc(regions)
    changes = (regions.found + regions.false)[:, ::-1] > 0
    changes[:, -1] = True  # where the maps' own threshold leads, whether or not it adds anything
    return [
        {
            "lesion": code,
            "threshold": f"{thresholds()[step]:.6g}",
            "sensitivity": known(sensitivity[j, step]),
            "false a photograph": known(false[j, step]),
            "marked regions": int(regions.marked[j]),
        }
        for j, code in enumerate(CODES)
        if regions.photographs[j]
        for step in np.flatnonzero(changes[j])
    ]


def show_froc(table: Sequence[Mapping[str, Any]]) -> None:
    """Print the sensitivities."""
    shown = Table(
        title="FROC: marked regions found, by false findings a photograph",
        caption="at so many false findings, or all where these are fewer; all: whatever the maps find",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in ("lesion", "regions", *(f"at {rate}" for rate in RATES), "all", "false"):
        shown.add_column(name, justify="left" if name == "lesion" else "right", no_wrap=True)
    for row in table:
        values = [
            ("" if row[name] is None else f"{row[name]:.3f}")
            for name in row
            if name.startswith(("sensitivity", "false"))
        ]
        shown.add_row(row["lesion"], str(row["marked regions"]), *values)
    Console().print(shown)
