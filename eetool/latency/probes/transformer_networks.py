"""Small random transformers, with the operators that exporters write."""

import math

import numpy as np

from eetool.latency.probes.image_networks import MAX_MACS
from eetool.latency.probes.onnx_builder import INPUT, OnnxBuilder


def draw_transformer(seed: int) -> OnnxBuilder:
    """Draw a transformer over a sequence, with the operators that exporters write."""
    s = OnnxBuilder(np.random.default_rng((seed, 99)))
    heads = s.pick([2, 3, 4, 6])
    width = heads * s.pick([16, 32, 32, 48, 64, 64])
    rows = s.pick([16, 17, 32, 49, 64, 65, 65, 96, 128, 197])
    s.weights[INPUT] = np.array((1, rows, width))
    for _ in range(s.pick([1, 2, 3])):
        s.tensor = add_attention(s, s.tensor, rows, width, heads)
        s.tensor = add_feed_forward(s, s.tensor, rows, width, width * s.pick([1, 2, 4, 4]))
        if s.macs > 2 * MAX_MACS:
            break
    name = s.step()
    token = s.add("Gather", [s.tensor, s.constant(f"{name}.at", np.array(0))], f"{name}.gather", axis=1)
    s.tensor = s.linear(token, width, s.pick([2, 10, 100]), s.step())
    return s


def _add_layer_norm(s: OnnxBuilder, tensor: str, width: int) -> str:
    name = s.step()
    parts = [s.constant(f"{name}.{part}", np.ones(width, np.float32)) for part in ("w", "b")]
    return s.add("LayerNormalization", [tensor, *parts], f"{name}.norm", axis=-1)


def _add_linear(s: OnnxBuilder, tensor: str, rows: int, inner: int, out: int) -> str:
    name = s.step()
    s.macs += rows * inner * out
    output = s.add("MatMul", [tensor, s.weight(f"{name}.w", inner, out)], f"{name}.matmul")
    if s.chance(0.5):
        output = s.add("Add", [output, s.weight(f"{name}.b", out)], f"{s.step()}.bias")
    return output


def add_attention(s: OnnxBuilder, tensor: str, rows: int, width: int, heads: int) -> str:
    """Add layer normalisation and self-attention over (1, rows, width) with a shortcut; return the output."""
    size = width // heads
    inside = _add_layer_norm(s, tensor, width)
    parts = []
    for part in range(3):
        output = _add_linear(s, inside, rows, width, width)
        name = s.step()
        shape = s.constant(f"{name}.shape", np.array([0, rows, heads, size], np.int64))
        split = s.add("Reshape", [output, shape], f"{name}.view")
        perm = [0, 2, 3, 1] if part == 1 else [0, 2, 1, 3]  # (1, T, H, D) -> (1, H, D, T) or (1, H, T, D)
        parts.append(s.add("Transpose", [split], f"{s.step()}.transpose", perm=perm))
    s.macs += 2 * rows * rows * width
    scores = s.add("MatMul", parts[:2], f"{s.step()}.scores")
    scores = s.add("Softmax", [scores], f"{s.step()}.softmax", axis=-1)
    mixed = s.add("MatMul", [scores, parts[2]], f"{s.step()}.mixed")
    back = s.add("Transpose", [mixed], f"{s.step()}.transpose", perm=[0, 2, 1, 3])
    name = s.step()
    joined = s.add("Reshape", [back, s.constant(f"{name}.shape", np.array([0, rows, width], np.int64))], f"{name}.view")
    output = _add_linear(s, joined, rows, width, width)
    return s.add("Add", [tensor, output], f"{s.step()}.add")


def add_feed_forward(s: OnnxBuilder, tensor: str, rows: int, width: int, hidden: int) -> str:
    """Add layer normalisation and a feed-forward network with GELU and a shortcut; return the output."""
    inside = _add_linear(s, _add_layer_norm(s, tensor, width), rows, width, hidden)
    gelu = add_gelu(s, inside)
    return s.add("Add", [tensor, _add_linear(s, gelu, rows, hidden, width)], f"{s.step()}.add")


def add_gelu(s: OnnxBuilder, tensor: str) -> str:
    """Add GELU by its error function, as exporters write it; return the output."""
    scaled = s.add("Div", [tensor, s.constant(f"{s.step()}.root", np.float32(math.sqrt(2)))], f"{s.step()}.div")
    erf = s.add("Erf", [scaled], f"{s.step()}.erf")
    more = s.add("Add", [erf, s.constant(f"{s.step()}.one", np.float32(1))], f"{s.step()}.plus")
    half = s.add("Mul", [more, s.constant(f"{s.step()}.half", np.float32(0.5))], f"{s.step()}.half")
    return s.add("Mul", [tensor, half], f"{s.step()}.gelu")
