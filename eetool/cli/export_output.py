"""Result of `eetool export`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eetool.cli.offload_output import sent_text
from eetool.cli.output import CommandResult, table

if TYPE_CHECKING:
    from eetool.export.bundle_export import ExportedBundle
    from eetool.export.offload.cut import Cut
    from eetool.export.offload.export import OffloadExport
    from eetool.export.single_file.export import SingleFile
    from eetool_runtime.manifest import Manifest


def bundle_result(target: Path, exported: "ExportedBundle") -> CommandResult:
    """Return the components of every variant of an exported bundle."""
    manifest = exported.manifest
    variants = {name: _components(manifest, name, exported.relative_rms[name]) for name in manifest.variants}
    text: list[Any] = []
    for name, components in variants.items():
        shared = manifest.variants[name].shared_file
        text += [name, _table(components, shared is None)]
        if shared is not None:
            text.append(f"all in one file of {manifest.files[shared].size_bytes / 1024:.0f} KiB")
    text.append("relative error: root mean square of the errors / that of the component's outputs, on the samples")
    if any(name.endswith("/fp32") for name in variants):
        text.append("every fp32 component, exit and decision proved equal to the model's")
    text.append(f"wrote {target}")
    return CommandResult("export/1", {"output": str(target), "variants": variants}, text)


def single_file_result(target: Path, exported: "SingleFile") -> CommandResult:
    """Return the parity of every exit of an exported ONNX file."""
    exits = [
        {"exit": i, "max_abs_error": parity.max_abs_error, "tolerance": parity.tolerance}
        for i, parity in enumerate(exported.exits)
    ]
    rows = [(f"{e['exit']}", f"{e['max_abs_error']:.1e}") for e in exits]
    text = [
        table({"exit": "right", "largest error": "right"}, rows),
        "every exit and decision proved equal to the model's",
        f"wrote {target}, {exported.size_bytes / 1024:.0f} KiB; its batch is 1, and its thresholds are inputs",
    ]
    document = {"output": str(target), "layout": "single", "size_bytes": exported.size_bytes, "exits": exits}
    return CommandResult("export/1", document, text)


def offload_result(target: Path, exported: "OffloadExport") -> CommandResult:
    """Return a server's model, what travels to it, and the parity of every exit behind the cut."""
    spec, cut = exported.spec, exported.cut
    sent_bytes = cut.wire_bytes(spec.wire)
    exits = [
        {"exit": output.exit, "max_abs_error": parity.max_abs_error, "tolerance": parity.tolerance}
        for output, parity in zip(spec.outputs, exported.parities, strict=True)
    ]
    document = {
        "output": str(target),
        "layout": "offload",
        "after_exit": spec.after_exit,
        "wire": spec.wire,
        "model": spec.model,
        "folder": str(exported.model),
        "size_bytes": exported.size_bytes,
        "sent_bytes": sent_bytes,
        "macs_behind": cut.macs_behind,
        "inputs": [vars(one) for one in spec.inputs],
        "exits": exits,
        "same_decisions": exported.same_decisions,
    }
    rows = [(one.tensor, one.dtype, "–" if one.scale is None else f"{one.scale:.3g}") for one in spec.inputs]
    same = ", ".join(f"{name} {100 * share:.4g} %" for name, share in exported.same_decisions.items())
    where = "before everything" if spec.after_exit is None else f"behind exit {spec.after_exit}"
    text = [
        table({"sent": "left", "as": "left", "scale": "right"}, rows),
        f"cut {where}: {sent_text(sent_bytes)} per input are sent, {cut.macs_behind / 1e6:.2f} M MACs lie behind",
        f"samples with the decisions of the device alone: {same}",
        "every exit behind the cut proved equal to the components on what they receive",
        f"wrote {exported.model}, {exported.size_bytes / 1024:.0f} KiB: the server's model",
        f"wrote {target}: it asks {spec.model}",
    ]
    return CommandResult("export/1", document, text)


def cuts_result(cuts: "Sequence[Cut]") -> CommandResult:
    """Return where a cascade can be cut: what each cut sends, and what lies behind it."""
    from eetool_runtime.manifest_offload import WIRES

    documents = [
        {
            "offload": cut.name,
            "tensors": list(cut.tensors),
            "sent_bytes": {wire: cut.wire_bytes(wire) for wire in WIRES},
            "macs_behind": cut.macs_behind,
        }
        for cut in cuts
    ]
    rows = [
        (
            cut.name,
            ", ".join(cut.tensors),
            *(sent_text(cut.wire_bytes(wire)) for wire in WIRES),
            f"{cut.macs_behind / 1e6:.2f} M",
        )
        for cut in cuts
    ]
    right = (*(f"sent as {wire}" for wire in WIRES), "MACs behind")
    text = [
        table({"--offload": "left", "tensors": "left", **dict.fromkeys(right, "right")}, rows),
        "per input; `eetool export … --offload CUT --wire WIRE --repository DIR` makes one",
    ]
    return CommandResult("export/1", {"layout": "cuts", "cuts": documents}, text)


def _components(manifest: "Manifest", variant: str, relative_rms: Mapping[str, float]) -> list[dict[str, Any]]:
    graphs = manifest.variants[variant].components
    return [
        {
            "name": c.name,
            "macs": c.macs,
            "parameters": c.parameters,
            "precision": graphs[c.name].precision,
            "size_bytes": manifest.files[graphs[c.name].path].size_bytes,
            "max_abs_error": graphs[c.name].max_abs_error,
            "tolerance": graphs[c.name].tolerance,
            "relative_rms_error": relative_rms[c.name],
        }
        for c in manifest.components
    ]


def _table(components: list[dict[str, Any]], with_sizes: bool) -> Any:
    rows = [_row(c, with_sizes) for c in components]
    right = ("MACs", "parameters", "size", "largest error", "relative error")
    return table({"component": "left", "precision": "left", **dict.fromkeys(right, "right")}, rows)


def _row(c: Mapping[str, Any], with_size: bool) -> tuple[str, ...]:
    macs, size = f"{c['macs'] / 1e6:.2f} M", f"{c['size_bytes'] / 1024:.0f} KiB" if with_size else "–"
    errors = (f"{c['max_abs_error']:.1e}", f"{100 * c['relative_rms_error']:.2g} %")
    return (c["name"], c["precision"], macs, f"{c['parameters']:,}", size, *errors)
