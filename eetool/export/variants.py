"""Variants of a bundle, and the conversion of a component to each."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import onnx

from eetool.errors import ArtefactError, MissingError, UsageError
from eetool.export.converters.to_onnx import export_onnx
from eetool.export.converters.to_tflite import export_tflite, require_litert_torch
from eetool.export.split import ComponentModule
from eetool.export.traced_model import TracedModel
from eetool.graphs.onnx_normalize import extract_subgraph
from eetool.graphs.tflite_graph import read_tflite
from eetool.graphs.tflm_operators import lacking_operator
from eetool.model.scored_network import LOGITS
from eetool_runtime.manifest import SHARED_FILE_SUFFIX

_OTHER_OPERATORS = "Replace it there by convolutions, linear layers, pooling, ReLU6 or Hardswish, and train again."
FP32, INT8 = "fp32", "int8"
ONNX, TFLITE, TFLM = "onnx", "tflite", "tflm"


@dataclass(frozen=True)
class VariantKind:
    """One format and precision.

    Attributes:
        format: `onnx`, `tflite`, or `tflm` for microcontrollers.
        precision: `fp32` or `int8`.
        batch: the only batch size; null for any.
        relative: allowed error of a component, as a share of max(1, max |reference|); null where quantisation loses
            precision on purpose.
        samples_tolerance: the same for the logits of a finished bundle on another machine. Integer kernels of
            different processors round differently.
        recipes: quantisation recipes, the preferred one first.
    """

    format: str
    precision: str
    batch: int | None
    relative: float | None
    samples_tolerance: float
    recipes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name such as `onnx/fp32`."""
        return f"{self.format}/{self.precision}"

    @property
    def base(self) -> "VariantKind":
        """Float variant that this one is made from; itself where it is float."""
        return _TFLM_FLOAT if self.format == TFLM else VARIANTS[f"{self.format}/{FP32}"]

    def file(self, place: str) -> str:
        """Return the path in the bundle of the graph at `place`, which is `components/NAME` or `reference/NAME`."""
        return f"{place}/{self.format}-{self.precision}/model.{self.format}"

    @property
    def shared_file(self) -> str:
        """Path in the bundle of a file that holds all components."""
        return f"components/{self.format}-{self.precision}/model{SHARED_FILE_SUFFIX}"

    @property
    def samples(self) -> str:
        """Path in the bundle of this variant's outputs for the samples."""
        return f"samples/{self.format}-{self.precision}.npz"


VARIANTS = {
    kind.name: kind
    for kind in (
        VariantKind(ONNX, FP32, None, 1e-4, 1e-4),
        VariantKind(ONNX, INT8, None, None, 0.1, ("onnx-static",)),
        VariantKind(TFLITE, FP32, 1, 1e-3, 1e-3),
        VariantKind(TFLITE, INT8, 1, None, 0.1, ("tflite-static", "tflite-dynamic")),
        VariantKind(TFLM, INT8, 1, None, 0.1),
    )
}
_TFLM_FLOAT = VariantKind(TFLM, FP32, 1, 1e-3, 1e-3)  # of which no bundle is made


def find_variants(names: tuple[str, ...]) -> list[VariantKind]:
    """Return the kinds called `names`, each once, in the order of `VARIANTS`.

    Raises:
        UsageError: there is no such variant, or none was named.
        MissingError: a converter is not installed; the hint is the line that installs it.
    """
    unknown = [name for name in names if name not in VARIANTS]
    if unknown or not names:
        problem = f"unknown variant {unknown[0]!r}" if unknown else "no variant was asked for"
        raise UsageError(problem, f"Known variants: {', '.join(VARIANTS)}.")
    kinds = [kind for name, kind in VARIANTS.items() if name in names]
    if any(kind.format in (TFLITE, TFLM) for kind in kinds):
        require_litert_torch()
        for library in ("ai_edge_litert", "ai_edge_quantizer"):
            if importlib.util.find_spec(library) is None:
                raise MissingError(f"the tflite format needs {library}", "pip install eetool[tflite]")
    if any(kind.format == TFLM for kind in kinds) and importlib.util.find_spec("tflite_micro") is None:
        raise MissingError("files for microcontrollers are proved in tflite_micro", "pip install eetool[mcu]")
    return kinds


def write_graph(
    kind: VariantKind,
    model: TracedModel,
    component: ComponentModule,
    path: Path,
    simplify: bool,
    all_exits: Path | None = None,
) -> None:
    """Convert one component of `model` to a float graph; raises as `export_onnx` and `export_tflite` do.

    Args:
        kind: a float variant.
        model: the traced model.
        component: one of its components or references.
        path: output file.
        simplify: run onnxsim over an ONNX graph.
        all_exits: file of the graph of all exits, if it exists. An ONNX backbone is cut out of it, which saves one
            conversion.
    """
    if kind.format == ONNX and all_exits is not None and component.outputs == (LOGITS,):
        whole = onnx.load(all_exits)
        path.parent.mkdir(parents=True)
        path.write_bytes(extract_subgraph(whole, model.final_logits, LOGITS).SerializeToString(deterministic=True))
        return
    # ONNX keeps a dynamic batch, and torch.export treats a batch of 1 as a constant.
    example = model.example(kind.batch or 2)
    inputs = [example[name] for name in component.inputs]
    if kind.format == ONNX:
        export_onnx(component, inputs, path, simplify)
        return
    export_tflite(component, inputs, path)
    if kind.format == TFLM:
        require_tflm_operators(path, component.name)


def require_tflm_operators(path: Path, name: str) -> None:
    """Raise ArtefactError where the graph `name` in a TFLite file has an operator that TFLM lacks."""
    problem = lacking_operator(read_tflite(path))
    if problem is not None:
        raise ArtefactError(f"{name}: {problem}", _OTHER_OPERATORS)
