"""The networks that are measured for a latency table, each of a family and by a seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eetool.latency.probes.image_networks import FAMILIES, draw_image_network
from eetool.latency.probes.onnx_builder import OnnxBuilder, to_model
from eetool.latency.probes.transformer_networks import draw_transformer

TOKENS = "tokens"
# Of eight networks one is a transformer: there are fewer kernels to tell apart.
_ORDER = (*FAMILIES, "mixed", TOKENS)


@dataclass(frozen=True)
class ProbeNetwork:
    """Which network: it follows from its family and seed."""

    family: str
    seed: int

    @property
    def name(self) -> str:
        """Such as `dense-12`."""
        return f"{self.family}-{self.seed}"

    def sketch(self) -> OnnxBuilder:
        """Its operators and weights."""
        return draw_transformer(self.seed) if self.family == TOKENS else draw_image_network(self.seed, self.family)

    def model(self) -> Any:
        """Its `onnx.ModelProto`."""
        return to_model(self.sketch())


def probe_networks(first_seed: int = 0) -> Iterator[ProbeNetwork]:
    """Networks without end, the families in turn."""
    seed = first_seed
    while True:
        yield ProbeNetwork(_ORDER[seed % len(_ORDER)], seed)
        seed += 1


def parse_name(name: str) -> ProbeNetwork | None:
    """The network of a probe by its name; None for a name that is none."""
    family, _, seed = name.rpartition("-")
    return ProbeNetwork(family, int(seed)) if family in _ORDER and seed.isdecimal() else None
