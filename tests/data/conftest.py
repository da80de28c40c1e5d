"""Small folders of files, written by content."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Content = np.ndarray | Image.Image | str | bytes
FolderOf = Callable[[Mapping[str, Content]], Path]


@pytest.fixture
def folder_of(tmp_path: Path) -> FolderOf:
    """A function that writes files by relative path: pictures by the ending of the name, text, bytes."""

    def write(files: Mapping[str, Content]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.write_text(content, "utf-8", newline="")
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                picture = content if isinstance(content, Image.Image) else Image.fromarray(content)
                picture.save(path)
        return tmp_path

    return write


@pytest.fixture
def photograph() -> np.ndarray:
    """A bright disc with some texture on black, uint8 (96, 128, 3)."""
    rows, columns = np.mgrid[:96, :128]
    inside = (rows - 48) ** 2 + (columns - 64) ** 2 < 44**2
    texture = np.random.default_rng(7).integers(0, 40, (96, 128, 3))
    return ((np.array([160, 80, 30]) + texture) * inside[..., None]).astype(np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    """A marked rectangle of 200 pixels, uint8 0 and 255 (96, 128)."""
    plane = np.zeros((96, 128), np.uint8)
    plane[30:40, 50:70] = 255
    return plane
