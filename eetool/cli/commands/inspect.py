"""`eetool inspect`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eetool.cli.epoch_lines import epoch_table
from eetool.cli.number_format import drop_text, shares
from eetool.cli.options import REFERENCE_OR_ARTEFACT, SHAPE, named_option
from eetool.cli.output import CommandResult, table, verb
from eetool.cli.stream_output import stream_lines
from eetool.cli.train_output import kept_epoch_line
from eetool.wording import counted

if TYPE_CHECKING:
    from eetool.model.network_cascade import NetworkCascade
    from eetool.model.references.output_choice import OutputUse
    from eetool.model.spec import ExpectedDrop, ModelSpec
    from eetool.model.taps import TapCost
    from eetool_runtime.manifest import Input, OperatingPoint, Variant

_MOST_FINER = 12  # taps that a line names


@verb
@click.argument("model", type=REFERENCE_OR_ARTEFACT)
@click.option("--input", "shape", type=SHAPE, default=None, help="Input shape of a model reference.  [the model's]")
@click.option("--classes", type=click.IntRange(2), default=None, help="Classes of a model reference.  [the model's]")
@named_option
def inspect(model: Path, shape: tuple[int, ...] | None, classes: int | None, named: tuple[str, ...]) -> CommandResult:
    """Show the contents of MODEL: a bundle, a model.pt, or a model reference and the places for exits."""
    if model.is_dir() or model.suffix == ".eebundle":
        return _bundle(model)
    if model.exists() or (model.suffix and ":" not in str(model)):
        return _checkpoint(model, named)
    return _backbone(str(model), shape, classes)


def _bundle(path: Path) -> CommandResult:
    from eetool.export.expected_drops import read_drops
    from eetool.records import encode
    from eetool_runtime import open_bundle

    bundle = open_bundle(path)
    m, drops = bundle.manifest, read_drops(bundle)
    early = [e.component for e in m.exits[:-1]]
    text: list[Any] = [
        f"{path}: {counted(len(m.exits) - 1, 'early exit')}, "
        f"{counted(len(m.labels), 'class', 'classes')}, schema {m.schema_version}"
    ]
    text += [f"input {i.name}: {i.dtype} {_shape(i.shape)}{_resizing(i)}" for i in m.inputs]
    rows = [
        (
            c.name,
            "\n".join(c.inputs),
            "\n".join(c.outputs),
            f"{c.macs / 1e6:.2f} M",
            f"{c.parameters:,}",
        )
        for c in m.components
    ]
    columns = {"component": "left", "inputs": "left", "outputs": "left", "MACs": "right", "parameters": "right"}
    text.append(table(columns, rows))
    for name, variant in m.variants.items():
        size = bundle.size_bytes(graph.path for graph in variant.components.values())
        text.append(f"variant {name}: {size / 1024:.0f} KiB, temperatures {_numbers(variant.temperatures)}")
        text += _precision_lines(name, variant)
        text.append(_points(variant.operating_points, drops.get(name, {}), m.default_operating_point))
        if m.stream is not None and name in m.stream.operating_points:
            text += stream_lines(m.stream, m.stream.operating_points[name])
    if early:
        text.append(_meaning_of_figures(m.variants.values()))
    if m.data:
        text.append(f"data: {m.data.source}, " + ", ".join(f"{k} {s.n}" for k, s in m.data.splits.items()))
    text.append("producer: " + ", ".join(f"{k} {v}" for k, v in m.producer.items()))
    document = {"kind": "bundle", "manifest": encode(m), **({"expected_drops": encode(drops)} if drops else {})}
    return CommandResult("inspect/1", document, text)


def _meaning_of_figures(variants: "Iterable[Variant]") -> str:
    from eetool.data.splits import HELD_OUT

    splits = {p.expected.split for v in variants for p in v.operating_points.values() if p.expected}
    if HELD_OUT in splits:
        return "accuracy is expected on new data; shares are those of the examples that thresholds were fitted on"
    return "accuracy and shares are those of the split that thresholds were fitted on; new data will show a little less"


def _precision_lines(name: str, variant: "Variant") -> list[str]:
    """Return which components of an int8 variant are int8, and which stayed floats."""
    if not name.endswith("/int8"):
        return []
    by_precision: dict[str, list[str]] = {}
    for component, graph in variant.components.items():
        by_precision.setdefault(graph.precision, []).append(component)
    lines = [f"int8: {', '.join(by_precision.get('int8', [])) or 'no component'}"]
    if "fp32" in by_precision:
        reasons = "slower where it was exported, too far off, or no smaller"
        lines.append(f"fp32: {', '.join(by_precision['fp32'])}, of which int8 was {reasons}; export says which")
    return lines


def _points(points: "Mapping[str, OperatingPoint]", drops: "Mapping[str, ExpectedDrop]", default: str | None) -> Any:
    rows = []
    for name, point in points.items():
        e, drop = point.expected, drops.get(name) if name != "full" else None
        rows.append(
            (
                f"{name} (default)" if name == default else name,
                _numbers(point.thresholds),
                f"{100 * e.accuracy:.2f} %" if e else "–",
                drop_text(drop) if drop else "–",
                shares(e.exit_shares if e else None),
            )
        )
    columns = {"point": "left", "thresholds": "left", "accuracy": "right", "drop (95 %)": "right"}
    return table({**columns, "exits %": "right"}, rows)


def _checkpoint(path: Path, named: tuple[str, ...]) -> CommandResult:
    from eetool.model.checkpoint import load_checkpoint
    from eetool.model.macs import count_parameters
    from eetool.model.network_cascade import NetworkCascade
    from eetool.model.own_exits import OwnExitNet, measure_own_exits
    from eetool.model.references.example_inputs import example_inputs
    from eetool.records import encode

    checkpoint = load_checkpoint(path, named)
    record = checkpoint.record
    net = checkpoint.build()
    spec = record.spec
    text: list[Any] = [
        f"{path}: {spec.title}, {counted(len(spec.taps), 'early exit')}, "
        f"{counted(len(spec.labels), 'class', 'classes')}, "
        f"{count_parameters(net):,} parameters",
        f"trained: {record.training.recipe}, {counted(record.training.epochs, 'epoch')}, seed {record.training.seed}, "
        f"augmentation {record.training.augment}{', mirrored' * bool(record.training.mirror)}",
        f"tuned: {', '.join(record.policy.operating_points) if record.policy else 'no'}",
    ]
    if record.policy is not None and record.policy.expected_drops:
        text.append(_points(record.policy.operating_points, record.policy.expected_drops, record.policy.default))
    if record.history is not None:
        text += [kept_epoch_line(record.history, record.training.keep), epoch_table(record.history)]
    if isinstance(net, NetworkCascade):
        text[1] = "a cascade of networks" + ", whose logits are added up" * spec.ensemble
        text.append(_network_table(spec, net))
        return CommandResult("inspect/1", {"kind": "model", "record": encode(record), "taps": []}, text)
    if isinstance(net, OwnExitNet):
        text.append(f"own exits of the network: {', '.join(spec.outputs)}")
        kind, taps = "own exit", measure_own_exits(net, example_inputs(spec.inputs))
    else:
        used = dict(zip(spec.taps, spec.layouts, strict=True)) if spec.layouts else dict.fromkeys(spec.taps)
        kind, taps = "exit", _taps(net.backbone, example_inputs(spec.inputs), used)
    text.append(_tap_table(taps, dict(zip(spec.taps, range(len(spec.taps)), strict=True)), kind))
    return CommandResult("inspect/1", {"kind": "model", "record": encode(record), "taps": encode(taps)}, text)


def _network_table(spec: "ModelSpec", net: "NetworkCascade") -> Any:
    """Return the networks of a cascade, each with its exits and its own cost."""
    from eetool.model.macs import count_parameters
    from eetool.tune.exit_costs import model_macs

    rows, exits = [], 0
    for index, (member, network) in enumerate(zip(spec.members, net.networks, strict=True)):
        part, first = member.spec, exits
        exits += len(part.taps) + 1
        macs = model_macs(part).leaving((None,) * len(part.taps))[-1]
        trained = f"{member.training.recipe}, {member.training.epochs} epochs"
        numbers = str(first) if exits == first + 1 else f"{first}–{exits - 1}"
        sums = "  ".join(f"{own:.2f} + {before:.2f}" for own, before in net.weights(index))
        rows.append(
            (str(index), part.backbone, trained, numbers, f"{macs / 1e6:.2f} M", f"{count_parameters(network):,}", sums)
        )
    left = dict.fromkeys(("network", "backbone", "trained", "exits"), "left")
    return table({**left, "MACs": "right", "parameters": "right", "weights own + before": "left"}, rows)


def _backbone(model: str, shape: tuple[int, ...] | None, classes: int | None) -> CommandResult:
    from eetool.model.macs import count_macs, count_parameters
    from eetool.model.references import resolve
    from eetool.model.references.example_inputs import example_inputs, random_samples
    from eetool.model.references.output_choice import describe_outputs
    from eetool.records import encode

    reference = resolve.resolve(model, shape, classes)
    backbone = resolve.build_raw(reference.backbone, reference.inputs, reference.classes, reference.config).eval()
    samples = tuple(random_samples(reference, 3 if reference.classes != 3 else 4, seed=0).values())
    outputs = describe_outputs(backbone, samples, reference.classes)
    resolve.keep_logits(backbone, [output.name for output in outputs if output.logits])
    resolve.check_backbone(backbone, reference)
    example = example_inputs(reference.inputs)
    taps = _taps(backbone, example, {})
    macs, parameters = count_macs(backbone, example), count_parameters(backbone)
    text = [
        f"{reference.backbone}: {macs / 1e6:.2f} M MACs, {parameters:,} parameters, "
        f"{counted(reference.classes, 'class', 'classes')}",
        *(f"input {i.name}: {i.dtype} {_shape(i.shape)}" for i in reference.inputs),
        *_output_lines(outputs),
        _tap_table(taps, {}),
        *_finer_line(backbone, example),
    ]
    document = {
        "kind": "backbone",
        "model": reference.backbone,
        "inputs": encode(reference.inputs),
        "macs": macs,
        "parameters": parameters,
        "taps": encode(taps),
        **({"outputs": encode(outputs)} if outputs else {}),
    }
    return CommandResult("inspect/1", document, text)


def _output_lines(outputs: "Sequence[OutputUse]") -> list[Any]:
    """Return the outputs of a network with several, and how to choose among those that can be class logits."""
    if not outputs:
        return []
    rows = [(x.name, _shape(("batch", *x.shape[1:])), "can be class logits" if x.logits else "") for x in outputs]
    lines: list[Any] = [table({"output": "left", "shape": "left", "": "left"}, rows)]
    names = [x.name for x in outputs if x.logits]
    if len(names) > 1:
        lines.append(f"train needs --logits {names[-1]}, or train --exits own where they are its own early exits")
    return lines


def _taps(backbone: Any, example: Any, used: "Mapping[str, str | None]") -> "list[TapCost]":
    """Return suitable taps for exits and the taps in use with their recorded layouts, by MACs."""
    from eetool.model.layouts import layout_by_sizes
    from eetool.model.taps import listed_taps, measure_taps

    good = {tap.name: tap for tap in listed_taps(measure_taps(backbone, example))}
    for tap in measure_taps(backbone, example, tuple(used)):
        good[tap.name] = replace(tap, layout=used[tap.name] or layout_by_sizes(tap.shape))
    return sorted(good.values(), key=lambda tap: tap.macs)


def _finer_line(backbone: Any, example: Any) -> list[str]:
    """Return a line that names the taps inside blocks, which `train --exits N` uses besides those of the table."""
    from eetool.model.taps import finer_taps, measure_taps

    names = [tap.name for tap in finer_taps(measure_taps(backbone, example))]
    if not names:
        return []
    more = f" and {len(names) - _MOST_FINER} more" if len(names) > _MOST_FINER else ""
    return [
        "train --exits N takes finer taps too, where these are too few or too far from equal parts of the MACs: "
        f"{', '.join(names[:_MOST_FINER])}{more}"
    ]


def _tap_table(taps: "Sequence[TapCost]", exits: dict[str, int], kind: str = "exit") -> Any:
    rows = [
        (
            t.name,
            _shape(t.shape),
            t.layout or "",
            f"{t.macs / 1e6:.2f} M",
            f"{t.parameters:,}",
            f"{kind} {exits[t.name]}" if t.name in exits else "",
        )
        for t in taps
    ]
    columns = {
        **{"tap": "left", "shape": "left", "layout": "left"},
        **{"MACs so far": "right", "parameters so far": "right", "": "left"},
    }
    return table(columns, rows)


def _resizing(item: "Input") -> str:
    rule = item.preprocess.resize if item.preprocess is not None else None
    return f", pictures of other sizes: {rule.fit}, {rule.filter}" if rule is not None else ""


def _shape(shape: Sequence[int | str]) -> str:
    return "x".join(str(size) for size in shape)


def _numbers(values: tuple[float | None, ...]) -> str:
    return "  ".join("never" if v is None else f"{v:.4f}" for v in values) or "–"


command = inspect
