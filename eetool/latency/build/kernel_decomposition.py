"""Decomposition of network latencies into kernel costs by a Gaussian process over sums.

LiteRT reports no times of kernels inside a run. ONNX Runtime names the kernels of int8 graphs unlike the operators
they came from. But the latency of a network is the sum of its kernels, and networks share equal or similar kernels.

A cost is a linear model times e^f, as for single kernels (`latency/table/interpolation.py`). f is a Gaussian process
over the logarithms of the sizes. Near an estimate of f, sums of costs are linear in f, so they are normal variables.
They are the observations of the process (Rasmussen & Williams, 2006, ch. 2.2). A few Gauss-Newton steps bring f to a
fixed point. scikit-learn's Gaussian processes do not take sums as observations (docs/decisions/0027).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from eetool.latency.build.robust_nnls import fit_costs
from eetool.latency.kernels.features import kernel_family, linear_terms, log_sizes
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.gaussian_process import (
    leave_one_out_deviations,
    leave_one_out_errors,
    matern_covariance,
)

_LENGTHS = (6.5, 13.0)  # in factors of two of a size
_AMPLITUDES = (0.1, 0.2, 0.4, 0.8)
_NOISES = (0.01, 0.02)
_OWN = 0.05  # share of a kernel's variance that it shares with no other
_STEPS = 4
_SLOWER, _DISTURBED = 0.1, 3.5  # share of its time and usual deviations beyond which a network is excluded
_FEW = 8  # a family of kernels in fewer networks has no linear model of its own
_LEAST_MS = 1e-4
_MAX_F = 3.0  # bound of |f|, so that a bad step cannot diverge


@dataclass(frozen=True)
class DecomposedKernel:
    """A kernel with its latency, the relative standard deviation of it, and the number of networks that contain it."""

    kernel: Kernel
    ms: float
    deviation: float
    networks: int


@dataclass(frozen=True)
class ProcessParameters:
    """Length of the process in factors of two, deviation of f, and deviation of a network's relative error."""

    length: float
    amplitude: float
    noise: float


@dataclass(frozen=True)
class Decomposition:
    """Kernels of some networks and the dispatch cost of a call; `kept` are the indices of the networks used."""

    dispatch_ms: float
    parts: tuple[DecomposedKernel, ...]
    parameters: ProcessParameters
    kept: tuple[int, ...]


def decompose(
    networks: Sequence[Sequence[Kernel]],
    whole_ms: np.ndarray,
    channel_block: int = 1,
    parameters: ProcessParameters | None = None,
) -> Decomposition:
    """Estimate the costs of all kernels of some networks from the latency of each network.

    Args:
        networks: kernels of each network.
        whole_ms: latency of each network, (n,) milliseconds.
        channel_block: channels per block on the device.
        parameters: parameters chosen on more networks; all networks are then used. Chosen here if None.

    Returns:
        The decomposition.

    Raises:
        ValueError: there are no networks.
    """
    if not len(networks):
        raise ValueError("no network was measured")
    kept = tuple(range(len(networks)))
    if parameters is None:
        credible = _KernelSums(networks, whole_ms, channel_block).credible()
        kept = tuple(number for number in kept if credible[number])
    return _KernelSums([networks[i] for i in kept], whole_ms[list(kept)], channel_block).solve(kept, parameters)


class _KernelSums:
    """Networks as a matrix (n, m) of how often each contains each kernel."""

    def __init__(self, networks: Sequence[Sequence[Kernel]], whole_ms: np.ndarray, channel_block: int) -> None:
        self._kernels = list({kernel.key: kernel for network in networks for kernel in network}.values())
        numbers = {kernel.key: number for number, kernel in enumerate(self._kernels)}
        rows = [row for row, network in enumerate(networks) for _ in network]
        columns = [numbers[kernel.key] for network in networks for kernel in network]
        shape = (len(networks), len(self._kernels))
        self._counts = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape)  # (n, m)
        self._whole = whole_ms
        self._groups = self._grouped(lambda k: (k.kind, k.precision, k.shape.get("form", 0)))
        self._sizes = [log_sizes(kernel, channel_block) for kernel in self._kernels]
        self._dispatch, self._base = self._fit_linear_model(channel_block)  # ms, (m,) ms

    def _grouped(self, by: Callable[[Kernel], object]) -> list[np.ndarray]:
        """Return the indices of the kernels of each group."""
        groups: dict[object, list[int]] = defaultdict(list)
        for number, kernel in enumerate(self._kernels):
            groups[by(kernel)].append(number)
        return [np.array(numbers) for numbers in groups.values()]

    def _families(self) -> list[np.ndarray]:
        """Return the indices of the kernels of each linear model; small families of one kind and form share one."""
        small: dict[object, list[np.ndarray]] = defaultdict(list)
        large = []
        for group in self._grouped(kernel_family):
            networks = int((self._counts[:, group].sum(axis=1) > 0).sum())
            if networks >= _FEW:
                large.append(group)
            else:
                small[kernel_family(self._kernels[group[0]])[:3]].append(group)
        return large + [np.concatenate(groups) for groups in small.values()]

    def _fit_linear_model(self, channel_block: int) -> tuple[float, np.ndarray]:
        """Return the dispatch cost and the cost of each kernel, (m,), under linear models of MACs and bytes."""
        families = self._families()
        terms = np.array([linear_terms(kernel, channel_block) for kernel in self._kernels])  # (m, 4)
        columns = [np.ones((len(self._whole), 1))]
        columns += [self._counts[:, group] @ terms[group] for group in families]  # (n, 4) each
        costs = fit_costs(np.concatenate(columns, axis=1), self._whole)
        base = np.empty(len(self._kernels))
        for group, own in zip(families, costs[1:].reshape(-1, 4), strict=True):
            base[group] = terms[group] @ own
        return float(costs[0]), np.maximum(base, _LEAST_MS)

    def solve(self, kept: tuple[int, ...], parameters: ProcessParameters | None) -> Decomposition:
        """Return the decomposition after a few steps; leave-one-out errors choose missing parameters in the first."""
        f = np.zeros(len(self._kernels))
        chosen = parameters or self._choose(f)
        length, amplitude, noise = chosen.length, chosen.amplitude, chosen.noise
        similar = [self._similar(group, length) * amplitude**2 for group in self._groups]
        for _ in range(_STEPS):
            shares, target = self._linear(f)
            with_whole = [
                correlation @ shares[:, group].T for correlation, group in zip(similar, self._groups, strict=True)
            ]
            inverse = np.linalg.inv(self._covariance(similar, shares) + noise**2 * np.eye(len(target)))
            for group, covariance in zip(self._groups, with_whole, strict=True):  # (m of the group, n)
                f[group] = np.clip(covariance @ (inverse @ target), -_MAX_F, _MAX_F)
        deviation = np.empty(len(f))
        for group, covariance in zip(self._groups, with_whole, strict=True):
            known = np.einsum("mn,mn->m", covariance @ inverse, covariance)
            deviation[group] = np.sqrt(np.maximum(amplitude**2 - known, 0))
        held = Counter(self._counts.nonzero()[1].tolist())
        costs = np.maximum(self._base * np.exp(f), _LEAST_MS)
        return Decomposition(
            self._dispatch,
            tuple(
                DecomposedKernel(kernel, float(ms), max(float(sd), 0.01), held[number])
                for number, (kernel, ms, sd) in enumerate(zip(self._kernels, costs, deviation, strict=True))
            ),
            chosen,
            kept,
        )

    def credible(self) -> np.ndarray:
        """Return for each network, (n,), whether its latency agrees with the prediction from the others.

        Other work on the machine can slow all calls of a network equally, so their scatter does not reveal it.
        """
        f = np.zeros(len(self._kernels))
        chosen = self._choose(f)
        shares, target = self._linear(f)
        similar = [self._similar(group, chosen.length) for group in self._groups]
        covariance = chosen.amplitude**2 * self._covariance(similar, shares)
        inverse = np.linalg.inv(covariance + chosen.noise**2 * np.eye(len(target)))
        errors = leave_one_out_errors(inverse, target)
        errors -= np.median(errors)
        standardised = errors / leave_one_out_deviations(inverse)
        typical = max(1.4826 * float(np.median(np.abs(standardised))), 0.5)
        credible: np.ndarray = (errors <= _SLOWER) | (standardised <= _DISTURBED * typical)
        return credible

    def _linear(self, f: np.ndarray) -> tuple[sparse.csr_array, np.ndarray]:
        """Return the shares (n, m) of kernels in networks at the estimate `f`, and the target (n,) of shares @ f."""
        costs = self._base * np.exp(f)
        shares = sparse.csr_array(self._counts.multiply(costs[None]).multiply(1 / self._whole[:, None]))
        residuals = 1 - self._dispatch / self._whole - shares.sum(axis=1)
        return shares, residuals + shares @ f

    def _choose(self, f: np.ndarray) -> ProcessParameters:
        """Return length, amplitude and noise with the least leave-one-out error over networks."""
        shares, target = self._linear(f)
        best = (np.inf, _LENGTHS[0], _AMPLITUDES[0], _NOISES[0])
        for length in _LENGTHS:
            covariance = self._covariance([self._similar(group, length) for group in self._groups], shares)
            for amplitude in _AMPLITUDES:
                for noise in _NOISES:
                    inverse = np.linalg.inv(amplitude**2 * covariance + noise**2 * np.eye(len(target)))
                    errors = leave_one_out_errors(inverse, target)
                    best = min(best, (float(np.minimum(np.abs(errors), 0.5).mean()), length, amplitude, noise))
        return ProcessParameters(*best[1:])

    def _covariance(self, similar: Sequence[np.ndarray], shares: sparse.csr_array) -> np.ndarray:
        """Return the covariance (n, n) of the networks."""
        total = np.zeros((shares.shape[0],) * 2)
        for correlation, group in zip(similar, self._groups, strict=True):
            part = shares[:, group]
            total += part @ (part @ correlation).T
        return total

    def _similar(self, group: np.ndarray, length: float) -> np.ndarray:
        """Return the correlation (m, m) of the kernels of one group."""
        sizes = np.array([self._sizes[number] for number in group])
        correlation: np.ndarray = (1 - _OWN) * matern_covariance(sizes, sizes, length) + _OWN * np.eye(len(sizes))
        return correlation
