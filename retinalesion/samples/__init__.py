"""Two photographs of IDRiD (CC BY 4.0, credited in README.md beside them) to try things on."""

from pathlib import Path


def photographs() -> tuple[Path, Path]:
    """One with lesions, graded DR4, and one graded DR0."""
    folder = Path(__file__).parent
    return folder / "IDRiD_48.jpg", folder / "IDRiD_295.jpg"
