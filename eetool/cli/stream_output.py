"""Policies for streams as text."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eetool.cli.number_format import shares
from eetool.cli.output import table

if TYPE_CHECKING:
    from eetool_runtime.manifest import Stream, StreamPoint

_COLUMNS = {
    **{"streams": "left", "epsilon": "right", "thresholds": "left", "rule": "left", "accuracy": "right"},
    **{"exits %": "right", "reaction (p95)": "right"},
}


def stream_lines(stream: "Stream", points: "Mapping[str, StreamPoint]") -> list[Any]:
    """Return a table of the policies of a variant, and the time between frames that they were fitted for."""
    rows = []
    for name, point in points.items():
        policy, e = point.policy, point.expected
        title = f"{name} (default)" if name == stream.default_operating_point else name
        thresholds = "  ".join("never" if t is None else f"{t:.4f}" for t in policy.thresholds) or "–"
        accuracy = f"{100 * e.accuracy:.2f} %" if e else "–"
        reaction = "–"
        if e is not None and e.reaction_mean_s is not None:
            p95 = f" ({e.reaction_p95_s:.1f} s)" if e.reaction_p95_s is not None else ""
            reaction = f"{e.reaction_mean_s:.1f} s{p95}"
        exit_shares = shares(e.exit_shares if e else None)
        rows.append((title, f"{policy.epsilon:g}", thresholds, _rule(point), accuracy, exit_shares, reaction))
    return [table(_COLUMNS, rows), f"streams: a frame every {stream.period_s:g} s"]


def _rule(point: "StreamPoint") -> str:
    policy = point.policy
    parts = ["exit and filter agree"] * policy.agree
    parts += [f"full depth every {policy.check_every} frames"] if policy.check_every else []
    parts += [f"skip within {policy.skip_distance:g}"] if policy.skip_distance is not None else []
    parts += [f"restart after {policy.gap_s:g} s"] if policy.gap_s is not None else []
    return "\n".join(parts) or "–"
