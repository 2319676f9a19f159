"""Fits of board tables: costs per kind of kernel, from networks and blocks that others measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fbnet import Block
from nas201 import CONV3, Cells, is_plain, network

from eetool.graphs.onnx_graph import graph_from_model
from eetool.latency.build.robust_nnls import DELTA, fit_costs, fold_indices, relative_deviation, robust_nnls
from eetool.latency.kernels.from_onnx import kernels_from_graph
from eetool.latency.kernels.kernel import FP32, Kernel, work
from eetool.latency.table.table import Composition, Regression, RegressionEnergy

NETWORKS = 600  # of each dataset; more change the second digit of no coefficient
SIZES = {"cifar10": ((3, 32, 32), 10), "cifar100": ((3, 32, 32), 100), "ninapro": ((1, 16, 52), 18)}
FEWEST = 10  # least members of a group whose error is meaningful
SIMILAR = 0.1  # share of the time in other kinds of kernels, up to which two networks count as similar
# Weight of a block's relative error. With 1 the networks, which have all parts in common, are fitted worse.
BLOCK_WEIGHT = 0.2
# Kinds of kernels with a regression; `pointwise` is a convolution with a 1×1 window.
KINDS = ("conv", "pointwise", "pool", "elementwise", "depthwise")
WITHOUT_MACS = ("pool", "elementwise")
COLUMNS = ("call", *(f"{kind} {unit}" for kind in KINDS for unit in ("mmac", "mb")), "block")
CALL, BLOCK = COLUMNS.index("call"), COLUMNS.index("block")
CONV_MMAC = COLUMNS.index("conv mmac")

Fitted = tuple[tuple[Regression, ...], Composition]


@dataclass(frozen=True)
class FitRows:
    """Amounts of each of `COLUMNS` (n, columns) in measured networks or blocks, with labels for leaving groups out.

    Attributes:
        ms: latencies (n,).
        mj: energies (n,); null where they were not measured.
        groups: labels (n,) in several ways.
    """

    columns: np.ndarray
    ms: np.ndarray
    mj: np.ndarray | None
    groups: tuple[np.ndarray, ...]


def network_rows(
    cells: Cells, dataset: str, ms: str, mj: str | None, sums: bool, repeats: bool = False, pointwise: bool = True
) -> FitRows:
    """Return the rows of cells that the fit may use, grouped by their number of 3×3 convolutions.

    Args:
        cells: all measured cells.
        dataset: a key of `SIZES`.
        ms: column of the latencies.
        mj: column of the energies.
        sums: whether the runtime fuses sums into convolutions.
        repeats: whether equal operators on one tensor are computed each time.
        pointwise: whether 1×1 convolutions have columns of their own.
    """
    plain = np.array([i for i in np.where(cells.developed_on)[0] if is_plain(cells.ops[i])])
    chosen = np.random.default_rng(0).choice(plain, NETWORKS, replace=False)
    rows = []
    for index in chosen:
        graph = graph_from_model(network(cells.ops[index], *SIZES[dataset]), dataset)
        rows.append(_amounts(kernels_from_graph(graph, sums=sums, repeats=repeats), "call", pointwise))
    convolutions = (cells.ops[chosen] == CONV3).sum(axis=1)
    energies = None if mj is None else cells.columns[mj][chosen]
    return FitRows(np.array(rows), cells.columns[ms][chosen], energies, (convolutions,))


def block_rows(blocks: Sequence[Block]) -> FitRows:
    """Return the rows of blocks less those of skipping them, grouped by size, expansion and window."""
    rows = [_amounts(b.kernels, "block") - _amounts(b.layer.skipped, "") for b in blocks]
    groups = tuple(
        np.array(labels) for labels in zip(*((b.layer.size, b.expansion, b.window) for b in blocks), strict=True)
    )
    return FitRows(np.array(rows), np.array([b.ms for b in blocks]), None, groups)


def joined(first: FitRows, second: FitRows) -> FitRows:
    """Return the rows of two datasets; the datasets themselves are groups, too."""
    energies = None if first.mj is None or second.mj is None else np.concatenate((first.mj, second.mj))
    dataset = np.repeat((0, 1), (len(first.ms), len(second.ms)))
    groups = tuple(np.concatenate(pair) for pair in zip(first.groups, second.groups, strict=True))
    columns, ms = np.vstack((first.columns, second.columns)), np.concatenate((first.ms, second.ms))
    return FitRows(columns, ms, energies, (dataset, *groups))


def _amounts(kernels: Sequence[Kernel], whole: str, pointwise: bool = True) -> np.ndarray:
    totals = dict.fromkeys(COLUMNS, 0.0)
    if whole:
        totals[whole] = 1.0
    for kernel in kernels:
        kind = "pointwise" if pointwise and is_pointwise(kernel) else kernel.kind
        if kind in KINDS:
            totals[f"{kind} mb"] += work(kernel).moved_bytes / 1e6
            totals[f"{kind} mmac"] += 0.0 if kind in WITHOUT_MACS else kernel.macs / 1e6
    return np.array(list(totals.values()))


def is_pointwise(kernel: Kernel) -> bool:
    """Return whether a kernel is a convolution with a 1×1 window."""
    return kernel.kind == "conv" and kernel.shape["kernel"] * kernel.shape.get("kernel_w", 1) == 1


def fit_board(
    networks: FitRows,
    blocks: FitRows | None,
    backend: str,
    sources: tuple[str, str],
    least: Regression | None = None,
) -> tuple[Fitted, np.ndarray]:
    """Fit the regressions of each kind and the composition.

    The error of the composition is that of networks left out at random. The error of the kinds is that of the worst
    group left out, since a kernel to predict is rarely one of the fitted ones: groups of networks for the kinds that
    networks have, groups of blocks for 1×1 and depthwise convolutions.

    Args:
        networks: whole networks.
        blocks: blocks that were called alone; null where none were measured.
        backend: the runtime of both.
        sources: ids of the sources of networks and blocks.
        least: the model of elementwise kernels in another fit on the same board, a lower bound.

    Returns:
        The table, and the costs of `COLUMNS` in milliseconds.
    """
    least_ms, least_mj = _least_costs(least)
    costs = _costs(networks, blocks, least_ms)
    energies = None if networks.mj is None else fit_costs(networks.columns, networks.mj, at_least=least_mj)
    folds = _labels_of_folds(len(networks.ms))
    inside = relative_deviation(_held_out(networks, blocks, folds, least_ms))
    of_networks = max(_worst(_held_out(networks, blocks, by, least_ms), by) for by in networks.groups)
    of_blocks = (
        None if blocks is None else max(_worst(held_out_blocks(networks, blocks, by), by) for by in blocks.groups)
    )
    regressions = []
    for kind in KINDS:
        mmac, mb = (float(costs[COLUMNS.index(f"{kind} {unit}")]) for unit in ("mmac", "mb"))
        if mmac + mb == 0:
            continue
        in_blocks = kind in ("pointwise", "depthwise")
        error = of_blocks if in_blocks and of_blocks is not None else of_networks
        count = len(blocks.ms) if in_blocks and blocks is not None else len(networks.ms)
        regressions.append(
            Regression(
                kernel="conv" if kind == "pointwise" else kind,
                precision=FP32,
                backend=backend,
                threads=1,
                source=sources[in_blocks],
                constant_ms=0.0,
                ms_per_mmac=rounded(mmac),
                ms_per_mb=rounded(mb),
                n=count,
                cv_error=rounded(max(error, inside)),
                energy=None if energies is None else _energy(energies, kind),
                pointwise=True if kind == "pointwise" else None,
            )
        )
    composition = Composition(
        precision=FP32,
        backend=backend,
        threads=1,
        source=sources[0],
        dispatch_ms=rounded(float(costs[CALL])),
        n=len(networks.ms),
        cv_error=rounded(inside),
        dispatch_mj=None if energies is None else rounded(float(energies[CALL])),
        ratio_error=rounded(similar_pairs_deviation(networks, costs, _held_out(networks, blocks, folds, least_ms))),
    )
    return (tuple(regressions), composition), costs


def similar_pairs_deviation(networks: FitRows, costs: np.ndarray, errors: np.ndarray) -> float:
    """Return the relative deviation of latency ratios of networks that spend their time in the same kinds of kernels.

    Args:
        networks: the networks.
        costs: fitted costs of `COLUMNS`.
        errors: relative error (n,) of every network under costs that were fitted without it.
    """
    shares = networks.columns * costs  # (n, columns)
    shares = shares / shares.sum(axis=1, keepdims=True)
    first, second = np.triu_indices(len(errors), 1)
    similar = np.abs(shares[first] - shares[second]).sum(axis=1) / 2 < SIMILAR
    logs = np.log1p(errors)
    return relative_deviation(logs[first][similar] - logs[second][similar])


def _costs(networks: FitRows, blocks: FitRows | None, least: np.ndarray) -> np.ndarray:
    """Fit all rows together, by their relative errors; those of blocks count `BLOCK_WEIGHT` times."""
    if blocks is None:
        return fit_costs(networks.columns, networks.ms, at_least=least)
    columns = np.vstack((networks.columns / networks.ms[:, None], BLOCK_WEIGHT * blocks.columns / blocks.ms[:, None]))
    target = np.repeat((1.0, BLOCK_WEIGHT), (len(networks.ms), len(blocks.ms)))
    scale = np.maximum(np.abs(columns).max(axis=0), 1e-12)  # (columns,): the tolerance of NNLS is absolute
    costs: np.ndarray = robust_nnls(columns / scale, target, DELTA) / scale
    return costs


def _held_out(networks: FitRows, blocks: FitRows | None, labels: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Return the relative error (n,) of every network under costs fitted without its group; blocks stay in the fit."""
    errors = np.empty(len(networks.ms))
    for label in np.unique(labels):
        test = labels == label
        costs = _costs(_without(networks, test), blocks, least)
        errors[test] = networks.columns[test] @ costs / networks.ms[test] - 1
    return errors


def held_out_blocks(networks: FitRows, blocks: FitRows, labels: np.ndarray) -> np.ndarray:
    """Return the relative error (n,) of every block under costs fitted without its group; networks stay in the fit."""
    errors = np.empty(len(blocks.ms))
    for label in np.unique(labels):
        test = labels == label
        costs = _costs(networks, _without(blocks, test), np.zeros(len(COLUMNS)))
        errors[test] = blocks.columns[test] @ costs / blocks.ms[test] - 1
    return errors


def _without(rows: FitRows, left_out: np.ndarray) -> FitRows:
    return FitRows(rows.columns[~left_out], rows.ms[~left_out], None, ())


def _labels_of_folds(count: int) -> np.ndarray:
    labels = np.empty(count, int)
    for fold, (_, test) in enumerate(fold_indices(count)):
        labels[test] = fold
    return labels


def _least_costs(known: Regression | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the least costs in ms and mJ: those of moving bytes, if another fit on the same board has them."""
    by_bytes = np.array([column == "elementwise mb" for column in COLUMNS], float)
    if known is None:
        return 0 * by_bytes, 0 * by_bytes
    assert known.energy is not None
    return by_bytes * known.ms_per_mb, by_bytes * known.energy.mj_per_mb


def _worst(errors: np.ndarray, groups: np.ndarray) -> float:
    """Return the deviation of the worst group that is large enough."""
    return max(relative_deviation(errors[groups == g]) for g in np.unique(groups) if (groups == g).sum() >= FEWEST)


def _energy(costs: np.ndarray, kind: str) -> RegressionEnergy:
    mmac, mb = (rounded(float(costs[COLUMNS.index(f"{kind} {unit}")])) for unit in ("mmac", "mb"))
    return RegressionEnergy(0.0, mmac, mb, "core_net")


def rounded(value: float) -> float:
    """Round to four digits, the precision of the data."""
    return float(f"{value:.4g}")
