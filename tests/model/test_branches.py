"""Exit branches as text and as layers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from eetool.errors import UsageError
from eetool.model.branches import (
    ALPHABET,
    DEFAULT_BRANCH,
    MAX_DEPTH,
    Branch,
    BranchSpec,
    Layer,
    default_branch,
    pool_positions,
)
from eetool.model.layouts import LAYOUTS
from eetool.model.macs import count_macs, count_parameters

POOLS = ("max2", "avg2")
layers = st.one_of(
    st.builds(Layer, st.sampled_from(POOLS), st.none()),
    st.builds(Layer, st.sampled_from([x for x in ALPHABET if x not in POOLS]), st.integers(1, 9999)),
)
specs = st.one_of(
    st.builds(BranchSpec, st.lists(layers, max_size=MAX_DEPTH).map(tuple)), st.just(BranchSpec((), class_token=True))
)


@given(specs)
def test_branch_spec_written_and_parsed_is_equal(spec: BranchSpec) -> None:
    assert BranchSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "conv3", "conv3-", "conv3-0", "conv3-10000", "conv3-1٣", "conv3-64x", "conv3-64 ", "Conv3-64"),
        *("conv2-8", "max2-8", "max3", "conv3-64,", "linear,max2", ",".join(["max2"] * (MAX_DEPTH + 1))),
    ],
)
def test_branch_spec_parse_unknown_layer_raises_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        BranchSpec.parse(text)


@pytest.mark.parametrize("text", ["linear", "max2,conv3-6", "avg2,sep5-6,conv1-5", "sep3-4,max2,max2"])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1)])
def test_branch_feature_map_of_any_size_gives_logits(text: str, size: tuple[int, int]) -> None:
    features = torch.randn(2, 3, *size)
    branch = Branch(BranchSpec.parse(text), tuple(features.shape), classes=4)
    assert branch(features).shape == (2, 4)


def test_branch_linear_is_pooling_and_classifier() -> None:
    features = torch.randn(2, 3, 8, 8)
    branch = Branch(BranchSpec.parse("linear"), tuple(features.shape), classes=4)
    assert count_parameters(branch) == 3 * 4 + 4
    assert torch.equal(branch(features), branch.classifier(features.mean((2, 3))))


def test_branch_separable_convolution_macs_equal_formula() -> None:
    features = torch.randn(1, 8, 10, 10)
    branch = Branch(BranchSpec.parse("sep3-16"), tuple(features.shape), classes=4)
    assert count_macs(branch.eval(), (features,)) == 8 * 9 * 100 + 8 * 16 * 100 + 16 * 4


def test_branch_class_token_reads_first_token_only() -> None:
    features = torch.randn(2, 5, 6)
    branch = Branch(BranchSpec.parse("cls"), (2, 5, 6), classes=4)
    others = torch.cat((features[:, :1], torch.randn(2, 4, 6)), 1)
    assert torch.equal(branch(features), branch(others))
    mean = Branch(BranchSpec.parse("linear"), (2, 5, 6), classes=4)
    assert not torch.allclose(mean(features), mean(others))


@pytest.mark.parametrize("text", ["linear", "max2,conv3-6", "sep3-4,avg2"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_branch_other_layout_gives_equal_logits(text: str, layout: str) -> None:
    usual = {"NCHW": "NCHW", "NHWC": "NCHW", "LNC": "NLC", "NDHWC": "NCDHW"}.get(layout, layout)
    if text != "linear" and usual in ("NC", "NLC"):
        return
    sizes = {"N": 2, "C": 6, "L": 5, "D": 4, "H": 6, "W": 3}  # as many channels as rows
    features = torch.randn([sizes[axis] for axis in usual])
    other = features.permute([usual.index(axis) for axis in layout])
    torch.manual_seed(0)
    expected = Branch(BranchSpec.parse(text), tuple(features.shape), 4, layout=usual).eval()
    branch = Branch(BranchSpec.parse(text), tuple(other.shape), 4, layout=layout).eval()
    branch.load_state_dict(expected.state_dict())
    assert torch.equal(branch(other), expected(features))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pool_positions_any_layout_leaves_inputs_and_channels(layout: str) -> None:
    sizes = {"N": 2, "C": 6, "L": 6, "D": 2, "H": 6, "W": 2}
    by_channel = torch.arange(6.0).view([6 if axis == "C" else 1 for axis in layout])
    pooled = pool_positions(by_channel.expand([sizes[axis] for axis in layout]), layout)
    assert torch.equal(pooled, torch.arange(6.0).expand(2, 6))


@pytest.mark.parametrize("text", ["linear", "max2,conv3-6,avg2,sep5-4", "conv1-4,max2"])
def test_branch_convolutions_over_time_equal_those_over_pixels_of_one_column(text: str) -> None:
    features = torch.randn(3, 6, 9)
    flat = Branch(BranchSpec.parse(text), (3, 6, 9), 4, layout="NCL").eval()
    square = Branch(BranchSpec.parse(text), (3, 6, 9, 1), 4, layout="NCHW").eval()
    for name, weight in flat.named_parameters():
        other = square.get_parameter(name)
        if weight.ndim == 3:  # (O, I, k) is the middle column of (O, I, k, k)
            nn.init.zeros_(other)
            other.data[..., weight.shape[2] // 2] = weight.data
        else:
            other.data = weight.data
    assert torch.allclose(flat(features), square(features[..., None]), atol=1e-6)
    assert count_macs(flat, (features,)) <= count_macs(square, (features[..., None],))


@pytest.mark.parametrize(
    ("layout", "class_token", "branch"),
    [
        *(("NCHW", True, DEFAULT_BRANCH), ("NHWC", False, DEFAULT_BRANCH), ("NCL", True, DEFAULT_BRANCH)),
        *(("NLC", True, "cls"), ("LNC", True, "cls"), ("NLC", False, "linear"), ("NC", True, "linear")),
        ("NCDHW", False, "linear"),
    ],
)
def test_default_branch_any_features_fit(layout: str, class_token: bool, branch: str) -> None:
    assert default_branch(layout, class_token) == branch
    shape = tuple(1 if axis == "N" else 5 for axis in layout)
    made = Branch(BranchSpec.parse(branch), shape, classes=4, layout=layout).eval()
    assert made(torch.randn(shape)).shape == (1, 4)


@pytest.mark.parametrize("shape", [(2, 8, 4, 4), (2, 8)])
def test_branch_class_token_without_tokens_raises_usage_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="needs tokens"):
        Branch(BranchSpec.parse("cls"), shape, classes=4)


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 6)])
def test_branch_convolution_on_tokens_or_vectors_raises_usage_error(shape: tuple[int, ...]) -> None:
    branch = Branch(BranchSpec.parse("linear"), shape, classes=4)
    assert branch(torch.randn(shape)).shape == (2, 4)
    with pytest.raises(UsageError, match=r"needs features such as \(N, C, H, W\)"):
        Branch(BranchSpec.parse("conv1-8"), shape, classes=4)


@pytest.mark.parametrize("shape", [(2,), (2, 3, 4, 5, 6, 7)])
def test_branch_features_of_other_rank_raise_usage_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="no branch fits"):
        Branch(BranchSpec.parse("linear"), shape, classes=4)


@pytest.mark.parametrize(
    ("text", "layout", "shape"),
    [
        ("linear", "NCHW", (2, 6, 8, 8)),
        ("linear", "NHWC", (2, 8, 8, 6)),
        ("linear", "NLC", (2, 9, 6)),
        ("cls", "NLC", (2, 9, 6)),
        ("linear", "NC", (2, 6)),
        ("max2", "NCHW", (2, 6, 8, 8)),
        ("max2,avg2,conv3-4,max2", "NCHW", (2, 6, 8, 8)),
        ("conv1-4,max2", "NCL", (2, 6, 8)),
    ],
)
def test_branch_forward_from_reduced_equals_forward(text: str, layout: str, shape: tuple[int, ...]) -> None:
    branch = Branch(BranchSpec.parse(text), shape, 3, learned_confidence=True, layout=layout).eval()
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected, actual = branch.forward_with_confidence(features), branch.forward_from_reduced(branch.reduce(features))
    for one, other in zip(expected, actual, strict=True):
        torch.testing.assert_close(one, other)
    assert branch.reduce(features).numel() <= features.numel()
