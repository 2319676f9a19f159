"""Layouts: the order of the axes of a tap's features, written with one letter per axis, such as NCHW.

N is the batch and C the channels; L, H, W and D are positions: time steps, tokens, rows, columns, slices. An exit pools
over positions and classifies channels, so a wrong layout gives an exit that learns little.
"""

from eetool.errors import UsageError
from eetool_runtime.near_names import known_names

VECTORS = "NC"
LAYOUTS = (VECTORS, "NCL", "NLC", "LNC", "NCHW", "NHWC", "NCDHW", "NDHWC")
TOKENS = ("NLC", "LNC")  # positions are tokens or time steps
_USUAL = {2: VECTORS, 3: "NLC", 4: "NCHW", 5: "NCDHW"}


def layout_of_axes(rank: int, batch: int, channels: int) -> str | None:
    """Return the layout with these axes; None where no exit reads it."""
    fitting = (x for x in LAYOUTS if len(x) == rank and x.index("N") == batch and x.index("C") == channels)
    return next(fitting, None)


def check_layout(layout: str, feature_shape: tuple[int, ...], place: str) -> None:
    """Raise UsageError where features of this shape cannot have the layout."""
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout {layout!r} of {place}", known_names(layout, LAYOUTS, "The layouts"))
    if len(layout) != len(feature_shape):
        fitting = ", ".join(x for x in LAYOUTS if len(x) == len(feature_shape))
        raise UsageError(
            f"layout {layout} does not fit {place}, which gives features of shape {feature_shape}",
            f"Layouts of {len(feature_shape)} axes: {fitting}." if fitting else "Tap another module.",
        )


def usual_layout(feature_shape: tuple[int, ...]) -> str:
    """Return the most common layout of features with as many axes; raises UsageError where there is none."""
    layout = _USUAL.get(len(feature_shape))
    if layout is None:
        raise UsageError(f"no branch fits features of shape {feature_shape}", "Choose another tap.")
    return layout


def layout_by_sizes(feature_shape: tuple[int, ...]) -> str:
    """Return the layout that a checkpoint without recorded layouts was trained with.

    Equal sizes in front of another one were taken for height and width. A last size of 1 was always a width.
    """
    if len(feature_shape) == 4 and feature_shape[3] != 1 and feature_shape[1] == feature_shape[2] != feature_shape[3]:
        return "NHWC"
    return usual_layout(feature_shape)


def to_canonical(layout: str) -> tuple[int, ...]:
    """Return the axes in the order (N, C, positions), or (N, L, C) for tokens."""
    canonical = "NLC" if layout in TOKENS else "NC" + layout.replace("N", "").replace("C", "")
    return tuple(layout.index(letter) for letter in canonical)
