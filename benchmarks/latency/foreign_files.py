"""Files of the networks of `foreign_networks.py` in a format and precision, kept in a folder between runs."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from foreign_networks import NETWORKS
from torch import nn

from eetool.graphs.calibration_feeds import save_feeds
from eetool.graphs.quantize import QuantizationJob, quantize
from eetool.latency.kernels.kernel import INT8
from eetool.latency.probes.probe_files import TFLITE, ProbeKind
from eetool.workspace import scratch
from eetool_runtime.backends import open_graph
from eetool_runtime.errors import BackendError


def write_variant(folder: Path, name: str, kind: ProbeKind) -> Path | None:
    """Return the file of a network, written if it is missing; None where it cannot be written or opened."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{kind.precision}.{kind.format}"
    if not path.exists():
        try:
            _write(folder, path, name, kind)
        except Exception as error:  # converters raise many unrelated types; the document says that it is left out
            warnings.warn(f"{name}: {type(error).__name__}: {error}", stacklevel=2)
            return None
    try:
        open_graph(path)
    except BackendError:
        return None
    return path


def _write(folder: Path, path: Path, name: str, kind: ProbeKind) -> None:
    if kind.precision == INT8:
        source = write_variant(folder, name, ProbeKind(kind.format))
        if source is None:
            raise ValueError("its float file cannot be written")
        _, inputs = NETWORKS[name]()
        with scratch() as temporary:
            feeds = save_feeds(temporary / "feeds", ["x"], [{"x": _example(inputs[0].numpy())}])
            reasons = quantize([QuantizationJob(f"{kind.format}-static", str(source), str(path), feeds)])
        if reasons[0] is not None:
            raise ValueError(reasons[0])
        return
    torch.manual_seed(0)
    network, inputs = NETWORKS[name]()
    _settle(network, inputs)
    if kind.format == TFLITE:
        import litert_torch

        litert_torch.convert(network, inputs).export(str(path))
        return
    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(network, inputs, dynamo=True, opset_version=18, input_names=["x"], verbose=False)
    assert program is not None
    program.save(str(path), external_data=False)


def _example(zeros: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    if zeros.dtype.kind != "f":
        return rng.integers(0, 100, zeros.shape).astype(zeros.dtype)
    return rng.standard_normal(zeros.shape).astype(np.float32)


def _settle(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Give batch normalisations the moments of one batch, so that activations stay in range."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    for module in norms:
        module.train().momentum = None
    with torch.no_grad():
        network(torch.randn(4, *inputs[0].shape[1:]))
    network.eval()
