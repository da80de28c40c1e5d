"""The rule: all numbers by which findings count and a verdict is said.

They are fitted out of fold and kept in a checkpoint; applying them takes numpy alone. The file may come from
anywhere: whatever is among them is a plain finite number or text, within limits.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retinalesion.errors import UserError
from retinalesion.lesions import CODES

FORMAT = 1
_MOST = 1000  # numbers in one list, names in one table
_LARGEST = 1e6  # of any number, so that no sum of products overflows
_TOLD = 100_000  # letters of what is told of it
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Logistic:
    """A logistic model: the probability of yes is the logistic of ``bias`` plus weights times values.

    Attributes:
        bias: of the logit.
        weights: by name of the value.
    """

    bias: float
    weights: Mapping[str, float]

    def logit(self, values: Mapping[str, ArrayLike]) -> Array:
        """Of values of any one shape, by name; those that have no weight do not enter."""
        parts = [weight * np.asarray(values[name], np.float64) for name, weight in self.weights.items()]
        return np.asarray(sum(parts, np.float64(self.bias)), np.float64)

    def probability(self, values: Mapping[str, ArrayLike]) -> Array:
        """Of yes, 0 to 1."""
        return logistic(self.logit(values))


@dataclass(frozen=True)
class OperatingPoint:
    """From where a lesion counts as present: so many findings, each so sure and so large.

    Attributes:
        confidence: of a finding, at least.
        area: of a finding in disc areas, at least.
        number: of such findings, at least.
    """

    confidence: float = 0.0
    area: float = 0.0
    number: int = 1


@dataclass(frozen=True)
class Roc:
    """What the score does, out of fold: sensitivity and specificity if all from ``cut`` were referred.

    Attributes:
        cut: logits of the referable model, rising.
        sensitivity: falling.
        specificity: rising.
    """

    cut: tuple[float, ...]
    sensitivity: tuple[float, ...]
    specificity: tuple[float, ...]

    def cut_of_sensitivity(self, at_least: float) -> float:
        """The highest cut with this sensitivity; the lowest there is, where none has it."""
        return max(
            (c for c, s in zip(self.cut, self.sensitivity, strict=True) if s >= at_least), default=self.cut[0]
        )

    def cut_of_specificity(self, at_least: float) -> float:
        """The lowest cut with this specificity; the highest there is, where none has it."""
        return min(
            (c for c, s in zip(self.cut, self.specificity, strict=True) if s >= at_least),
            default=self.cut[-1],
        )


@dataclass(frozen=True)
class Rule:
    """How findings are weighed, from when they count, and what is made of them.

    Attributes:
        second_look: by lesion, how likely a region is one, of the figures of
            `retinalesion.reading.second_look`.
        points: by lesion, its operating point; what is not named counts from the map's threshold on.
        macula: of hard exudates within a disc diameter of the fovea, which refer; None where none was fitted.
        referable: DR2 or worse, or macular oedema at risk, of `retinalesion.reading.statistics`.
        steps: of DR1, 2, 3, 4: that it is so or worse, where it is the grade before or worse.
        offset: of the score, for one site (``calibrate --ungraded``); 0 elsewhere.
        low: logit of the referable model below which not to refer.
        high: from which to refer.
        roc: of that score, out of fold.
        prevalence: share of referable eyes among those it was fitted on.
        told: where it comes from, for people: photographs, groups, sensitivity, specificity, intervals.
    """

    second_look: Mapping[str, Logistic]
    points: Mapping[str, OperatingPoint]
    macula: OperatingPoint | None
    referable: Logistic
    steps: tuple[Logistic, ...]
    low: float
    high: float
    roc: Roc
    prevalence: float
    offset: float = 0.0
    told: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint keeps them."""
        return {"format": FORMAT, **asdict(self), "steps": [asdict(step) for step in self.steps]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], called: str = "this checkpoint") -> Self:
        """The reverse of `as_dict`.

        Args:
            plain: of a file that may come from anywhere.
            called: how a message names the file.

        Raises:
            UserError: not such a rule, or one of a newer format.
        """
        try:
            if (version := int(_number(plain["format"]))) != FORMAT:
                raise UserError(
                    f"{called}: its rule has format {version}, and this version of retinalesion "
                    f"reads {FORMAT}. Use the version that made it, or fit it again: retinalesion calibrate"
                )
            return cls(
                second_look={code: _logistic(one) for code, one in _by_lesion(plain["second_look"])},
                points={code: _point(one) for code, one in _by_lesion(plain["points"])},
                macula=None if plain["macula"] is None else _point(plain["macula"]),
                referable=_rising(plain["referable"]),
                steps=tuple(map(_rising, _few(plain["steps"], exactly=4))),
                low=_number(plain["low"]),
                high=_number(plain["high"]),
                roc=_roc(plain["roc"]),
                prevalence=_share(plain["prevalence"]),
                offset=_number(plain["offset"]),
                told=_plain(plain["told"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise damaged(called, what) from error

    def requires(self, figures: Collection[str], statistics: Collection[str], called: str) -> None:
        """Hold that it asks for nothing but what a reading tells.

        Args:
            figures: of a region.
            statistics: of a photograph.
            called: how a message names the file.

        Raises:
            UserError: it has a weight for something else.
        """
        looks = {name for model in self.second_look.values() for name in model.weights}
        verdict = {name for model in (self.referable, *self.steps) for name in model.weights}
        if strange := (looks - set(figures)) | (verdict - set(statistics)):
            raise damaged(called, f"it weighs {min(strange):.40}, which readings by this network do not have")


def damaged(called: str, what: str) -> UserError:
    """That a rule cannot be used, and why."""
    return UserError(
        f"{called}: its rule is damaged ({what}). Take another copy, or fit it again: retinalesion calibrate"
    )


def logistic(logit: ArrayLike) -> Array:
    """The probability of a logit, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(logit, np.float64))), np.float64)


def logit_of(probability: ArrayLike) -> Array:
    """The reverse of `logistic`, within ±16."""
    p = np.clip(np.asarray(probability, np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p / (1 - p)), np.float64)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
        raise ValueError(f"{value!r:.40} is no number from {-_LARGEST:.0f} to {_LARGEST:.0f}")
    return float(value)


def _share(value: Any) -> float:
    if not 0 < (share := _number(value)) < 1:
        raise ValueError(f"{share} is no share between 0 and 1")
    return share


def _few(values: Any, exactly: int | None = None) -> Sequence[Any]:
    if not isinstance(values, (list, tuple)) or len(values) > _MOST or exactly not in (None, len(values)):
        raise ValueError("a list is not as long as it has to be")
    return values


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(map(_number, _few(values)))


def _by_lesion(values: Any) -> Sequence[tuple[str, Any]]:
    if unknown := set(values) - set(CODES):
        raise ValueError(f"no lesion is called {min(unknown)!r:.40}")
    return list(values.items())


def _logistic(plain: Any) -> Logistic:
    if len(plain["weights"]) > _MOST:
        raise ValueError("too many weights")
    return Logistic(_number(plain["bias"]), {str(k): _number(v) for k, v in plain["weights"].items()})


def _rising(plain: Any) -> Logistic:
    """Of the verdict, which more lesions never lower."""
    model = _logistic(plain)
    if name := next((name for name, weight in model.weights.items() if weight < 0), ""):
        raise ValueError(f"more {name:.40} would lower a probability")
    return model


def _roc(plain: Any) -> Roc:
    cut, *others = (_numbers(plain[name]) for name in ("cut", "sensitivity", "specificity"))
    if not cut or any(len(other) != len(cut) for other in others):
        raise ValueError("cuts, sensitivities and specificities are not as many")
    return Roc(cut, *others)


def _plain(told: Any) -> dict[str, Any]:
    """What people are told of a rule: plain values, and not too many."""
    text = json.dumps(dict(told), allow_nan=False)
    if len(text) > _TOLD:
        raise ValueError("what is told of it is too long")
    plain: dict[str, Any] = json.loads(text)
    return plain


def _point(plain: Any) -> OperatingPoint:
    return OperatingPoint(_number(plain["confidence"]), _number(plain["area"]), int(_number(plain["number"])))
