"""``retinalesion analyze PHOTOGRAPHS...``: lesion maps, grade, evidence and a report, of any photographs."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from retinalesion.data.store import SPLITS
from retinalesion.errors import UserError


def main(name: str, arguments: Sequence[str]) -> None:
    """Analyze photographs.

    Raises:
        UserError: as `retinalesion.report.analyze.analyze` raises; or none of the photographs could be read.
        argparse.ArgumentError: an argument is wrong.
    """
    parser = ArgumentParser(
        prog=f"retinalesion {name}",
        exit_on_error=False,
        description="Find lesions in photographs, grade them, and leave tables and a report to open.",
    )
    parser.add_argument("photographs", type=Path, nargs="+", help="files, folders or stores")
    parser.add_argument("--out", type=Path, default=Path("analysis"), help="folder for all results")
    parser.add_argument(
        "--checkpoint", type=Path, help="of a run, or a portable one; by default the model in the box"
    )
    parser.add_argument(
        "--split", choices=("all", *SPLITS), default="all", help="of stores, the photographs to read"
    )
    parser.add_argument("--probabilities", action="store_true", help="write 16-bit probability pictures too")
    parser.add_argument(
        "--camera",
        default="auto",
        help="leave out what lies on the camera's own spots (dust): auto finds them where a batch has 30 "
        "photographs of a camera; a FILE that retinalesion camera made; or none",
    )
    given = parser.parse_args(list(arguments))

    from retinalesion.report.analyze import analyze  # imports torch, which --help does without

    readings = analyze(
        given.photographs,
        given.out,
        checkpoint=given.checkpoint,
        split=given.split,
        probabilities=given.probabilities,
        camera=given.camera,
    )
    unread = [reading for reading in readings if reading.error]
    for reading in unread:
        print(f"not read: {reading.error}")
    if len(unread) == len(readings):
        raise UserError("none of the photographs could be read; the reasons stand above and in the tables.")
    refer = sum(bool(reading.referable) for reading in readings)
    ungradable = sum(reading.quality is not None and not reading.quality.gradable for reading in readings)
    photographs = "photograph" if len(readings) == 1 else "photographs"
    print(
        f"{len(readings)} {photographs}: {refer} to refer, of which {ungradable} ungradable; "
        f"{len(unread)} could not be opened."
    )
    if aside := sum(len(reading.camera) for reading in readings):
        findings = "1 finding lies" if aside == 1 else f"{aside} findings lie"
        print(f"{findings} on spots of the camera itself and so do not count; see the report.")
    print(f"Report: {given.out / 'report' / 'index.html'}")
    print(f"Tables: {given.out / 'readings.csv'}, {given.out / 'findings.csv'}")
    print("For research, not for diagnosis. Macular oedema is not judged.")
