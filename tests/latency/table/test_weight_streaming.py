"""Cost of weights that caches do not hold: nothing in small networks, all of it from twice the resident weights on."""

import pytest

from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.weight_streaming import WeightStreaming, reused_mb, weight_mb
from tests.helpers.latency_tables import conv

STREAMING = WeightStreaming(resident_mb=8.0, ms_per_mb=0.02, ms_per_kernel=0.001)


@pytest.mark.parametrize(("total_mb", "share"), [(0.0, 0.0), (8.0, 0.0), (12.0, 0.5), (16.0, 1.0), (500.0, 1.0)])
def test_share_grows_between_the_resident_weights_and_twice_as_many(total_mb: float, share: float) -> None:
    assert STREAMING.share(total_mb) == pytest.approx(share)
    assert STREAMING.ms(4.0, 10, total_mb) == pytest.approx(share * (4 * 0.02 + 10 * 0.001))


def test_reused_mb_leaves_out_weights_that_are_used_once() -> None:
    classifier = Kernel("linear", {"rows": 1, "in_features": 64, "out_features": 1000})
    kernels = [conv(64, 64), classifier]
    assert weight_mb(kernels) == pytest.approx((64 * 64 * 9 + 64 * 1000) * 4 / 1e6)
    assert reused_mb(kernels) == pytest.approx(64 * 64 * 9 * 4 / 1e6)
