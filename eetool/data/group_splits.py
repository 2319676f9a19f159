"""Splits of whole groups: examples of one person or recording are alike, and must not be on both sides of a split."""

from collections.abc import Mapping

import numpy as np

from eetool.data.source import Source
from eetool.errors import ArtefactError
from eetool.wording import counted

_SEED = 0  # as for splits of examples: the same groups for every model
_TRIES = 200  # random choices among which the first with every class in every split is taken


def has_enough_groups(source: Source, pool: np.ndarray, splits: int) -> bool:
    """Return whether the examples `pool` are of enough groups for so many splits."""
    return source.order is not None and len(np.unique(source.order.group[pool])) >= splits


def take_groups(source: Source, pool: np.ndarray, rest: str, shares: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Divide `pool` into splits of whole groups; the remaining groups form the split `rest`.

    The number of groups of a split is its share of all, at least one. Of random choices it is the first for which every
    split has an example of every class, else the one that lacks the fewest; `rest` must lack none.

    Args:
        source: with an order of its examples.
        pool: sorted indices.
        rest: name of the split of the remaining groups.
        shares: share of the groups by name of the split.

    Raises:
        ArtefactError: no choice leaves an example of every class in `rest`.
    """
    assert source.order is not None
    group = source.order.group[pool]
    known = np.unique(group)
    sizes = [max(1, round(share * len(known))) for share in shares.values()]
    while sum(sizes) >= len(known):  # `rest` has at least one
        sizes[int(np.argmax(sizes))] -= 1
    classes = len(np.unique(source.labels[pool]))
    rng = np.random.default_rng(_SEED)
    best: tuple[int, list[np.ndarray]] | None = None
    for _ in range(_TRIES):
        parts = np.split(rng.permutation(known), np.cumsum(sizes))
        chosen = [pool[np.isin(group, part)] for part in parts]
        absent = [classes - len(np.unique(source.labels[part])) for part in chosen]
        if absent[-1] == 0 and (best is None or sum(absent) < best[0]):
            best = (sum(absent), chosen)
            if best[0] == 0:
                break
    if best is None:
        raise ArtefactError(
            f"{source.name}: {counted(len(known), 'group')} cannot be divided so that the {rest} split has an example "
            "of every class",
            "Bring more groups with examples of the rare classes.",
        )
    return dict(zip((*shares, rest), best[1], strict=True))
