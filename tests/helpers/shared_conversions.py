"""Conversions of components that are done once per test run: equal ones are read from a folder of all test processes.

Everything around them runs as always: graphs are cut, verified and put into the bundle in every test. Tests of the
converters themselves, and those that compare the bytes of two conversions, do without this.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path

import onnx
import pytest
from torch import Tensor

from eetool.export import bundle_export, variants
from eetool.export.converters import to_onnx as onnx_converter
from eetool.export.split import ComponentModule
from eetool.graphs.quantize import QuantizationJob
from eetool.progress import Advance


class _Store:
    """Results by the hash of everything that decides them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def get(self, key: str) -> bytes | None:
        path = self.folder / key
        return path.read_bytes() if path.exists() else None

    def put(self, key: str, data: bytes) -> None:
        unfinished = self.folder / f"{key}.{os.getpid()}"
        with suppress(OSError):  # a test may limit the size of files
            unfinished.write_bytes(data)
            unfinished.rename(self.folder / key)


@contextmanager
def shared_conversions(folder: Path) -> Iterator[None]:
    """Convert and quantise equal components once, with the results in `folder`."""
    store, to_onnx, export_tflite = _Store(folder), onnx_converter.to_onnx, variants.export_tflite
    quantize = bundle_export.quantize

    def onnx_once(component: ComponentModule, inputs: Sequence[Tensor], simplify: bool = True) -> onnx.ModelProto:
        key = _component_key("onnx", component, inputs, simplify)
        data = store.get(key)
        if data is None:
            data = to_onnx(component, inputs, simplify).SerializeToString(deterministic=True)
            store.put(key, data)
        return onnx.load_from_string(data)

    def tflite_once(component: ComponentModule, inputs: Sequence[Tensor], path: Path) -> None:
        key = _component_key("tflite", component, inputs, False)
        data = store.get(key)
        if data is None:
            export_tflite(component, inputs, path)
            store.put(key, path.read_bytes())
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def quantized_once(jobs: Sequence[QuantizationJob], advance: Advance = lambda steps: None) -> list[str | None]:
        keys = [_job_key(job) for job in jobs]
        new = [job for job, key in zip(jobs, keys, strict=True) if store.get(key) is None]
        reasons = dict(zip([job.target for job in new], quantize(new, advance) if new else [], strict=True))
        for job, key in zip(jobs, keys, strict=True):
            if job.target not in reasons:
                Path(job.target).parent.mkdir(parents=True, exist_ok=True)
                Path(job.target).write_bytes(store.get(key) or b"")
                advance(1)
            elif reasons[job.target] is None:  # a failure is repeated
                store.put(key, Path(job.target).read_bytes())
        return [reasons.get(job.target) for job in jobs]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_converter, "to_onnx", onnx_once)
        patch.setattr(variants, "export_tflite", tflite_once)
        patch.setattr(bundle_export, "quantize", quantized_once)
        yield


def _component_key(kind: str, component: ComponentModule, inputs: Sequence[Tensor], simplify: bool) -> str:
    """Return a hash of a component's name, code and tensors, and of the sizes of its inputs."""
    module = component.module
    constants = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    tensors = {**{name: attrgetter(name)(module) for name in constants}, **module.state_dict()}
    sizes = {name: tuple(map(str, shape)) for name, shape in component.shapes.items()}
    given = [(tuple(x.shape), str(x.dtype)) for x in inputs]
    described = (kind, component.name, component.inputs, component.outputs, sizes, given, simplify, module.code)
    digest = hashlib.sha256(repr(described).encode())
    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        if isinstance(value, Tensor):
            digest.update(str(value.dtype).encode() + value.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _job_key(job: QuantizationJob) -> str:
    """Return a hash of a recipe, its graph and its calibration inputs."""
    digest = hashlib.sha256(f"{job.recipe} {len(job.feeds)}".encode())
    digest.update(Path(job.source).read_bytes())
    for name, file in sorted(job.feeds.files.items()):
        digest.update(f"{name} {file.shape} {file.dtype}".encode() + Path(file.path).read_bytes())
    return digest.hexdigest()
