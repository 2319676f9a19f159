"""What a table has no probe of, named with its share of the latency."""

from eetool.latency.estimate.coverage import unprobed
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.table import Regression
from tests.helpers.latency_tables import conv, kernel_costs

REGRESSION = Regression("conv", "fp32", "onnxruntime", 1, "lab", 0.01, 0.02, 0.1, 30, 0.05)


def test_unprobed_names_far_and_unknown_kernels_with_their_shares() -> None:
    far = Kernel(
        "conv",
        {"in_channels": 64, "out_channels": 64, "height": 224, "width": 224, "kernel": 7, "groups": 16},
        ops=("Conv",),
    )
    erf = Kernel("elementwise", {"elements": 100_000, "heavy": 1}, ops=("Erf",))
    rows = unprobed([conv(16, 32), far, erf], kernel_costs())
    assert {row.kernels for row in rows} == {"Conv 7×7 of 16 groups, 224 px", "Erf"}
    assert sum(row.share for row in rows) < 1
    assert [row.share for row in rows] == sorted((row.share for row in rows), reverse=True)


def test_unprobed_of_known_kernels_is_empty() -> None:
    assert unprobed([conv(16, 32), conv(24, 48)], kernel_costs()) == ()


def test_unprobed_of_a_table_of_regressions_is_empty() -> None:
    assert unprobed([conv(16, 32, 224)], kernel_costs(REGRESSION, entries=())) == ()
