"""Cost of weights that caches do not hold from one call of a network to the next."""

from collections.abc import Sequence
from dataclasses import dataclass

from eetool.latency.kernels.kernel import Kernel, work


def weight_mb(kernels: Sequence[Kernel]) -> float:
    """Return the megabytes of weights of some kernels."""
    return sum(work(kernel).weight_bytes for kernel in kernels) / 1e6


def reused_mb(kernels: Sequence[Kernel]) -> float:
    """Return the megabytes of weights that are used more than four times each."""
    return weight_mb([kernel for kernel in kernels if kernel.macs > work(kernel).weight_bytes])


@dataclass(frozen=True)
class WeightStreaming:
    """Additional cost of the kernels of a network of many weights, over that of the same kernels in a small one.

    Attributes:
        resident_mb: megabytes of weights that stay in the caches; from twice as many on, none stay.
        ms_per_mb: cost per megabyte of weights that do not stay, of kernels that use each weight more than four times.
            The others, such as a classifier's, wait for their weights in small networks as well.
        ms_per_kernel: cost per kernel whose weights do not stay, for its code and state.
    """

    resident_mb: float
    ms_per_mb: float
    ms_per_kernel: float

    def share(self, total_mb: float) -> float:
        """Return the share of a network's weights, `total_mb` in all, that does not stay in the caches."""
        return min(max(total_mb / self.resident_mb - 1, 0.0), 1.0)

    def ms(self, reused_mb: float, kernels: int, total_mb: float) -> float:
        """Return the cost of some kernels, with `reused_mb` of such weights, in a network of `total_mb` of weights."""
        return self.share(total_mb) * (self.ms_per_mb * reused_mb + self.ms_per_kernel * kernels)
