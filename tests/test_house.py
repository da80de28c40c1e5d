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


def test_every_room_has_its_place():
    rooms = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in FILES}
    assert rooms <= LEVEL.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_come_from_the_same_wing_or_one_above(file):
    own = LEVEL[file.relative_to(PACKAGE).parts[0].removesuffix(".py")]
    for module in imported_modules(file):
        if module.split(".")[0] == "retinalesion":
            assert LEVEL[room_of(module)] <= own, f"{module} is below this room"


@pytest.mark.parametrize(
    "file",
    [
        *PACKAGE.glob("networks/*.py"),
        *(PACKAGE / "training" / f"{name}.py" for name in ("losses", "metrics")),
    ],
    ids=lambda file: file.name,
)
def test_networks_losses_and_metrics_know_no_lightning(file):
    assert not {"lightning", "pytorch_lightning"} & {name.split(".")[0] for name in imported_modules(file)}


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
        "import retinalesion.commands.compare, retinalesion.compare.page",
        "import retinalesion.data.camera, retinalesion.data.spots, retinalesion.commands.camera",
    ],
)
def test_what_needs_no_torch_imports_none(code):
    script = f"import sys\ntry:\n {code}\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0
