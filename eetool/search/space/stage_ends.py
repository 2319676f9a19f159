"""The form of a space with exits at the ends of stages alone, which published methods search."""

from dataclasses import replace

from eetool.search.space.space import EXITS, Gene, Genome, Space, SpaceBackbone


def at_stage_ends(space: Space) -> Space:
    """Return the space with one exit for each end of a stage, at the deepest tap of its site.

    It is the same space where all sites are such ends.
    """
    ends = space.backbone(space.largest()).stage_ends
    if ends is None:
        return space
    dropped = {gene.name for gene in [gene for gene in space.genes if gene.group == EXITS][len(ends) :]}
    genes: list[Gene] = []
    for gene in space.genes:
        when = tuple(condition for condition in gene.when if condition[0] not in dropped)
        if gene.name in dropped or (gene.when and not when):
            dropped.add(gene.name)
        elif gene.group == EXITS:
            genes.append(replace(gene, choices=(0, 1), when=()))
        else:
            genes.append(replace(gene, when=when))

    def make(genome: Genome) -> SpaceBackbone:
        made = space.make(genome)
        return replace(made, sites=made.end_sites, stage_ends=None)

    return replace(space, genes=tuple(genes), make=make)
