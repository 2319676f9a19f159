"""Kinds of axes: whether an axis of a tensor counts channels or positions, by the operators that read and write it.

Axes that an operator maps to each other have one kind, in both directions: the channels of a residual sum are those of
both terms. So evidence about one of them holds for all. Reshaping merges axes and splits them; a merged axis that is
split into the same sizes gives the same axes again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

# Strength of evidence: operators with one fixed layout; products, which also mix tokens; reductions, which also
# normalise over channels.
FIXED, PRODUCT, REDUCTION = 3, 2, 1


@dataclass
class _Evidence:
    channels: int = 0
    positions: int = 0


@dataclass
class AxisKinds:
    """Axes with their sizes, joined where they have the same kind (a disjoint-set forest)."""

    sizes: list[int] = field(default_factory=list)
    _parents: list[int] = field(default_factory=list)
    _evidence: list[_Evidence] = field(default_factory=list)
    _parts: dict[int, tuple[int, ...]] = field(default_factory=dict)  # of a merged axis
    _wholes: dict[frozenset[int], int] = field(default_factory=dict)  # of the axes that one was split into

    def new(self, size: int) -> int:
        """Return another axis."""
        self.sizes.append(size)
        self._parents.append(len(self._parents))
        self._evidence.append(_Evidence())
        return len(self.sizes) - 1

    def join(self, a: int, b: int) -> None:
        """Record that two axes have the same kind."""
        a, b = self._find(a), self._find(b)
        if a != b:
            self._parents[b] = a
            self.mark_channels(a, self._evidence[b].channels)
            self.mark_positions(a, self._evidence[b].positions)

    def mark_channels(self, axis: int, strength: int = FIXED) -> None:
        """Record that an operator takes the axis for channels."""
        found = self._evidence[self._find(axis)]
        found.channels = max(found.channels, strength)

    def mark_positions(self, axis: int, strength: int = FIXED) -> None:
        """Record that an operator takes the axis for positions."""
        found = self._evidence[self._find(axis)]
        found.positions = max(found.positions, strength)

    def channel_axis(self, axes: Sequence[int]) -> int | None:
        """Return the index of the one axis that counts channels; None where that is not clear."""
        found = [self._evidence[self._find(axis)] for axis in axes]
        claimed = [i for i, x in enumerate(found) if x.channels]
        if len(claimed) == 1:
            only = claimed[0]
            return only if found[only].channels >= found[only].positions else None
        clear = [i for i in claimed if found[i].channels > found[i].positions]
        ranks = sorted(((found[i].channels, -found[i].positions, i) for i in clear), reverse=True)
        if not ranks or (len(ranks) > 1 and ranks[0][:2] == ranks[1][:2]):
            return None
        rivals = [found[i].channels for i in claimed if i not in clear]
        return None if max(rivals, default=0) > ranks[0][0] else ranks[0][2]

    def reshape(self, axes: Sequence[int], shape: Sequence[int]) -> list[int]:
        """Return the axes of a tensor with `axes` that is viewed in another shape. Axes of size 1 are new ones."""
        elements = math.prod(shape)
        if elements == 0 or elements != math.prod(self.sizes[axis] for axis in axes):
            return [self.new(size) for size in shape]
        kept = [axis for axis in axes if self.sizes[axis] != 1]
        made: list[int] = []
        for group, sizes in _groups([self.sizes[axis] for axis in kept], [size for size in shape if size != 1]):
            made += self._regroup([kept[i] for i in group], sizes)
        rest = iter(made)
        return [self.new(1) if size == 1 else next(rest) for size in shape]

    def _regroup(self, axes: list[int], sizes: list[int]) -> list[int]:
        """Return the axes of these sizes that hold the same elements as `axes`."""
        if len(sizes) == 1:
            return [axes[0] if len(axes) == 1 else self._merge(axes)]
        if any(axis in self._parts for axis in axes):
            parts = [part for axis in axes for part in self._parts.get(axis, (axis,))]
            return [
                made
                for group, inner in _groups([self.sizes[part] for part in parts], sizes)
                for made in self._regroup([parts[i] for i in group], inner)
            ]
        made = [self.new(size) for size in sizes]
        if len(axes) == 1:
            self._wholes[frozenset(made)] = axes[0]
        return made

    def _merge(self, axes: list[int]) -> int:
        whole = self._wholes.get(frozenset(axes))
        merged = self.new(math.prod(self.sizes[axis] for axis in axes))
        if whole is None:
            self._parts[merged] = tuple(axes)
            self.mark_positions(merged, min(self._evidence[self._find(axis)].positions for axis in axes))
        else:
            self.join(whole, merged)
        return merged

    def _find(self, axis: int) -> int:
        while self._parents[axis] != axis:
            self._parents[axis] = axis = self._parents[self._parents[axis]]
        return axis


def _groups(before: list[int], after: list[int]) -> list[tuple[list[int], list[int]]]:
    """Divide two shapes of as many elements into the shortest runs of equal products: indices before, sizes after."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) and j < len(after):
        group, sizes = [i], [after[j]]
        left, right = before[i], after[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left *= before[i]
                group.append(i)
                i += 1
            else:
                right *= after[j]
                sizes.append(after[j])
                j += 1
        groups.append((group, sizes))
    return groups
