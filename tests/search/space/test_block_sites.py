"""Sites at every block: they are the blocks of the real network, and a block that is not there has no gene."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool.errors import UsageError
from eetool.model.references.reference import float_input
from eetool.model.references.resolve import build
from eetool.search.methods.methods import METHODS
from eetool.search.space.builtin_spaces import SPACES, mobilenetv3, mobilenetv3_cifar, resnet
from eetool.search.space.space import Genome, Space, SpaceBackbone
from tests.helpers import small_spaces

BLOCK = re.compile(r"stage\d+\.\d+")
spaces = st.sampled_from([*(make() for make in SPACES.values()), small_spaces.blocks()])
seeds = st.integers(0, 2**32 - 1)


def blocks_of(space: Space, backbone: SpaceBackbone) -> list[str]:
    """Return the blocks of the built network in the order of its modules, without a fixed first one."""
    channels = 1 if space.name == "small-blocks" else 3
    with torch.device("meta"):
        network = build(backbone.reference, float_input("x", (1, channels, 32, 32)), 10, backbone.config)
    names = [name for name, _ in network.named_modules() if BLOCK.fullmatch(name)]
    return [name for name in names if space.name != "mobilenetv3" or not name.startswith("stage0.")]


@settings(max_examples=50, deadline=None)
@given(spaces, seeds)
def test_sites_are_all_blocks_of_the_network_but_its_last(space: Space, seed: int) -> None:
    genome = space.sample(np.random.default_rng(seed))
    backbone = space.backbone(genome)
    present = [site[0] for site in backbone.sites if site]
    assert present == blocks_of(space, backbone)[:-1]
    active = [f"exit{i}.position" in genome for i in range(len(backbone.sites))]
    assert active == [bool(site) for site in backbone.sites]  # a block that is not there has no gene, all others do


@settings(max_examples=50, deadline=None)
@given(spaces, seeds)
def test_end_sites_are_the_last_blocks_of_stages(space: Space, seed: int) -> None:
    backbone = space.backbone(space.sample(np.random.default_rng(seed)))
    last = {name.partition(".")[0]: name for name in blocks_of(space, backbone)}  # the later ones overwrite
    assert [site[0] for site in backbone.end_sites] == list(last.values())[:-1]


@given(spaces, seeds, st.data())
def test_genes_that_differ_give_networks_that_differ(space: Space, seed: int, data: st.DataObject) -> None:
    vector = space.draw(np.random.default_rng(seed))
    other = vector.copy()
    gene = data.draw(st.integers(0, len(vector) - 1))
    other[gene] = data.draw(st.integers(0, int(space.sizes[gene]) - 1))
    first, second = space.genome(vector), space.genome(other)
    assert (first == second) == (space.network(first) == space.network(second))


@pytest.mark.parametrize(("make", "count"), [(resnet, 8), (mobilenetv3_cifar, 15), (mobilenetv3, 19)])
def test_built_in_spaces_have_a_site_per_block(make: Callable[[], Space], count: int) -> None:
    space = make()
    assert sum(gene.group == "exits" for gene in space.genes) == count
    assert [len(site) for site in space.backbone(space.largest()).sites] == [1] * count


def test_parse_exit_of_an_absent_block_raises_usage_error() -> None:
    space = resnet()
    genome = {**space.smallest(), "exit1.position": 1}  # stage 1 has one block
    with pytest.raises(UsageError, match=r"'exit1\.position' is inactive") as refused:
        space.parse(genome)
    assert "stage0.depth is one of 2, 3" in str(refused.value.hint)
    deeper = space.express({**genome, "stage0.depth": 2})
    assert space.network(space.parse(deeper)).taps == ("stage1.1",)
    assert "exit6.position" not in deeper  # the block of exit 6 is the last one of the network
    assert "exit6.position" in space.express({**deeper, "stage2.depth": 2})


@pytest.mark.parametrize("name", ["nachos", "edanas"])
@pytest.mark.parametrize("make", [resnet, mobilenetv3_cifar, small_spaces.blocks])
def test_baselines_have_exits_at_stage_ends(make: Callable[[], Space], name: str) -> None:
    whole, rng = make(), np.random.default_rng(0)
    space = METHODS[name].space(whole)
    for _ in range(20):
        genome: Genome = space.sample(rng)
        ends = [site[0] for site in whole.backbone(genome).end_sites]
        taps = space.network(genome).taps
        assert set(taps) <= set(ends)
        assert name == "nachos" or list(taps) == ends


def test_baseline_spaces_of_older_studies_stay_what_they_are() -> None:
    hashes = {
        (make().name, name): METHODS[name].space(make()).hash[:16]
        for make, name in ((resnet, "nachos"), (resnet, "edanas"), (mobilenetv3_cifar, "nachos"))
    }
    assert hashes == {
        ("resnet", "nachos"): "62f206f9e57c0f05",
        ("resnet", "edanas"): "cbcbacebd56409a1",
        ("mobilenetv3-cifar", "nachos"): "5bf8b5eeb3b033be",
    }
    supernets = {make().name: make().backbones.hash[:16] for make in (resnet, mobilenetv3_cifar, mobilenetv3)}
    assert supernets == {
        "resnet": "940dd10365d57240",
        "mobilenetv3-cifar": "276019a6bf932e24",
        "mobilenetv3": "248b8b74ea266a21",
    }
