"""Folders of probe graphs: written here, measured by `python -m eetool_measure FOLDER` on the device."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eetool.profile.draw import FAMILIES, draw_images
from eetool.profile.draw_tokens import draw_tokens
from eetool.profile.graph import of_model
from eetool.profile.kernel import FP32, Kernel
from eetool.profile.kernels import kernels_of
from eetool.profile.sketch import to_model
from eetool.records import canonical, write_directory
from eetool_measure.probes import PROBES, SCHEMA, Probe, Probes

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

    def model(self) -> Any:
        """Its `onnx.ModelProto`."""
        drawn = draw_tokens(self.seed) if self.family == TOKENS else draw_images(self.seed, self.family)
        return to_model(drawn)

    def kernels(self, channel_block: int) -> list[Kernel]:
        """Its kernels on a device with such blocks."""
        return list(_kernels(self, channel_block))


@functools.cache
def _kernels(net: ProbeNet, channel_block: int) -> tuple[Kernel, ...]:
    # Asked for again with every table of a build; to draw a network takes tens of milliseconds.
    return tuple(kernels_of(of_model(net.model(), net.name), channel_block))


def nets(first_seed: int = 0) -> Iterator[ProbeNet]:
    """Networks without end, the families in turn."""
    seed = first_seed
    while True:
        yield ProbeNet(_ORDER[seed % len(_ORDER)], seed)
        seed += 1


def write_probes(folder: Path, chosen: Sequence[ProbeNet]) -> None:
    """Write a folder of probes; raises OutputError where it cannot be written."""
    with write_directory(folder) as temporary:
        probes = []
        for net in chosen:
            path = f"{net.name}.onnx"
            (temporary / path).write_bytes(net.model().SerializeToString(deterministic=True))
            probes.append(Probe(net.name, path))
        (temporary / PROBES).write_text(canonical(Probes(SCHEMA, "onnx", FP32, tuple(probes))), encoding="utf-8")


def parse_name(name: str) -> ProbeNet | None:
    """The network of a probe by its name; None for a name that is none."""
    family, _, seed = name.rpartition("-")
    return ProbeNet(family, int(seed)) if family in _ORDER and seed.isdecimal() else None
