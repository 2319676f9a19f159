"""Exit branches as text and as layers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eetool.errors import UsageError
from eetool.model.branches import ALPHABET, DEFAULT_BRANCH, MAX_DEPTH, Branch, BranchSpec, Layer, default_branch
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


def test_branch_channels_last_features_are_pooled_over_pixels() -> None:
    features = torch.randn(2, 6, 6, 3)
    branch = Branch(BranchSpec.parse("linear"), tuple(features.shape), classes=4)
    assert torch.allclose(branch(features), branch.classifier(features.mean((1, 2))), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "class_token", "branch"),
    [
        ((1, 8, 4, 4), True, DEFAULT_BRANCH),
        ((1, 5, 8), True, "cls"),
        ((1, 5, 8), False, "linear"),
        ((1, 8), True, "linear"),
    ],
)
def test_default_branch_any_features_fit(shape: tuple[int, ...], class_token: bool, branch: str) -> None:
    assert default_branch(shape, class_token) == branch
    assert Branch(BranchSpec.parse(branch), shape, classes=4).eval()(torch.randn(shape)).shape == (1, 4)


@pytest.mark.parametrize("shape", [(2, 8, 4, 4), (2, 8)])
def test_branch_class_token_without_tokens_raises_usage_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="needs tokens"):
        Branch(BranchSpec.parse("cls"), shape, classes=4)


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 6)])
def test_branch_convolution_on_tokens_or_vectors_raises_usage_error(shape: tuple[int, ...]) -> None:
    branch = Branch(BranchSpec.parse("linear"), shape, classes=4)
    assert branch(torch.randn(shape)).shape == (2, 4)
    with pytest.raises(UsageError, match=r"needs \(N, C, H, W\)"):
        Branch(BranchSpec.parse("conv1-8"), shape, classes=4)


@pytest.mark.parametrize("shape", [(2,), (2, 3, 4, 5, 6)])
def test_branch_features_of_other_rank_raise_usage_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="no branch fits"):
        Branch(BranchSpec.parse("linear"), shape, classes=4)
