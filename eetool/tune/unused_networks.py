"""Networks of a cascade that answer no input at any operating point."""

import re
from collections.abc import Mapping, Sequence

from eetool.tune.point_names import FULL
from eetool_runtime.manifest import OperatingPoint

_NETWORK = re.compile(r"network (\d+)(?: |$)")  # as `eetool.model.spec.member_taps` writes taps


def unused_networks(taps: Sequence[str | None], points: Mapping[str, OperatingPoint]) -> list[str]:
    """Return a line for each network of a cascade at which no input leaves, except at full depth.

    Args:
        taps: tap of each early exit; empty lines for a model that is no cascade of networks.
        points: operating points with expected figures.
    """
    found = [_NETWORK.match(tap or "") for tap in taps]
    if not taps or not all(found):
        return []
    networks = [int(match[1]) for match in found if match is not None]
    networks.append(networks[-1] + (taps[-1] == f"network {networks[-1]}"))  # of the final exit
    shares = [p.expected.exit_shares for name, p in points.items() if name != FULL and p.expected is not None]
    used = {network for point in shares for network, share in zip(networks, point, strict=True) if share > 0}
    return [
        f"no input leaves at network {network} of the cascade, except at `{FULL}`: without it the model is smaller and "
        "does the same"
        for network in sorted(set(networks) - used)
    ]
