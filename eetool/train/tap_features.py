"""Features of a frozen backbone at the taps of its exits, computed once (docs/decisions/0044)."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from eetool.data.rows import rows_per_pass
from eetool.errors import ArtefactError
from eetool.model.branches import Branch
from eetool.model.early_exit import EarlyExitNet, capture_outputs, find_tap
from eetool.model.memory_format import chosen_memory_format
from eetool.model.non_finite import count_non_finite, find_non_finite_module
from eetool.progress import SILENT, Progress
from eetool.train.feature_files import HALF, SINGLE, FeatureContext, FeatureRows, PartShape, make_room

FINAL = "final"  # logits of the backbone, beside the parts of taps
_FORMAT = 1  # of keys: a change of what is computed needs another number
_LARGEST_HALF, _SMALLEST_HALF = 6e4, 1e-2  # largest feature for float16, which rounds smaller ones to 6e-8
_PROBES = 4  # examples that are computed again, to test stored features
_TOLERANCE = 5e-3  # of such a test, relative to the largest feature: float16 has 11 bits


class InputRows(Protocol):
    """Examples whose features are computed."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | np.ndarray) -> Tensor:
        """Return model inputs (n, …) of these examples."""

    @property
    def digest(self) -> str:
        """Hash of everything that the inputs depend on."""


@dataclass(frozen=True)
class TapPart:
    """One tensor of every example: the features at `tap` behind the leading operations of `branch`; or final logits.

    `branch` is null for the logits.
    """

    tap: str
    branch: Branch | None

    @property
    def key(self) -> str:
        """Name of the part in its context."""
        if self.branch is None:
            return FINAL
        return hashlib.sha256(f"{self.tap}\n{self.branch.reduction}".encode()).hexdigest()[:32]


class NoHalfError(Exception):
    """Features are too large or too small for float16."""


class _AllTaken(BaseException):
    """Everything that is needed of a forward pass was computed. Networks that catch `Exception` let it pass."""


def parts_of(net: EarlyExitNet) -> list[TapPart]:
    """Return the parts that the exits of `net` read, and the final logits."""
    attached = [TapPart(tap, branch) for tap, branch in net.branches.items() if isinstance(branch, Branch)]
    return [*attached, TapPart("", None)]


def part_shapes(net: EarlyExitNet, parts: Sequence[TapPart], inputs: Tensor) -> list[PartShape]:
    """Return the shapes of parts, from a forward pass on `inputs` (n, …)."""
    return [PartShape(p.key, tuple(x.shape[1:])) for p, x in zip(parts, _forward(net, parts, inputs), strict=True)]


def size_bytes(shapes: Sequence[PartShape], count: int) -> int:
    """Return the size of the features of `count` examples on disk, without the logits, which float32 holds."""
    return count * sum(shape.width * (4 if shape.name == FINAL else 2) for shape in shapes)


def tap_features(
    net: EarlyExitNet,
    parts: Sequence[TapPart],
    examples: InputRows,
    weights: str,
    progress: Progress = SILENT,
    kept: Sequence[InputRows] = (),
) -> list[FeatureRows]:
    """Return the rows of `parts` for all examples, from the cache or computed and kept there.

    The forward pass ends behind the last part that is missing. Stored features are tested on a few examples: code of
    the network may have changed where its weights have not.

    Args:
        net: the network; its backbone runs in evaluation mode.
        parts: what is needed.
        examples: the examples.
        weights: `backbone_digest` of the network.
        progress: observer.
        kept: further examples of the same run, whose features are not removed to make room.

    Raises:
        ArtefactError: features are not finite.
        OutputError: the cache cannot be written.
    """
    context = FeatureContext(_key(weights, examples), len(examples))
    net.backbone.eval()
    shapes = part_shapes(net, parts, examples[:1])
    with chosen_memory_format(net.backbone, examples[:1], run=partial(_forward, net, parts)) as arrange:
        return _open_or_compute(net, parts, shapes, _Arranged(examples, arrange), context, weights, progress, kept)


class _Arranged:
    """The same examples in the memory format that the network takes."""

    def __init__(self, examples: InputRows, arrange: Callable[[Tensor], Tensor]) -> None:
        self._examples, self._arrange, self.digest = examples, arrange, examples.digest

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, rows: slice | np.ndarray) -> Tensor:
        return self._arrange(self._examples[rows])


def _open_or_compute(
    net: EarlyExitNet,
    parts: Sequence[TapPart],
    shapes: Sequence[PartShape],
    examples: InputRows,
    context: FeatureContext,
    weights: str,
    progress: Progress,
    kept: Sequence[InputRows],
) -> list[FeatureRows]:
    """Return the rows of `parts`, from the files of `context` or computed."""
    stored = [context.open(shape) for shape in shapes]
    present = [(part, rows) for part, rows in zip(parts, stored, strict=True) if rows is not None]
    if present and not _agree(net, present, examples):
        context.remove()
        stored = [None] * len(parts)
    missing = [i for i, rows in enumerate(stored) if rows is None]
    if missing:
        wanted, widths = [parts[i] for i in missing], [shapes[i] for i in missing]
        make_room(size_bytes(widths, len(examples)), [_key(weights, one) for one in (examples, *kept)])
        _compute(net, wanted, widths, examples, context, progress)
        for i in missing:
            stored[i] = context.open(shapes[i])
    found = [rows for rows in stored if rows is not None]
    if len(found) < len(parts):  # another process removed them to make room
        raise ArtefactError(f"{context.folder}: features were removed while they were computed", "Run it again.")
    return found


def backbone_digest(net: EarlyExitNet) -> str:
    """Return a hash of the backbone's modules and weights."""
    digest = hashlib.sha256(str(net.backbone).encode())
    for name, tensor in net.backbone.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _key(weights: str, examples: InputRows) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, weights, examples.digest]).encode()).hexdigest()[:32]


def _compute(
    net: EarlyExitNet,
    parts: Sequence[TapPart],
    shapes: Sequence[PartShape],
    examples: InputRows,
    context: FeatureContext,
    progress: Progress,
) -> None:
    """Write the parts, in float16 where all features fit into it."""
    try:
        _write(net, parts, shapes, examples, context, progress, HALF)
    except NoHalfError:
        _write(net, parts, shapes, examples, context, progress, SINGLE)


def _write(
    net: EarlyExitNet,
    parts: Sequence[TapPart],
    shapes: Sequence[PartShape],
    examples: InputRows,
    context: FeatureContext,
    progress: Progress,
    dtype: np.dtype,
) -> None:
    dtypes = {p.key: SINGLE if p.branch is None else dtype for p in parts}
    batch = rows_per_pass(examples[:1].shape[1:])
    count = len(examples)
    with progress("features", count) as advance, context.write(shapes, dtypes) as writer:
        for start in range(0, count, batch):
            inputs = examples[start : start + batch]
            for part, x in zip(parts, _forward(net, parts, inputs), strict=True):
                _require_finite(net, part, x, inputs)
                if dtypes[part.key] == HALF and not _fits_half(x):
                    raise NoHalfError
                writer.add(part.key, x.reshape(len(x), -1).numpy())
            advance(len(inputs))


def _fits_half(x: Tensor) -> bool:
    largest = float(x.abs().max())
    return largest == 0 or _SMALLEST_HALF <= largest <= _LARGEST_HALF


def _require_finite(net: EarlyExitNet, part: TapPart, x: Tensor, inputs: Tensor) -> None:
    if counts := count_non_finite(x):
        cause = find_non_finite_module(net, lambda: net.backbone(inputs))
        where = f"tap {part.tap!r}" if part.tap else "the final exit"
        raise ArtefactError(f"{where} gives {counts}: {cause}", "Train the backbone anew, or look at these inputs.")


def _forward(net: EarlyExitNet, parts: Sequence[TapPart], inputs: Tensor) -> list[Tensor]:
    """Return the parts of `inputs` (n, …), each (n, …) in float32; nothing behind the last of them is computed."""
    taps = list(dict.fromkeys(part.tap for part in parts if part.branch is not None))
    final: Any = None
    with torch.no_grad(), suppress(_AllTaken), capture_outputs(net.backbone, taps) as features:
        handles = []
        if all(part.branch is not None for part in parts):
            handles = [find_tap(net.backbone, tap).register_forward_hook(_stop(taps, features)) for tap in taps]
        try:
            final = net.backbone(inputs)
        finally:
            for handle in handles:
                handle.remove()
    with torch.no_grad():
        return [final if p.branch is None else p.branch.reduce(features[p.tap]).float() for p in parts]


def _stop(taps: Sequence[str], features: dict[str, Tensor]) -> Callable[..., None]:
    def hook(module: Any, arguments: Any, output: Any) -> None:
        if len(features) == len(taps):
            raise _AllTaken

    return hook


def _agree(net: EarlyExitNet, present: Sequence[tuple[TapPart, FeatureRows]], examples: InputRows) -> bool:
    """Return whether stored features of a few examples are those that the network computes."""
    chosen = np.unique(np.linspace(0, len(examples) - 1, _PROBES).astype(int))
    computed = _forward(net, [part for part, _ in present], examples[chosen])
    for x, (_, rows) in zip(computed, present, strict=True):
        fresh, old = x.reshape(len(x), -1).numpy(), rows[chosen]
        if not np.allclose(old, fresh, rtol=_TOLERANCE, atol=_TOLERANCE * float(np.abs(fresh).max(initial=1e-6))):
            return False
    return True
