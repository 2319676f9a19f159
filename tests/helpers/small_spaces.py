"""Spaces so small that a search takes seconds; the command line names them tests.helpers.small_spaces:mobile."""

from torch import nn

from eetool.search.space.block_sites import BlockSites
from eetool.search.space.space import Gene, Genome, Space, SpaceBackbone, make_space


def mobile() -> Space:
    """Return a space of two stages at 8×8 and 4×4 pixels or less, with one place for an exit."""
    genes = [
        Gene("resolution", (12, 16)),
        Gene("depth", (1, 2), phase=1),
        Gene("kernel", (3, 5)),
        Gene("expansion", (2, 3), phase=2),
        Gene("kernel1", (3, 5), (("depth", (2,)),)),
    ]
    return make_space("small-mobile", genes, _mobile, positions=(1,), widths=(8, 16))


def _mobile(genome: Genome) -> SpaceBackbone:
    first = f".{genome['kernel']}e{genome['expansion']}"
    second = f".{genome['kernel1']}e2" if genome["depth"] == 2 else ""
    reference = f"mbv3-8x1-16r2{first}{second}-24hs2.3e{genome['expansion']}-64x64@{genome['resolution']}"
    return SpaceBackbone(reference, ((f"stage0.{int(genome['depth']) - 1}",),))


def blocks() -> Space:
    """Return a space of residual networks with an exit at every block but the last, of which there are two to four."""
    sites = BlockSites(tuple(Gene(f"stage{s}.depth", (1, 2), phase=1) for s in range(2)), first=1)

    def make(genome: Genome) -> SpaceBackbone:
        stages = f"8x{genome['stage0.depth']}-16x{genome['stage1.depth']}"
        return sites.backbone(f"resnet-8x0-{stages}@{genome['resolution']}", genome)

    genes = [Gene("resolution", (12, 16)), *sites.depths]
    return make_space("small-blocks", genes, make, (1, 1, 1), widths=(8,), when=sites.conditions)


def own() -> Space:
    """Return a space over a user's backbone."""
    genes = [Gene("depth", (1, 2)), Gene("width", (4, 8))]
    return make_space("own", genes, _own, positions=(2,), widths=(8,), scores=("max_softmax",))


def _own(genome: Genome) -> SpaceBackbone:
    taps = ("body.1", "body.0") if genome["depth"] == 2 else ("body.0", "body.0")
    return SpaceBackbone("tests.helpers.small_spaces:Plain", (taps,), dict(genome))


class Plain(nn.Module):
    """A network that is not built in."""

    def __init__(self, depth: int = 1, width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, 4, 1)
        blocks = [nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))]
        blocks += [nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.ReLU()) for _ in range(depth - 1)]
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(width, 10)

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.head(self.body(self.stem(x)).mean((2, 3)))


def one() -> Space:
    """Return a space of a single network."""
    return make_space("one", [], lambda genome: SpaceBackbone("resnet8@8", ()), positions=())


def mixing() -> Space:
    """Return a space of a single network whose answers depend on the batch."""
    network = SpaceBackbone("tests.helpers.mixing_networks:batch_statistics", ())
    return make_space("mixing", [], lambda genome: network, positions=())


def ends(space: Space) -> tuple[Genome, Genome]:
    """Return the smallest network and the largest, whose exit has no layers, so that it can save cost."""
    return space.smallest(), space.express({**space.largest(), "exit0.depth": 0})


def ends_the_program() -> Space:
    raise SystemExit("this is a program")
