"""Search spaces: one encoding for each network, and none for an invalid network."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool.errors import ArtefactError, UsageError
from eetool.model.branches import BranchSpec
from eetool.model.early_exit import candidate_taps
from eetool.model.references.reference import float_input
from eetool.model.references.resolve import build
from eetool.search.methods.methods import METHODS
from eetool.search.space.builtin_spaces import SPACES, load_space
from eetool.search.space.space import RESOLUTION, Gene, Genome, Space, SpaceBackbone, genome_key, make_space
from tests.helpers import small_spaces

MAKERS: list[Callable[[], Space]] = [
    *SPACES.values(),
    small_spaces.mobile,
    small_spaces.own,
    small_spaces.one,
    small_spaces.blocks,
]
spaces = st.sampled_from([make() for make in MAKERS])


@st.composite
def genomes(draw: st.DrawFn) -> tuple[Space, Genome]:
    space = METHODS[draw(st.sampled_from(sorted(METHODS)))].space(draw(spaces))
    seed = draw(st.integers(0, 2**32 - 1))
    return space, space.sample(np.random.default_rng(seed))


@given(genomes())
def test_parse_json_round_trip_returns_same_genome(drawn: tuple[Space, Genome]) -> None:
    space, genome = drawn
    read = space.parse(json.loads(json.dumps(genome)))
    assert read == genome
    assert list(read) == list(genome)
    assert genome_key(read) == genome_key(genome)


@given(genomes())
def test_express_inactive_genes_are_dropped(drawn: tuple[Space, Genome]) -> None:
    space, genome = drawn
    assert space.genome(space.vector(genome)) == genome
    inactive = {gene.name: gene.choices[-1] for gene in space.genes if gene.name not in genome}
    assert space.express({**genome, **inactive}) == genome


@settings(max_examples=50)
@given(genomes())
def test_network_any_genome_can_be_built(drawn: tuple[Space, Genome]) -> None:
    space, genome = drawn
    network = space.network(genome)
    side = 224 if space.name == "mobilenetv3" else 32
    channels = 1 if space.name in ("own", "small-mobile", "small-blocks") else 3
    with torch.device("meta"):
        backbone = build(network.backbone, float_input("x", (1, channels, side, side)), 10, network.config)
    assert set(network.taps) <= set(candidate_taps(backbone)) | {"body.0", "body.1"}
    assert len(set(network.taps)) == len(network.taps)
    assert len(network.branches) == len(network.taps)
    for branch in filter(None, network.branches):  # the others are made by a rule
        assert str(BranchSpec.parse(branch)) == branch
        assert len(BranchSpec.parse(branch).layers) <= 3
    if network.thresholds is not None:
        assert len(network.thresholds) == len(network.taps)


def test_genome_key_differs_between_networks() -> None:
    space = small_spaces.mobile()
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(300)]
    networks = {str(space.network(genome)) for genome in drawn}
    assert len({genome_key(genome) for genome in drawn}) == len(networks) > 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": 3}, "no gene 'colour'"),
        ({"kernels": 3}, "no gene 'kernels'"),
        ({"kernel": 7}, "'kernel' cannot be 7"),
        ({"kernel": True}, "'kernel' cannot be True"),
        ({"kernel": None}, "'kernel' is missing"),
        ({"depth": 1}, "'kernel1' is inactive"),
        ({"exit0.depth": 1, "exit0.layer0": "max2", "exit0.layer2": "max2"}, "is inactive"),
    ],
)
def test_parse_invalid_encoding_raises_usage_error(change: dict[str, object], words: str) -> None:
    space = small_spaces.mobile()
    genome: dict[str, object] = dict(space.largest())
    genome.update(change)
    with pytest.raises(UsageError, match=words):
        space.parse({name: value for name, value in genome.items() if value is not None})
    with pytest.raises(UsageError, match="object of genes"):
        space.parse([1, 2])


def test_space_unordered_or_repeated_genes_raise_usage_error() -> None:
    with pytest.raises(UsageError, match="not an earlier gene"):
        Space("off", (Gene("a", (1, 2), (("b", (1,)),)), Gene("b", (1, 2))), small_spaces.own().make)
    with pytest.raises(UsageError, match="is defined twice"):
        Space("off", (Gene("a", (1, 2)), Gene("a", (1, 2))), small_spaces.own().make)


@pytest.mark.parametrize(
    ("made", "error", "words"),
    [
        (
            ValueError("no such depth"),
            ArtefactError,
            r"the space mine fails in test_space\.py:\d+: ValueError: no such",
        ),
        (None, UsageError, "the space mine gives NoneType, not a SpaceBackbone"),
        (SpaceBackbone("resnet8", ()), UsageError, "gives resnet8 with sites of none taps"),
        (SpaceBackbone("resnet8", (("stage1.0",),)), UsageError, "gives resnet8 with sites of 1 taps"),
        (SpaceBackbone("resnet8", (("a", "b"),), stage_ends=(1,)), UsageError, "with stages that end at no site"),
    ],
)
def test_backbone_wrong_function_of_the_user_is_told(made: object, error: type[Exception], words: str) -> None:
    def make(genome: Genome) -> SpaceBackbone:
        if isinstance(made, Exception):
            raise made
        return made  # type: ignore[return-value]

    space = make_space("mine", [Gene("depth", (1, 2))], make, positions=(2,))
    with pytest.raises(error, match=words):
        space.network(space.largest())


def test_make_space_conditions_of_another_number_raise_usage_error() -> None:
    with pytest.raises(UsageError, match="2 sites of exits have 1 conditions"):
        make_space("mine", [Gene("depth", (1, 2))], small_spaces.own().make, (1, 1), when=[(("depth", (2,)),)])


def test_backbone_missing_tap_of_an_active_exit_is_told() -> None:
    def make(genome: Genome) -> SpaceBackbone:
        return SpaceBackbone("resnet8", (("stage1.0",), ()))

    space = make_space("mine", [Gene("depth", (1, 2))], make, (1, 1), when=[(), (("depth", (2,)),)])
    assert space.network(space.smallest()).backbone == "resnet8"
    with pytest.raises(UsageError, match="gives resnet8 with sites of 1, 0 taps"):
        space.network(space.largest())


def many_places(count: int) -> Space:
    """Return a space of one backbone with so many places for exits."""
    sites = tuple((f"stage1.{i}",) for i in range(count))
    return make_space("many", [], lambda genome: SpaceBackbone("resnet20", sites), positions=(1,) * count)


@pytest.mark.parametrize("make", [*SPACES.values(), lambda: many_places(9), lambda: many_places(30)])
def test_sample_networks_have_two_or_three_exits_in_the_mean(make: Callable[[], Space]) -> None:
    space, rng = make(), np.random.default_rng(0)
    counts = [len(space.network(space.sample(rng)).taps) for _ in range(400)]
    assert 2.1 < np.mean(counts) < 3.1
    assert min(counts) == 0
    assert max(counts) >= 5


@pytest.mark.parametrize("make", [small_spaces.mobile, small_spaces.own, small_spaces.blocks, lambda: many_places(5)])
def test_draw_few_places_are_uniform(make: Callable[[], Space]) -> None:
    space = make()
    assert np.array_equal(space.draw_sizes, space.sizes)


@given(spaces, st.integers(0, 2**32 - 1))
def test_drawn_every_choice_has_a_value_and_spare_ones_are_absent(space: Space, seed: int) -> None:
    spare = space.draw_sizes - space.sizes
    assert np.array_equal(space.drawn(space.draw_sizes - 1), space.sizes - 1)
    assert not space.drawn(spare).any()
    values = np.random.default_rng(seed).integers(0, space.draw_sizes)
    assert np.array_equal(space.drawn(values), np.clip(values - spare, 0, None))
    assert all(gene.group == "exits" for gene, extra in zip(space.genes, spare, strict=True) if extra)


def test_load_space_unknown_name_raises_usage_error() -> None:
    assert load_space("tests.helpers.small_spaces:own").hash == small_spaces.own().hash
    for name, words in (
        ("mobilenet", "Known spaces"),
        ("tests.helpers.small_spaces:nothing", "cannot be loaded"),
        ("no_such_module:space", "cannot be loaded"),
        ("tests.helpers.small_spaces:ends_the_program", "it ends the program"),
        ("tests.helpers.small_spaces:Plain", "not a Space"),
    ):
        with pytest.raises(UsageError) as caught:
            load_space(name)
        assert words in f"{caught.value} {caught.value.hint}"


def test_method_space_has_published_gene_groups() -> None:
    space = load_space("mobilenetv3")
    groups = {name: {gene.group for gene in method.space(space).genes} for name, method in METHODS.items()}
    assert groups["aebnas"] == {"backbone", "exits", "branches", "gate"}
    assert groups["nachos"] == {"backbone", "exits"}
    assert groups["edanas"] == {"backbone", "exits", "gate", "thresholds"}
    edanas = METHODS["edanas"].space(space)
    network = edanas.network(edanas.smallest())
    assert len(network.taps) == 4
    assert network.branches == (None,) * 4
    assert network.score == "margin"
    assert network.thresholds == (0.1,) * 4
    assert edanas.network(edanas.largest()).thresholds == (None,) * 4


def test_with_sizes_restricts_the_gene_of_a_space_that_has_one() -> None:
    space = small_spaces.mobile().with_sizes((8, 24))
    assert next(g for g in space.genes if g.name == RESOLUTION).choices == (8, 24)
    assert space.network(space.largest()).backbone.endswith("@24")
    assert space.hash != small_spaces.mobile().hash


def test_with_sizes_adds_a_gene_to_built_in_networks_and_refuses_own_code() -> None:
    space = small_spaces.one().with_sizes((8, 16))
    assert [g.name for g in space.genes] == [RESOLUTION]
    assert [space.network(g).backbone for g in (space.smallest(), space.largest())] == ["resnet8@8", "resnet8@16"]
    with pytest.raises(UsageError, match="own code"):
        small_spaces.own().with_sizes((8, 16))
