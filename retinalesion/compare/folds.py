"""Tests of the folds of one assignment as one result: every photograph once, by the network of its fold."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retinalesion.compare.results import GradeTest, LesionTest, Result
from retinalesion.errors import UserError


def pooled(results: Sequence[Result]) -> list[Result]:
    """Put tests of folds together: those of networks trained alike, on one store and one assignment.

    Where a fold was tested by several such networks, their seeds tell which belong together. Results that are
    of no fold stay as they are.

    Args:
        results: finished, tested runs.

    Raises:
        UserError: two are of the same fold and seed, or two folds share a photograph.
    """
    alike: dict[Any, list[Result]] = {}
    for run in results:
        alike.setdefault(_what(run), []).append(run)
    return [one for runs in alike.values() for one in _pools(runs)]


def _what(run: Result) -> Any:
    if run.fold is None:
        return run.folder
    settings = repr(sorted(run.settings.items(), key=str))
    return (settings, run.store, run.tested_on.get("store"), run.fold.count, run.fold.assignment)


def _pools(runs: list[Result]) -> Iterator[Result]:
    if runs[0].fold is None:
        yield from runs
    elif len({run.fold for run in runs}) == len(runs):
        yield _pool(runs)
    else:
        by_seeds: dict[Any, list[Result]] = {}
        for run in runs:
            by_seeds.setdefault(run.seeds, []).append(run)
        yield from map(_pool, by_seeds.values())


def _pool(runs: list[Result]) -> Result:
    parts = sorted(runs, key=lambda run: run.fold.fold if run.fold else -1)
    for one, other in pairwise(parts):
        if one.fold == other.fold:
            raise UserError(
                f"{one.folder} and {other.folder} have the same settings, fold and seed ({one.seeds[0]}): "
                "the second tells nothing new. Leave one of them out."
            )
    first, last = parts[0], parts[-1]
    assert first.fold is not None
    seeds = first.seeds
    if len({run.seeds for run in parts}) > 1:
        seeds = (tuple(run.seeds[0] for run in parts), tuple(run.seeds[1] for run in parts))
    costs = {name for run in parts for name in run.cost}
    lesions = [run.lesions for run in parts if run.lesions]
    grades = [run.grades for run in parts if run.grades]
    return replace(
        first,
        name=first.name if first.name == last.name else f"{first.name} to {last.name}",
        # Another assignment makes another row, never another seed.
        settings={**first.settings, "folds": first.fold.count, "assignment": first.fold.assignment},
        seeds=seeds,
        lesions=_lesions(lesions, parts) if lesions else None,
        grades=_grades(grades, parts) if grades else None,
        cost={name: float(np.mean([run.cost[name] for run in parts if name in run.cost])) for name in costs},
        parts=tuple(parts),
        rule={},
    )


def _order(tests: Sequence[LesionTest | GradeTest], parts: Sequence[Result]) -> NDArray[np.int64]:
    """How photographs, fold after fold, come into the order of their ids."""
    ids = np.array([id for test in tests for id in test.ids])
    order = np.argsort(ids, kind="stable")
    if twice := [one for one, other in pairwise(ids[order].tolist()) if one == other]:
        raise UserError(
            f"{parts[0].folder} and other folds of its assignment were both tested on photograph {twice[0]}, "
            "which is in one fold only. Test the folds again, on one store."
        )
    return order


def _lesions(tests: list[LesionTest], parts: Sequence[Result]) -> LesionTest:
    order = _order(tests, parts)
    pixels = [test.pixels for test in tests if test.pixels is not None]
    return LesionTest(
        ids=_sorted([test.ids for test in tests], order),
        groups=_sorted([test.groups for test in tests], order),
        learned=np.logical_and.reduce([test.learned for test in tests]),
        annotated=np.concatenate([test.annotated for test in tests])[order],
        present=np.concatenate([test.present for test in tests])[order],
        found=np.concatenate([test.found for test in tests])[order],
        pixels=np.concatenate(pixels)[order] if len(pixels) == len(tests) else None,
        aupr=np.full_like(tests[0].aupr, np.nan),  # of all pixels of a test together, these do not add up
    )


def _grades(tests: list[GradeTest], parts: Sequence[Result]) -> GradeTest:
    order = _order(tests, parts)
    return GradeTest(
        ids=_sorted([test.ids for test in tests], order),
        groups=_sorted([test.groups for test in tests], order),
        grade=np.concatenate([test.grade for test in tests])[order],
        said=np.concatenate([test.said for test in tests])[order],
    )


def _sorted(names: Sequence[tuple[str, ...]], order: NDArray[np.int64]) -> tuple[str, ...]:
    every = [name for some in names for name in some]
    return tuple(every[place] for place in order)
