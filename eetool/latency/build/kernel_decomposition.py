"""What kernels cost where only whole networks can be timed: a Gaussian process that sees nothing but sums.

LiteRT says nothing of a kernel inside a run, and what ONNX Runtime makes of int8 graphs has other names than the
operators it came from. But the time of a network is the sum of its kernels, and networks share them or hold similar
ones. So, as for single kernels (`estimate.py`), a cost is a sum of terms that any device obeys, times e^f with a
Gaussian process f over the logarithms of the sizes; a sum of costs is linear in f near the present guess, and sums of
normal variables are normal (Rasmussen & Williams, 2006, ch. 2.2, with the sums as observations). A few steps of Gauss
and Newton bring the guess to where it no longer moves.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from eetool.latency.build.robust_nnls import fit_costs
from eetool.latency.kernels.features import kernel_family, linear_terms, log_sizes
from eetool.latency.kernels.kernel import Kernel

_LENGTHS = (6.5, 13.0)  # in factors of two of a size
_AMPLITUDES = (0.1, 0.2, 0.4, 0.8)
_NOISES = (0.01, 0.02)
_OWN = 0.05  # share of the variance that a kernel has for itself
_STEPS = 4
_SLOWER, _DISTURBED = 0.1, 3.5  # share of its time, and usual deviations, beyond which a network is not believed
_FEW = 8  # networks, below which a family of kernels has no terms of its own
_LEAST_MS = 1e-4
_FURTHEST = 3.0  # of f, so that a bad step cannot run away


@dataclass(frozen=True)
class DecomposedKernel:
    """One kernel: its milliseconds, their relative standard deviation, and how many networks hold it."""

    kernel: Kernel
    ms: float
    deviation: float
    networks: int


@dataclass(frozen=True)
class ProcessParameters:
    """Of the process: length of its memory in factors of two, deviation of f, and of a network's relative error."""

    length: float
    amplitude: float
    noise: float


@dataclass(frozen=True)
class Decomposition:
    """What networks are made of: all their kernels, and what one call costs besides. `kept` are those believed."""

    dispatch_ms: float
    parts: tuple[DecomposedKernel, ...]
    settings: ProcessParameters
    kept: tuple[int, ...]


def decompose(
    networks: Sequence[Sequence[Kernel]],
    whole_ms: np.ndarray,
    channel_block: int = 1,
    settings: ProcessParameters | None = None,
) -> Decomposition:
    """Costs of all kernels of some networks from what each network took, (n,) milliseconds.

    Args:
        settings: those found from more networks, all of which are believed then.

    Raises:
        ValueError: there is nothing to take apart.
    """
    if not len(networks):
        raise ValueError("no network was measured")
    kept = tuple(range(len(networks)))
    if settings is None:
        credible = _Sums(networks, whole_ms, channel_block).credible()
        kept = tuple(number for number in kept if credible[number])
    return _Sums([networks[i] for i in kept], whole_ms[list(kept)], channel_block).solve(kept, settings)


class _Sums:
    """The networks as a matrix of how often each holds each kernel."""

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
        self._dispatch, self._base = self._without_process(channel_block)  # ms, (m,) ms

    def _grouped(self, by: Callable[[Kernel], object]) -> list[np.ndarray]:
        """Numbers of the kernels that are alike."""
        found: dict[object, list[int]] = defaultdict(list)
        for number, kernel in enumerate(self._kernels):
            found[by(kernel)].append(number)
        return [np.array(numbers) for numbers in found.values()]

    def _families(self) -> list[np.ndarray]:
        """Numbers of the kernels that obey the same terms; small families of one kind and form go together."""
        small: dict[object, list[np.ndarray]] = defaultdict(list)
        large = []
        for group in self._grouped(kernel_family):
            networks = int((self._counts[:, group].sum(axis=1) > 0).sum())
            if networks >= _FEW:
                large.append(group)
            else:
                small[kernel_family(self._kernels[group[0]])[:3]].append(group)
        return large + [np.concatenate(groups) for groups in small.values()]

    def _without_process(self, channel_block: int) -> tuple[float, np.ndarray]:
        """Dispatch, and each kernel as a constant, MACs and bytes of its family: non-negative and robust."""
        families = self._families()
        terms = np.array([linear_terms(kernel, channel_block) for kernel in self._kernels])  # (m, 4)
        columns = [np.ones((len(self._whole), 1))]
        columns += [self._counts[:, group] @ terms[group] for group in families]  # (n, 4) each
        costs = fit_costs(np.concatenate(columns, axis=1), self._whole)
        base = np.empty(len(self._kernels))
        for group, own in zip(families, costs[1:].reshape(-1, 4), strict=True):
            base[group] = terms[group] @ own
        return float(costs[0]), np.maximum(base, _LEAST_MS)

    def solve(self, kept: tuple[int, ...], settings: ProcessParameters | None) -> Decomposition:
        """The process after a few steps, its settings chosen in the first by leaving out one network at a time."""
        f = np.zeros(len(self._kernels))
        chosen = settings or self._choose(f)
        length, amplitude, noise = chosen.length, chosen.amplitude, chosen.noise
        similar = [self._similar(group, length) * amplitude**2 for group in self._groups]
        for _ in range(_STEPS):
            shares, target = self._linear(f)
            with_whole = [alike @ shares[:, group].T for alike, group in zip(similar, self._groups, strict=True)]
            inverse = np.linalg.inv(self._covariance(similar, shares) + noise**2 * np.eye(len(target)))
            for group, covariance in zip(self._groups, with_whole, strict=True):  # (m of the group, n)
                f[group] = np.clip(covariance @ (inverse @ target), -_FURTHEST, _FURTHEST)
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
        """(n,) whether each network took as long as the others say, as far as they can say it.

        What else runs on a machine makes a network slower, and from call to call equally so: its scatter does not tell.
        """
        f = np.zeros(len(self._kernels))
        chosen = self._choose(f)
        shares, target = self._linear(f)
        similar = [self._similar(group, chosen.length) for group in self._groups]
        covariance = chosen.amplitude**2 * self._covariance(similar, shares)
        inverse = np.linalg.inv(covariance + chosen.noise**2 * np.eye(len(target)))
        missed = inverse @ target / np.diag(inverse)  # eq. 5.12
        missed -= np.median(missed)
        expected = missed * np.sqrt(np.diag(inverse))
        typical = max(1.4826 * float(np.median(np.abs(expected))), 0.5)
        credible: np.ndarray = (missed <= _SLOWER) | (expected <= _DISTURBED * typical)
        return credible

    def _linear(self, f: np.ndarray) -> tuple[sparse.csr_array, np.ndarray]:
        """Shares (n, m) of the kernels in each network at the guess `f`, and what shares @ f should be, (n,)."""
        costs = self._base * np.exp(f)
        shares = sparse.csr_array(self._counts.multiply(costs[None]).multiply(1 / self._whole[:, None]))
        missed = 1 - self._dispatch / self._whole - shares.sum(axis=1)
        return shares, missed + shares @ f

    def _choose(self, f: np.ndarray) -> ProcessParameters:
        """Length, amplitude and noise with which the time of a network is best told from the others'."""
        shares, target = self._linear(f)
        best = (np.inf, _LENGTHS[0], _AMPLITUDES[0], _NOISES[0])
        for length in _LENGTHS:
            covariance = self._covariance([self._similar(group, length) for group in self._groups], shares)
            for amplitude in _AMPLITUDES:
                for noise in _NOISES:
                    inverse = np.linalg.inv(amplitude**2 * covariance + noise**2 * np.eye(len(target)))
                    errors = inverse @ target / np.diag(inverse)  # eq. 5.12
                    best = min(best, (float(np.minimum(np.abs(errors), 0.5).mean()), length, amplitude, noise))
        return ProcessParameters(*best[1:])

    def _covariance(self, similar: Sequence[np.ndarray], shares: sparse.csr_array) -> np.ndarray:
        """(n, n) of the networks."""
        total = np.zeros((shares.shape[0],) * 2)
        for alike, group in zip(similar, self._groups, strict=True):
            part = shares[:, group]
            total += part @ (part @ alike).T
        return total

    def _similar(self, group: np.ndarray, length: float) -> np.ndarray:
        """(m, m) of the kernels of one kind: 1 on the diagonal, falling with distance (Matérn, ν = 3/2)."""
        sizes = np.array([self._sizes[number] for number in group])
        squared = (sizes**2).sum(1)
        distance = np.sqrt(3 * np.maximum(squared[:, None] + squared[None] - 2 * sizes @ sizes.T, 0)) / length
        alike: np.ndarray = (1 - _OWN) * (1 + distance) * np.exp(-distance) + _OWN * np.eye(len(sizes))
        return alike
