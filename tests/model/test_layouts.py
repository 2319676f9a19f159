"""The order of axes, and the rule of files that do not record it."""

import pytest

from eetool.errors import UsageError
from eetool.model.layouts import LAYOUTS, check_layout, layout_by_sizes, layout_of_axes, to_canonical, usual_layout


def test_layout_of_axes_every_layout_is_found_by_its_axes() -> None:
    assert [layout_of_axes(len(x), x.index("N"), x.index("C")) for x in LAYOUTS] == list(LAYOUTS)
    assert layout_of_axes(2, 1, 0) is None
    assert layout_of_axes(4, 0, 2) is None


@pytest.mark.parametrize(
    ("layout", "order"),
    [
        *(("NC", (0, 1)), ("NCL", (0, 1, 2)), ("NLC", (0, 1, 2)), ("LNC", (1, 0, 2)), ("NCHW", (0, 1, 2, 3))),
        *(("NHWC", (0, 3, 1, 2)), ("NDHWC", (0, 4, 1, 2, 3))),
    ],
)
def test_to_canonical_channels_come_second_except_for_tokens(layout: str, order: tuple[int, ...]) -> None:
    assert to_canonical(layout) == order


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        *(((1, 8, 4, 4), "NCHW"), ((1, 4, 4, 8), "NHWC"), ((1, 8, 8, 12), "NHWC"), ((1, 4, 6, 8), "NCHW")),
        *(((1, 8, 8, 1), "NCHW"), ((1, 8, 8, 8), "NCHW"), ((1, 5, 8), "NLC"), ((1, 8), "NC")),
    ],
)
def test_layout_by_sizes_is_that_of_earlier_versions(shape: tuple[int, ...], layout: str) -> None:
    assert layout_by_sizes(shape) == layout
    assert len(usual_layout(shape)) == len(shape)


def test_check_layout_other_number_of_axes_raises_usage_error() -> None:
    check_layout("NCHW", (1, 8, 4, 4), "a tap")
    with pytest.raises(UsageError, match="layout NCHW does not fit a tap"):
        check_layout("NCHW", (1, 8, 4), "a tap")
