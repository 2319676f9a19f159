"""Values of stored tensors: numbers that no network computes with are found before they spread as NaN."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eetool.errors import ArtefactError

COUNTER = ".num_batches_tracked"  # older files lack them, and eetool does not use them
_VARIANCE = "running_var"
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SHOWN = 6
_PLAIN = "Save plain tensors of float32."
_DIVERGED = "The training that made them diverged: take the weights of an earlier epoch."
_OVERFLOWN = "float16 ends at 65504: convert the original weights to float32 or bfloat16 instead."
_QUANTISED = "Weights from before the quantisation are needed; `eetool export` quantises."

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class InvalidValues:
    """Tensors that a network cannot compute with: one line for each, and the remedy."""

    lines: tuple[str, ...]
    hint: str
    problem: str = "values that no network can compute with"

    def __str__(self) -> str:
        more = f"\n  and {len(self.lines) - _SHOWN} more tensors" if len(self.lines) > _SHOWN else ""
        return f"{self.problem}:\n  " + "\n  ".join(self.lines[:_SHOWN]) + more


def find_invalid(tensors: State, stored: State | None = None) -> InvalidValues | None:
    """Return the tensors with NaN or infinite values, or with negative running variances; None if there are none.

    A mask of zeros and −∞, as attention has, is valid.

    Args:
        tensors: by name.
        stored: the same before their conversion, which tells where a number became infinite.
    """
    lines, nan, half = [], False, False
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or name.endswith(COUNTER):
            continue
        original = stored[name] if stored is not None else tensor
        line = _not_finite(tensor, original) or _negative_variance(name, tensor)
        if line is not None:
            lines.append(f"{name}: {line}")
            nan |= bool(tensor.isnan().any())
            half |= original.dtype == torch.float16
    if not lines:
        return None
    overflown = any("infinite" in line for line in lines) and (half or not nan)
    return InvalidValues(tuple(lines), _OVERFLOWN if overflown else _DIVERGED)


def check_values(tensors: State, where: str, hint: str | None = None) -> None:
    """Raise ArtefactError where a tensor has values that no network computes with, see `find_invalid`.

    Args:
        tensors: by name.
        where: where they come from, for messages.
        hint: remedy in place of the general one.
    """
    invalid = find_invalid(tensors)
    if invalid is not None:
        raise ArtefactError(f"{where}: {invalid}", hint or invalid.hint)


def convert(stored: State, expected: State, where: str) -> tuple[dict[str, Tensor], list[str]]:
    """Return tensors in the dtypes of the network's, and notes on what was changed or is peculiar.

    Counters that are no integers are left out: a conversion of all tensors to float16 spoils them.

    Args:
        stored: tensors by name, each of them in `expected` too.
        expected: the network's own tensors.
        where: where they come from, for messages.

    Raises:
        ArtefactError: a tensor is no plain tensor of numbers, its numbers have another meaning, as those of integers in
            the place of floats, or its values are invalid, see `find_invalid`.
    """
    stored = {n: x for n, x in stored.items() if not (n.endswith(COUNTER) and x.is_floating_point())}
    problems = {name: problem for name, x in stored.items() if (problem := _other_kind(x, expected[name]))}
    if problems:
        exact = [stored[name] for name in problems if not stored[name].is_quantized]
        hint = _PLAIN if all(x.is_complex() or x.is_floating_point() for x in exact) and exact else _QUANTISED
        lines = tuple(f"{name} {problem}" for name, problem in problems.items())
        raise ArtefactError(f"{where}: {InvalidValues(lines, hint, 'tensors of another kind')}", hint)
    converted = {name: tensor.to(expected[name].dtype) for name, tensor in stored.items()}
    invalid = find_invalid(converted, stored)
    if invalid is not None:
        raise ArtefactError(f"{where}: {invalid}", invalid.hint)
    changes = sorted({(_name(stored[n]), _name(x)) for n, x in converted.items() if _is_other_float(stored[n], x)})
    notes = [f"{before} was converted to {after}" for before, after in changes]
    zeros = {name: int((x == 0).sum()) for name, x in converted.items() if _is_variance(name)}
    constant = [f"{name} {count} of {converted[name].numel()}" for name, count in zeros.items() if count]
    return converted, notes + ([f"running variances that are 0: {join_shown(constant)}"] if constant else [])


def _not_finite(tensor: Tensor, original: Tensor) -> str | None:
    finite = tensor.isfinite()
    if bool(finite.all()) or is_mask(tensor, finite):
        return None
    nan = int(tensor.isnan().sum())
    infinite = tensor.numel() - int(finite.sum()) - nan
    beyond = int(original.isfinite().sum()) - int(finite.sum())
    counts = ((nan, "NaN"), (infinite - beyond, "infinite"), (beyond, f"beyond {_name(tensor)}"))
    found = " and ".join(f"{count} {word}" for count, word in counts if count)
    stored = f", stored as {_name(original)}" if original.dtype != torch.float32 else ""
    return f"{found} of {tensor.numel()} values{stored}"


def is_mask(tensor: Tensor, finite: Tensor) -> bool:
    """Return whether a tensor adds 0 or −∞ to scores of attention."""
    rest = tensor[finite]
    return tensor.ndim >= 2 and len(rest) > 0 and not rest.any() and bool((tensor[~finite] == -torch.inf).all())


def _negative_variance(name: str, tensor: Tensor) -> str | None:
    if not _is_variance(name) or not bool((tensor < 0).any()):
        return None
    return f"{int((tensor < 0).sum())} of {tensor.numel()} variances are negative, the least is {float(tensor.min()):g}"


def _is_variance(name: str) -> bool:
    return name.rpartition(".")[2] == _VARIANCE


def _other_kind(tensor: Tensor, wanted: Tensor) -> str | None:
    if tensor.is_quantized:
        return f"is quantised ({_name(tensor)})"
    if tensor.layout is not torch.strided:
        return "is sparse"
    if tensor.is_meta:
        return "has no values"
    if wanted.is_floating_point() and tensor.dtype not in _FLOATS:
        return f"is {_name(tensor)} where {_name(wanted)} is needed"
    if wanted.is_complex() != tensor.is_complex():
        return f"is {_name(tensor)} where {_name(wanted)} is needed"
    if tensor.is_floating_point() and not (wanted.is_floating_point() or _is_whole(tensor)):
        return f"is {_name(tensor)} with fractions where {_name(wanted)} is needed"
    return None


def _is_whole(tensor: Tensor) -> bool:
    return bool((tensor.isfinite() & (tensor == tensor.round())).all())


def _is_other_float(before: Tensor, after: Tensor) -> bool:
    return before.dtype != after.dtype and before.is_floating_point()


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def join_shown(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
