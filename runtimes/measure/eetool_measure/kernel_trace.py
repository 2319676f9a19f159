"""Kernel times inside a run, from the profiler of ONNX Runtime.

The profiler has a resolution of a microsecond and adds a few to every kernel. Means over many runs correct the first,
and a comparison with untraced runs the second.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from eetool_runtime.backends import Threads
from eetool_runtime.backends.onnx import session_options
from eetool_runtime.backends.side_files import refuse_onnx_side_files
from eetool_runtime.errors import BackendError
from eetool_runtime.records import dataclass

_EVENT = "_kernel_time"
# Bounds of a trimmed mean: the slowest four tenths of the runs are affected by other work on the device.
_TRIM_FROM, _TRIM_TO = 0.1, 0.6


@dataclass(frozen=True)
class NodeTime:
    """One kernel of a graph and its mean time.

    Attributes:
        name: of the node.
        op: operator.
        elements_in: size of its first input.
        elements_out: size of its first output.
        channels_out: second dimension of the output, which reveals blocked channels.
        mean_us: trimmed mean, without the fastest tenth and the slowest four tenths of `runs`.
        runs: number of timed runs.
    """

    name: str
    op: str
    elements_in: int
    elements_out: int
    channels_out: int
    mean_us: float
    runs: int


class TracedGraph:
    """A graph whose kernels are timed in every run. Tracing slows it down, so its total latency is not used."""

    def __init__(self, path: Path, threads: Threads) -> None:
        refuse_onnx_side_files(path)
        self._folder = tempfile.TemporaryDirectory(prefix="eetool-trace-")
        options, _ = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(self._folder.name) / "trace")
        try:
            self._session: Any = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen unrelated types
            self._folder.cleanup()
            raise BackendError(f"{path}: onnxruntime cannot load this graph: {error}") from error

    def run(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Run the graph once, traced."""
        outputs: Sequence[np.ndarray] = self._session.run(None, feed)
        return outputs

    def finish(self) -> tuple[NodeTime, ...]:
        """Stop tracing and return the kernels in the order of their first run. The graph cannot run afterwards."""
        try:
            events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        finally:
            del self._session
            self._folder.cleanup()
        first: dict[str, Any] = {}
        times: dict[str, list[int]] = {}
        for event in events:
            name = event["name"]
            if event.get("cat") == "Node" and name.endswith(_EVENT):
                first.setdefault(name, event["args"])
                times.setdefault(name, []).append(event["dur"])
        return tuple(_node_time(name[: -len(_EVENT)], first[name], times[name]) for name in first)


def _node_time(name: str, arguments: Mapping[str, Any], times_us: Sequence[int]) -> NodeTime:
    read, written = _shape(arguments.get("input_type_shape")), _shape(arguments.get("output_type_shape"))
    ordered = np.sort(times_us)
    kept = ordered[int(len(ordered) * _TRIM_FROM) : max(1, round(len(ordered) * _TRIM_TO))]
    channels = written[1] if len(written) > 1 else 1
    return NodeTime(
        name,
        str(arguments.get("op_name")),
        _product(read),
        _product(written),
        channels,
        float(kept.mean()),
        len(ordered),
    )


def _shape(tensors: Any) -> Sequence[int]:
    """Return the shape of the first tensor of `[{"float": [1, 3, 32, 32]}, …]`."""
    if not tensors:
        return ()
    sizes: Sequence[int] = next(iter(tensors[0].values()))
    return sizes


def _product(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes, dtype=np.int64))
