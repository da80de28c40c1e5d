"""``retinalesion analyze PHOTOGRAPHS...``: lesion maps, grade, evidence and a report, of any photographs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from retinalesion.commands.stops import told_how_to_go_on
from retinalesion.data.store import SPLITS
from retinalesion.errors import UserError


def main(name: str, arguments: Sequence[str]) -> None:
    """Analyze photographs.

    Raises:
        UserError: as `retinalesion.report.analyze.analyze` raises; or none of the photographs could be read,
            or what a network said of one was not finite.
        argparse.ArgumentError: an argument is wrong.
        SystemExit: with 130 on Ctrl-C, with 143 on SIGTERM.
    """
    given = _parser(name).parse_args(list(arguments))
    with told_how_to_go_on(name, arguments):
        _analyze(given)


def _parser(name: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"retinalesion {name}",
        exit_on_error=False,
        description="Find lesions in photographs, grade them, and leave tables and a report to open. "
        "Stopped, the same command goes on.",
    )
    parser.add_argument("photographs", type=Path, nargs="+", help="files, folders or stores")
    parser.add_argument("--out", type=Path, default=Path("analysis"), help="folder for all results")
    parser.add_argument(
        "--checkpoint", type=Path, help="a run, its checkpoint or an exported file; else the model in the box"
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
    parser.add_argument(
        "--sensitivity",
        type=float,
        help="such as 0.9, from 0.5 to 0.999: the lower cut of the checkpoint's rule, below which nobody is "
        "referred, moves to where so large a share of the ill is above it",
    )
    parser.add_argument(
        "--prevalence",
        type=float,
        help="such as 0.1, from 0.001 to 0.9: share of eyes to be referred where the photographs come from; "
        "probabilities are told for there",
    )
    parser.add_argument("--fresh", action="store_true", help="begin anew, even where this is half done")
    parser.add_argument("--device", help="cpu, cuda or mps; by default a GPU of CUDA where there is one")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the photographs")
    parser.add_argument("--cluster", help="address of a Dask scheduler, whose workers share the photographs")
    parser.add_argument("--part", help="such as 2/8: read the second of eight parts, as a job of many may")
    return parser


def _analyze(given: Any) -> None:
    from retinalesion.reading.reader import NOT_FINITE  # imports torch, which --help does without
    from retinalesion.report.analyze import analyze
    from retinalesion.report.rows import OUTCOMES, outcomes_of

    readings = analyze(
        given.photographs,
        given.out,
        checkpoint=given.checkpoint,
        split=given.split,
        probabilities=given.probabilities,
        camera=given.camera,
        fresh=given.fresh,
        device=given.device,
        workers=given.workers,
        cluster=given.cluster,
        part=given.part,
        sensitivity=given.sensitivity,
        prevalence=given.prevalence,
    )
    outcomes: Counter[str] = Counter()
    unread = aside = spoilt = 0
    macula = False
    for reading in readings:
        if reading.error:
            print(f"not read: {reading.error}")
            unread += 1
            spoilt += NOT_FINITE in reading.error
        outcomes.update(outcomes_of(reading))
        macula |= any(line.role == "macula" for line in reading.evidence)
        aside += len(reading.camera)
    if unread == len(readings):
        raise UserError("none of the photographs could be read; the reasons stand above and in the tables.")
    photographs = "photograph" if len(readings) == 1 else "photographs"
    if readings.file.parent != given.out:
        print(f"{len(readings)} {photographs}: part {given.part} is read. Tables come with the last part.")
        return
    urgent = f" ({outcomes['urgent']} urgent)" if outcomes["urgent"] else ""
    others = ", ".join(
        f"{outcomes[one]} {one}" for one in OUTCOMES if one not in ("urgent", "refer", "error")
    )
    print(
        f"{len(readings)} {photographs}: {outcomes['refer']} refer{urgent}, {others}; "
        f"{unread} could not be opened."
    )
    if aside:
        findings = "1 finding lies" if aside == 1 else f"{aside} findings lie"
        print(f"{findings} on spots of the camera itself and so do not count; see the report.")
    print(f"Report: {given.out / 'report' / 'index.html'}")
    print(f"Tables: {given.out / 'readings.csv'}, {given.out / 'findings.csv'}")
    look = "; exudates near the fovea ask for a look" if macula else ""
    print(f"For research, not for diagnosis. Macular oedema is not judged{look}.")
    if spoilt:
        raise UserError(f"of {spoilt} {'photograph' if spoilt == 1 else 'photographs'} {NOT_FINITE}")
