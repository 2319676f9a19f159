"""The networks that are measured for a latency table, each of a family and by a seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eetool.latency.probes.image_networks import FAMILIES, draw_images
from eetool.latency.probes.onnx_builder import Sketch, to_model
from eetool.latency.probes.transformer_networks import draw_tokens

TOKENS = "tokens"
# Of eight networks one is a transformer: there are fewer kernels to tell apart.
_ORDER = (*FAMILIES, "mixed", TOKENS)


@dataclass(frozen=True)
class ProbeNet:
    """Which network: it follows from its family and seed."""

    family: str
    seed: int

    @property
    def name(self) -> str:
        """Such as `dense-12`."""
        return f"{self.family}-{self.seed}"

    def sketch(self) -> Sketch:
        """Its operators and weights."""
        return draw_tokens(self.seed) if self.family == TOKENS else draw_images(self.seed, self.family)

    def model(self) -> Any:
        """Its `onnx.ModelProto`."""
        return to_model(self.sketch())


def nets(first_seed: int = 0) -> Iterator[ProbeNet]:
    """Networks without end, the families in turn."""
    seed = first_seed
    while True:
        yield ProbeNet(_ORDER[seed % len(_ORDER)], seed)
        seed += 1


def parse_name(name: str) -> ProbeNet | None:
    """The network of a probe by its name; None for a name that is none."""
    family, _, seed = name.rpartition("-")
    return ProbeNet(family, int(seed)) if family in _ORDER and seed.isdecimal() else None
