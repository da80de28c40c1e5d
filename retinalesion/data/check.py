"""``prepare --check``: reads a set without writing anything and says what is wrong with it.

Of lesions that nobody looked for, nothing is concluded: they have no plane.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal, NamedTuple, get_args

import joblib
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from retinalesion.data.camera import MeanPicture, marked
from retinalesion.data.decode import Camera, read_alpha, read_mask, read_photograph, require_same_size
from retinalesion.data.field import find_field, to_square
from retinalesion.data.photograph import Photograph, Pixels, Source, listed
from retinalesion.data.splits import of_one_patient, too_few
from retinalesion.data.spots import IN_A_STORE, CameraMap
from retinalesion.data.survey import Survey, entering, map_of, survey
from retinalesion.data.truth import Twins, believed, lender_of, of_two_patients, twins_of
from retinalesion.data.twins import VIEW_SIDE, Pair, find_pairs, view_of
from retinalesion.errors import PhotographError
from retinalesion.files import write_png
from retinalesion.guideline import weigh
from retinalesion.lesions import CODES, GRADES, NO_GRADE

Kind = Literal[
    "unreadable",
    "size differs",
    "empty mask",
    "full mask",
    "alpha",
    "grey values",
    "grade and lesions",
    "twins across halves",
    "twins, grades differ",
    "twins, patients differ",
    "camera",
    "note",
]
_FULL = 0.5  # of the picture; above, a mask is inverted or filled rather than drawn


class Finding(NamedTuple):
    """One thing that is wrong, or that one should know.

    Attributes:
        kind: of finding.
        id: of the photograph, empty where the finding is of the whole set.
        message: what is the matter, and what to do where something can be done.
    """

    kind: Kind
    id: str
    message: str


class _Seen(NamedTuple):
    findings: list[Finding]
    present: frozenset[str] = frozenset()
    sha256: str = ""
    view: NDArray[np.uint8] | None = None
    relative: NDArray[np.uint8] | None = None


def check(source: Source, *, camera: bool = True, jobs: int | None = None) -> list[Finding]:
    """Read every photograph and mask of a source and list what is wrong.

    Args:
        source: any set.
        camera: look for the cameras' own spots too; their pictures go to a folder for temporary files.
        jobs: processes; all cores where None.

    Returns:
        Findings by kind, then in the order of the photographs.

    Raises:
        UserError: the folder or its tables cannot be read at all.
    """
    photographs, notes = listed(source)
    by_id = {photograph.id: photograph for photograph in photographs}
    cameras = survey(photographs) if camera else Survey({}, {})
    means = {one: MeanPicture() for one in cameras.averaged}
    cameras_of = {id: one for one, ids in cameras.averaged.items() for id in ids}
    parallel = joblib.Parallel(n_jobs=jobs or joblib.cpu_count(), return_as="generator")
    looks = parallel(joblib.delayed(_look)(source, one, cameras_of.get(one.id)) for one in photographs)
    console = Console(stderr=True)
    shown = track(looks, "Reading", total=len(photographs), console=console, transient=True)
    seen: dict[str, _Seen] = {}
    for photograph, look in zip(photographs, shown, strict=True):
        if look.relative is not None:
            means[cameras_of[photograph.id]].add(look.relative)
        seen[photograph.id] = look._replace(relative=None)  # of pictures only their mean is kept
    findings = [finding for look in seen.values() for finding in look.findings]
    views = {id: look.view for id, look in seen.items() if look.view is not None}
    pairs = believed(find_pairs({id: seen[id].sha256 for id in views}, views), by_id)
    findings += _of_pairs(by_id, pairs)
    present = {id: look.present for id, look in seen.items()}
    findings += _of_grades(by_id, twins_of(by_id, pairs), present)
    alike = [pair[:2] for pair in pairs] + of_one_patient(by_id)
    findings += _of_cameras(
        (map_of(one, mean, [id for id in views if cameras_of.get(id) == one], alike), mean)
        for one, mean in means.items()
        if mean.photographs
    )
    if missing := too_few(photographs, alike):
        notes.append(missing)
    findings += [Finding("note", "", note) for note in notes]
    kinds = get_args(Kind)
    return sorted(findings, key=lambda finding: kinds.index(finding.kind))


def show(findings: Sequence[Finding], console: Console | None = None) -> None:
    """Print findings as a table; a line of praise where there are none."""
    console = console or Console()
    wrong = [finding for finding in findings if finding.kind != "note"]
    if wrong:
        table = Table("what", "photograph", "says", title="Findings", title_justify="left")
        for finding in wrong:
            table.add_row(finding.kind, finding.id, Text(finding.message))
        console.print(table)
    for finding in findings:
        if finding.kind == "note":
            console.print(f"Note: {finding.message}", markup=False, highlight=False)
    console.print(f"{len(wrong)} found." if wrong else "Nothing wrong was found.", highlight=False)


def _look(source: Source, photograph: Photograph, camera: Camera | None) -> _Seen:
    try:
        pixels = source.read(photograph)
    except PhotographError as error:
        return _Seen(list(_at_fault(photograph)) or [Finding("unreadable", photograph.id, str(error))])
    findings = [
        finding
        for code, path in photograph.masks.items()
        for finding in _of_mask(photograph.id, code, path, pixels)
    ]
    square = to_square(pixels.rgb, find_field(pixels.rgb), VIEW_SIDE)
    present = frozenset(code for code, plane in pixels.planes.items() if plane.any())
    return _Seen(findings, present, pixels.sha256, view_of(square), entering(pixels.rgb, camera))


def _at_fault(photograph: Photograph) -> Iterator[Finding]:
    """Every file of a photograph that cannot be used, where reading it as a whole stops at the first."""
    rgb = None
    if photograph.file:
        try:
            rgb = read_photograph(photograph.file)
        except PhotographError as error:
            yield Finding("unreadable", photograph.id, str(error))
    for path in photograph.masks.values():
        try:
            values = read_mask(path)
        except PhotographError as error:
            yield Finding("unreadable", photograph.id, str(error))
            continue
        if rgb is not None and photograph.file:
            try:
                require_same_size(path, values, photograph.file, rgb)
            except PhotographError as error:
                yield Finding("size differs", photograph.id, str(error))


def _of_mask(id: str, code: str, path: Path, pixels: Pixels) -> Iterator[Finding]:
    plane = pixels.planes.get(code)
    count, all = (0 if plane is None else int(plane.sum())), pixels.rgb[..., 0].size
    alpha = read_alpha(path)
    if alpha is not None:
        if alpha.min() != alpha.max() and count in (0, all):
            what = "is drawn in its alpha channel, which does not count. Export it black and white"
        else:
            what = f"has an alpha channel; its colour alone counts here: {count} pixels, not {all}"
        yield Finding("alpha", id, f"{path}: {what}.")
    if code in pixels.ignored:
        return  # the source knows its own values; some mean something else
    if not count:
        yield Finding("empty mask", id, f"{path}: marks nothing; {code} counts as looked for and absent.")
    if count > _FULL * all:
        share = f"marks {count / all:.0%} of the picture"
        yield Finding("full mask", id, f"{path}: {share}. If black and white are swapped, swap them back.")
    values = np.flatnonzero(np.bincount(read_mask(path).ravel(), minlength=256)[1:]) + 1
    if len(values) > 1:
        some = ", ".join(map(str, values[:5])) + (" ..." if len(values) > 5 else "")
        what = (
            f"{len(values)} values besides 0 ({some}), where one is expected; {count} pixels count as marked"
        )
        yield Finding("grey values", id, f"{path}: {what}.")


def _of_pairs(photographs: Mapping[str, Photograph], pairs: Iterable[Pair]) -> Iterator[Finding]:
    for pair in pairs:
        one, other = photographs[pair.first], photographs[pair.second]
        if {one.half, other.half} == {"train", "test"}:
            trained, tested = (one, other) if one.half == "train" else (other, one)
            like = "shows the same as" if pair.twins else "looks like a second shot of"
            message = f"{like} {tested.id} of the test half, so it gets split 'none' and does not train."
            yield Finding("twins across halves", trained.id, message)
        if pair.twins and NO_GRADE not in (one.grade, other.grade) and one.grade != other.grade:
            grades = f"{GRADES[one.grade]} and {GRADES[other.grade]}"
            message = f"shows the same as {other.id}, but the grades are {grades}. Both are kept."
            yield Finding("twins, grades differ", one.id, message)
        if of_two_patients(one, other):
            message = (
                f"shows the same as {other.id}, but the patients are {one.patient} and {other.patient}. "
                "They stay on one side of a split, and neither takes the other's grade."
            )
            yield Finding("twins, patients differ", one.id, message)


def _of_cameras(cameras: Iterable[tuple[CameraMap, MeanPicture]]) -> Iterator[Finding]:
    """Spots of the cameras themselves, with a picture of each; what else is to say of cameras is a note."""
    for one, mean in cameras:
        if not one.spots:
            yield Finding("note", "", str(one))
            continue
        picture = Path(mkdtemp(prefix="retinalesion-"), "camera.png")
        write_png(picture, marked(one, mean.picture()))
        places = ", ".join(f"{number} ({s.x:.0f}, {s.y:.0f})" for number, s in enumerate(one.spots, 1))
        yield Finding("camera", "", f"{one} {IN_A_STORE} Their places (x, y): {places}. Picture: {picture}")


def _of_grades(
    photographs: Mapping[str, Photograph], twins: Twins, present: Mapping[str, frozenset[str]]
) -> Iterator[Finding]:
    """Grades that the lesions marked do not allow; by the guideline, iHE in DR1 among them."""
    for id, lesions in present.items():
        lender = lender_of(id, photographs, twins)
        if not lender or not lesions:
            continue
        grade = photographs[lender].grade
        marked = ", ".join(code for code in CODES if code in lesions)
        graded = f"graded {GRADES[grade]}" + (f" (as {lender}, which shows the same)" if lender != id else "")
        supported = weigh(lesions).supported
        if grade == 0:
            yield Finding("grade and lesions", id, f"{graded}, but {marked} marked.")
        elif supported > grade:
            message = f"{graded}, but what is marked ({marked}) supports {GRADES[supported]}."
            yield Finding("grade and lesions", id, message)
