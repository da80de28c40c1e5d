"""What image-level networks return besides plain logits (n, k)."""

from typing import NamedTuple

from torch import Tensor


class LesionsAndGrade(NamedTuple):
    """Logits of one pass: ``lesions`` (n, 8, h, w), or (n, 8) of a lesion classifier; ``grade`` (n, 5)."""

    lesions: Tensor
    grade: Tensor


class WithAttention(NamedTuple):
    """One pass of ABN.

    Attributes:
        logits: of the perception branch, the network's answer, (n, k).
        attention_logits: of the attention branch, (n, k).
        attention: the map, 0 to 1, (n, 1, h, w), at stride 16 of the image as the network sees it.
    """

    logits: Tensor
    attention_logits: Tensor
    attention: Tensor


Output = Tensor | LesionsAndGrade | WithAttention


def answer(out: Output) -> Tensor:
    """The logits that count."""
    return taught(out)[0]


def taught(out: Output) -> tuple[Tensor, ...]:
    """The logits that a loss is taken of, the answer first; the loss is the sum."""
    if isinstance(out, LesionsAndGrade):
        return (out.grade,)
    if isinstance(out, WithAttention):
        return out.logits, out.attention_logits
    return (out,)


def attention_of(out: Output) -> Tensor | None:
    """ABN's attention map (n, 1, h, w); None of other networks."""
    return out.attention if isinstance(out, WithAttention) else None
