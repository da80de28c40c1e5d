"""Which photograph trains, validates, tests: fixed by seed and ids, whatever order the files come in."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from retinalesion.data.photograph import Photograph
from retinalesion.data.store import Row, Split, Store
from retinalesion.data.twins import groups_of
from retinalesion.errors import UserError

_PUBLISHED_VAL = 1 / 8  # of a published training half
_VAL, _TEST = 0.1, 0.2  # without a published split (paper, section 4.1)

Groups = list[tuple[str, ...]]


@dataclass(frozen=True, order=True)
class Fold:
    """One of the folds into which a store was dealt, as checkpoints and tests keep it.

    Attributes:
        count: of folds.
        fold: which one, from 0.
        assignment: `assignment_of` all photographs: two of one assignment have no photograph in common.
    """

    count: int
    fold: int
    assignment: str

    @classmethod
    def told(cls, kept: Any) -> "Fold":
        """As a file keeps it: a mapping of these names.

        Raises:
            ValueError: it holds something else.
        """
        try:
            one = cls(*(kept[field.name] for field in fields(cls)))
        except (KeyError, TypeError) as error:
            raise ValueError("folds without count, fold and assignment") from error
        sane = type(one.count) is type(one.fold) is int and isinstance(one.assignment, str)
        if not (sane and 0 <= one.fold < one.count and one.assignment):
            raise ValueError(f"{kept} is no fold")
        return one

    def kept(self) -> dict[str, Any]:
        """As files keep it."""
        return asdict(self)

    def __str__(self) -> str:
        return f"fold {self.fold} of {self.count} (assignment {self.assignment})"


def make_splits(
    photographs: Sequence[Photograph], alike: Iterable[tuple[str, str]], seed: int
) -> dict[str, Split]:
    """A split for every photograph.

    A published test half is ``test``, an eighth of the rest becomes ``val``; a photograph of the rest whose
    twin or patient is in the test half gets ``none``. Without published halves: 70 % ``train``, 10 % ``val``,
    20 % ``test``. Shares count groups: photographs of one patient or group and twins stay together. Groups
    with annotated lesions and groups without are drawn apart, so that every split has its share of both.

    Args:
        photographs: of the whole set.
        alike: pairs of ids that no split may part, twins and second shots.
        seed: of the draw.
    """
    alike = list(alike)
    by_id = {photograph.id: photograph for photograph in photographs}
    splits: dict[str, Split] = {}
    published = any(photograph.half for photograph in photographs)
    if published:
        for members in groups_of(by_id, alike + of_one_patient(by_id)):
            tested = any(by_id[id].half == "test" for id in members)
            for id in members:
                if tested:
                    splits[id] = "test" if by_id[id].half == "test" else "none"
    free = {id: photograph for id, photograph in by_id.items() if id not in splits}
    groups = groups_of(free, [pair for pair in alike if set(pair) <= free.keys()] + of_one_group(free))
    for stratum in _parted(groups, lambda group: any(free[id].annotated for id in group)):
        drawn = sorted(stratum, key=lambda group: hashlib.sha256(f"{seed}\t{group[0]}".encode()).digest())
        if published:
            parts = _share(drawn, {"val": _PUBLISHED_VAL})
        else:
            parts = _share(drawn, {"test": _TEST, "val": _VAL})
        splits |= {id: split for split, part in parts.items() for group in part for id in group}
    return splits


def groups_in(store: Store, ids: Iterable[str]) -> Groups:
    """Photographs of one patient or group, twins and second shots together.

    Args:
        store: that has them.
        ids: of the photographs to group; others join nobody.
    """
    wanted = set(ids)
    rows = {row.id: row for row in store.rows if row.id in wanted}
    pairs = [(row.id, twin) for row in rows.values() for twin in row.twins]
    pairs += [(first, second) for first, second in store.info.get("second_shots", [])]
    return groups_of(rows, [pair for pair in pairs if rows.keys() >= set(pair)] + of_one_group(rows))


def too_few(photographs: Sequence[Photograph], alike: Iterable[tuple[str, str]]) -> str:
    """What to say where a split stays empty for want of patients; empty where there are enough.

    Args:
        photographs: of the whole set.
        alike: as for `make_splits`.
    """
    alike = list(alike)
    if all(one.half == "test" for one in photographs):
        return ""  # a published test half by itself is there to be tested on
    splits = make_splits(photographs, alike, 0)
    wanted = ("train", "val") if any(one.half for one in photographs) else ("train", "val", "test")
    missing = [split for split in wanted if split not in splits.values()]
    if not missing:
        return ""
    free = {one.id: one for one in photographs if splits[one.id] in wanted and one.half != "test"}
    groups = groups_of(free, [pair for pair in alike if set(pair) <= free.keys()] + of_one_group(free))
    return (
        f"{' and '.join(missing)} without a photograph: {', '.join(wanted)} need {len(wanted)} patients or "
        f"more with marked lesions, or {len(wanted)} without. Here are {len(groups)} in all (photographs "
        "that are alike, and those of one group, count as one patient)."
    )


def folds_of(store: Store, count: int, ids: Collection[str] | None = None) -> dict[str, int]:
    """The fold, from 0, of every photograph of ``train`` and ``val``; those of other splits are in none.

    Photographs of one patient or group, twins and second shots stay together. The largest groups are dealt
    first, each to the fold that lacks most of what it brings, so that grades and photographs with lesions
    balance. The same store has the same folds always.

    Args:
        store: to part.
        count: of folds.
        ids: of the photographs to part, for whatever else is fitted and judged in turns.

    Raises:
        UserError: there are fewer groups than folds.
    """
    rows = {
        row.id: row for row in store.rows if (row.split in ("train", "val") if ids is None else row.id in ids)
    }
    groups = groups_in(store, rows)
    if len(groups) < count:
        raise UserError(
            f"{store.path}: {count} folds need {count} patients or groups"
            f"{' to train and validate with' if ids is None else ''}; there are {len(groups)}."
        )
    brought = {group: _kinds(rows[id] for id in group) for group in groups}
    total = sum(brought.values(), Counter[str]())
    dealt: list[Counter[str]] = [Counter() for _ in range(count)]
    folds: dict[str, int] = {}
    for group in sorted(groups, key=lambda group: (-len(group), hashlib.sha256(group[0].encode()).digest())):
        # Of all ways to place it, the one after which the kinds are spread most evenly.
        cost = [sum(have[kind] * n / total[kind] for kind, n in brought[group].items()) for have in dealt]
        fold = min(range(count), key=lambda fold: (cost[fold], dealt[fold].total()))
        dealt[fold] += brought[group]
        folds |= dict.fromkeys(group, fold)
    return folds


def assignment_of(store: Store, folds: Mapping[str, int]) -> str:
    """A digest of which original is in which fold, whatever the store's side and its photographs' names.

    Args:
        store: that was dealt.
        folds: by id, as `folds_of` gives them.
    """
    dealt = sorted((row.sha256 or row.id, folds[row.id]) for row in store.rows if row.id in folds)
    return hashlib.sha256("".join(f"{who}\t{fold}\n" for who, fold in dealt).encode()).hexdigest()[:16]


def _kinds(rows: Iterable[Row]) -> Counter[str]:
    """How many of a group's photographs are of each kind that every fold shall have its share of."""
    kinds: Counter[str] = Counter()
    for row in rows:
        kinds[f"grade {row.grade}"] += 1
        kinds["with lesions"] += any(row.pixels.values())
    return +kinds


def of_one_group(photographs: Mapping[str, Photograph | Row]) -> list[tuple[str, str]]:
    """Pairs of ids that join what must stand on one side: each patient's, and each group's."""
    return _joined(photographs, lambda one: one.patient) + _joined(photographs, lambda one: one.group)


def of_one_patient(photographs: Mapping[str, Photograph | Row]) -> list[tuple[str, str]]:
    """Pairs of ids that join the photographs of each patient, where patients are known."""
    return _joined(photographs, lambda one: one.patient)


def _joined(
    photographs: Mapping[str, Photograph | Row], by: Callable[[Photograph | Row], str]
) -> list[tuple[str, str]]:
    first: dict[str, str] = {}
    return [(first.setdefault(by(one), id), id) for id, one in photographs.items() if by(one)]


def _parted(groups: Groups, holds: Callable[[tuple[str, ...]], bool]) -> tuple[Groups, Groups]:
    return [group for group in groups if holds(group)], [group for group in groups if not holds(group)]


def _share(drawn: Groups, shares: Mapping[Split, float]) -> dict[Split, Groups]:
    """The first groups go to the shares, at least one each where one is left to train; the rest trains."""
    parts: dict[Split, Groups] = {}
    total = len(drawn)
    for split, share in shares.items():
        count = max(1, round(share * total)) if total > len(shares) else 0
        parts[split], drawn = drawn[:count], drawn[count:]
    return {**parts, "train": drawn}
