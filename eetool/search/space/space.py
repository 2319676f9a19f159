"""Search spaces: genes, their conditions, and the network that their values describe.

A gene is active where its condition on earlier genes holds, and an encoding holds exactly the active genes. So every
network has one encoding, whose hash identifies it (except for a branch by rule, which genes can also describe). An
encoding cannot describe an invalid network: a layer beyond a branch's depth, or an exit of a block that is not there,
has no gene.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from eetool.errors import UsageError
from eetool.model.branches import ALPHABET, LINEAR
from eetool.model.gate_scores import ENTROPY, MARGIN, MAX_SOFTMAX
from eetool.model.user_code import user_code
from eetool_runtime.near_names import did_you_mean

Value = int | float | str
Genome = dict[str, Value]  # the active genes, in the order of the space
When = tuple[tuple[str, tuple[Value, ...]], ...]  # true where one of these genes has one of these values, or if empty

BACKBONE, EXITS, BRANCHES, GATE, THRESHOLDS = "backbone", "exits", "branches", "gate", "thresholds"
MAX_BRANCH_DEPTH = 3
BRANCH_WIDTHS = (32, 64, 128)
SCORE = "score"
RESOLUTION = "resolution"  # gene of the height and width that a network resizes images to
ADAPTIVE = (
    "adaptive"  # as depth of a branch: NACHOS' rule makes its layers, see `eetool.search.evaluation.adaptive_branches`
)
NEVER = 2.0  # a threshold that no confidence reaches
_MEAN_EXITS = 2.5  # of a random network: more rarely pay (docs/decisions/0069)
_SITES = "Wherever the gene of an exit is active, its site has as many taps as its positions."
_POOLS = ("max2", "avg2")
_CONVOLUTIONS = tuple(kind for kind in ALPHABET if kind not in _POOLS)


@dataclass(frozen=True)
class Gene:
    """One choice of a space.

    Attributes:
        name: unique in its space.
        choices: values from small to large.
        when: the gene is active where one of these earlier genes has one of these values; always if empty.
        group: `backbone`, `exits`, `branches`, `gate` or `thresholds`.
        phase: phase of progressive shrinking, from 0, in which a supernet is trained on the smaller values.
    """

    name: str
    choices: tuple[Value, ...]
    when: When = ()
    group: str = BACKBONE
    phase: int = 0

    def is_active(self, genome: Genome) -> bool:
        """Return whether the gene is active beside the genes in `genome`."""
        return not self.when or any(genome.get(name) in values for name, values in self.when if name in genome)


@dataclass(frozen=True)
class SpaceBackbone:
    """Backbone of a genome.

    Attributes:
        reference: as in `eetool train MODEL`.
        sites: possible taps at every place of an exit, the deepest first; empty at a place that this network has not.
        config: arguments of a `package.module:factory`.
        stage_ends: indices of the sites at the ends of stages, equally many for all genomes; None if all sites are.
    """

    reference: str
    sites: tuple[tuple[str, ...], ...]
    config: dict[str, Any] | None = None
    stage_ends: tuple[int, ...] | None = None

    @property
    def end_sites(self) -> tuple[tuple[str, ...], ...]:
        """The sites at the ends of stages."""
        return self.sites if self.stage_ends is None else tuple(self.sites[i] for i in self.stage_ends)


@dataclass(frozen=True)
class CandidateNetwork:
    """Network of a genome; a branch is None where a rule makes it, and `thresholds` are None where they are tuned."""

    backbone: str
    config: dict[str, Any] | None
    taps: tuple[str, ...]
    branches: tuple[str | None, ...]
    score: str
    thresholds: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class Space:
    """Genes, and the function `make` from genes of the backbone to a backbone."""

    name: str
    genes: tuple[Gene, ...]
    make: Callable[[Genome], SpaceBackbone]

    def __post_init__(self) -> None:
        names: set[str] = set()
        for gene in self.genes:
            if gene.name in names or not gene.choices or len(set(gene.choices)) < len(gene.choices):
                raise UsageError(f"{self.name}: gene {gene.name!r} is defined twice, or has no or repeated choices")
            unknown = [name for name, _ in gene.when if name not in names]
            if unknown:
                raise UsageError(
                    f"{self.name}: gene {gene.name!r} depends on {unknown[0]!r}, which is not an earlier gene"
                )
            names.add(gene.name)

    @property
    def backbones(self) -> "Space":
        """The space of backbones only, whose hash a supernet records, since methods differ in the other genes."""
        return replace(self, genes=tuple(gene for gene in self.genes if gene.group == BACKBONE))

    @property
    def hash(self) -> str:
        """SHA-256 of everything but `make`."""
        genes = [[g.name, list(g.choices), [[n, list(v)] for n, v in g.when], g.group] for g in self.genes]
        return _sha256([self.name, genes])

    def express(self, values: Mapping[str, Value]) -> Genome:
        """Return the active genes of `values`; missing genes have their first choice."""
        genome: Genome = {}
        for gene in self.genes:
            if gene.is_active(genome):
                genome[gene.name] = values.get(gene.name, gene.choices[0])
        return genome

    def parse(self, values: Any, where: str = "the encoding") -> Genome:
        """Return an encoding from JSON; raise UsageError for an unknown, missing or inactive gene or a wrong choice."""
        if not isinstance(values, dict):
            raise UsageError(f"{where}: an encoding is an object of genes, not {type(values).__name__}")
        known = {gene.name: gene for gene in self.genes}
        for name in values:
            if name not in known:
                raise UsageError(f"{where}: the space {self.name} has no gene {name!r}", _genes_hint(known, name))
        genome: Genome = {}
        for gene in self.genes:
            if not gene.is_active(genome):
                if gene.name in values:
                    raise UsageError(
                        f"{where}: the gene {gene.name!r} is inactive beside the others", _inactive_hint(gene)
                    )
                continue
            if gene.name not in values:
                raise UsageError(f"{where}: the gene {gene.name!r} is missing", f"Choices: {_join(gene.choices)}.")
            value = values[gene.name]
            if isinstance(value, bool) or value not in gene.choices:
                raise UsageError(
                    f"{where}: the gene {gene.name!r} cannot be {value!r}", f"Choices: {_join(gene.choices)}."
                )
            genome[gene.name] = gene.choices[gene.choices.index(value)]
        return genome

    def vector(self, genome: Genome) -> np.ndarray:
        """Return int64 (genes,): the index of every gene's choice, 0 where it is inactive."""
        chosen = [gene.choices.index(genome[gene.name]) if gene.name in genome else 0 for gene in self.genes]
        return np.array(chosen, dtype=np.int64)

    def genome(self, vector: Sequence[int] | np.ndarray) -> Genome:
        """Return the active genes of a vector (genes,) of choice indices."""
        return self.express({g.name: g.choices[int(i)] for g, i in zip(self.genes, vector, strict=True)})

    @property
    def sizes(self) -> np.ndarray:
        """Number of choices of every gene, int64 (genes,)."""
        return np.array([len(gene.choices) for gene in self.genes], dtype=np.int64)

    @cached_property
    def draw_sizes(self) -> np.ndarray:
        """Number of equally likely values of every gene in a draw, int64 (genes,), see `drawn`.

        The absence of an exit has several where a network would otherwise have over `_MEAN_EXITS` exits in the mean.
        """
        chosen: dict[tuple[str, Value], float] = {}  # probabilities; exact where a gene depends on one other gene
        for gene in self.genes:
            off = [1 - sum(chosen.get((name, value), 0.0) for value in values) for name, values in gene.when]
            each = (1 - float(np.prod(off)) if off else 1.0) / len(gene.choices)
            chosen |= {(gene.name, choice): each for choice in gene.choices}
        places = sum(chosen[gene.name, 0] * len(gene.choices) for gene in self._optional)
        wanted = {g.name: round((len(g.choices) - 1) * places / _MEAN_EXITS) for g in self._optional}
        return np.array([max(len(gene.choices), wanted.get(gene.name, 0)) for gene in self.genes], dtype=np.int64)

    def drawn(self, values: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return int64 (genes,), the choice indices for values (genes,) below `draw_sizes`; spare values are absent."""
        indices: np.ndarray = np.maximum(np.asarray(values, dtype=np.int64) - (self.draw_sizes - self.sizes), 0)
        return indices

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a vector (genes,) of choice indices, uniformly except for exits, see `draw_sizes`."""
        return self.drawn(rng.integers(0, self.draw_sizes))

    def sample(self, rng: np.random.Generator) -> Genome:
        """Draw a genome, see `draw`."""
        return self.genome(self.draw(rng))

    def largest(self) -> Genome:
        """Return the genome with the last choice of every gene."""
        return self.genome(self.sizes - 1)

    def smallest(self) -> Genome:
        """Return the genome with the first choice of every gene."""
        return self.genome(np.zeros(len(self.genes), np.int64))

    def with_adaptive(self, genome: Genome) -> Genome:
        """Return the genome with all branches by rule, where the space has branches."""
        return self.express({**genome, **{g.name: ADAPTIVE for g in self.genes if ADAPTIVE in g.choices}})

    def without_exits(self, genome: Genome) -> Genome:
        """Return the genome without the exits that the space lets be absent."""
        return self.express({**genome, **{gene.name: 0 for gene in self._optional}})

    def without(self, *groups: str) -> "Space":
        """Return the space without the genes of these groups."""
        return replace(self, genes=tuple(gene for gene in self.genes if gene.group not in groups))

    def only(self, choices: Mapping[str, tuple[Value, ...]]) -> "Space":
        """Return the space in which these genes have only these choices; unknown names are ignored."""
        return replace(self, genes=tuple(replace(g, choices=choices.get(g.name, g.choices)) for g in self.genes))

    def with_sizes(self, sizes: tuple[int, ...]) -> "Space":
        """Return the space whose networks resize images to one of these heights and widths, from small to large.

        Raises:
            UsageError: it has no gene of the size, and its backbones are of the user's own code, which has no size.
        """
        if any(gene.name == RESOLUTION for gene in self.genes):
            return self.only({RESOLUTION: sizes})
        if ":" in self.backbone(self.largest()).reference:
            raise UsageError(
                f"{self.name}: its networks are of your own code, and nothing says how they take other sizes",
                f"Give the space a gene {RESOLUTION!r}, and resize the images in the network.",
            )

        def make(genome: Genome) -> SpaceBackbone:
            made = self.make({name: value for name, value in genome.items() if name != RESOLUTION})
            return replace(made, reference=f"{made.reference.partition('@')[0]}@{genome[RESOLUTION]}")

        return replace(self, genes=(Gene(RESOLUTION, sizes), *self.genes), make=make)

    def with_thresholds(self, values: tuple[float, ...]) -> "Space":
        """Return the space with a threshold gene for every exit; `NEVER` among `values` is a gate that never fires."""
        thresholds = tuple(
            Gene(f"exit{i}.threshold", values, ((_position(i), _present(gene)),), THRESHOLDS)
            for i, gene in enumerate(self._positions)
        )
        return replace(self, genes=(*self.genes, *thresholds))

    @property
    def _positions(self) -> list[Gene]:
        return [gene for gene in self.genes if gene.group == EXITS]

    @property
    def _optional(self) -> list[Gene]:
        """Genes of exits that may be absent."""
        return [gene for gene in self._positions if gene.choices[0] == 0]

    def backbone(self, genome: Genome) -> SpaceBackbone:
        """Return the backbone of a genome.

        Raises:
            ArtefactError: the user's own function fails.
            UsageError: it gives no backbone, too few taps for the genes of the exits, or an unknown site as stage end.
        """
        with user_code(f"the space {self.name}"):
            made = self.make({g.name: genome[g.name] for g in self.genes if g.group == BACKBONE and g.name in genome})
        needed = [max(map(int, gene.choices)) if gene.is_active(genome) else 0 for gene in self._positions]
        if not isinstance(made, SpaceBackbone):
            raise UsageError(f"the space {self.name} gives {type(made).__name__}, not a SpaceBackbone", _SITES)
        if not all(0 <= end < len(made.sites) for end in made.stage_ends or ()):
            raise UsageError(f"the space {self.name} gives {made.reference} with stages that end at no site", _SITES)
        if len(made.sites) < len(needed) or any(len(s) < n for s, n in zip(made.sites, needed, strict=False)):
            taps = ", ".join(str(len(site)) for site in made.sites) or "none"
            raise UsageError(f"the space {self.name} gives {made.reference} with sites of {taps} taps", _SITES)
        return made

    def network(self, genome: Genome) -> CandidateNetwork:
        """Return the network of a genome."""
        backbone = self.backbone(genome)
        names = {gene.name for gene in self.genes}
        on = [(i, int(p)) for i in range(len(backbone.sites)) if (p := genome.get(_position(i), 0))]
        thresholds = any(gene.group == THRESHOLDS for gene in self.genes)
        return CandidateNetwork(
            backbone=backbone.reference,
            config=backbone.config,
            taps=tuple(backbone.sites[i][p - 1] for i, p in on),
            branches=tuple(_branch(genome, i) for i, _ in on),
            score=str(genome.get(SCORE, MAX_SOFTMAX)) if SCORE in names else MAX_SOFTMAX,
            thresholds=tuple(_threshold(genome, i) for i, _ in on) if thresholds else None,
        )


def genome_key(genome: Genome) -> str:
    """Return the SHA-256 of an encoding; its first twelve digits are the id of a candidate."""
    return _sha256(genome)


def make_space(
    name: str,
    backbone: Sequence[Gene],
    make: Callable[[Genome], SpaceBackbone],
    positions: Sequence[int],
    widths: tuple[int, ...] = BRANCH_WIDTHS,
    scores: tuple[str, ...] = (MAX_SOFTMAX, ENTROPY, MARGIN),
    when: Sequence[When] = (),
) -> Space:
    """Return a space of backbones with exits, their branches and the score of the gates.

    Every exit is absent (position 0) or at one of its site's taps, counted from the deepest. A branch has up to three
    layers of the alphabet of `eetool.model.branches`, or those of NACHOS' rule. The alphabet follows AEBNAS (arXiv
    2512.10671), whose own list is not public.

    Args:
        name: name of the space.
        backbone: genes of the backbone; choices from small to large.
        make: function from genes of the backbone to a backbone.
        positions: number of taps of every site of an exit, from shallow to deep; sites of `make` must have as many taps
            wherever they are in the network.
        widths: widths of convolutions in branches.
        scores: scores of the gates.
        when: for every site the condition on which it is in the network, as in `Gene`; by default all always are.

    Raises:
        UsageError: there are conditions, but not one for each site; or see `Space`.
    """
    if when and len(when) != len(positions):
        raise UsageError(f"{name}: {len(positions)} sites of exits have {len(when)} conditions", "Give one for each.")
    genes = list(backbone)
    sites = enumerate(zip(positions, when or [()] * len(positions), strict=True))
    exits = [Gene(_position(i), tuple(range(count + 1)), condition, EXITS) for i, (count, condition) in sites]
    genes += exits
    for i, gene in enumerate(exits):
        genes += _branch_genes(i, _present(gene), widths)
    if exits:
        genes.append(Gene(SCORE, scores, tuple((gene.name, _present(gene)) for gene in exits), GATE))
    return Space(name, tuple(genes), make)


def _branch_genes(index: int, on: tuple[Value, ...], widths: tuple[int, ...]) -> list[Gene]:
    depth = f"exit{index}.depth"
    genes = [Gene(depth, (*range(MAX_BRANCH_DEPTH + 1), ADAPTIVE), ((_position(index), on),), BRANCHES)]
    for layer in range(MAX_BRANCH_DEPTH):
        kind = f"exit{index}.layer{layer}"
        deeper = tuple(range(layer + 1, MAX_BRANCH_DEPTH + 1))
        genes.append(Gene(kind, ALPHABET, ((depth, deeper),), BRANCHES))
        genes.append(Gene(f"{kind}.width", widths, ((kind, _CONVOLUTIONS),), BRANCHES))
    return genes


def _branch(genome: Genome, index: int) -> str | None:
    """Return the text of a branch, as in `eetool.model.branches`; None where the rule makes it."""
    depth = genome.get(f"exit{index}.depth", ADAPTIVE)  # without genes of branches, the rule makes all of them
    if depth == ADAPTIVE:
        return None
    layers = []
    for layer in range(int(depth)):
        kind = f"exit{index}.layer{layer}"
        width = genome.get(f"{kind}.width")
        layers.append(str(genome[kind]) if width is None else f"{genome[kind]}-{width}")
    return ",".join(layers) or LINEAR


def _threshold(genome: Genome, index: int) -> float | None:
    value = float(genome[f"exit{index}.threshold"])
    return None if value >= NEVER else value


def _position(index: int) -> str:
    return f"exit{index}.position"


def _present(gene: Gene) -> tuple[Value, ...]:
    return tuple(value for value in gene.choices if value != 0)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()


def _join(choices: Sequence[Value]) -> str:
    return ", ".join(map(str, choices))


def _genes_hint(known: Mapping[str, Gene], name: str) -> str:
    return did_you_mean(name, known).strip() or f"Its genes: {', '.join(known)}."


def _inactive_hint(gene: Gene) -> str:
    return "It is active where " + " or ".join(f"{n} is one of {_join(values)}" for n, values in gene.when) + "."
