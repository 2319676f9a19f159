"""Variants of a bundle whose policy is fitted again, because their outputs or their costs are not the model's."""

from collections.abc import Mapping, Sequence

from eetool.export.merge_heads import NONE
from eetool.export.variants import INT8
from eetool.model.goals import TuningGoals
from eetool.model.spec import Policy
from eetool.tune.fit_streams import stream_block
from eetool.tune.point_names import CERTIFIED, FULL
from eetool_runtime.manifest import OperatingPoint, Stream, StreamPoint


def goals_of(policy: Policy) -> TuningGoals:
    """Return the goals that a policy records, or its accuracy drop alone in a file of an earlier version."""
    return policy.goals or TuningGoals(policy.max_accuracy_drop)


def is_refitted(policy: Policy, variant: str, merged: bool) -> bool:
    """Return whether the policy of `variant` is fitted again.

    An int8 variant has other outputs. A float variant has other costs than those of the goals where these belong to
    another variant, or where exits are merged and the goals hold a budget.
    """
    costs, budget = goals_of(policy).costs, goals_of(policy).budget
    elsewhere = costs is not None and (variant != costs.variant or merged)
    return variant.endswith(f"/{INT8}") or elsewhere or (merged and budget is not None)


def refitted_variants(policy: Policy | None, variants: Sequence[str], merge: str) -> tuple[str, ...]:
    """Return the variants for whose policy an export needs labelled data."""
    if policy is None:
        return tuple(name for name in variants if name.endswith(f"/{INT8}"))
    return tuple(name for name in variants if is_refitted(policy, name, merge != NONE))


def unfitted_points(points: Mapping[str, OperatingPoint]) -> dict[str, OperatingPoint]:
    """Return the operating points of a variant on which nothing was measured.

    Thresholds are those of the model. A certificate holds for its own graphs only, so `certified` is full depth.
    """
    full = points[FULL].thresholds
    return {name: OperatingPoint(full if name == CERTIFIED else point.thresholds) for name, point in points.items()}


def stream_points(policy: Policy | None, variants: Sequence[str]) -> Stream | None:
    """Return the operating points for streams of variants; on int8 graphs nothing was measured."""
    if policy is None or policy.stream is None:
        return None
    fitted = policy.stream.points
    unfitted = {name: StreamPoint(point.policy) for name, point in fitted.items()}
    points = {name: unfitted if name.endswith(f"/{INT8}") else fitted for name in variants}
    return stream_block(policy.stream, points)
