"""Check of the default operating point: does it cost less than the network without early exits, by the manifest?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from .execution_plan import plan_steps, unsplit_macs
from .manifest import Manifest


def default_point_warning(
    manifest: Manifest, variant: str, component_ms: Optional[Mapping[str, float]] = None
) -> Optional[str]:
    """Return why the default operating point of `variant` does not pay; None where it does, or nothing is known of it.

    Expected exit shares weigh the latencies of the components, where these were measured on this machine, or else their
    MACs. The network without early exits is then all components that run where no gate can fire. Its own latency may be
    lower, so a point without a warning may still not pay: `eetool bench` measures that.

    Args:
        manifest: of the bundle.
        variant: name of a variant.
        component_ms: measured latency of each component on this machine.
    """
    name = manifest.default_operating_point
    point = manifest.variants[variant].operating_points[name]
    if point.expected is None or not manifest.n_early_exits:
        return None
    shares = point.expected.exit_shares
    if component_ms is not None and {c.name for c in manifest.components} <= set(component_ms):
        cost = _mean_ms(manifest, point.thresholds, shares, component_ms)
        whole = _mean_ms(manifest, (None,) * len(point.thresholds), (0.0,) * (len(shares) - 1) + (1.0,), component_ms)
        figures = f"{cost:.3g} ms of components measured on this machine, {whole:.3g} ms without early exits"
    else:
        cost, whole = point.expected.mean_macs, float(unsplit_macs(manifest))
        figures = f"{cost / 1e6:.4g} M MACs, {whole / 1e6:.4g} M without early exits"
    if cost < whole:
        return None
    return f"{manifest.name}: the default operating point {name!r} does not pay: in the mean {figures}"


def _mean_ms(
    manifest: Manifest,
    thresholds: tuple[Optional[float], ...],
    shares: tuple[float, ...],
    component_ms: Mapping[str, float],
) -> float:
    total, spent = 0.0, 0.0
    for step in plan_steps(manifest, thresholds):
        spent += component_ms[step.component]
        if step.gate is not None:
            total += shares[step.gate.exit_index] * spent
    return total
