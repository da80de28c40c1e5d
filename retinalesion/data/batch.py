"""What a batch holds: as `FundusDataModule` describes it, and as it comes from the loaders."""

from typing import NotRequired, TypedDict

from torch import Tensor


class Truth(TypedDict):
    """What is known of the lesions of photographs.

    Attributes:
        planes: bool (n, 8, h, w).
        valid: bool (n, 8, h, w), where planes count.
    """

    planes: Tensor
    valid: Tensor


class Labels(Truth):
    """What is known of the photographs of a batch.

    Attributes:
        grade: int64 (n,), -1 where there is none.
        id: empty for a blank.
    """

    grade: Tensor
    id: list[str]


class Batch(Labels):
    """A batch, ready for a network.

    Attributes:
        image: float32 (n, 3, h, w), RGB in [0, 1].
        oedema: int64 (n,), risk of macular oedema, 0 to 2; -1 where nobody said.
        camera: bool (n, 8, h, w), spots of the camera, where they are told apart.
    """

    image: Tensor
    oedema: Tensor
    camera: NotRequired[Tensor]


class Sample(TypedDict):
    """A photograph of a store, or a window of it: pictures uint8, planes packed; `Packed` says the rest."""

    image: Tensor
    planes: Tensor
    ignored: Tensor
    annotated: int
    grade: int
    oedema: int
    id: str
    draw: NotRequired[int]
    camera: NotRequired[Tensor]


class Packed(TypedDict):
    """Samples put together, on their way to the device.

    Attributes:
        image: uint8 (n, s, s, 3), RGB.
        planes: uint8 (n, s, s), bit j for lesion j.
        ignored: uint8 (n, s, s), likewise.
        annotated: int64 (n,), likewise.
        grade: int64 (n,).
        oedema: int64 (n,).
        id: empty for a blank.
        draw: int64 (n,), in training: positions in the draw order.
        camera: uint8 (n, s, s), like the planes, at the side that the network sees.
    """

    image: Tensor
    planes: Tensor
    ignored: Tensor
    annotated: Tensor
    grade: Tensor
    oedema: Tensor
    id: list[str]
    draw: NotRequired[Tensor]
    camera: NotRequired[Tensor]
