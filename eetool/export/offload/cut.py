"""Places where a cascade can be cut: what lies behind an exit, and the tensors that travel there."""

from dataclasses import dataclass

from eetool.errors import UsageError
from eetool.wording import counted
from eetool_runtime.manifest import BATCH, Component, Exit, Input, Manifest, Tensor
from eetool_runtime.manifest_offload import FP16, FP32, UINT8

INPUT = "input"  # the cut before everything: the input itself travels
_FLOAT = "float32"
_WIRE_BYTES = {FP32: 4, FP16: 2, UINT8: 1}  # of one float32 number
PROTOCOL_BYTES = {"FP32": 4, "FP16": 2, "INT64": 8, "INT32": 4, "UINT8": 1, "INT8": 1, "BOOL": 1}
_BYTES = {"float32": 4, "int64": 8, "int32": 4, "uint8": 1, "int8": 1, "bool": 1}


@dataclass(frozen=True)
class Cut:
    """A cut of a bundle's cascade.

    Attributes:
        after_exit: the last exit on the device; null where nothing runs there.
        before: components on the device.
        behind: components on the server.
        tensors: tensors and inputs of the bundle that travel, by name.
    """

    after_exit: int | None
    before: tuple[Component, ...]
    behind: tuple[Component, ...]
    tensors: dict[str, Tensor]

    @property
    def name(self) -> str:
        """Value of `--offload` that makes this cut."""
        return INPUT if self.after_exit is None else str(self.after_exit)

    @property
    def exits_here(self) -> int:
        """Number of exits on the device."""
        return 0 if self.after_exit is None else self.after_exit + 1

    @property
    def macs_behind(self) -> int:
        """MACs of all components on the server, at batch 1."""
        return sum(component.macs for component in self.behind)

    def later_exits(self, manifest: Manifest) -> tuple[Exit, ...]:
        """Return the exits that the server computes."""
        return manifest.exits[self.exits_here :]

    def wire_bytes(self, wire: str) -> int | None:
        """Return the bytes of one input's tensors on the wire; None where a size other than the batch is free."""
        total = 0
        for tensor in self.tensors.values():
            numbers = numbers_per_input(tensor)
            if numbers is None:
                return None
            total += numbers * (_WIRE_BYTES[wire] if tensor.dtype == _FLOAT else _BYTES[tensor.dtype])
        return total


def numbers_per_input(tensor: Tensor | Input) -> int | None:
    """Return how many numbers of a tensor belong to one input; None where a size other than the batch is free."""
    count = 1
    for size in tensor.shape:
        if isinstance(size, int):
            count *= size
        elif size != BATCH:
            multiple = size.removeprefix(f"{BATCH}_x")
            if multiple == size or not multiple.isdecimal():
                return None
            count *= int(multiple)
    return count


def sent_bytes(manifest: Manifest) -> int | None:
    """Return the bytes of tensors that a bundle sends to its server for one input; None where a size is free."""
    spec = manifest.offload
    assert spec is not None
    tensors = find_cut(manifest, spec.after_exit).tensors
    counts = [numbers_per_input(tensors[wire.tensor]) for wire in spec.inputs]
    if None in counts:
        return None
    return sum((count or 0) * PROTOCOL_BYTES[wire.dtype] for count, wire in zip(counts, spec.inputs, strict=True))


def find_cut(manifest: Manifest, after_exit: int | None) -> Cut:
    """Return the cut behind exit `after_exit`, or before everything for None.

    Everything is behind the cut that comes after the exit's component in running order.

    Raises:
        UsageError: there is no such exit, or nothing lies behind it.
    """
    last = len(manifest.exits) - 1
    if after_exit is not None and not 0 <= after_exit < last:
        problem = (
            f"exit {after_exit} is the last one, so nothing lies behind it"
            if after_exit == last
            else f"there is no exit {after_exit}: this model has {counted(last, 'early exit')} and a final one, {last}"
        )
        known = f"{', '.join(map(str, range(last)))} or {INPUT}" if last else f"{INPUT}; it has no early exit"
        raise UsageError(problem, f"Cut at: --offload {known}.")
    first = 0
    if after_exit is not None:
        first = 1 + [c.name for c in manifest.components].index(manifest.exits[after_exit].component)
    before, behind = manifest.components[:first], manifest.components[first:]
    inputs = {spec.name: Tensor(spec.dtype, spec.shape) for spec in manifest.inputs}
    made = {name for component in behind for name in component.outputs}
    read = dict.fromkeys(name for component in behind for name in component.inputs if name not in made)
    known_tensors = {**inputs, **manifest.tensors}
    tensors = {name: known_tensors[name] for name in read if name in known_tensors}  # temperatures have no entry
    return Cut(after_exit, before, behind, tensors)


def candidate_cuts(manifest: Manifest) -> list[Cut]:
    """Return every cut, the input itself first."""
    return [find_cut(manifest, after) for after in (None, *range(len(manifest.exits) - 1))]


def parse_cut(text: str) -> int | None:
    """Return the exit of a value of `--offload`; None for `input`; raises UsageError for another text."""
    if text == INPUT:
        return None
    if not text.isdecimal():
        raise UsageError(f"--offload {text!r} is neither the number of an exit nor {INPUT}", "Such as --offload 0.")
    return int(text)
