"""Sites of exits at every block of a network of stages, whose depths are genes."""

from dataclasses import dataclass

from eetool.search.space.space import Gene, Genome, SpaceBackbone, When


@dataclass(frozen=True)
class BlockSites:
    """One site behind every block of a network but its last block, which the final exit follows.

    Blocks are the modules `stage{s}.{b}`. A site is in the network where the depth of its stage is large enough.

    Attributes:
        depths: genes of the numbers of blocks, by stage.
        first: number in the name of the first stage.
    """

    depths: tuple[Gene, ...]
    first: int

    @property
    def conditions(self) -> tuple[When, ...]:
        """Conditions on which the sites are in the network, from shallow to deep."""
        sites = [(depth, self._least_depth(s, b)) for s, depth in enumerate(self.depths) for b in self._blocks(s)]
        return tuple(_at_least(depth, least) for depth, least in sites)

    def backbone(self, reference: str, genome: Genome) -> SpaceBackbone:
        """Return the backbone of a genome with its sites and the ends of all stages but the last."""
        sites: list[tuple[str, ...]] = []
        ends: list[int] = []
        for s, gene in enumerate(self.depths):
            depth = int(genome[gene.name])
            if s < len(self.depths) - 1:
                ends.append(len(sites) + depth - 1)
            taps = {b: f"stage{self.first + s}.{b}" for b in self._blocks(s) if depth >= self._least_depth(s, b)}
            sites += [(taps[b],) if b in taps else () for b in self._blocks(s)]
        return SpaceBackbone(reference, tuple(sites), stage_ends=tuple(ends))

    def _blocks(self, stage: int) -> range:
        """Return the blocks of a stage that may have an exit."""
        return range(max(map(int, self.depths[stage].choices)) - self._is_last(stage))

    def _least_depth(self, stage: int, block: int) -> int:
        """Return from which depth of its stage on a block has an exit; the last stage needs one more block."""
        return block + 1 + self._is_last(stage)

    def _is_last(self, stage: int) -> bool:
        return stage == len(self.depths) - 1


def _at_least(depth: Gene, least: int) -> When:
    """Return the condition that a depth is `least` or more; empty where it always is."""
    values = tuple(choice for choice in depth.choices if int(choice) >= least)
    return () if values == depth.choices else ((depth.name, values),)
