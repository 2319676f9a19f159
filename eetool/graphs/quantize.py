"""Quantisation to int8 by calibration, in a child process.

Once a process has a shared thread pool (`eetool_runtime.backends`), onnxruntime refuses the sessions that its
quantiser opens. Both quantisers also print more than a command line should.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eetool.child_progress import progress_line, run_reporting
from eetool.errors import EarlyExitError
from eetool.graphs.calibration_feeds import Feeds
from eetool.progress import Advance
from eetool.workspace import scratch
from eetool_runtime.records import decode


@dataclass(frozen=True)
class QuantizationJob:
    """Quantisation of a graph, `source` to `target`, calibrated with `feeds`, its inputs.

    `earlier` holds files by the names of inputs, which take over scale and zero point from there; see
    `eetool.graphs.quantize_full_integer`.
    """

    recipe: str
    source: str
    target: str
    feeds: Feeds
    earlier: dict[str, str] = field(default_factory=dict)


def quantize(jobs: Sequence[QuantizationJob], advance: Advance = lambda steps: None) -> list[str | None]:
    """Run all jobs in one child process.

    Args:
        jobs: the jobs.
        advance: receives one step after every job.

    Returns:
        For each job None, or the reason for its failure.

    Raises:
        EarlyExitError: the process itself failed.
    """
    with scratch() as folder:
        order, answer = folder / "jobs.json", folder / "answer.json"
        order.write_text(json.dumps([asdict(job) for job in jobs]), encoding="utf-8")
        # -P: a file in the user's folder must not shadow a module.
        command = [sys.executable, "-P", "-m", "eetool.graphs.quantize", str(order), str(answer)]
        child = run_reporting(command, advance)
        if not answer.exists():
            lines = child.stderr.strip().splitlines() or [f"it ended with {child.returncode}"]
            raise EarlyExitError(f"the quantising process failed: {lines[-1]}")
        reasons: list[str | None] = json.loads(answer.read_text(encoding="utf-8"))
    return reasons


class _Reader:
    """Feeds in the interface of onnxruntime: one by one, then None."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        return next(self._feeds, None)


def _onnx_static(job: QuantizationJob) -> None:
    """Quantise to QDQ with unsigned activations and signed weights per channel: fast on x86, and correct on Arm.

    Weights have 7 bits. With 8 bits sums overflow on x86 CPUs without VNNI, and a bundle must run on any CPU.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from eetool.graphs.onnx_normalize import normalize_onnx
    from eetool.graphs.onnx_rename import shorten_onnx

    with scratch() as folder:
        prepared = str(folder / "prepared.onnx")
        quant_pre_process(job.source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            job.target,
            _Reader(job.feeds),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_nodes_after_scalars(onnx.load(prepared).graph),
        )
    model = onnx.load(job.target)
    shorten_onnx(model)
    normalize_onnx(model)  # the preprocessing adds opsets that old versions of onnxruntime refuse
    Path(job.target).write_bytes(model.SerializeToString(deterministic=True))


def _nodes_after_scalars(graph: Any) -> list[str]:
    """Return the nodes behind a scalar input.

    They stay float: the temperature may be refitted, and confidences need more than 256 steps.
    """
    reached = {value.name for value in graph.input if not value.type.tensor_type.shape.dim}
    nodes = []
    for node in graph.node:
        if reached & set(node.input):
            reached.update(node.output)
            nodes.append(node.name)
    return nodes


def _tflite_static(job: QuantizationJob) -> None:
    from ai_edge_quantizer import quantizer, recipe

    from eetool.graphs.tflite_ranges import tflite_ranges

    tflite_quantizer = quantizer.Quantizer(job.source, recipe.static_wi8_ai8())
    name = recipe.TFLOperationName
    # These stay float: the temperature may be refitted, and confidences need more than 256 steps.
    for operation in (name.INPUT, name.OUTPUT, name.SUB, name.DIV, name.SOFTMAX):
        tflite_quantizer.update_quantization_recipe(".*", operation, algorithm_key=recipe.AlgorithmName.NO_QUANTIZE)
    _dynamic_classifiers(tflite_quantizer)
    ranges = tflite_ranges(job.source, tflite_quantizer.get_quantization_recipe(), job.feeds)
    tflite_quantizer.quantize(ranges).export_model(job.target, overwrite=True)


def _tflite_dynamic(job: QuantizationJob) -> None:
    """Quantise weights to int8, and activations at run time, for activations with too large a range for one scale."""
    from ai_edge_quantizer import quantizer, recipe

    tflite_quantizer = quantizer.Quantizer(job.source, recipe.dynamic_wi8_afp32())
    _dynamic_classifiers(tflite_quantizer)
    tflite_quantizer.quantize().export_model(job.target, overwrite=True)


def _dynamic_classifiers(tflite_quantizer: Any) -> None:
    """Let fully connected layers, which compute logits, have float outputs and one scale per weight tensor.

    With one scale per channel, tflite-runtime 2.14 computes wrong outputs without an error.
    """
    from ai_edge_quantizer import qtyping, recipe

    weights = qtyping.TensorQuantizationConfig(8, symmetric=True, granularity=qtyping.QuantGranularity.TENSORWISE)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.INTEGER
    )
    tflite_quantizer.update_quantization_recipe(".*", recipe.TFLOperationName.FULLY_CONNECTED, op_config=config)


def _tflm_static(job: QuantizationJob) -> None:
    from eetool.graphs.quantize_full_integer import quantize_full_integer

    quantize_full_integer(Path(job.source), Path(job.target), job.feeds, job.earlier)


_RECIPES = {
    "onnx-static": _onnx_static,
    "tflite-static": _tflite_static,
    "tflite-dynamic": _tflite_dynamic,
    "tflm-static": _tflm_static,
}


def main(order: str, answer: str) -> None:
    """Run the jobs in the file `order`, and write None or the reason for its failure for each to `answer`."""
    reasons: list[str | None] = []
    for fields in json.loads(Path(order).read_text(encoding="utf-8")):
        job = decode(QuantizationJob, fields, ValueError)
        Path(job.target).parent.mkdir(parents=True, exist_ok=True)
        try:
            _RECIPES[job.recipe](job)
            reasons.append(None)
        except Exception as error:  # quantisers raise arbitrary errors; the component then stays float
            reasons.append((str(error).strip().splitlines() or [type(error).__name__])[0])
        sys.stderr.write(progress_line(1))
        sys.stderr.flush()
    Path(answer).write_text(json.dumps(reasons), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
