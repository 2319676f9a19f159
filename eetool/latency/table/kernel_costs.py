"""Costs of kernels from a latency table, with their uncertainty, for one backend, precision and thread count.

The first available source gives the cost: the exact entry; interpolation between entries of the kind
(`interpolation.py`); the regression of the kind; a model of MACs and bytes over all kinds. A linear layer without
figures costs as much as the 1×1 convolution that it is. If the table lacks the requested conditions, the nearest ones
stand in, with wider intervals and a warning.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from eetool.errors import MissingError
from eetool.latency.kernels.features import linear_terms
from eetool.latency.kernels.kernel import FP32, INT8, Kernel, images_of
from eetool.latency.table.interpolation import CostInterpolator, InterpolatedCost, fit_terms
from eetool.latency.table.table import MEASURED, Composition, LatencyTable, Regression, TableEntry

ENTRY, INTERPOLATED, REGRESSION, GUESSED = "entry", "interpolated", "regression", "guessed"
_NEAR = 0.5  # nearness from which an estimate counts as interpolated
_GUESS = 0.7  # relative deviation of a cost from the model over all kinds
_RESOLUTION_MS = 4e-4  # of a traced kernel, overheads removed
_UNKNOWN = 0.5  # relative deviation added for unknown operators
_BATCHED = 0.3  # relative deviation added for several images, which share weights and threads
_ANY_FORM, _OTHER_FORM = -1, 0.5
_POINTWISE = "pointwise"  # key of the model of 1×1 convolutions
_OTHER_BACKEND, _OTHER_THREADS, _OTHER_PRECISION = 0.4, 0.3, 0.5


@dataclass(frozen=True)
class KernelCost:
    """Cost of a kernel in milliseconds or millijoules, its relative standard deviation, and what it rests on.

    `source` is the id of the source of its figures, empty for a guess.
    """

    value: float
    deviation: float
    basis: str
    measured: bool
    source: str = ""


class _Conditioned(Protocol):
    @property
    def precision(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def threads(self) -> int: ...


class KernelCosts:
    """Costs of kernels under given conditions.

    Args:
        table: the latency table.
        device: name of the device, for messages.
        backend: requested backend.
        precision: requested precision.
        threads: requested thread count.

    Attributes:
        backend: backend of the figures, as are `precision` and `threads`; the nearest conditions of the table.
        warnings: one for each condition that differs from the request.
        composition: the composition of the table under these conditions.

    Raises:
        MissingError: the table is empty.
    """

    def __init__(self, table: LatencyTable, device: str, backend: str, precision: str, threads: int) -> None:
        if not table.entries and not table.regressions:
            raise MissingError(
                f"{device} has no latency table, so nothing can be predicted for it",
                "`eetool devices` lists which have one; `eetool table build` makes one on the device.",
            )
        have = {(i.backend, i.precision, i.threads) for i in table.entries}
        have |= {(i.backend, i.precision, i.threads) for i in table.regressions}
        nearest = min(have, key=lambda c: (c[0] != backend, c[1] != precision, abs(c[2] - threads), c))
        self.backend, self.precision, self.threads = nearest
        self.warnings, self._uncertainty = _substitutions(device, (backend, precision, threads), nearest)
        self.composition = self._composition(table.compositions)
        self._entries = [e for e in table.entries if self._fits(e)]
        self._regressions = {
            (_POINTWISE if r.pointwise else r.kernel, r.precision): r for r in table.regressions if self._fits(r)
        }
        self._latency = _CostTable(self._entries, self._regressions, self.composition.channel_block, energy=False)
        self._energy = self._energy_costs()

    @property
    def has_entries(self) -> bool:
        """True where the table holds kernels, and not only models of their kinds."""
        return bool(self._entries)

    @property
    def scope(self) -> str | None:
        """Scope of the energies of this table; None where it holds none."""
        scopes = [e.energy.scope for e in self._entries if e.energy]
        scopes += [r.energy.scope for r in self._regressions.values() if r.energy]
        return scopes[0] if scopes else None

    def latency(self, kernel: Kernel) -> KernelCost:
        """Return the latency of a kernel in milliseconds."""
        return self._with_uncertainty(self._latency(kernel), kernel)

    def energy(self, kernel: Kernel) -> KernelCost | None:
        """Return the energy of a kernel in millijoules; None where the table holds no energies."""
        return None if self._energy is None else self._with_uncertainty(self._energy(kernel), kernel)

    def _fits(self, item: _Conditioned) -> bool:
        """Return whether an item is usable; both precisions are, as an int8 graph also has fp32 kernels."""
        return (item.backend, item.threads) == (self.backend, self.threads)

    def _composition(self, known: Sequence[Composition]) -> Composition:
        fitting = [c for c in known if self._fits(c)]
        exact = [c for c in fitting if c.precision == self.precision]
        if exact or fitting:
            # Probes in int8 do not show the channel blocks of the float kernels in such a graph.
            block = max(c.channel_block for c in fitting)
            return replace((exact or fitting)[0], channel_block=block)
        return Composition(self.precision, self.backend, self.threads, "", 0.0, 0, 0.1)

    def _energy_costs(self) -> "_CostTable | None":
        entries = [e for e in self._entries if e.energy]
        regressions = {key: r for key, r in self._regressions.items() if r.energy}
        if not entries and not regressions:
            return None
        return _CostTable(entries, regressions, self.composition.channel_block, energy=True)

    def _with_uncertainty(self, cost: KernelCost, kernel: Kernel) -> KernelCost:
        added = self._uncertainty + (_UNKNOWN if kernel.kind == "other" else 0.0)
        return replace(cost, deviation=float(np.hypot(cost.deviation, added)))


class _CostTable:
    """Costs in one quantity, latency or energy; the estimator of a kind is made at its first use."""

    def __init__(
        self,
        entries: Iterable[TableEntry],
        regressions: dict[tuple[str, str], Regression],
        channel_block: int,
        energy: bool,
    ) -> None:
        self._block, self._energy, self._regressions = channel_block, energy, regressions
        self._of_kind: dict[tuple[str, str], list[TableEntry]] = defaultdict(list)
        self._of_form: dict[tuple[str, str, int], list[TableEntry]] = defaultdict(list)
        for entry in entries:
            self._of_kind[entry.kernel, entry.precision].append(entry)
            self._of_form[entry.kernel, entry.precision, entry.shape.get("form", 0)].append(entry)
        self._exact = {e.as_kernel.key: e for group in self._of_kind.values() for e in group}
        self._known: dict[object, KernelCost] = {}
        self._estimators: dict[tuple[str, str, int], CostInterpolator] = {}
        self._guess: np.ndarray | None = None

    def __call__(self, kernel: Kernel) -> KernelCost:
        """Return the cost of a kernel, computed once: networks repeat their kernels."""
        if kernel.key not in self._known:
            self._known[kernel.key] = self._cost(kernel)
        return self._known[kernel.key]

    def _cost(self, kernel: Kernel) -> KernelCost:
        images = images_of(kernel)
        if images > 1:  # tables are measured with one
            one = self(replace(kernel, shape={**kernel.shape, "batch": 1}))
            deviation = float(np.hypot(one.deviation, _BATCHED))
            return replace(one, value=images * one.value, deviation=deviation, measured=False)
        entry = self._exact.get(kernel.key)
        if entry is not None:
            return KernelCost(self._value(entry), _deviation(entry), ENTRY, entry.kind == MEASURED, entry.source)
        for precision in (kernel.precision, INT8 if kernel.precision == FP32 else FP32):
            added = 0.0 if precision == kernel.precision else _OTHER_PRECISION
            regression = self._regression(kernel, precision)
            if self._of_kind.get((kernel.kind, precision)):
                form = kernel.shape.get("form", 0)
                if not self._of_form.get((kernel.kind, precision, form)):
                    form, added = _ANY_FORM, float(np.hypot(added, _OTHER_FORM))
                estimate = self._estimator(kernel.kind, precision, form)(kernel)
                return _interpolated(estimate, added, self._of_kind[kernel.kind, precision][0].source)
            if regression is not None:
                guessed = (kernel.kind == "linear" and regression.kernel != "linear") or kernel.shape.get(
                    "groups", 1
                ) > 1
                deviation = float(np.hypot(_GUESS if guessed else max(regression.cv_error, 0.02), added))
                basis, source = (GUESSED, "") if guessed else (REGRESSION, regression.source)
                return KernelCost(self._regressed(regression, kernel), deviation, basis, False, source)
        return KernelCost(max(float(self._terms() @ linear_terms(kernel, self._block)), 1e-9), _GUESS, GUESSED, False)

    def _regression(self, kernel: Kernel, precision: str) -> Regression | None:
        """Return the model of a kernel. That of a linear layer is by default the one of 1×1 convolutions.

        There is none of grouped convolutions; that of the others stands in.
        """
        kind = kernel.kind
        window = kernel.shape["kernel"] * kernel.shape.get("kernel_w", kernel.shape["kernel"]) if kind == "conv" else 0
        keys = [kind]
        if window == 1 or kind == "linear":
            keys = [_POINTWISE, "conv"] if window == 1 else ["linear", _POINTWISE]
        return next((r for key in keys if (r := self._regressions.get((key, precision))) is not None), None)

    def _estimator(self, kind: str, precision: str, form: int) -> CostInterpolator:
        """Return the estimator of one form, or of the whole kind where the table lacks that form."""
        key = kind, precision, form
        if key not in self._estimators:
            group = self._of_kind[kind, precision] if form == _ANY_FORM else self._of_form[key]
            kernels, values = [e.as_kernel for e in group], [self._value(e) for e in group]
            self._estimators[key] = CostInterpolator(
                kernels, values, [_deviation(e) for e in group], self._block, self._prior((kind, precision))
            )
        return self._estimators[key]

    def _prior(self, key: tuple[str, str]) -> np.ndarray | None:
        r = self._regressions.get(key)
        if r is None:
            return None
        if self._energy:
            assert r.energy is not None  # only items with energy were passed
            return np.array([r.energy.constant_mj, r.energy.mj_per_mmac, r.energy.mj_per_mb, r.energy.mj_per_mb])
        return np.array([r.constant_ms, r.ms_per_mmac, r.ms_per_mb, r.ms_per_mb])

    def _terms(self) -> np.ndarray:
        """Return the coefficients of MACs and bytes over all kinds."""
        if self._guess is None:
            entries = [e for group in self._of_kind.values() for e in group]
            if entries:
                terms = np.array([linear_terms(e.as_kernel, self._block) for e in entries])
                self._guess = fit_terms(terms, np.array([self._value(e) for e in entries]))
            else:
                # The maximum of each: with a median over a convolution, a pooling and a sum, MACs would cost nothing.
                # A MAC of a depthwise convolution costs far more than one of a product.
                keys = [key for key in self._regressions if key[0] != "depthwise"] or list(self._regressions)
                priors = [prior for key in keys if (prior := self._prior(key)) is not None]
                self._guess = np.max(priors, axis=0)
        return self._guess

    def _value(self, entry: TableEntry) -> float:
        if not self._energy:
            return max(entry.ms, 1e-6)
        assert entry.energy is not None  # only items with energy were passed
        return entry.energy.energy_mj

    def _regressed(self, regression: Regression, kernel: Kernel) -> float:
        if not self._energy:
            return regression.ms(kernel)
        assert regression.energy is not None
        return regression.energy.mj(kernel)


def _interpolated(estimate: InterpolatedCost, added: float, source: str) -> KernelCost:
    basis = INTERPOLATED if estimate.nearness >= _NEAR else REGRESSION
    return KernelCost(estimate.value, float(np.hypot(estimate.deviation, added)), basis, False, source)


def _deviation(entry: TableEntry) -> float:
    """Return the relative standard deviation of an entry."""
    if entry.kind == MEASURED:
        scatter = 1.4826 * (entry.spread_ms or 0.0)  # from the MAD, for normally distributed times
        return float(np.hypot(scatter, _RESOLUTION_MS)) / max(entry.ms, _RESOLUTION_MS)
    return max(entry.cv_error or 0.0, 0.01)


def _substitutions(
    device: str, requested: tuple[str, str, int], held: tuple[str, str, int]
) -> tuple[tuple[str, ...], float]:
    """Return warnings and the relative deviation to add for conditions that the table does not hold."""
    warnings, uncertainty = [], 0.0
    names, deviations = ("backend", "precision", "threads"), (_OTHER_BACKEND, _OTHER_PRECISION, _OTHER_THREADS)
    for name, wanted, used, added in zip(names, requested, held, deviations, strict=True):
        if wanted != used:
            warnings.append(f"the table of {device} has no {name} {wanted}: predicted from {name} {used}")
            uncertainty = float(np.hypot(uncertainty, added))
    return tuple(warnings), uncertainty
