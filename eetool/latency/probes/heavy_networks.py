"""Probe networks of 6 to 40 megabytes of weights, more than fast caches hold from one call to the next.

One layer repeats, as in transformers and in the last stages of image networks, until the weights are reached. Each has
a shallow twin, two such layers, that shows what the same kernels cost while their weights stay in the caches.
"""

from collections.abc import Callable

import numpy as np

from eetool.latency.probes.image_networks import MAX_MACS, add_exit, add_squeeze_excitation
from eetool.latency.probes.onnx_builder import INPUT, OnnxBuilder
from eetool.latency.probes.transformer_networks import add_attention, add_feed_forward

Layer = Callable[[OnnxBuilder], None]
HEAVY, SHALLOW = "heavy", "shallow"
_LEAST, _MOST = 1.5e6, 1e7  # weights
_MOST_LAYERS, _LEAST_LAYERS, _SHALLOW_LAYERS = 40, 6, 2


def draw_heavy_network(seed: int, shallow: bool = False) -> OnnxBuilder:
    """Draw a transformer, or an image network of small feature maps, of many weights.

    Args:
        seed: seed of the network.
        shallow: draw no more than two of its layers, which hold the same kernels.
    """
    s = OnnxBuilder(np.random.default_rng((seed, 300)))
    weights = float(np.exp(s.rng.uniform(np.log(_LEAST), np.log(_MOST))))
    draw = _draw_transformer if s.chance(0.5) else _draw_image_network
    return draw(s, 0.0 if shallow else weights)


def _add_layers(s: OnnxBuilder, add_layer: Layer, weights: float) -> None:
    least = _LEAST_LAYERS if weights else _SHALLOW_LAYERS
    for count in range(1, _MOST_LAYERS + 1):
        add_layer(s)
        if count >= least and (_weight_count(s) >= weights or s.macs > 5 * MAX_MACS):
            break


def _weight_count(s: OnnxBuilder) -> int:
    return sum(value.size for value in s.weights.values())


def _draw_transformer(s: OnnxBuilder, weights: float) -> OnnxBuilder:
    heads, size = s.pick((2, 3, 4, 6)), s.pick((32, 64, 64))
    width, rows = heads * size, s.pick((4, 8, 16, 17, 32, 49, 65))
    hidden = width * s.pick((2, 4, 4))
    s.weights[INPUT] = np.array((1, rows, width))

    def add_layer(s: OnnxBuilder) -> None:
        s.tensor = add_attention(s, s.tensor, rows, width, heads)
        s.tensor = add_feed_forward(s, s.tensor, rows, width, hidden)

    _add_layers(s, add_layer, weights)
    name = s.step()
    token = s.add("Gather", [s.tensor, s.constant(f"{name}.at", np.array(0))], f"{name}.gather", axis=1)
    s.tensor = s.linear(token, width, 100, s.step())
    return s


def _draw_image_network(s: OnnxBuilder, weights: float) -> OnnxBuilder:
    draw_layer, widths = s.pick(_LAYER_KINDS)
    s.height = s.width = s.pick((4, 5, 7, 7, 8, 10, 12, 14))
    s.channels = s.pick(widths)
    s.weights[INPUT] = np.array((1, s.channels, s.height, s.width))
    _add_layers(s, draw_layer(s), weights)
    add_exit(s)
    return s


def _draw_inverted(s: OnnxBuilder) -> Layer:
    """Draw an inverted bottleneck of six times the channels (arXiv 1801.04381), sometimes with gated channels."""
    act, window, gate = s.pick(("Relu", "Clip", "HardSwish")), s.pick((3, 5)), s.chance(0.3)

    def add_layer(s: OnnxBuilder) -> None:
        wide, before = 6 * s.channels, s.tensor
        tensor = s.conv(before, wide, 1, act=act)
        tensor = s.conv(tensor, wide, window, 1, wide, act, of=wide)
        if gate:
            tensor = add_squeeze_excitation(s, tensor, wide)
        tensor = s.conv(tensor, s.channels, 1, of=wide)
        s.tensor = s.add("Add", [tensor, before], f"{s.step()}.add")

    return add_layer


def _draw_separable(s: OnnxBuilder) -> Layer:
    """Draw a depthwise and a 1×1 convolution (arXiv 1704.04861)."""
    act = s.pick(("Relu", "Clip"))

    def add_layer(s: OnnxBuilder) -> None:
        tensor = s.conv(s.tensor, s.channels, 3, 1, s.channels, act)
        s.tensor = s.conv(tensor, s.channels, 1, act=act)

    return add_layer


def _draw_residual(s: OnnxBuilder) -> Layer:
    """Draw two convolutions of 3×3 and a shortcut (arXiv 1512.03385)."""

    def add_layer(s: OnnxBuilder) -> None:
        before = s.tensor
        tensor = s.conv(s.conv(before, s.channels, 3, act="Relu"), s.channels, 3)
        name = s.step()
        s.tensor = s.activate(s.add("Add", [tensor, before], f"{name}.add"), name, "Relu")

    return add_layer


_LAYER_KINDS = (
    (_draw_inverted, (64, 80, 96, 112, 160, 192)),
    (_draw_separable, (256, 384, 512)),
    (_draw_residual, (128, 192, 256)),
)
