"""The space of exits on a trained backbone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool.model.spec import ModelSpec
from eetool.model.taps import TapCost
from eetool.search.space.backbone_space import backbone_space
from eetool.search.space.space import BACKBONE
from eetool_runtime.manifest import Input

SPEC = ModelSpec("resnet20", (Input("input", "float32", ("batch", 3, 32, 32), None),), tuple("abc"), (), ())
IMAGES = TapCost("early", (1, 8, 16, 16), 100, 10, layout="NCHW")
TOKENS = TapCost("late", (1, 16, 8), 200, 20, layout="NLC")


def test_space_has_an_exit_at_every_tap_and_no_gene_of_the_backbone() -> None:
    space = backbone_space(SPEC, (IMAGES, TOKENS))
    assert not [gene for gene in space.genes if gene.group == BACKBONE]
    assert space.network(space.smallest()).taps == ()
    assert space.network(space.largest()).taps == ("early", "late")


@given(st.integers(0, 2**31))
def test_branches_of_tokens_are_linear(seed: int) -> None:
    space = backbone_space(SPEC, (IMAGES, TOKENS))
    network = space.network(space.sample(np.random.default_rng(seed)))
    branches = dict(zip(network.taps, network.branches, strict=True))
    assert branches.get("late", "linear") == "linear"
    assert network.backbone == "resnet20"


@pytest.mark.parametrize("taps", [(IMAGES,), (TOKENS, IMAGES)])
def test_network_without_exits_is_the_backbone(taps: tuple[TapCost, ...]) -> None:
    space = backbone_space(SPEC, taps)
    assert space.network(space.smallest()).branches == ()
