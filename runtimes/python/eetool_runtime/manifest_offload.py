"""Records of `manifest.json` for what lies behind an exit, on a server. docs/offload.md is normative."""

from __future__ import annotations

from typing import Optional

from .manifest_figures import Expected
from .records import dataclass

WIRES = FP32, FP16, UINT8 = ("fp32", "fp16", "uint8")  # precisions of float tensors that travel


@dataclass(frozen=True)
class OffloadInput:
    """A tensor that travels to the server.

    Attributes:
        tensor: its name in the bundle: of a tensor or of a model input.
        name: of the input of the server's model.
        dtype: that it travels in, as the protocol names it.
        scale: step of a float tensor as UINT8; None where there is none, or pixels travel.
        zero_point: the byte that stands for 0, likewise.
    """

    tensor: str
    name: str
    dtype: str
    scale: Optional[float] = None
    zero_point: Optional[int] = None


@dataclass(frozen=True)
class OffloadOutput:
    """Names of the outputs of the server's model for one exit."""

    exit: int
    logits: str
    confidence: str


@dataclass(frozen=True)
class OffloadPoint:
    """Thresholds of an operating point where inputs may travel, and its figures.

    Attributes:
        thresholds: one per early exit; None never fires.
        link_up: figures where the server answers.
        link_down: figures where the device runs all components itself.
        offload_share: share of the inputs that travel.
    """

    thresholds: tuple[Optional[float], ...]
    link_up: Optional[Expected] = None
    link_down: Optional[Expected] = None
    offload_share: Optional[float] = None


@dataclass(frozen=True)
class OffloadPolicy:
    """Policy of one variant with a server.

    Attributes:
        temperatures: one per exit. Those of exits behind the cut are sent to the server.
        operating_points: by name. A point of the variant that is not here is never offloaded.
        slopes: one per exit with Platt scaling, else empty.
        offsets: likewise.
    """

    temperatures: tuple[float, ...]
    operating_points: dict[str, OffloadPoint]
    slopes: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()


@dataclass(frozen=True)
class OffloadSpec:
    """A server's part of the network, and the tensors that are sent to it.

    Attributes:
        after_exit: the last exit on the device; None where the model's inputs themselves travel.
        model: name of the server's model, which ends in 8 digits of the hash of its file.
        wire: precision of the float tensors that travel.
        inputs: tensors that travel.
        outputs: one entry per exit behind `after_exit`, in order.
        variants: policies by variant.
    """

    after_exit: Optional[int]
    model: str
    wire: str
    inputs: tuple[OffloadInput, ...]
    outputs: tuple[OffloadOutput, ...]
    variants: dict[str, OffloadPolicy]

    @property
    def first_exit(self) -> int:
        """Index of the first exit that the server computes."""
        return 0 if self.after_exit is None else self.after_exit + 1
