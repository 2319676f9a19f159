"""Rules of torch's operators for the axes of the tensors that they read and make.

Convolutions, batch normalisation, pooling and resizing have channels at axis 1 and positions behind it. Products with
weights and layer normalisation have channels last, and attention has positions before them. Element-wise operators
keep axes; views, permutations, slices and concatenations move them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from eetool.model.axis_kinds import FIXED, PRODUCT, REDUCTION
from eetool.model.tensor_axes import TensorAxes

_Rule = Callable[[TensorAxes, Sequence[Any], Any], None]


def apply_rule(axes: TensorAxes, operator: Any, args: Sequence[Any], kwargs: Any, outputs: Any) -> None:
    """Record what one call of an operator says; tensors made by an unknown operator get axes of their own."""
    read = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    if not axes.all_of(read):
        return
    name = operator._overloadpacket.__name__.removesuffix("_")
    rule = _RULES.get(name)
    if rule is not None:
        given = {argument.name for argument in operator._schema.arguments[: len(args)]}
        later = [kwargs.get(argument.name) for argument in operator._schema.arguments if argument.name not in given]
        rule(axes, [*args, *later], outputs)
    elif torch.Tag.pointwise in operator.tags or name in _SAME_AXES:
        axes.broadcast(read, _first(outputs))
    for made in pytree.tree_leaves(outputs):
        if isinstance(made, Tensor) and axes.of(made) is None:
            axes.give_new(made)


def _first(outputs: Any) -> Tensor:
    made: Tensor = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
    return made


def _every(outputs: Any) -> Iterable[Tensor]:
    return outputs if isinstance(outputs, (tuple, list)) else (outputs,)


def _convolution(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    axes, kernel = t.of(args[0]), args[1].shape[2:]
    if axes is None:
        return
    channels = t.kinds.new(outputs.shape[1])
    positions = t.resized(axes[2:], outputs.shape[2:])
    for axis in (axes[1], channels):  # a kernel of size 1 is a product, which tokens are also mixed with
        t.kinds.mark_channels(axis, FIXED if any(size > 1 for size in kernel) else PRODUCT)
    for axis, size in zip(positions, kernel, strict=True):
        if size > 1:
            t.kinds.mark_positions(axis)
    t.give(outputs, (axes[0], channels, *positions))


def _batch_norm(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    """Batch and group normalisation."""
    t.broadcast(args[:1], _first(outputs))
    axes = t.of(args[0])
    if axes is not None and len(axes) > 1:
        t.kinds.mark_channels(axes[1])


def _layer_norm(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    t.broadcast(args[:1], _first(outputs))
    axes = t.of(args[0])
    if axes is not None and len(args[1]) == 1:
        t.kinds.mark_channels(axes[-1])


def _pixels(spatial: int) -> _Rule:
    """Return the rule of pooling, resizing and shuffling over `spatial` axes."""

    def rule(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
        axes, made = t.of(args[0]), _first(outputs)
        if axes is None or len(axes) != made.ndim:
            return
        if len(axes) == spatial + 2:
            t.kinds.mark_channels(axes[1])
            for axis in axes[2:]:
                if t.kinds.sizes[axis] > 1:  # one-dimensional pooling adds a size of 1
                    t.kinds.mark_positions(axis)
        t.give(made, t.resized(axes, made.shape))

    return rule


def _product(first: int) -> _Rule:
    """Return the rule of (…, I, K) times (…, K, J), whose left operand is argument `first`."""

    def rule(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
        left, right = t.of(args[first]), t.of(args[first + 1])
        if left is not None and right is not None:
            t.kinds.join(left[-1], right[-2])
            t.give(outputs, (*left[:-1], right[-1]))
        elif left is not None:
            t.give(outputs, (*left[:-1], _weigh(t, left[-1], outputs.shape[-1])))
        elif right is not None:
            t.give(outputs, (*right[:-2], _weigh(t, right[-2], outputs.shape[-2]), right[-1]))

    return rule


def _weigh(t: TensorAxes, axis: int, size: int) -> int:
    """Return the axis that a product with weights makes of another one."""
    made = t.kinds.new(size)
    t.kinds.mark_channels(axis, PRODUCT)
    t.kinds.mark_channels(made, PRODUCT)
    return made


def _linear(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    axes = t.of(args[0])
    if axes is not None:
        t.give(outputs, (*axes[:-1], _weigh(t, axes[-1], outputs.shape[-1])))


def _attention(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    """Scaled dot-product attention of queries, keys and values (…, positions, features)."""
    query, value = t.of(args[0]), t.of(args[2])
    for axes in t.all_of(args[:3]):
        t.kinds.mark_positions(axes[-2])
    if query is not None and value is not None:
        t.give(_first(outputs), (*query[:-1], value[-1]))


def _embedding(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    ids = t.of(args[1])
    if ids is not None:
        channels = t.kinds.new(outputs.shape[-1])
        t.kinds.mark_channels(channels)
        for axis in ids[1:]:
            t.kinds.mark_positions(axis)
        t.give(outputs, (*ids, channels))


def _recurrent(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    """One recurrent layer over (T, N, D)."""
    axes, made = t.of(args[0]), _first(outputs)
    if axes is not None:
        channels = t.kinds.new(made.shape[-1])
        t.kinds.mark_channels(axes[-1])
        t.kinds.mark_channels(channels)
        t.kinds.mark_positions(axes[0])
        t.give(made, (*axes[:-1], channels))


def _reduction(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    """Means, sums and maxima. One reduced axis that is kept may be a normalisation, so it says nothing."""
    axes, made, dims = t.of(args[0]), _first(outputs), args[1] if len(args) > 1 else None
    if isinstance(dims, Tensor):  # the greater of two tensors
        t.broadcast(args[:2], made)
        return
    if axes is None or dims is None:
        return
    reduced = {d % len(axes) for d in (dims if isinstance(dims, (tuple, list)) else [dims])}
    keeps = made.ndim == len(axes)
    if not keeps or len(reduced) > 1:
        for i in reduced:
            t.kinds.mark_positions(axes[i], REDUCTION)
    left = [t.kinds.new(1) if i in reduced else axis for i, axis in enumerate(axes) if keeps or i not in reduced]
    if len(left) == made.ndim:
        t.give(made, left)


def _view(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    axes = t.of(args[0])
    if axes is not None:
        t.give(outputs, t.kinds.reshape(axes, outputs.shape))


def _permute(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    axes = t.of(args[0])
    if axes is not None:
        t.give(outputs, [axes[d] for d in args[1]])


def _transpose(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    axes = t.of(args[0])
    if axes:
        order = list(axes)
        a, b = (args[1], args[2]) if len(args) > 2 else (0, len(axes) - 1)
        order[a], order[b] = order[b], order[a]
        t.give(outputs, order)


def _unsqueeze(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    axes = t.of(args[0])
    if axes is not None:
        place = args[1] % outputs.ndim
        t.give(outputs, (*axes[:place], t.kinds.new(1), *axes[place:]))


def _squeeze(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    axes = t.of(args[0])
    if axes is None:
        return
    dims = args[1] if len(args) > 1 else list(range(len(axes)))
    gone = {d % len(axes) for d in (dims if isinstance(dims, (tuple, list)) else [dims])}
    t.give(outputs, [axis for i, axis in enumerate(axes) if i not in gone or t.kinds.sizes[axis] != 1])


def _cut(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    """Slices, splits, padding and repetitions: axes keep their kinds."""
    axes = t.of(args[0])
    for made in _every(outputs):
        if axes is not None and made.ndim == len(axes):
            t.give(made, t.resized(axes, made.shape))


def _select(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    """One index of an axis, such as the class token or the last step, or all of them."""
    axes = t.of(args[0])
    if axes is not None:
        place = (args[1] or 0) % len(axes)
        t.kinds.mark_positions(axes[place], REDUCTION)
        for made in _every(outputs):
            t.give(made, (*axes[:place], *axes[place + 1 :]))


def _concatenation(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    for axes in t.all_of(args[0]):
        if len(axes) == outputs.ndim:
            t.give(outputs, t.resized(axes, outputs.shape))


def _stack(t: TensorAxes, args: Sequence[Any], outputs: Any) -> None:
    place = (args[1] or 0) % outputs.ndim
    made = t.kinds.new(outputs.shape[place])
    t.kinds.mark_positions(made, REDUCTION)
    for axes in t.all_of(args[0]):
        t.give(outputs, (*axes[:place], made, *axes[place:]))


# Operators that torch does not call element-wise, and whose result has the axes of what they read.
_SAME_AXES = (
    *("_softmax", "_log_softmax", "native_dropout", "alias", "detach", "clone", "contiguous", "_to_copy", "copy"),
    *("lift_fresh", "expand", "masked_fill", "hardswish", "hardtanh", "hardsigmoid", "log_sigmoid_forward"),
    *("_prelu_kernel", "rrelu_with_noise", "roll", "flip", "cumsum", "cumprod", "sort", "tril", "triu"),
)
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("convolution", "_convolution", "mkldnn_convolution"), _convolution),
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit", "native_group_norm"), _batch_norm),
    "_native_batch_norm_legit_no_training": _batch_norm,
    **dict.fromkeys(("native_layer_norm", "rms_norm", "_fused_rms_norm"), _layer_norm),
    **dict.fromkeys(("max_pool1d", "avg_pool1d", "upsample_linear1d", "upsample_nearest1d"), _pixels(1)),
    **dict.fromkeys(("reflection_pad1d", "replication_pad1d", "_upsample_nearest_exact1d"), _pixels(1)),
    **dict.fromkeys(("max_pool2d_with_indices", "avg_pool2d", "max_pool2d", "fractional_max_pool2d"), _pixels(2)),
    **dict.fromkeys(("adaptive_max_pool2d", "_adaptive_avg_pool2d", "upsample_nearest2d"), _pixels(2)),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d", "_upsample_nearest_exact2d"), _pixels(2)),
    **dict.fromkeys(("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "channel_shuffle"), _pixels(2)),
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle", "native_channel_shuffle"), _pixels(2)),
    **dict.fromkeys(("reflection_pad2d", "replication_pad2d", "grid_sampler_2d"), _pixels(2)),
    **dict.fromkeys(("max_pool3d_with_indices", "avg_pool3d", "adaptive_max_pool3d"), _pixels(3)),
    **dict.fromkeys(("_adaptive_avg_pool3d", "upsample_nearest3d", "upsample_trilinear3d"), _pixels(3)),
    **dict.fromkeys(("reflection_pad3d", "replication_pad3d"), _pixels(3)),
    **dict.fromkeys(("mm", "bmm"), _product(0)),
    **dict.fromkeys(("addmm", "baddbmm", "_addmm_activation"), _product(1)),
    "linear": _linear,
    **dict.fromkeys(("scaled_dot_product_attention", "_scaled_dot_product_attention_math"), _attention),
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "embedding": _embedding,
    "mkldnn_rnn_layer": _recurrent,
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "median", "logsumexp", "prod"), _reduction),
    **dict.fromkeys(("std", "var", "var_mean", "std_mean"), _reduction),
    **dict.fromkeys(("view", "_unsafe_view", "reshape"), _view),
    "permute": _permute,
    **dict.fromkeys(("transpose", "t"), _transpose),
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    **dict.fromkeys(("slice", "split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"), _cut),
    **dict.fromkeys(("constant_pad_nd", "repeat", "index_select", "glu"), _cut),
    **dict.fromkeys(("select", "unbind"), _select),
    "cat": _concatenation,
    "stack": _stack,
}
