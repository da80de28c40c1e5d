"""The order of the house (ground, then wings in the order in which a photograph travels) holds."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import retinalesion

PACKAGE = Path(retinalesion.__file__).parent
# A room imports from its own level and from those before it, never from one that comes after.
LEVELS = (
    {
        "__init__",
        "errors",
        "lesions",
        "guideline",
        "paper",
        "pictures",
        "samples",
        "files",
        "geometry",
        "scores",
    },
    {"data"},
    {"networks"},
    {"training"},
    {"reading"},
    {"fitting"},
    {"report"},
    {"compare"},
    {"commands"},
    {"cli"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
LAZY_PUBLIC_NAMES = PACKAGE / "__init__.py"
FILES = sorted(PACKAGE.rglob("*.py"))


def imported_modules(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(node.module or "")
            # "from retinalesion import x" may name a room
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(module: str) -> str:
    first = module.split(".")[1] if "." in module else "__init__"
    return first if (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").is_file() else "__init__"


def place_of(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


def level_of(file: Path) -> int:
    return LEVEL[file.relative_to(PACKAGE).parts[0].removesuffix(".py")]


def test_every_room_has_its_place():
    rooms = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in FILES}
    assert rooms <= LEVEL.keys()


@pytest.mark.parametrize("file", FILES, ids=place_of)
def test_imports_come_from_the_same_wing_or_one_above(file):
    for module in imported_modules(file):
        if module.split(".")[0] == "retinalesion":
            assert LEVEL[room_of(module)] <= level_of(file), f"{module} is below this room"


def of_package(file: Path) -> set[Path]:
    """Files of the package that a file imports, wherever in it; the lazy public names are none of its own."""
    files = set()
    for module in imported_modules(file):
        if module.split(".")[0] == "retinalesion":
            place = PACKAGE.joinpath(*module.split(".")[1:])
            files |= {one for one in (place.with_suffix(".py"), place / "__init__.py") if one.is_file()}
    return files - {file, LAZY_PUBLIC_NAMES}


def test_no_files_import_each_other_by_whatever_way_round():
    imports = {file: of_package(file) for file in FILES}
    while leaves := {file for file, others in imports.items() if not others & imports.keys()}:
        imports = {file: others for file, others in imports.items() if file not in leaves}
    assert not imports, sorted(str(file.relative_to(PACKAGE)) for file in imports)


def test_imports_between_wings_are_printed_and_none_goes_back_up():
    """With ``-s``: how many files of a wing (a row) import one of another (a column), in the order above."""
    wings = ["ground", *(next(iter(rooms)) for rooms in LEVELS[1:])]
    counts = [[0] * len(wings) for _ in wings]
    for file in FILES:
        own = LEVEL[file.relative_to(PACKAGE).parts[0].removesuffix(".py")]
        for other in {
            LEVEL[one.relative_to(PACKAGE).parts[0].removesuffix(".py")] for one in of_package(file)
        }:
            counts[own][other] += 1
    print("\n" + " " * 9 + " ".join(f"{wing:>8}" for wing in wings))
    for wing, row in zip(wings, counts, strict=True):
        print(f"{wing:>9}" + " ".join(f"{count or '':>8}" for count in row))
    assert not any(count for own, row in enumerate(counts) for count in row[own + 1 :])


def parts(*wings: str) -> list[Path]:
    return [file for file in FILES if file.relative_to(PACKAGE).parts[0] in wings]


LOSSES = [PACKAGE / "training" / f"{name}.py" for name in ("losses", "metrics")]


@pytest.mark.parametrize(
    "file",
    [*parts("networks", "reading", "fitting", "compare"), *LOSSES],
    ids=place_of,
)
def test_networks_losses_readings_and_comparisons_know_no_lightning(file):
    """Nor does anything that they import."""
    reached, new = set(), {file}
    while new:
        reached |= new
        new = set().union(*map(of_package, new)) - reached
    for one in reached:
        assert "lightning" not in {name.split(".")[0] for name in imported_modules(one)}, one


def test_readings_know_torch_in_one_file():
    with_torch = [f for f in parts("reading") if "torch" in {m.split(".")[0] for m in imported_modules(f)}]
    assert [file.name for file in with_torch] == ["reader.py"]


@pytest.mark.parametrize("file", FILES, ids=place_of)
def test_only_one_file_opens_checkpoints(file):
    """No other calls what reads or writes files of tensors, or pickled files."""
    if file == PACKAGE / "networks" / "checkpoint.py":
        return
    modules = imported_modules(file)
    assert "safetensors" not in {module.split(".")[0] for module in modules}
    assert not {
        module for module in modules if module.startswith("timm") and module.endswith("load_state_dict")
    }
    called = {
        ast.unparse(node.func) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)
    }
    assert not called & {"torch.load", "torch.save", "pickle.load", "joblib.load", "torch.hub.load"}
    assert not {name for name in called if name.endswith(("load_from_checkpoint", "pl_load"))}


@pytest.mark.parametrize(
    "code",
    [
        "import retinalesion; dir(retinalesion)",
        "import retinalesion.data.store, retinalesion.guideline, retinalesion.pictures",
        "import retinalesion.commands.prepare, retinalesion.commands.analyze, retinalesion.commands.export",
        "from retinalesion.cli import main; main(['--help'])",
        "from retinalesion.cli import main; main(['prepare', '--help'])",
        "from retinalesion.cli import main; main(['analyze', '--help'])",
        "from retinalesion.cli import main; main(['camera', '--help'])",
        "from retinalesion.cli import main; main(['calibrate', '--help'])",
        "import retinalesion.commands.compare, retinalesion.compare.page",
        "import retinalesion.data.camera, retinalesion.data.spots, retinalesion.commands.camera",
    ],
)
def test_what_needs_no_torch_imports_none(code):
    script = f"import sys\ntry:\n {code}\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0
