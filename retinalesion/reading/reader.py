"""Photograph and checkpoint to reading: one pass of the network, then what follows from its maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retinalesion import __version__
from retinalesion.data.decode import read_photograph
from retinalesion.data.field import View, to_square
from retinalesion.data.photograph import Bits
from retinalesion.data.quality import LIMITS, judge, judge_view, measure
from retinalesion.data.spots import Spot
from retinalesion.data.store import Row
from retinalesion.errors import UserError
from retinalesion.geometry import Box
from retinalesion.lesions import CODES, NO_GRADE, NO_OEDEMA
from retinalesion.networks.anatomy import SHIPPED, read_anatomy
from retinalesion.networks.anatomy import SIDE as ANATOMY_SIDE
from retinalesion.networks.base import Answers, LesionModel, Segmenter, Trained
from retinalesion.networks.checkpoint import read_checkpoint
from retinalesion.networks.tables import trained_from
from retinalesion.reading.anatomy import UNKNOWN, Anatomy, Sighting
from retinalesion.reading.camera import set_aside
from retinalesion.reading.conclusion import concluded, rule_of
from retinalesion.reading.findings import Regions, findings_of
from retinalesion.reading.reading import Quality, Reading
from retinalesion.reading.rule import Rule
from retinalesion.reading.second_look import looked_again
from retinalesion.reading.verdict import AS_FITTED, Wish
from retinalesion.scores import THRESHOLD

NOT_FINITE = "the network's answer is not finite: its weights are spoilt, or it ran in too few bits."
SIDE = 896  # where a checkpoint does not say at which side it was trained: the paper's


class Subject(NamedTuple):
    """A photograph as it is known before it is read.

    Attributes:
        id: unique in a batch.
        file: as it was named.
        anatomy: disc, fovea and eye, as far as a table or a mask tells.
        truth_grade: where a table says.
        truth_oedema: likewise, risk of macular oedema.
        patient: likewise.
    """

    id: str
    file: str
    anatomy: Anatomy = UNKNOWN
    truth_grade: int | None = None
    truth_oedema: int | None = None
    patient: str = ""

    @classmethod
    def of_row(cls, row: Row) -> Self:
        """Of a store."""
        grade = None if row.grade == NO_GRADE else row.grade
        oedema = None if row.oedema == NO_OEDEMA else row.oedema
        anatomy = Anatomy.told(row.disc, row.fovea, row.eye)
        return cls(row.id, row.name, anatomy, grade, oedema, row.patient)


class Seen(NamedTuple):
    """A photograph that has been read, with its pictures.

    Attributes:
        reading: what is said of it.
        view: its field of view.
        maps: probabilities of lesions, float32 (8, m, m), all 0 for lesions not learned; of the same square.
        planes: where they exceed 0.5 at the photograph's own size, uint8 (height, width), bit j = lesion j;
            without what lies on the camera's spots.
        aside: where that lies, bool (height, width).
        faint: by learned lesion, its map's maximum outside of all findings.
    """

    reading: Reading
    view: View
    maps: NDArray[np.float32]
    planes: NDArray[np.uint8]
    aside: Bits
    faint: Mapping[str, float]

    @property
    def square(self) -> NDArray[np.uint8]:
        """The field of view as a picture, uint8 (s, s, 3)."""
        return self.view.square


class Model(NamedTuple):
    """What a reading has to know of the network behind it.

    Attributes:
        name: of the network and this package's version.
        learned: codes of the lesions that it knows.
        limits: of quality, as `retinalesion.data.quality.limits_of` gives them.
        rule: how findings are weighed; None where the checkpoint has none.
        wish: what the user wants of the rule.
    """

    name: str
    learned: tuple[str, ...]
    limits: Mapping[str, tuple[float, float]]
    rule: Rule | None = None
    wish: Wish = AS_FITTED

    @classmethod
    def of(cls, trained: Trained, wish: Wish = AS_FITTED) -> Self:
        """Of a trained network.

        Raises:
            UserError: it tells lesions without maps, and a reading shows where they are.
        """
        if isinstance(trained.network, LesionModel) and not isinstance(trained.network, Segmenter):
            raise UserError(
                f"{trained.name} tells which lesions a photograph has, but not where: no reading "
                "can be made of that. Name a lesion network or a grader. Its probabilities, a row per "
                "photograph, come from: retinalesion test"
            )
        name = f"{trained.name}, retinalesion {__version__}"
        graded = not isinstance(trained.network, LesionModel)
        rule = rule_of(trained.rule, trained.learned, graded, trained.name) if trained.rule else None
        return cls(name, trained.learned, trained.quality or LIMITS, rule, wish)


class Told(Protocol):
    """A task, as far as a reader knows one."""

    @property
    def trained(self) -> Trained:
        """Its network with what has to be known to use it."""


class AnatomyReader:
    """The network that finds disc and fovea, ready to look.

    Args:
        file: of the network; that of the package where none is named.
        device: that it runs on.

    Raises:
        UserError: as `retinalesion.networks.anatomy.read_anatomy` raises.
    """

    def __init__(self, file: Path | str = SHIPPED, device: torch.device | None = None) -> None:
        self.network = read_anatomy(file).to(device or torch.device("cpu"))

    def look(self, view: View) -> Anatomy:
        """Disc and fovea of a photograph, where they are seen."""
        with torch.inference_mode():
            image = _as_image(view.square, ANATOMY_SIDE, self.network.mean.device)
            said = self.network.look(image)
        sighting = Sighting(said.places[0].tolist(), said.certainties[0].tolist(), float(said.diameter[0]))
        return Anatomy.seen(sighting, view.box)


class Reader:
    """A trained network, ready to read photographs.

    Args:
        network: a task, or a network alone, trained; it is put into eval mode.
        side: of the square that it sees; None for the side at which it was trained.
        wish: what the user wants of the rule.
        anatomy: file of the network that finds disc and fovea; None not to look for them.

    Raises:
        UserError: as `Model.of` and `AnatomyReader` raise.
    """

    def __init__(
        self,
        network: Trained | Told | nn.Module,
        side: int | None = None,
        wish: Wish = AS_FITTED,
        anatomy: Path | str | None = SHIPPED,
    ) -> None:
        self.trained = trained_of(network)
        self.trained.network.eval()
        self.side = side or self.trained.side or SIDE
        self.model = Model.of(self.trained, wish)
        self.anatomy = None if anatomy is None else AnatomyReader(anatomy, self.trained.device)

    @classmethod
    def from_checkpoint(
        cls,
        file: Path | str,
        device: str | None = None,
        wish: Wish = AS_FITTED,
        anatomy: Path | str | None = SHIPPED,
    ) -> Self:
        """Of a run (by name or folder), one of its checkpoints, or an exported file.

        Args:
            file: as `retinalesion.networks.checkpoint.find` takes it.
            device: ``cpu``, ``cuda`` or ``mps``; None for a GPU of CUDA where there is one.
            wish: what the user wants of its rule.
            anatomy: file of the network that finds disc and fovea; None not to look for them.

        Raises:
            UserError: as `retinalesion.networks.checkpoint.read_checkpoint`, `Model.of` and `AnatomyReader`
                raise.
        """
        there = device_of(device)  # a mistake is told before the work
        trained = trained_from(read_checkpoint(file))
        trained.network.to(there)
        return cls(trained, wish=wish, anatomy=anatomy)

    def maps_of(self, square: NDArray[np.uint8]) -> tuple[NDArray[np.float32], tuple[float, ...]]:
        """One pass.

        Args:
            square: field of view, uint8 (s, s, 3).

        Returns:
            Probabilities of lesions float32 (8, side, side), and of DR0 to DR4; none where it does not grade.
        """
        return unpacked(self.predict(square), 0, self.side)

    def predict(self, square: NDArray[np.uint8]) -> Answers:
        """All that the network says of a field of view, uint8 (s, s, 3), as a batch of one."""
        with torch.inference_mode():
            return self.trained.answers(_as_image(square, self.side, self.trained.device))

    def read(self, file: Path | str, id: str, spots: Sequence[Spot] = ()) -> Seen:
        """Read a photograph of any size.

        Args:
            file: of the photograph.
            id: for the reading.
            spots: of its camera; what lies on them does not count.

        Raises:
            PhotographError: it cannot be opened.
        """
        return self.see(read_photograph(Path(file)), str(file), id, spots)

    def see(self, rgb: NDArray[np.uint8], file: str, id: str, spots: Sequence[Spot] = ()) -> Seen:
        """Read a photograph that is open already; else as `read`.

        Args:
            rgb: uint8 (height, width, 3).
            file: its name, for the reading.
            id: likewise.
            spots: as `read` takes them.

        Raises:
            UserError: not such pixels: of others, as of floats from 0 to 1, the reading would be wrong.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise UserError(
                f"{file}: pixels of shape {rgb.shape} and type {rgb.dtype}. A photograph is uint8, 0 to 255, "
                "(height, width, 3), red first."
            )
        return self.look(View.of(rgb, self.side), Subject(id, file), spots)

    def look(self, view: View, subject: Subject, spots: Sequence[Spot] = ()) -> Seen:
        """Read a photograph whose field of view is known; else as `see`."""
        maps, grades = self.maps_of(view.square)
        anatomy = self.anatomy.look(view) if self.anatomy else UNKNOWN
        return see(subject, view, maps, grades, self.model, spots, anatomy)

    def unread(self, file: Path | str, id: str, error: Exception) -> Reading:
        """The reading of a photograph that cannot be opened: it says why."""
        return Reading(id=id, file=str(file), model=self.model.name, error=str(error))


def _as_image(square: NDArray[np.uint8], side: int, device: torch.device) -> Tensor:
    """A field of view, uint8 (s, s, 3), as a batch of one at the side of a network."""
    seen = to_square(square, Box(0, 0, square.shape[0]), side)
    return torch.from_numpy(seen).to(device).permute(2, 0, 1)[None].float() / 255


def use_threads(count: int) -> None:
    """Let this process have no more than so many threads, for the network and for pictures."""
    torch.set_num_threads(count)
    cv2.setNumThreads(count)


def device_of(name: str | None) -> torch.device:
    """A device by its name; None for a GPU of CUDA where there is one.

    Raises:
        UserError: this machine has none of that name.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise UserError(f"{name}: no such device. There are cpu, cuda and mps.") from error
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= there.get(device.type, 0):
        raise UserError(f"{name}: this machine (or this build of torch) has no such device. Try cpu.")
    return device


def trained_of(network: Trained | Told | nn.Module) -> Trained:
    """What has to be known to use a network: told by a task, or of a network alone, by the network."""
    if isinstance(network, Trained):
        return network
    told = getattr(network, "trained", None)
    if isinstance(told, Trained):
        return told
    assert isinstance(network, nn.Module)
    return Trained(network, type(network).__name__)


def unpacked(out: Answers, place: int, side: int) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """One photograph of what a network says: maps (8, side, side), 0 where it has none, and grades."""
    maps, grades = out.lesions, out.grade
    none = np.zeros((len(CODES), side, side), np.float32)
    return (
        none if maps is None else maps[place].cpu().numpy(),
        () if grades is None else tuple(grades[place].tolist()),
    )


def see(
    subject: Subject,
    view: View,
    maps: NDArray[np.float32],
    grades: tuple[float, ...],
    model: Model,
    spots: Sequence[Spot] = (),
    anatomy: Anatomy = UNKNOWN,
) -> Seen:
    """The reading of a photograph from the outputs of a network.

    Maps are enlarged to the photograph's own pixels and cut at 0.5 after, so that findings, planes and
    lesions present agree. They are 0 where the camera saw nothing: the rim of a notch looks like a lesion.

    Args:
        subject: the photograph.
        view: its field of view.
        maps: of lesions, float32 (8, m, m).
        grades: probabilities of DR0 to DR4; empty where the model does not grade.
        model: that gave them.
        spots: of the camera; what lies on them does not count.
        anatomy: seen in the view; what the subject tells counts before it.

    Raises:
        UserError: what the network says is not finite.
    """
    if not (np.isfinite(maps).all() and np.isfinite(grades).all()):
        raise UserError(f"{subject.file}: {NOT_FINITE} Train it again, or name another checkpoint.")
    anatomy = subject.anatomy.before(anatomy)
    figures = measure(view.square)
    reasons = (*judge(figures, model.limits), *judge_view(view))
    maps = maps * view.lit(maps.shape[-1])
    planes = np.zeros(view.size, np.uint8)
    regions: list[Regions] = []
    probability: dict[str, float] = {}
    faint: dict[str, float] = {}
    for j, code in enumerate(CODES):
        if code in model.learned:
            own = view.at_own_size(maps[j])
            above = own > THRESHOLD
            planes |= above.astype(np.uint8) << j
            faint[code] = float(np.max(own, initial=0, where=~above))
            regions.append(Regions.of(code, own))
            probability[code] = float(own.max())
    findings = findings_of(regions, planes, view, anatomy)
    reading = Reading(
        id=subject.id,
        file=subject.file,
        width=view.size[1],
        height=view.size[0],
        box=view.box,
        quality=Quality(not reasons, reasons, figures),
        learned=model.learned,
        probability=probability,
        findings=looked_again(findings, model.rule.second_look if model.rule else {}),
        network_probabilities=grades,
        patient=subject.patient,
        eye=anatomy.eye,
        disc=anatomy.disc,
        fovea=anatomy.fovea,
        truth_grade=subject.truth_grade,
        truth_oedema=subject.truth_oedema,
        model=model.name,
    )
    reading, planes, aside = set_aside(reading, planes, spots, faint)
    return Seen(concluded(reading, model.rule, model.wish), view, maps, planes, aside, faint)
