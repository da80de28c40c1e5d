"""Where a config named on the command line is: here, or among those that ship with the package."""

import re
from pathlib import Path

import retinalesion
from retinalesion.errors import UserError

PACKAGE = Path(retinalesion.__file__).parent
# In an installed package the configs lie inside it; in a checkout they lie beside it.
FOLDERS = (PACKAGE / "configs", PACKAGE.parent / "configs")


def shipped_configs() -> dict[str, Path]:
    """The configs that ship, by file name."""
    folder = next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[0])
    return {file.name: file for file in sorted(folder.glob("*.yaml"))}


def config_of(network: str) -> str:
    """The shipped config that trains a network as a row of the paper has it; variants have longer names."""
    row = re.compile(rf"# Table.*^  network: {re.escape(network)}$", re.DOTALL | re.MULTILINE)
    texts = {name: file.read_text("utf-8") for name, file in shipped_configs().items()}
    return min((name for name, text in texts.items() if row.match(text)), key=len)


def find_config(name: str) -> Path:
    """The file of that name here, else the shipped one.

    Raises:
        UserError: neither exists; the message lists what ships.
    """
    here = Path(name)
    if here.is_file():
        return here
    shipped = shipped_configs()
    if name in shipped:
        return shipped[name]
    raise UserError(f"--config {name}: no such file here, and none ships. Shipped: {', '.join(shipped)}.")
