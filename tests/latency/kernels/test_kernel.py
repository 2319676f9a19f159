"""Kernels: complete sizes, MACs and bytes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool.errors import ArtefactError
from eetool.latency.kernels.kernel import KINDS, OPTIONAL, REQUIRED, Kernel, complete_shape, macs, work

sizes = st.integers(1, 64)


@st.composite
def kernels(draw: st.DrawFn) -> Kernel:
    kind = draw(st.sampled_from(KINDS))
    return Kernel(kind, {name: draw(sizes) for name in REQUIRED[kind]}, draw(st.sampled_from(["fp32", "int8"])))


def test_work_known_sizes_gives_known_macs_and_bytes() -> None:
    conv = Kernel("conv", {"in_channels": 3, "out_channels": 16, "height": 32, "width": 32, "kernel": 3})
    assert conv.macs == 16 * 32 * 32 * 27
    done = work(conv)
    assert (done.read_bytes, done.written_bytes, done.weight_bytes) == (4 * 3 * 1024, 4 * 16 * 1024, 4 * 432)
    strided = Kernel("conv", {**conv.shape, "stride": 2, "height": 15, "groups": 3, "out_channels": 6})
    assert strided.macs == 6 * 8 * 16 * 9
    assert macs("depthwise", {"channels": 8, "height": 4, "width": 4, "kernel": 5, "stride": 2}) == 8 * 4 * 25
    assert macs("matmul", {"batch": 2, "rows": 3, "inner": 5, "columns": 7}) == 210
    assert macs("pool", {"channels": 8, "height": 4, "width": 4, "kernel": 2}) == 0


def test_complete_shape_fills_in_optional_sizes() -> None:
    shape = {"in_channels": 1, "out_channels": 1, "height": 9, "width": 8, "kernel": 3, "stride": 2}
    full = complete_shape("conv", shape)
    assert (full["kernel_w"], full["out_height"], full["out_width"], full["groups"]) == (3, 5, 4, 1)
    assert Kernel("conv", shape).key == Kernel("conv", full).key
    assert complete_shape("elementwise", {"elements": 5})["reads"] == 5


@pytest.mark.parametrize(("kind", "shape"), [("gemm", {}), ("linear", {"rows": 1}), ("softmax", {"rows": 1, "x": 2})])
def test_complete_shape_invalid_raises_artefact_error(kind: str, shape: dict[str, int]) -> None:
    with pytest.raises(ArtefactError):
        complete_shape(kind, shape)


@given(kernels())
def test_complete_shape_is_idempotent_and_work_is_positive(kernel: Kernel) -> None:
    full = complete_shape(kernel.kind, kernel.shape)
    assert complete_shape(kernel.kind, full) == full
    assert work(kernel).moved_bytes > 0
    assert kernel.macs >= 0
    assert math.isclose(work(Kernel(kernel.kind, full, kernel.precision)).macs, kernel.macs)


def test_module_docstring_lists_every_kind_and_size() -> None:
    import eetool.latency.kernels.kernel as module

    for kind in KINDS:
        names = (kind, *REQUIRED[kind], *(name for name in OPTIONAL.get(kind, {})))
        assert all(name in str(module.__doc__) for name in names), kind
