"""``retinalesion calibrate STORE --checkpoint FILE --out FILE``: a rule for the photographs of a site."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from retinalesion.commands.stops import told_how_to_go_on
from retinalesion.data.store import SPLITS
from retinalesion.errors import UserError


def main(name: str, arguments: Sequence[str]) -> None:
    """Fit a rule on graded photographs, or move one by photographs without grades.

    Raises:
        UserError: as `retinalesion.report.calibrate.calibrate` and `adapt` raise.
        argparse.ArgumentError: an argument is wrong.
        SystemExit: with 130 on Ctrl-C, with 143 on SIGTERM.
    """
    given = _parser(name).parse_args(list(arguments))
    with told_how_to_go_on(name, arguments):
        (_adapt if given.ungraded else _calibrate)(given)


def _parser(name: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"retinalesion {name}",
        exit_on_error=False,
        description="Fit from when findings count, the temperature of probabilities and the two cuts on a "
        "store of graded photographs (100, of them 30 referable and 30 not) that did not train the network. "
        "Stopped, the same command goes on.",
    )
    parser.add_argument(
        "photographs", type=Path, nargs="+", help="a store; with --ungraded files and folders"
    )
    parser.add_argument("--out", type=Path, required=True, help="to write, .ckpt or .safetensors")
    parser.add_argument(
        "--checkpoint", type=Path, help="a run, its checkpoint or an exported file; else the model in the box"
    )
    parser.add_argument(
        "--split", choices=("all", *SPLITS), default="all", help="of a store, the photographs to take"
    )
    parser.add_argument(
        "--anew", action="store_true", help="fit the verdict's weights too, where the checkpoint has a rule"
    )
    parser.add_argument(
        "--ungraded", action="store_true", help="move the score alone, by 50 photographs without grades"
    )
    parser.add_argument(
        "--healthy",
        type=float,
        help="with --ungraded: the share of healthy eyes (DR0) among them, else 2/3",
    )
    parser.add_argument("--camera", default="auto", help="with --ungraded: as analyze takes it")
    parser.add_argument("--fresh", action="store_true", help="read anew, even where this is half done")
    parser.add_argument("--device", help="cpu, cuda or mps; by default a GPU of CUDA where there is one")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the photographs")
    return parser


def _calibrate(given: Any) -> None:
    from retinalesion.report.calibrate import ROWS, calibrate  # imports torch, which --help does without
    from retinalesion.report.figures import show

    if len(given.photographs) != 1 or given.healthy is not None or given.camera != "auto":
        raise UserError("name one store of graded photographs; --healthy and --camera go with --ungraded.")
    done = calibrate(
        given.photographs[0],
        given.out,
        checkpoint=given.checkpoint,
        split=given.split,
        anew=given.anew,
        fresh=given.fresh,
        device=given.device,
        workers=given.workers,
    )
    told = done.rule.told
    title = (
        f"{told['photographs']} graded photographs ({told['prevalence']:.0%} referable) of {told['groups']} "
        "patients or groups;\nafter: each judged by a rule that knew neither it nor its group"
    )
    show({"before": told["before"], "after": told["figures"]}, title)
    print(f"A row per photograph: {done.readings / ROWS}")
    _tell_use(done.file)


def _adapt(given: Any) -> None:
    from retinalesion.fitting.refit import SITE
    from retinalesion.report.calibrate import HEALTHY, adapt

    if given.anew:
        raise UserError("--anew fits weights, for which --ungraded has no grades. Leave one of them out.")
    done = adapt(
        given.photographs,
        given.out,
        checkpoint=given.checkpoint,
        split=given.split,
        camera=given.camera,
        healthy=HEALTHY if given.healthy is None else given.healthy,
        fresh=given.fresh,
        device=given.device,
        workers=given.workers,
    )
    print(f"The rule was {done.rule.told[SITE]}.")
    _tell_use(done.file)


def _tell_use(file: Path) -> None:
    print(f"{file}: use it with:\n  retinalesion analyze PHOTOGRAPHS --checkpoint {file}")
