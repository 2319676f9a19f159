"""Coverage of a network by a latency table: what the price of each kind of kernel rests on."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.kernel_costs import GUESSED, INTERPOLATED, REGRESSION, KernelCost, KernelCosts

MEASURED, FITTED = "measured", "fitted"
POINTWISE = "1×1 conv"


@dataclass(frozen=True)
class KindCoverage:
    """Kernels of one kind in a network.

    Attributes:
        kernel: the kind; `1×1 conv` are convolutions with a 1×1 window.
        share: share of the latency.
        basis: `measured` kernels of this or a near size, a `fitted` model of the kind, or `guessed`; the one with the
            largest share.
        source: id of the source of the figures; empty for a guess.
    """

    kernel: str
    share: float
    basis: str
    source: str


def coverage(kernels: Iterable[Kernel], costs: KernelCosts) -> tuple[KindCoverage, ...]:
    """Return the coverage of each kind of kernel, the largest share first."""
    priced: dict[str, dict[tuple[str, str], float]] = defaultdict(lambda: defaultdict(float))
    for kernel in kernels:
        cost = costs.latency(kernel)
        priced[kind_name(kernel)][_basis(cost), cost.source] += cost.value
    total = sum(sum(parts.values()) for parts in priced.values())
    rows = []
    for kind, parts in priced.items():
        basis, source = max(parts, key=lambda key: parts[key])
        rows.append(KindCoverage(kind, sum(parts.values()) / total if total > 0 else 0.0, basis, source))
    return tuple(sorted(rows, key=lambda row: -row.share))


@dataclass(frozen=True)
class UnprobedKernels:
    """Kernels that no probe of the table is near to, and their share of the latency."""

    kernels: str
    share: float


def unprobed(kernels: Iterable[Kernel], costs: KernelCosts) -> tuple[UnprobedKernels, ...]:
    """Return what no probe of a table is near to, the largest share first; nothing for tables of regressions alone."""
    if not costs.has_entries:
        return ()
    shares: dict[str, float] = defaultdict(float)
    total = 0.0
    for kernel in kernels:
        cost = costs.latency(kernel)
        total += cost.value
        if cost.basis in (GUESSED, REGRESSION):
            shares[_description(kernel)] += cost.value
    rows = [UnprobedKernels(name, value / total) for name, value in shares.items()]
    return tuple(sorted(rows, key=lambda row: -row.share))


def _description(kernel: Kernel) -> str:
    """Return operator, window, groups and side of a kernel, such as `Conv 7×7 depthwise, 112 px`."""
    s = kernel.shape
    words = [kernel.ops[0] if kernel.ops else kernel.kind]
    if "kernel" in s:
        words.append(f"{s['kernel']}×{s.get('kernel_w', s['kernel'])}")
    if kernel.kind == "depthwise":
        words.append("depthwise")
    if s.get("groups", 1) > 1:
        words.append(f"of {s['groups']} groups")
    return " ".join(words) + (f", {s['height']} px" if "height" in s else "")


def kind_name(kernel: Kernel) -> str:
    """Return the kind of a kernel as coverage shows it."""
    window = kernel.shape.get("kernel", 0) * kernel.shape.get("kernel_w", kernel.shape.get("kernel", 0))
    return POINTWISE if kernel.kind == "conv" and window == 1 else kernel.kind


def coverage_text(rows: Iterable[KindCoverage], titles: Mapping[str, str]) -> list[str]:
    """Return the coverage as lines.

    Args:
        rows: coverage of each kind.
        titles: titles of sources by their ids.
    """
    rows = list(rows)
    known = [row for row in rows if row.basis != GUESSED]
    share = sum(row.share for row in known)
    lines = [
        f"coverage: the table has figures of {len(known)} of {len(rows)} kinds of kernels, {share:.0%} of the time"
    ]
    by_source: dict[tuple[str, str], list[KindCoverage]] = defaultdict(list)
    for row in rows:
        by_source[row.basis, row.source].append(row)
    for (basis, source), group in by_source.items():
        kinds = ", ".join(f"{row.kernel} {row.share:.0%}" for row in group)
        if basis == GUESSED:
            lines.append(f"  guessed from the rates of other kinds, ±70 %: {kinds}")
        else:
            lines.append(f"  {basis}: {kinds} ({_short(titles.get(source, source))})")
    return lines


def _short(title: str) -> str:
    """Return the name at the beginning of a title."""
    return re.split(r" \(|: |, ", title)[0]


def _basis(cost: KernelCost) -> str:
    if cost.basis == GUESSED:
        return GUESSED
    return MEASURED if cost.measured or cost.basis == INTERPOLATED else FITTED


def unknown_shares(kernels: Iterable[Kernel], costs: KernelCosts) -> dict[str, float]:
    """Return the share of the latency that each unknown operator has, by its name."""
    shares: dict[str, float] = defaultdict(float)
    total = 0.0
    for kernel in kernels:
        value = costs.latency(kernel).value
        total += value
        if kernel.kind == "other" and kernel.ops:
            shares[kernel.ops[0]] += value
    return {name: value / total for name, value in shares.items()}
