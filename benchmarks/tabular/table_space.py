"""The table as a search space: genes of the backbone, of exits, of branches and of the gate's score.

Methods of `eetool.search.methods` search it as they search any other space. A branch is one gene, whose choices are the
branches of the table; `adaptive` stands for the branch of NACHOS' rule.
"""

from collections.abc import Callable, Sequence

from eetool.search.space.space import (
    ADAPTIVE,
    BACKBONE,
    BRANCHES,
    EXITS,
    GATE,
    NEVER,
    SCORE,
    Gene,
    Genome,
    Space,
    SpaceBackbone,
)
from tabular.table_evaluation import CALIBRATED, MARGIN, TableNetwork
from tabular.table_file import RULE, SearchTable

_BACKBONE = "backbone"
Admits = Callable[[Genome], bool]


def table_space(table: SearchTable) -> Space:
    """Return the space of all networks of the table, backbones from the one of fewest MACs to that of most."""
    macs = table.arrays["trunk_macs"].sum(1)
    order = sorted(range(len(table.backbones)), key=lambda b: float(macs[b]))
    genes = [Gene(_BACKBONE, tuple(table.backbones[b] for b in order), (), BACKBONE)]
    genes += [Gene(f"exit{i}.position", (0, 1), (), EXITS) for i in range(table.taps)]
    choices = tuple(ADAPTIVE if name == RULE else name for name in table.branches)
    for i in range(table.taps):
        genes.append(Gene(f"exit{i}.branch", choices, ((f"exit{i}.position", (1,)),), BRANCHES))
    present = tuple((f"exit{i}.position", (1,)) for i in range(table.taps))
    genes.append(Gene(SCORE, (CALIBRATED, MARGIN), present, GATE))
    taps = {one["name"]: one["taps"] for one in table.meta["backbones"]}

    def make(genome: Genome) -> SpaceBackbone:
        name = str(genome[_BACKBONE])
        return SpaceBackbone(name, tuple((tap,) for tap in taps[name]), stage_ends=stage_ends(taps[name]))

    return Space("table", tuple(genes), make)


def stage_ends(taps: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of the deepest tap of every stage but the last, where `nachos` and `edanas` have exits."""
    stages = [tap.partition(".")[0] for tap in taps]
    return tuple(i for i, stage in enumerate(stages[:-1]) if stages[i + 1] != stage)


def table_network(table: SearchTable, space: Space, genome: Genome) -> TableNetwork:
    """Return the network of a genome of `table_space`, or of a method's form of it, where the rule makes branches."""
    backbone = space.backbone(genome)
    number = table.backbones.index(backbone.reference)
    taps = table.meta["backbones"][number]["taps"]
    exits = []
    for i, site in enumerate(backbone.sites):
        if genome.get(f"exit{i}.position", 0):
            branch = genome.get(f"exit{i}.branch", ADAPTIVE)
            exits.append((taps.index(site[0]), table.branches.index(RULE if branch == ADAPTIVE else str(branch))))
    return TableNetwork(number, tuple(exits))


def genome_thresholds(genome: Genome, taps: int) -> tuple[float | None, ...] | None:
    """Return the thresholds that a genome of EDANAS holds; None where it holds none."""
    held = [genome[f"exit{i}.threshold"] for i in range(taps) if f"exit{i}.threshold" in genome]
    values = [float(value) for value in held]
    return tuple(None if value >= NEVER else value for value in values) if values else None


def at_most(exits: int | None) -> Admits:
    """Return a test of whether a genome has no more exits; None admits every genome."""

    def admits(genome: Genome) -> bool:
        return exits is None or sum(bool(genome.get(name)) for name in genome if name.endswith(".position")) <= exits

    return admits
