"""Rules of `offload` in a manifest. The normative text is docs/offload.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Optional

from .manifest import BATCH, NEVER, SCHEMA_VERSION, Manifest, Variant
from .manifest_offload import FP16, FP32, UINT8, WIRES, OffloadInput, OffloadPolicy, OffloadSpec

# Names that the protocol has for the types of tensors.
PROTOCOL_TYPES = {
    "float32": "FP32",
    "int64": "INT64",
    "int32": "INT32",
    "uint8": "UINT8",
    "int8": "INT8",
    "bool": "BOOL",
}
WIRE_TYPES = {FP32: "FP32", FP16: "FP16", UINT8: "UINT8"}  # of float tensors
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,118}-[0-9a-f]{8}")
_MIN_SCALE, _MAX_SCALE = 1e-12, 1e12  # steps that float32 arithmetic can divide by
_MAX_BYTE = 255
_MIN_DIVISOR, _MAX_DIVISOR = 1e-6, 1e6  # of temperatures and slopes; offsets lie in ± the latter


def n_head_components(m: Manifest, spec: OffloadSpec) -> int:
    """Return how many of the components come before the cut: those up to that of `after_exit`."""
    if spec.after_exit is None:
        return 0
    return [c.name for c in m.components].index(m.exits[spec.after_exit].component) + 1


def offload_problem(m: Manifest) -> Optional[str]:
    """Return the field of `offload` that breaks a rule and the rule, or None; figures are checked elsewhere."""
    spec = m.offload
    if spec is None:
        return None
    if m.schema_version == SCHEMA_VERSION:
        return f"version {SCHEMA_VERSION} has no such field"
    if spec.after_exit is not None and not 0 <= spec.after_exit < m.n_early_exits:
        return "after_exit: must be an early exit or null"
    if _MODEL.fullmatch(spec.model) is None:
        return "model: must be a name, '-', and 8 hexadecimal digits"
    if spec.wire not in WIRES:
        return f"wire: must be one of {', '.join(WIRES)}"
    return _outputs_problem(m, spec) or _inputs_problem(m, spec) or _variants_problem(m, spec)


def _outputs_problem(m: Manifest, spec: OffloadSpec) -> Optional[str]:
    if [output.exit for output in spec.outputs] != list(range(spec.first_exit, len(m.exits))):
        return "outputs: one per exit behind after_exit is needed, in order"
    names = [name for output in spec.outputs for name in (output.logits, output.confidence)]
    names += [i.name for i in spec.inputs] + [name for e in m.exits[spec.first_exit :] for name in e.scalars]
    if len(set(names)) != len(names):
        return "inputs and outputs: names of the server's model must differ, also from those of scalars"
    return None


def _inputs_problem(m: Manifest, spec: OffloadSpec) -> Optional[str]:
    known = {i.name: (i.dtype, i.shape) for i in m.inputs}
    for c in m.components[: n_head_components(m, spec)]:
        known.update({name: (m.tensors[name].dtype, m.tensors[name].shape) for name in c.outputs})
    tensors = [i.tensor for i in spec.inputs]
    if not tensors or len(set(tensors)) != len(tensors):
        return "inputs: at least one is needed, each tensor once"
    for i in spec.inputs:
        if i.tensor not in known:
            return f"inputs.{i.tensor}: is no input of the model, and no component up to the cut makes it"
        dtype, shape = known[i.tensor]
        if shape[0] != BATCH:
            return f"inputs.{i.tensor}: its first dimension must be {BATCH!r}"
        problem = _encoding_problem(m, spec.wire, i, dtype)
        if problem is not None:
            return f"inputs.{i.tensor}.{problem}"
    return None


def _encoding_problem(m: Manifest, wire: str, i: OffloadInput, dtype: str) -> Optional[str]:
    allowed = ("FP32", WIRE_TYPES[wire]) if dtype == "float32" else (PROTOCOL_TYPES[dtype],)
    if i.dtype not in allowed:
        return f"dtype: {i.dtype!r} is none of {', '.join(dict.fromkeys(allowed))}, as {dtype} travels with wire {wire}"
    if (i.scale is None) != (i.zero_point is None):
        return "scale and zero_point: both are needed, or none"
    quantised = i.dtype == "UINT8" and dtype == "float32"
    if i.scale is not None and i.zero_point is not None:
        if not quantised:
            return f"scale: {i.dtype} has none"
        if not (_MIN_SCALE <= i.scale <= _MAX_SCALE and 0 <= i.zero_point <= _MAX_BYTE):
            return f"scale and zero_point: must lie in [{_MIN_SCALE:g}, {_MAX_SCALE:g}] and [0, {_MAX_BYTE}]"
    elif quantised and not _made_of_pixels(m, i.tensor):
        return "scale: only an input that is made of pixels, with a scale other than 0, travels without one"
    return None


def _made_of_pixels(m: Manifest, name: str) -> bool:
    return any(i.name == name and i.preprocess is not None and i.preprocess.scale != 0 for i in m.inputs)


def _variants_problem(m: Manifest, spec: OffloadSpec) -> Optional[str]:
    if not spec.variants:
        return "variants: at least one is needed"
    for name, policy in spec.variants.items():
        if name not in m.variants:
            return f"variants.{name}: there is no such variant"
        changed = [i.tensor for i in spec.inputs if i.tensor in m.variants[name].tensors]
        if changed:
            return f"variants.{name}: {changed[0]!r} has another type in this variant, so that it cannot travel"
        problem = _policy_problem(m, m.variants[name], policy)
        if problem is not None:
            return f"variants.{name}.{problem}"
    return None


def _policy_problem(m: Manifest, variant: Variant, policy: OffloadPolicy) -> Optional[str]:
    count = len(m.exits)
    n_calibrated = count if m.exits[0].slope is not None else 0
    if len(policy.temperatures) != count or not all(map(_is_divisor, policy.temperatures)):
        return f"temperatures: one per exit in [{_MIN_DIVISOR:g}, {_MAX_DIVISOR:g}] is needed"
    if len(policy.slopes) != n_calibrated or not all(map(_is_divisor, policy.slopes)):
        return f"slopes: one per exit that has one is needed, in [{_MIN_DIVISOR:g}, {_MAX_DIVISOR:g}]"
    if len(policy.offsets) != n_calibrated or not all(abs(offset) <= _MAX_DIVISOR for offset in policy.offsets):
        return f"offsets: one per exit that has one is needed, in ±{_MAX_DIVISOR:g}"
    for name, point in policy.operating_points.items():
        if name not in variant.operating_points:
            return f"operating_points.{name}: the variant has no such operating point"
        problem = _thresholds_problem(point.thresholds, m.n_early_exits)
        if problem is not None:
            return f"operating_points.{name}.{problem}"
        if point.offload_share is not None and not 0 <= point.offload_share <= 1:
            return f"operating_points.{name}.offload_share: must lie in [0, 1] or be null"
    return None


def _thresholds_problem(thresholds: Sequence[Optional[float]], early_exits: int) -> Optional[str]:
    if len(thresholds) != early_exits:
        return f"thresholds: {len(thresholds)}; one per early exit is needed, {early_exits}"
    for t in thresholds:
        if t is not None and not 0 <= t <= NEVER:
            return f"thresholds: {t} does not lie in [0, {NEVER}]"
    return None


def _is_divisor(number: float) -> bool:
    return _MIN_DIVISOR <= number <= _MAX_DIVISOR
