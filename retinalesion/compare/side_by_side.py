"""Chosen photographs as several networks see them (paper, Fig. 2 and 5): pictures to put into a page."""

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retinalesion.data.field import from_square, lit_field
from retinalesion.data.store import Row, Store, truth_of
from retinalesion.errors import UserError
from retinalesion.geometry import Box
from retinalesion.lesions import CODES, GRADES, NO_GRADE
from retinalesion.pictures import Picture, overlay
from retinalesion.scores import THRESHOLD

if TYPE_CHECKING:  # without photographs to show, nothing here needs torch
    from retinalesion.networks.base import Answers

SIDE = 640  # of a picture in the page
_QUALITY = 85
_HEAT = 0.45  # share of the attention's colours


class Chosen(NamedTuple):
    """What to show.

    Attributes:
        ids: of photographs.
        store: that has them.
        checkpoint_of: the checkpoint of a run's folder.
    """

    ids: Sequence[str]
    store: Store
    checkpoint_of: Callable[[Path], Path]


class Shower(NamedTuple):
    """A row of a table that shows photographs.

    Attributes:
        name: under which it stands.
        folder_for: the folder of its run that is to show a photograph, by id.
    """

    name: str
    folder_for: Callable[[str], Path]


class Shown(NamedTuple):
    """One picture of a photograph.

    Attributes:
        title: the network's, or what else it is.
        note: what was said of the photograph.
        data: the picture as a ``data:`` address.
    """

    title: str
    note: str
    data: str


class View(NamedTuple):
    """A photograph: itself, what experts marked, and what each network sees.

    Attributes:
        id: of the photograph.
        note: its part of the store and its grade.
        pictures: side by side.
    """

    id: str
    note: str
    pictures: tuple[Shown, ...]


def side_by_side(chosen: Chosen, rows: Sequence[Shower]) -> list[View]:
    """Show photographs to networks.

    Args:
        chosen: what to show.
        rows: that are to show them, in order.

    Raises:
        UserError: the store lacks a photograph, or a run its checkpoint.
    """
    known = {row.id: row for row in chosen.store.rows}
    if missing := [id for id in chosen.ids if id not in known]:
        raise UserError(
            f"{chosen.store.path}: has no photograph {', '.join(missing)}. Its ids stand in photographs.csv, "
            f"such as {next(iter(known), 'none')}."
        )
    checkpoints = [[chosen.checkpoint_of(row.folder_for(id)) for id in chosen.ids] for row in rows]
    photographs = [known[id] for id in chosen.ids]
    squares = [chosen.store.image(one.id) for one in photographs]
    shown = [_truth(chosen.store, one, rgb) for one, rgb in zip(photographs, squares, strict=True)]
    for row, files in zip(rows, checkpoints, strict=True):
        for pictures, one in zip(shown, _seen(row.name, files, squares), strict=True):
            pictures.append(one)
    return [View(one.id, _about(one), tuple(some)) for one, some in zip(photographs, shown, strict=True)]


def _about(row: Row) -> str:
    return f"part {row.split}" + ("" if row.grade == NO_GRADE else f", {GRADES[row.grade]}")


def _truth(store: Store, row: Row, rgb: Picture) -> list[Shown]:
    planes, annotated = truth_of(store, row)
    shown = [Shown("Photograph", "", _data(rgb))]
    if planes is not None:
        looked_for = ", ".join(code for code in CODES if code in annotated)
        shown.append(Shown("Experts", f"looked for {looked_for}", _data(overlay(rgb, planes))))
    return shown


def _seen(name: str, checkpoints: Sequence[Path], squares: Sequence[Picture]) -> list[Shown]:
    from retinalesion.reading.reader import Reader

    readers = {file: Reader.from_checkpoint(file) for file in dict.fromkeys(checkpoints)}
    of_each = [readers[file] for file in checkpoints]
    return [
        Shown(name, *_drawn(reader.predict(rgb), rgb, reader.model.learned))
        for reader, rgb in zip(of_each, squares, strict=True)
    ]


def _drawn(out: "Answers", rgb: Picture, learned: Sequence[str]) -> tuple[str, str]:
    """What was said, and the picture: lesions found, or where a network without maps looked."""
    maps, attention = out.lesions, out.attention
    said = []
    if out.grade is not None:
        said.append(GRADES[int(out.grade[0].argmax())])
    if out.present is not None:
        found = [code for code, p in zip(CODES, out.present[0].tolist(), strict=True) if p > THRESHOLD]
        said.append(", ".join(found) or "no lesion")
    if maps is not None:
        shown = maps[0].cpu().numpy() * lit_field(rgb, (maps.shape[-2], maps.shape[-1]))  # as a reading
        planes = _enlarged(shown, rgb.shape[0]) > THRESHOLD
        said.append(", ".join(c for c, p in zip(CODES, planes, strict=True) if p.any()) or "no lesion found")
        return "; ".join(said), _data(overlay(rgb, planes))
    if attention is not None:
        said.append("attention")
        return "; ".join(said), _data(_heated(rgb, attention[0].cpu().float().numpy()))
    return "; ".join([*said, "has no maps"]), _data(rgb)


def _enlarged(maps: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Maps (k, m, m) of the whole square as (k, side, side)."""
    return np.stack([from_square(one, Box(0, 0, side), (side, side)) for one in maps])


def _heated(rgb: Picture, attention: NDArray[np.float32]) -> Picture:
    """An attention map (1, m, m), from its least to its most, over the photograph."""
    heat = _enlarged(attention, rgb.shape[0])[0]
    heat = (heat - heat.min()) / max(float(heat.max() - heat.min()), 1e-6)
    colours = cv2.applyColorMap(np.asarray(heat * 255, np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    return np.asarray(np.rint(rgb * (1 - _HEAT) + colours * _HEAT), np.uint8)


def _data(picture: Picture) -> str:
    if picture.shape[0] > SIDE:
        picture = np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
