"""What counts as known of a photograph once its twins are known: labels, disc, fovea, what was looked for.

Where patients are named, their names outrank a likeness of pictures: no grade crosses from one to another.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from retinalesion.data.outcome import Outcome
from retinalesion.data.photograph import Photograph
from retinalesion.data.twins import Pair, groups_of
from retinalesion.geometry import Disc, Point
from retinalesion.lesions import CODES, NO_GRADE, NO_OEDEMA

Twins = Mapping[str, tuple[str, ...]]


def twins_of(photographs: Mapping[str, Photograph], pairs: Sequence[Pair]) -> dict[str, tuple[str, ...]]:
    """For every id, the others that show the same photograph, directly or over others."""
    groups = groups_of(photographs, [pair[:2] for pair in pairs if pair.twins])
    return {id: tuple(other for other in group if other != id) for group in groups for id in group}


def of_two_patients(one: Photograph, other: Photograph) -> bool:
    """Whether both patients are named, and differ."""
    return bool(one.patient and other.patient and one.patient != other.patient)


def believed(pairs: Iterable[Pair], photographs: Mapping[str, Photograph]) -> list[Pair]:
    """Pairs without the second shots of two named patients: those are two eyes that look alike."""
    return [
        pair
        for pair in pairs
        if pair.twins or not of_two_patients(photographs[pair.first], photographs[pair.second])
    ]


def lenders_of(id: str, photographs: Mapping[str, Photograph], twins: Twins) -> list[str]:
    """The twins of no other patient: what is known of them is known of it."""
    return [other for other in twins[id] if not of_two_patients(photographs[id], photographs[other])]


def lender_of(id: str, photographs: Mapping[str, Photograph], twins: Twins) -> str:
    """The photograph whose grade counts: itself; else a twin of no other patient, where all such agree.

    Returns:
        Its id; empty where there is none.
    """
    return _lender(id, photographs, twins, lambda one: one.grade, NO_GRADE)


def _lender(
    id: str,
    photographs: Mapping[str, Photograph],
    twins: Twins,
    label: Callable[[Photograph], int],
    none: int,
) -> str:
    own = photographs[id]
    if label(own) != none:
        return id
    others = lenders_of(id, photographs, twins)
    labelled = {label(photographs[other]): other for other in reversed(others)}
    labelled.pop(none, None)
    return labelled.popitem()[1] if len(labelled) == 1 else ""


def grade_of(id: str, photographs: Mapping[str, Photograph], twins: Twins) -> int:
    """The grade that counts, as `lender_of` says."""
    lender = lender_of(id, photographs, twins)
    return photographs[lender].grade if lender else NO_GRADE


def oedema_of(id: str, photographs: Mapping[str, Photograph], twins: Twins) -> int:
    """The risk of macular oedema that counts; twins hand it on as they do grades."""
    lender = _lender(id, photographs, twins, lambda one: one.oedema, NO_OEDEMA)
    return photographs[lender].oedema if lender else NO_OEDEMA


def places_of(
    id: str, photographs: Mapping[str, Photograph], outcomes: Mapping[str, Outcome], twins: Twins
) -> tuple[Disc | None, Point | None]:
    """Disc and fovea: its own; else those of a twin, brought to its own size.

    A twin of another aspect is cropped, and lends nothing.

    Args:
        id: of the photograph.
        photographs: by id.
        outcomes: by id.
        twins: as `twins_of` gives them.
    """
    own = outcomes[id]
    disc, fovea = own.disc, photographs[id].fovea
    for other in lenders_of(id, photographs, twins):
        twin = outcomes[other]
        scale = own.width / twin.width
        if abs(twin.height * scale - own.height) > 1 + scale:  # sides are whole pixels
            continue
        disc = disc or (twin.disc and twin.disc.scaled(scale))
        place = photographs[other].fovea
        fovea = fovea or (place and place.scaled(scale))
    return disc, fovea


def graded_differently(photographs: Mapping[str, Photograph], twins: Twins) -> list[dict[str, int]]:
    """Every group of twins whose own grades differ: grade by id."""
    groups = sorted({tuple(sorted((id, *others))) for id, others in twins.items() if others})
    graded = [{id: photographs[id].grade for id in group} for group in groups]
    own = [{id: grade for id, grade in group.items() if grade != NO_GRADE} for group in graded]
    return [group for group in own if len(set(group.values())) > 1]


def take_as_healthy(
    photographs: Mapping[str, Photograph], grades: Mapping[str, int], twins: Twins
) -> tuple[dict[str, frozenset[str]], str]:
    """What is annotated when photographs graded DR0 are taken to be free of lesions.

    Not where a twin bears masks or another grade: then there is reason for doubt.

    Args:
        photographs: by id.
        grades: by id, as `grade_of` gives them.
        twins: as `twins_of` gives them.

    Returns:
        Annotated lesions by id, and a sentence that states the assumption.
    """
    looked_for = frozenset().union(*(record.annotated for record in photographs.values()))
    assumed = {
        id
        for id, record in photographs.items()
        if grades[id] == 0
        and not record.annotated
        and all(not photographs[other].annotated and grades[other] == 0 for other in twins[id])
    }
    codes = ", ".join(code for code in CODES if code in looked_for)
    note = (
        f"Assumed, by choice: {len(assumed)} photographs graded DR0 and not annotated are free of {codes}; "
        "they count as annotated and empty for these."
    )
    return {id: looked_for if id in assumed else record.annotated for id, record in photographs.items()}, note
