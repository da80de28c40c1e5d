"""`calibrate` and `adapt`: the rule of a checkpoint made to suit the photographs of a site."""

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

from retinalesion.data.decode import sha256_of
from retinalesion.data.prints import ids_among, print_of
from retinalesion.data.splits import folds_of, groups_in
from retinalesion.data.store import Row, Store
from retinalesion.errors import PhotographError, UserError
from retinalesion.files import write_csv
from retinalesion.fitting.cases import Case, said
from retinalesion.fitting.fit import fit, judged_by
from retinalesion.fitting.refit import moved, refitted
from retinalesion.fitting.tables import REGIONS, read_tables
from retinalesion.fitting.told import told_of
from retinalesion.lesions import NO_GRADE
from retinalesion.networks.checkpoint import EXPORTED, Checkpoint, find, read_checkpoint, write_as_called
from retinalesion.networks.tables import trained_from
from retinalesion.reading.conclusion import concluded
from retinalesion.reading.reader import Model
from retinalesion.reading.reading import Reading
from retinalesion.reading.rule import Rule
from retinalesion.reading.stream import Item
from retinalesion.report.analyze import box
from retinalesion.report.batch import say
from retinalesion.report.listing import listed
from retinalesion.report.once import read_once
from retinalesion.scores import referable_truth

FOLDS = 5
FEWEST, FEWEST_OF_EACH = 100, 30  # graded photographs; referable ones among them, and others
FEWEST_UNGRADED = 50
HEALTHY = 2 / 3  # share of DR0 among those who are photographed, where nobody says
ROWS = "outcomes.csv"  # beside the lines


class Calibrated(NamedTuple):
    """What came of it.

    Attributes:
        file: the checkpoint with its new rule.
        rule: that one.
        readings: folder of the lines that it was made of, and of a row per graded photograph.
    """

    file: Path
    rule: Rule
    readings: Path


def calibrate(
    store: Path | str,
    out: Path | str,
    *,
    checkpoint: Path | str | None = None,
    split: str = "all",
    anew: bool = False,
    fresh: bool = False,
    device: str | None = None,
    workers: int = 1,
) -> Calibrated:
    """Fit a checkpoint's rule on graded photographs, and write a checkpoint that has it.

    Each photograph is read once; lines are kept beside ``out``, so that the same call goes on with whatever
    stopped it. Photographs that trained the network, and others of their patients and groups, are left out.
    Fitted are operating points, temperature and cuts, and of a checkpoint without a rule the weights too. The
    figures are nested: no photograph is judged by a rule in whose fitting it or its group took part.

    Args:
        store: with graded photographs; or a folder of `retinalesion.fitting.tables`, whose photographs were
            read out of fold, by networks of the same kind.
        out: file to write, ``.ckpt`` or ``.safetensors``.
        checkpoint: a run, one of its checkpoints, or an exported file; None for the model in the box.
        split: of the store, the photographs to take: ``train``, ``val``, ``test`` or ``all``.
        anew: fit the weights too where the checkpoint has a rule.
        fresh: read anew, even where this was half done.
        device: ``cpu``, ``cuda`` or ``mps``; None for a GPU where there is one.
        workers: processes that share the photographs.

    Raises:
        UserError: no store, too few graded photographs or too few of a kind, a checkpoint without maps, the
            file is there already or cannot be written, or as `retinalesion.report.analyze.analyze` raises.
    """
    asked = _Asked.of(out, checkpoint)
    if (Path(store) / REGIONS).is_file():
        return _fitted(read_tables(Path(store)), asked, anew, f"tables of {Path(store).absolute().name}")
    opened = Store(store)
    graded = {row.id: row for row in opened.rows if row.grade != NO_GRADE and split in (row.split, "all")}
    rows = _without_trained(opened, graded, asked.read)
    told = f" of {len(graded)}, of which the others trained this network" if len(rows) < len(graded) else ""
    truth = referable_truth(*_labels(rows.values()))
    _require_enough(f"{opened.path}", truth, f"graded photographs{told}")
    items = [Item(row.id, row.name, opened.path, row) for row in rows.values()]
    lines = read_once(items, asked.readings, asked.weights, fresh=fresh, device=device, workers=workers)
    before = [reading for reading in lines if not reading.error]
    folds = folds_of(opened, FOLDS, [one.id for one in before])
    groups = {id: group[0] for group in groups_in(opened, folds) for id in group}
    cases = [
        Case(one, groups[one.id], folds[one.id], source_of(opened), str(rows[one.id].camera or ""))
        for one in before
    ]
    return _fitted(cases, asked, anew, source_of(opened) + (split != "all") * f", {split}")


def adapt(
    photographs: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    checkpoint: Path | str | None = None,
    split: str = "all",
    camera: Path | str = "auto",
    healthy: float = HEALTHY,
    fresh: bool = False,
    device: str | None = None,
    workers: int = 1,
) -> Calibrated:
    """Move a checkpoint's rule by photographs of a site that nobody graded, and write one that has it.

    One number moves, the offset of the score: see `retinalesion.fitting.refit.moved`.

    Args:
        photographs: files, folders (searched through) or stores; grades in stores are not looked at.
        out: as `calibrate` takes it.
        checkpoint: likewise; its rule keeps where the healthy lay when it was fitted.
        split: of stores, the photographs to take.
        camera: as `retinalesion.report.analyze.analyze` takes it.
        healthy: share of DR0 among the photographs, as is assumed.
        fresh: as `calibrate` takes it.
        device: likewise.
        workers: likewise.

    Raises:
        UserError: too few photographs, no rule to move, or as `calibrate` raises.
    """
    if not 0 < healthy <= 1:
        raise UserError(f"--healthy {healthy:g}: the share of healthy eyes lies above 0, and is 1 at most.")
    asked = _Asked.of(out, checkpoint)
    if asked.rule is None:
        raise UserError(
            f"{asked.weights}: has no rule that could be moved. Fit one on graded photographs: "
            "retinalesion calibrate STORE"
        )
    found = listed(photographs, split, asked.file)
    items = [item for item in found if _print_of(item) not in asked.read.prints]
    if left_out := len(found) - len(items):
        say(f"{left_out} of {len(found)} photographs trained this network and are left out.")
    _require_ungraded(len(items), "photographs")
    readings = read_once(
        items, asked.readings, asked.weights, camera=camera, fresh=fresh, device=device, workers=workers
    )
    _require_ungraded(sum(one.referable_probability is not None for one in readings), "that can be read")
    return asked.write(moved(asked.rule, readings, healthy))


@dataclass(frozen=True)
class _Asked:
    """The checkpoint whose rule is asked for, and the one that will have it."""

    file: Path
    weights: Path
    read: Checkpoint
    rule: Rule | None

    @classmethod
    def of(cls, out: Path | str, checkpoint: Path | str | None) -> Self:
        """See that one can be made of the other, before the work."""
        file, weights = Path(out), find(checkpoint) if checkpoint else box()
        if file.suffix not in (EXPORTED, ".ckpt"):
            raise UserError(f"{file}: name a file with the ending .ckpt or {EXPORTED}.")
        if file.exists():
            raise UserError(f"{file}: is there already. Name a new file with --out, or take that one away.")
        read = read_checkpoint(weights)
        trained = trained_from(read)
        model = Model.of(trained)
        if not model.learned:
            raise UserError(
                f"{weights}: {trained.name} has no maps of lesions, and a rule is made of what maps show."
            )
        return cls(file, weights, read, model.rule)

    @property
    def readings(self) -> Path:
        """The folder beside the file for what is read."""
        return self.file.with_name(f"{self.file.stem}-readings")

    def write(self, rule: Rule) -> Calibrated:
        """Write the checkpoint; its rule as it is read again, in plain values of JSON."""
        plain = json.loads(json.dumps(rule.as_dict(), allow_nan=False))
        write_as_called(self.read.with_rule(plain), self.file)
        return Calibrated(self.file, Rule.from_dict(plain), self.readings)


def _fitted(cases: Sequence[Case], asked: "_Asked", anew: bool, source: str) -> Calibrated:
    """The rule of cases, judged nested, written into a checkpoint with a row per photograph beside it."""
    readable = [case.referable for case in cases if case.readable]
    _require_enough(source, readable, "graded photographs that can be read")
    rule_of = fit if asked.rule is None or anew else partial(refitted, asked.rule)
    before = [said(case, asked.rule) if asked.rule else concluded(case.reading) for case in cases]
    after = judged_by(cases, rule_of)
    graded = sum(case.referable is not None for case in cases)
    told = told_of(cases, after, before, f"{graded} graded photographs, {source}")
    asked.readings.mkdir(parents=True, exist_ok=True)
    write_csv(asked.readings / ROWS, map(_row, cases, before, after), spreadsheet=True)
    return asked.write(replace(rule_of(cases), told=told))


def source_of(store: Store) -> str:
    """A store's name and source."""
    return f"{store.path.absolute().name} ({store.info['source']})"


def _without_trained(store: Store, rows: dict[str, Row], read: Checkpoint) -> dict[str, Row]:
    """The rows of which the network saw neither the photograph nor its group, while it was trained."""
    trained = set(ids_among(store.rows, read.prints))
    together = groups_in(store, [row.id for row in store.rows]) if trained else []
    seen = {id for group in together if not trained.isdisjoint(group) for id in group}
    kept = {id: row for id, row in rows.items() if id not in seen}
    if left_out := len(rows) - len(kept):
        say(
            f"{left_out} of {len(rows)} graded photographs trained this network, or are of a patient or "
            "group of which one did. They are left out: what it says of them would flatter the rule."
        )
    return kept


def _labels(rows: Collection[Row]) -> tuple[list[int], list[int]]:
    return [row.grade for row in rows], [row.oedema for row in rows]


def _require_enough(source: str, referable: Collection[Any], what: str) -> None:
    count, ill = len(referable), sum(one == 1 for one in referable)
    needs = (
        (FEWEST - count, "graded photographs"),
        (FEWEST_OF_EACH - ill, "referable ones"),
        (FEWEST_OF_EACH - count + ill, "others that are not referable"),
    )
    if lacking := [f"{more} {kind}" for more, kind in needs if more > 0]:
        raise UserError(
            f"{source}: {count} {what}, {ill} of them referable (DR2 or worse, or macular oedema at "
            f"risk). {FEWEST} are needed, {FEWEST_OF_EACH} of them referable and {FEWEST_OF_EACH} not: "
            f"lacking are {', '.join(lacking)}. What {FEWEST_UNGRADED} photographs without grades can do: "
            "--ungraded"
        )


def _require_ungraded(count: int, what: str) -> None:
    if count < FEWEST_UNGRADED:
        raise UserError(f"{count} {what}: {FEWEST_UNGRADED - count} more are needed to move a rule by.")


def _print_of(item: Item) -> str:
    if item.row:
        return print_of(item.row.sha256)
    with suppress(PhotographError):  # told when it is read
        return print_of(sha256_of(Path(item.file)))
    return ""


def _row(case: Case, before: Reading, after: Reading) -> dict[str, Any]:
    """What is said of a graded photograph, by the old rule and, out of fold, by one that did not know it."""
    cells = {"id": after.id, "group": case.group, "fold": case.fold, "grade": case.grade}
    cells |= {"oedema": "" if after.truth_oedema is None else after.truth_oedema}
    for name, reading in (("before", before), ("after", after)):
        cells |= {f"outcome {name}": reading.outcome or "", f"grade {name}": _known(reading.grade)}
        cells |= {f"probability {name}": _known(reading.referable_probability)}
    return cells


def _known(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
