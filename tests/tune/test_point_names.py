"""Names of operating points."""

from eetool.tune.point_names import same_thresholds
from eetool_runtime.manifest import OperatingPoint


def test_same_thresholds_full_and_points_without_gates_do_not_count() -> None:
    points = {
        "full": OperatingPoint((None, None)),
        "balanced": OperatingPoint((0.5, None)),
        "fast": OperatingPoint((0.5, None)),
        "drop-2": OperatingPoint((0.4, None)),
        "certified": OperatingPoint((None, None)),
        "budget": OperatingPoint((None, None)),
    }
    assert same_thresholds(points) == [("balanced", "fast")]
