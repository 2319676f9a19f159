"""Space of the exits of one trained backbone: the backbone has no genes, and every block is the place of an exit."""

from collections.abc import Sequence

from eetool.model.layouts import TOKENS, VECTORS
from eetool.model.spec import ModelSpec
from eetool.model.taps import TapCost
from eetool.search.space.space import Space, SpaceBackbone, Value, make_space

LINEAR_ONLY = (*TOKENS, VECTORS)  # layouts without the positions that convolutions and pools need


def backbone_space(spec: ModelSpec, taps: Sequence[TapCost]) -> Space:
    """Return the space of exits, branches and gates on the network of `spec`.

    Args:
        spec: the network without exits.
        taps: the places, from shallow to deep. Features of tokens, or without positions, have linear branches.
    """
    backbone = SpaceBackbone(spec.backbone, tuple((tap.name,) for tap in taps), spec.config)
    space = make_space(f"exits of {spec.backbone}", [], lambda genome: backbone, (1,) * len(taps))
    linear: dict[str, tuple[Value, ...]] = {
        f"exit{i}.depth": (0,) for i, tap in enumerate(taps) if tap.layout in LINEAR_ONLY
    }
    return space.only(linear)
