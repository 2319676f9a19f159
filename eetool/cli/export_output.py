"""Result of `eetool export`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eetool.cli.output import CommandResult, table

if TYPE_CHECKING:
    from eetool.export.bundle_export import ExportedBundle
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
