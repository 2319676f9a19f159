"""Networks outside every latency table: built-in ones, and random ones of families without probes.

The set `development` may be used while the predictor changes; `held-out` is for the final evaluation.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.export.bundle_files import bundle_name
from eetool.graphs.calibration_feeds import save_feeds
from eetool.graphs.quantize import QuantizationJob, quantize
from eetool.latency.kernels.kernel import INT8
from eetool.latency.probes.onnx_builder import OnnxBuilder, draw_channels, to_model
from eetool.latency.probes.onnx_to_tflite import convert_to_tflite
from eetool.latency.probes.probe_files import TFLITE, ProbeKind
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool_runtime.backends import open_graph
from eetool_runtime.errors import BackendError

_CLASSES = 10
_BUILT_IN = {
    "development": (
        *(("resnet20", 32), ("resnet56", 32), ("resnet8", 64), ("resnet32", 48), ("densenet40", 32), ("vgg11", 32)),
        *(("vgg16", 32), ("mobilenetv2", 32), ("mobilenetv2", 64), ("mobilenetv3-small", 32), ("vit-tiny", 32)),
        ("densenet100-bc", 32),
    ),
    "held-out": (
        *(("resnet14", 40), ("resnet44", 32), ("resnet26", 56), ("densenet22", 48), ("densenet40-bc", 32)),
        *(("vgg13", 40), ("vgg19", 32), ("mobilenetv2", 96), ("mobilenetv3-small", 64), ("mobilenetv3-large", 48)),
        *(("vit-tiny", 48), ("vit-small", 40)),
    ),
}
_SEEDS = {"development": range(0, 5), "held-out": range(200, 205)}
SETS = tuple(_BUILT_IN)


def write_networks(which: str, folder: Path, seeds: Sequence[int] = ()) -> Iterator[Path]:
    """Write the missing networks of a set as ONNX files, and yield the path of each when it exists.

    Args:
        which: The name of the set.
        folder: Where the files lie.
        seeds: Seeds of the random networks, by default those of the set.
    """
    for name, side in _BUILT_IN[which]:
        path = folder / f"{name}-{side}.onnx"
        if not path.exists():
            _built_in(name, side, path)
        yield path
    for family, draw in FAMILIES.items():
        for seed in seeds or _SEEDS[which]:
            path = folder / f"{family}-{seed}.onnx"
            if not path.exists():
                onnx.save(to_model(draw(seed)), str(path))
            yield path


def write_variants(folder: Path, kind: ProbeKind, seeds: Sequence[int]) -> Iterator[Path]:
    """Write the random networks in another format or precision, without those that cannot be quantised."""
    sources, jobs = [], []
    for family, draw in FAMILIES.items():
        for seed in seeds:
            network = draw(seed)
            path = folder / f"{family}-{seed}-{kind.precision}.{kind.format}"
            data = convert_to_tflite(network) if kind.format == TFLITE else to_model(network).SerializeToString()
            source = path.with_suffix(".float") if kind.precision == INT8 else path
            source.write_bytes(data)
            sources.append(path)
            if kind.precision == INT8:
                shape = tuple(int(size) for size in network.weights[""])
                case = {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}
                feeds = save_feeds(path.with_suffix(".feeds"), ["x"], [case])
                jobs.append(QuantizationJob(f"{kind.format}-static", str(source), str(path), feeds))
    refused = {job.target for job, reason in zip(jobs, quantize(jobs), strict=True) if reason} if jobs else set()
    for path in sources:
        if str(path) not in refused and loads(path):
            yield path


def loads(path: Path) -> bool:
    """Return whether the backend loads the file; some quantised TFLite graphs are refused."""
    try:
        open_graph(path)
    except BackendError:
        return False
    return True


def _built_in(name: str, side: int, path: Path) -> None:
    """Write the unsplit backbone as `eetool export` writes it for comparison."""
    shape = (1, 3, side, side)
    checkpoint = attach_exits(name, shape, _CLASSES, ExitPlan(1), seed=0)
    net = checkpoint.build()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().momentum = None
    with torch.no_grad():
        net(torch.randn(8, *shape[1:]))
    checkpoint.state.update(net.state_dict())
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(io.StringIO()):
        bundle = Path(temporary) / f"{bundle_name(path)}.eebundle"
        manifest = export_bundle(checkpoint, bundle, ExportOptions()).manifest
        path.write_bytes((bundle / manifest.variants["onnx/fp32"].references["unsplit"]).read_bytes())


def _begin(seed: int, family: int) -> OnnxBuilder:
    s = OnnxBuilder(np.random.default_rng((seed, 1000 + family)))
    s.height = s.width = s.pick((32, 32, 48, 64))
    s.weights[""] = np.array((1, 3, s.height, s.width))
    out, stride = draw_channels(s, 16, 48), 2 if s.height > 40 else 1
    s.tensor = s.conv("x", out, 3, stride, act="Relu")
    s.channels = out
    s.shrink(stride)
    return s


def _pool(s: OnnxBuilder) -> None:
    s.tensor = s.add("MaxPool", [s.tensor], f"{s.step()}.pool", kernel_shape=[2, 2], strides=[2, 2])
    s.height, s.width = s.height // 2, s.width // 2


def _end(s: OnnxBuilder) -> OnnxBuilder:
    pooled = s.add("GlobalAveragePool", [s.tensor], f"{s.step()}.pool")
    row = s.add("Flatten", [pooled], f"{s.step()}.flat")
    s.tensor = s.linear(row, s.channels, s.pick((10, 100)), s.step())
    return s


def fire(seed: int) -> OnnxBuilder:
    """Build squeeze layers, expanded by two kernel sizes in parallel (SqueezeNet, arXiv 1602.07360)."""
    s = _begin(seed, 0)
    for index in range(s.pick((4, 6, 8))):
        narrow, wide = draw_channels(s, 12, 48), draw_channels(s, 32, 128)
        squeezed = s.conv(s.tensor, narrow, 1, act="Relu")
        sides = [s.conv(squeezed, wide, kernel, act="Relu", of=narrow) for kernel in (1, 3)]
        s.tensor = s.add("Concat", sides, f"{s.step()}.concat", axis=1)
        s.channels = 2 * wide
        if index in (1, 3):
            _pool(s)
    return _end(s)


def inception(seed: int) -> OnnxBuilder:
    """Build blocks of four branches of different depth (Inception, arXiv 1409.4842)."""
    s = _begin(seed, 1)
    for index in range(s.pick((3, 4, 5))):
        before, of = s.tensor, s.channels
        widths = [draw_channels(s, 16, 96) for _ in range(6)]
        sides = [s.conv(before, widths[0], 1, act="Relu", of=of)]
        for kernel, (narrow, wide) in ((3, widths[1:3]), (5, widths[3:5])):
            sides.append(s.conv(s.conv(before, narrow, 1, act="Relu", of=of), wide, kernel, act="Relu", of=narrow))
        shape = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}
        pooled = s.add("MaxPool", [before], f"{s.step()}.pool", **shape)
        sides.append(s.conv(pooled, widths[5], 1, act="Relu", of=of))
        s.tensor = s.add("Concat", sides, f"{s.step()}.concat", axis=1)
        s.channels = widths[0] + widths[2] + widths[4] + widths[5]
        if index in (1, 2):
            _pool(s)
    return _end(s)


def shuffle(seed: int) -> OnnxBuilder:
    """Build grouped convolutions with channel shuffles between them (ShuffleNet, arXiv 1707.01083)."""
    s = _begin(seed, 2)
    groups = s.pick((2, 4))
    width = 16 * groups * s.pick((1, 2, 3))
    s.tensor, s.channels = s.conv(s.tensor, width, 1, act="Relu"), width
    for index in range(s.pick((4, 6, 8))):
        before = s.tensor
        inner = s.conv(before, width, 1, 1, groups, "Relu", of=width)
        name, split = s.step(), [0, groups, width // groups, s.height, s.width]
        view = s.add("Reshape", [inner, s.constant(f"{name}.a", np.array(split, np.int64))], f"{name}.view")
        turned = s.add("Transpose", [view], f"{s.step()}.transpose", perm=[0, 2, 1, 3, 4])
        name, whole = s.step(), [0, width, s.height, s.width]
        inner = s.add("Reshape", [turned, s.constant(f"{name}.a", np.array(whole, np.int64))], f"{name}.view")
        inner = s.conv(inner, width, 3, 1, width, of=width)
        inner = s.conv(inner, width, 1, 1, groups, of=width)
        name = s.step()
        s.tensor = s.activate(s.add("Add", [inner, before], f"{name}.add"), name, "Relu")
        if index in (1, 3):
            _pool(s)
    return _end(s)


def conv_mixer(seed: int) -> OnnxBuilder:
    """Build a patch embedding, then depthwise and pointwise convolutions at one size (ConvMixer, arXiv 2201.09792)."""
    s = OnnxBuilder(np.random.default_rng((seed, 1003)))
    side, patch = s.pick((32, 64)), s.pick((2, 4))
    s.height = s.width = side
    s.weights[""] = np.array((1, 3, side, side))
    width = draw_channels(s, 48, 160)
    s.tensor = s.conv("x", width, patch, patch, act="Relu")
    s.channels = width
    s.shrink(patch)
    for _ in range(s.pick((3, 4, 6))):
        before = s.tensor
        inner = s.conv(before, width, s.pick((5, 7)), 1, width, "Relu")
        s.tensor = s.add("Add", [inner, before], f"{s.step()}.add")
        s.tensor = s.conv(s.tensor, width, 1, act="Relu")
    return _end(s)


FAMILIES: dict[str, Callable[[int], OnnxBuilder]] = {
    "fire": fire, "inception": inception, "shuffle": shuffle, "conv-mixer": conv_mixer,
}  # fmt: skip
