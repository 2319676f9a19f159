"""Rules of a manifest that types alone cannot state: names, shapes, wiring, variants, policies and files.

The normative text is `docs/bundle-format.md`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Union

from .argument_checks import short_repr
from .errors import BundleError
from .manifest import (
    BATCH,
    DTYPES,
    FILTERS,
    FITS,
    KINDS,
    MAX_SAMPLES_TOLERANCES,
    NEVER,
    PRECISIONS,
    SCHEMA_VERSION,
    SEGMENTATIONS,
    Certificate,
    Expected,
    Input,
    Manifest,
    Preprocess,
    Tensor,
    Text,
    Variant,
)
from .offload_checks import offload_problem
from .stream_checks import stream_problem

NAME_RULE = "letters, digits, '.', '_', '-'"
TEXT_RULE = "1 to 256 characters are needed, no control characters"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,256}")  # no control characters: texts reach terminals
_VARIANT = re.compile(r"[a-z0-9]+/[a-z0-9]+(-[a-z0-9]+)*")
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_REASON = 400
_MAX_PATH = 240
_MAX_ELEMENTS = 1 << 31
_MAX_FILE_BYTES = 1 << 31  # the limit of the graph formats themselves
_MAX_THREADS = 1024
_MAX_SCALE = 1e6  # upper bound of temperatures and deviations; 1 / _MAX_SCALE is the lower bound


def is_name(value: str) -> bool:
    """Return whether a manifest accepts `value` as the name of a tensor, input or operating point."""
    return _NAME.fullmatch(value) is not None


def is_text(value: str) -> bool:
    """Return whether a manifest accepts `value` as a label, word, tap or name of data."""
    return _TEXT.fullmatch(value) is not None


def refusal(reason: str) -> BundleError:
    """Return the error for a manifest that is refused for `reason`."""
    shortened = reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON] + "…"
    return BundleError(
        f"manifest.json: {shortened}", "Export the bundle again, or copy it again from where it was made."
    )


def check_manifest(m: Manifest) -> None:
    """Check every rule between the fields of a manifest.

    Raises:
        BundleError: a rule is violated.
    """
    for check in _CHECKS:
        check(m)


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise refusal(reason)


def _check_names(m: Manifest) -> None:
    names = [m.name, m.score, *m.tensors]
    names += [c.name for c in m.components] + [i.name for i in m.inputs] + [name for e in m.exits for name in e.scalars]
    names += [key for v in m.variants.values() for key in (*v.operating_points, *v.references)]
    if m.stream is not None:
        names += [name for points in m.stream.operating_points.values() for name in points]
    if m.offload is not None:
        names += [i.name for i in m.offload.inputs]
        names += [name for output in m.offload.outputs for name in (output.logits, output.confidence)]
    for name in names:
        _require(is_name(name), f"{name!r} is not a name ({NAME_RULE})")
    for variant in m.variants:
        _require(_VARIANT.fullmatch(variant) is not None, f"variants: {variant!r} is not FORMAT/PRECISION")


def _check_texts(m: Manifest) -> None:
    texts = [word for i in m.inputs if i.text is not None for word in i.text.vocabulary]
    texts += [*m.labels, *m.producer, *m.producer.values(), *(e.tap for e in m.exits if e.tap is not None)]
    texts += [*m.devices, *(d.machine for d in m.devices.values())]
    texts += [p.expected.split for v in m.variants.values() for p in v.operating_points.values() if p.expected]
    if m.data is not None:
        texts += [m.data.source, *m.data.splits]
    if m.stream is not None:
        points = [p for named in m.stream.operating_points.values() for p in named.values()]
        texts += [p.expected.split for p in points if p.expected is not None]
    if m.offload is not None:
        offloaded = [p for policy in m.offload.variants.values() for p in policy.operating_points.values()]
        texts += [e.split for p in offloaded for e in (p.link_up, p.link_down) if e is not None]
    for text in texts:
        _require(is_text(text), f"{text!r}: {TEXT_RULE}")


def _check_shapes(m: Manifest) -> None:
    records: list[tuple[str, Union[Input, Tensor]]] = [(f"inputs.{i.name}", i) for i in m.inputs]
    records += [(f"tensors.{name}", tensor) for name, tensor in m.tensors.items()]
    for key, v in m.variants.items():
        records += [(f"variants.{key}.tensors.{name}", tensor) for name, tensor in v.tensors.items()]
    for where, tensor in records:
        _require(tensor.dtype in DTYPES, f"{where}.dtype: unknown {tensor.dtype!r}")
        _require(0 < len(tensor.shape) <= 8, f"{where}.shape: {len(tensor.shape)} dimensions; 1 to 8 are allowed")
        elements = 1
        for size in tensor.shape:
            named = isinstance(size, str) and _NAME.fullmatch(size) is not None
            _require(named or (isinstance(size, int) and size > 0), f"{where}.shape: {size!r} is no dimension")
            elements *= size if isinstance(size, int) else 1
        _require(elements <= _MAX_ELEMENTS, f"{where}.shape: {elements} elements are too many")
    for item in m.inputs:
        _require(item.shape[0] == BATCH, f"inputs.{item.name}.shape: the first dimension must be {BATCH!r}")
        if item.preprocess is not None:
            _check_preprocess(f"inputs.{item.name}", item, item.preprocess)
        if item.text is not None:
            _check_text(f"inputs.{item.name}", item, item.text)
        if item.picture is not None:
            _check_view(f"inputs.{item.name}", item, m.inputs)


def _check_preprocess(where: str, item: Input, rule: Preprocess) -> None:
    image = len(item.shape) == 4 and all(isinstance(size, int) for size in item.shape[1:])
    _require(image and item.dtype == "float32", f"{where}.preprocess: needs float32 (batch, channels, height, width)")
    widths = {len(rule.mean), len(rule.std)}
    _require(widths == {item.shape[1]}, f"{where}.preprocess: one mean and one std per channel is needed")
    _require(all(_is_scale(s) for s in rule.std), f"{where}.preprocess.std: must lie in [1e-6, 1e6]")
    if rule.resize is not None:
        _require_known(f"{where}.preprocess.resize.fit", rule.resize.fit, FITS)
        _require_known(f"{where}.preprocess.resize.filter", rule.resize.filter, FILTERS)


def _check_view(where: str, item: Input, inputs: Sequence[Input]) -> None:
    """Check an input that is a view of a picture."""
    _require(_NAME.fullmatch(item.picture or "") is not None, f"{where}.picture: is no name")
    rule = item.preprocess
    _require(rule is not None and rule.resize is not None, f"{where}.picture: needs preprocess with a rule resize")
    views = [other for other in inputs if other.picture == item.picture]
    _require(len({v.shape[1:2] for v in views}) == 1, f"{where}.picture: its views need the same number of channels")


def _check_text(where: str, item: Input, rule: Text) -> None:
    ids = len(item.shape) == 2 and isinstance(item.shape[1], int) and item.dtype == "int64"
    _require(ids and item.preprocess is None, f"{where}.text: needs int64 (batch, tokens) and no preprocess")
    _require(len(set(rule.vocabulary)) == len(rule.vocabulary), f"{where}.text.vocabulary: words must differ")
    _require_known(f"{where}.text.segmentation", rule.segmentation, SEGMENTATIONS)


def _require_known(where: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a rule that this version does not have; a newer one may."""
    if value not in known:
        raise BundleError(
            f"manifest.json: {where}: {short_repr(value)} is none of {', '.join(known)}",
            "Install a newer eetool-runtime, or export the bundle again with this version.",
        )


def _is_scale(number: float) -> bool:
    """Return whether float32 arithmetic can divide by `number`."""
    return 1 / _MAX_SCALE <= number <= _MAX_SCALE


def _check_wiring(m: Manifest) -> None:
    _require(len(m.inputs) > 0, "inputs: at least one is needed")
    _require(len(m.exits) > 0, "exits: at least the final one is needed")
    calibrated = {(e.slope is not None, e.offset is not None) for e in m.exits}
    _require(calibrated in ({(False, False)}, {(True, True)}), "exits: all or none have a slope and an offset")
    model_inputs = [i.name for i in m.inputs] + [name for e in m.exits for name in e.scalars]
    known = set(model_inputs)
    _require(len(known) == len(model_inputs), "inputs and temperatures: names must differ")
    outputs: set[str] = set()
    for c in m.components:
        where = f"components.{c.name}"
        _require(c.kind in KINDS, f"{where}.kind: unknown {c.kind!r}")
        _require(c.macs >= 0 and c.parameters >= 0, f"{where}: macs and parameters cannot be negative")
        _require(len(set(c.inputs)) == len(c.inputs), f"{where}.inputs: names must differ")
        for name in c.inputs:
            _require(name in known, f"{where}.inputs: {name!r} is made by no input and no earlier component")
        for name in c.outputs:
            _require(name not in known, f"{where}.outputs: {name!r} exists already")
            _require(name in m.tensors, f"{where}.outputs: {name!r} has no entry in tensors")
            known.add(name)
            outputs.add(name)
    names = [c.name for c in m.components]
    _require(len(set(names)) == len(names), "components: names must differ")
    for name in m.tensors:
        _require(name in outputs, f"tensors.{name}: no component makes it")
    _require(m.unsplit_macs is None or m.unsplit_macs >= 0, "unsplit_macs: cannot be negative")


def _check_exits(m: Manifest) -> None:
    components = {c.name: c for c in m.components}
    for index, e in enumerate(m.exits):
        _require(e.component in components, f"exits[{index}].component: there is no component {e.component!r}")
        for name in (e.logits, e.confidence):
            is_output = name in components[e.component].outputs
            _require(is_output, f"exits[{index}]: the component {e.component!r} does not make {name!r}")
        matches = m.tensors[e.logits] == Tensor("float32", (BATCH, len(m.labels)))
        _require(matches, f"exits[{index}].logits: must be float32 ({BATCH}, {len(m.labels)}), one per label")
        matches = m.tensors[e.confidence] == Tensor("float32", (BATCH,))
        _require(matches, f"exits[{index}].confidence: must be float32 ({BATCH}), one number per input")
    order = [list(components).index(e.component) for e in m.exits]
    _require(order == sorted(set(order)), "exits: they must follow the order of the components, one in each")
    exit_components = {c.name for c in m.components if c.kind != "segment"}
    _require(
        exit_components == {e.component for e in m.exits},
        "exits: every component but a segment needs an exit, and no other",
    )


def _check_variants(m: Manifest) -> None:
    _require(len(m.variants) > 0, "variants: at least one is needed")
    names = {c.name for c in m.components}
    exit_outputs = {name for e in m.exits for name in (e.logits, e.confidence)}
    for key, v in m.variants.items():
        where = f"variants.{key}"
        _require(set(v.components) == names, f"{where}.components: must name every component and nothing else")
        limit = MAX_SAMPLES_TOLERANCES.get(key.split("/")[1], max(MAX_SAMPLES_TOLERANCES.values()))
        _require(0 <= v.samples_tolerance <= limit, f"{where}.samples_tolerance: must lie in [0, {limit}]")
        _require(v.batch is None or v.batch > 0, f"{where}.batch: must be positive or null")
        for name in v.tensors:
            is_intermediate = name in m.tensors and name not in exit_outputs
            _require(is_intermediate, f"{where}.tensors: {name!r} is no tensor between components")
        for name, g in v.components.items():
            at = f"{where}.components.{name}"
            _require(g.precision in PRECISIONS, f"{at}.precision: unknown {g.precision!r}")
            _require(min(g.max_abs_error, g.tolerance or 0.0) >= 0, f"{at}: errors cannot be negative")
        _check_graph_files(m, key, v)
        _check_policy(m, where, v)


def _check_graph_files(m: Manifest, key: str, v: Variant) -> None:
    """Require files of the variant's format: one for each component, or from version 1.1 on, in TFLite, one for all."""
    where, graph_format, shared = f"variants.{key}", key.split("/")[0], v.shared_file
    paths = {graph.path for graph in v.components.values()}
    if shared is not None:
        known = graph_format == "tflite" and m.schema_version != SCHEMA_VERSION
        _require(known, f"{where}: {shared!r} is no {graph_format} file of version {m.schema_version}")
        _require(paths == {shared}, f"{where}: all components must be in {shared!r}, or none")
        paths = set()
    for path in (*paths, *v.references.values()):
        _require(path.endswith("." + graph_format), f"{where}: {path!r} is no {graph_format} file")


def _check_policy(m: Manifest, where: str, v: Variant) -> None:
    _require(len(v.temperatures) == len(m.exits), f"{where}.temperatures: one per exit is needed")
    _require(all(_is_scale(t) for t in v.temperatures), f"{where}.temperatures: must lie in [1e-6, 1e6]")
    count = len(m.exits) if m.exits[0].slope is not None else 0
    for name, values in (("slopes", v.slopes), ("offsets", v.offsets)):
        _require(len(values) == count, f"{where}.{name}: one per exit that has one is needed")
    _require(all(_is_scale(s) for s in v.slopes), f"{where}.slopes: must lie in [1e-6, 1e6]")
    _require(all(abs(o) <= _MAX_SCALE for o in v.offsets), f"{where}.offsets: must lie in [-1e6, 1e6]")
    default = m.default_operating_point
    _require(default in v.operating_points, f"{where}.operating_points: the default {default!r} is missing")
    for name, point in v.operating_points.items():
        at = f"{where}.operating_points.{name}"
        _require(len(point.thresholds) == m.n_early_exits, f"{at}.thresholds: one per early exit is needed")
        for t in point.thresholds:
            _require(t is None or 0 <= t <= NEVER, f"{at}.thresholds: {t} does not lie in [0, {NEVER}]")
        if point.expected is not None:
            _check_expected(m, f"{at}.expected", point.expected)
        if point.certificate is not None:
            _check_certificate(f"{at}.certificate", point.certificate)


def _check_expected(m: Manifest, where: str, e: Expected) -> None:
    _require(e.n > 0 and 0 <= e.accuracy <= 1, f"{where}: accuracy or n is out of range")
    _require(len(e.exit_shares) == len(m.exits), f"{where}.exit_shares: one per exit is needed")
    _require(len(e.reached) == len(m.exits), f"{where}.reached: one entry per exit is needed")
    shares = all(share >= 0 for share in e.exit_shares) and math.isclose(sum(e.exit_shares), 1, abs_tol=1e-6)
    _require(shares, f"{where}.exit_shares: must be shares that sum to 1")
    _require(0 <= e.mean_exit_depth <= m.n_early_exits, f"{where}.mean_exit_depth: is out of range")
    _require(e.mean_macs >= 0, f"{where}.mean_macs: cannot be negative")
    for r in e.reached:
        in_range = r is None or (0 < r.n <= e.n and 0 <= r.confidence_mean <= 1 and 0 <= r.confidence_std <= 1)
        _require(in_range, f"{where}.reached: a number is out of range")


def _check_certificate(where: str, c: Certificate) -> None:
    _require(_TEXT.fullmatch(c.method) is not None, f"{where}.method: 1 to 256 characters are needed")
    _require(
        0 < c.confidence < 1 and 0 <= c.max_accuracy_drop <= 100,
        f"{where}: confidence or max_accuracy_drop is out of range",
    )
    in_range = min(c.worse, c.better) >= 0 and c.n > 0 and c.worse + c.better <= c.n and 0 <= c.p_value <= 1
    _require(in_range, f"{where}: a number is out of range")


def _check_data(m: Manifest) -> None:
    drop = m.max_accuracy_drop
    _require(drop is None or 0 <= drop <= 100, "max_accuracy_drop: must lie in [0, 100] or be null")
    for name, split in (m.data.splits if m.data else {}).items():
        valid = split.n >= 0 and _SHA256.fullmatch(split.sha256) is not None
        _require(valid, f"data.splits.{name}: a count and a SHA-256 are needed")


def _check_devices(m: Manifest) -> None:
    names = {c.name for c in m.components}
    for device, settings in m.devices.items():
        for key, measured in settings.variants.items():
            where = f"devices.{device}.variants.{key}"
            _require(key in m.variants, f"{where}: there is no such variant")
            _require(1 <= measured.threads <= _MAX_THREADS, f"{where}.threads: must lie in [1, {_MAX_THREADS}]")
            times = measured.component_latency_ms
            _require(set(times) <= names, f"{where}.component_latency_ms: names a component that is not there")
            _require(all(t >= 0 for t in times.values()), f"{where}.component_latency_ms: cannot be negative")


def _check_stream(m: Manifest) -> None:
    problem = stream_problem(m)
    _require(problem is None, f"stream.{problem}")


def _check_offload(m: Manifest) -> None:
    problem = offload_problem(m)
    _require(problem is None, f"offload.{problem}")
    for variant, policy in (m.offload.variants if m.offload is not None else {}).items():
        for name, point in policy.operating_points.items():
            for link, expected in (("link_up", point.link_up), ("link_down", point.link_down)):
                if expected is not None:
                    _check_expected(m, f"offload.variants.{variant}.operating_points.{name}.{link}", expected)


def _check_files(m: Manifest) -> None:
    for path, file in m.files.items():
        is_plain = len(path) <= _MAX_PATH and _PATH.fullmatch(path) is not None
        _require(is_plain, f"files: {path!r} is not a plain relative path")
        _require(_SHA256.fullmatch(file.sha256) is not None, f"files.{path}.sha256: not a SHA-256")
        in_range = 0 <= file.size_bytes <= _MAX_FILE_BYTES
        _require(in_range, f"files.{path}.size_bytes: must lie in [0, {_MAX_FILE_BYTES}]")
    used = [m.samples]
    for v in m.variants.values():
        used += [g.path for g in v.components.values()] + list(v.references.values()) + [v.samples]
    for path in used:
        _require(path in m.files, f"files: {path!r} is used and not listed")


_CHECKS = (
    _check_names,
    _check_texts,
    _check_shapes,
    _check_wiring,
    _check_exits,
    _check_variants,
    _check_data,
    _check_devices,
    _check_stream,
    _check_offload,
    _check_files,
)
