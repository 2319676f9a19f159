"""Probe networks for a latency table, each identified by a family and a seed."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eetool.latency.probes.heavy_networks import HEAVY, SHALLOW, draw_heavy_network
from eetool.latency.probes.image_networks import FAMILIES, draw_image_network
from eetool.latency.probes.large_networks import LARGE_FAMILIES, draw_large_network
from eetool.latency.probes.onnx_builder import INPUT, OnnxBuilder, to_model
from eetool.latency.probes.transformer_networks import draw_transformer

TOKENS = "tokens"
_ORDER = (*FAMILIES, "mixed", TOKENS, *LARGE_FAMILIES, HEAVY)


@dataclass(frozen=True)
class ProbeNetwork:
    """Identity of a network, which follows from its family and seed."""

    family: str
    seed: int

    @property
    def name(self) -> str:
        """Name such as `dense-12`."""
        return f"{self.family}-{self.seed}"

    def build(self) -> OnnxBuilder:
        """Return its operators and weights."""
        if self.family == TOKENS:
            return draw_transformer(self.seed)
        if self.family in (HEAVY, SHALLOW):
            return draw_heavy_network(self.seed, shallow=self.family == SHALLOW)
        if self.family in LARGE_FAMILIES:
            return draw_large_network(self.seed, self.family)
        return draw_image_network(self.seed, self.family)

    @property
    def twin(self) -> "ProbeNetwork | None":
        """Shallow twin of a heavy network, which is measured with it; None for others."""
        return ProbeNetwork(SHALLOW, self.seed) if self.family == HEAVY else None

    @property
    def fingerprint(self) -> str:
        """Hash of its operators and sizes: networks of another drawing have another one."""
        builder = self.build()
        nodes = [(node.op_type, list(node.input), [str(a) for a in node.attribute]) for node in builder.nodes]
        sizes = [(name, value.shape) for name, value in builder.weights.items() if name]
        start = [int(size) for size in builder.weights[INPUT]]
        return hashlib.sha256(repr((nodes, sizes, start)).encode()).hexdigest()[:16]

    def model(self) -> Any:
        """Return its `onnx.ModelProto`."""
        return to_model(self.build())


def probe_networks(first_seed: int = 0) -> Iterator[ProbeNetwork]:
    """Yield networks without end, the families in turn."""
    seed = first_seed
    while True:
        yield ProbeNetwork(_ORDER[seed % len(_ORDER)], seed)
        seed += 1


def parse_name(name: str) -> ProbeNetwork | None:
    """Return the network with this name; None for other names."""
    family, _, seed = name.rpartition("-")
    return ProbeNetwork(family, int(seed)) if family in (*_ORDER, SHALLOW) and seed.isdecimal() else None
