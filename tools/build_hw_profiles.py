"""Builder of the tables in hw profiles from measured data: coefficients with their sources, no rows.

    python tools/build_hw_profiles.py --data DIR [--into hw_profiles]

DIR holds `nasbench201_measured.npz` and `raspberry_pi_tables.json`. Other parts of a profile stay. The fit uses only
the half of the cells that `benchmarks/latency/boards.py` does not report on.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks/latency"))
from nas201 import CONV3, Cells, is_plain, network, read_cells

from eetool.graphs.onnx_graph import graph_from_model
from eetool.latency.build.robust_nnls import fit_costs, held_out_errors, relative_deviation
from eetool.latency.kernels.from_onnx import kernels_from_graph
from eetool.latency.kernels.kernel import FP32, work
from eetool.latency.table.hw_profile import SCHEMA, FigureSource, HwProfile, profile_document, read_profile
from eetool.latency.table.table import LITERT, ONNXRUNTIME, Composition, Regression, RegressionEnergy
from eetool.records import canonical, write_atomic

NETWORKS = 600  # of each dataset; more change the second digit of no coefficient
SIZES = {"cifar10": ((3, 32, 32), 10), "cifar100": ((3, 32, 32), 100), "ninapro": ((1, 16, 52), 18)}
FEWEST = 10  # least cells of a group whose error is meaningful
# Columns of a fit: one call of the graph, then kind and measure of the costs in a network.
COLUMNS = ("call", "conv mmac", "conv mb", "pool mb", "elementwise mb")
KINDS = ("conv", "pool", "elementwise")
ELEMENTWISE = KINDS.index("elementwise")

HELP = FigureSource(
    "hw-nas-bench",
    "HW-NAS-Bench (Li et al., 2021, arXiv 2103.10584) through HELP (Lee et al., 2021, arXiv 2106.08630): NAS-Bench-201 "
    "on CIFAR-10, TFLite, one measurement per network; the thread count is not stated, TFLite's default is one",
    "MIT",
)
HW_360 = FigureSource(
    "hw-nas-bench-360",
    "HW-NAS-Bench-360: NAS-Bench-201 on CIFAR-100 and NinaPro, one thread, medians of 40 runs, energy of VDD_CORE less "
    "idle; coefficients fitted to it, none of its rows",
    "none stated",
)
XNNPACK = FigureSource(
    "xnnpack",
    "google/XNNPACK README @ 0085ae3628ee7dc042342df5a4e98ebdb55a806c: four MobileNets, fp32, several threads; their "
    "median ratio to the Raspberry Pi 4, whose table is scaled by it",
    "BSD-3-Clause",
)
NCNN = FigureSource(
    "ncnn",
    "Tencent/ncnn benchmark/README @ a4d2ea1d4422c9e849f166fd7a4aefb52f942f6a: fp32 networks, one thread; their median "
    "ratio to the Raspberry Pi 3 B+, whose table is scaled by it",
    "BSD-3-Clause",
)

Fitted = tuple[tuple[Regression, ...], Composition]


def main() -> None:
    """Rewrite the tables in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--into", type=Path, default=Path(__file__).parents[1] / "hw_profiles")
    options = parser.parse_args()
    tables = json.loads((options.data / "raspberry_pi_tables.json").read_text())
    pi4, pi5 = read_cells(options.data)

    litert = _fit_pi5(pi5, "litert", LITERT, sums=False)
    # ONNX Runtime fuses most sums into convolutions, so their cost cannot be fitted. Moving bytes costs at least as
    # much as with LiteRT.
    onnx = _fit_pi5(pi5, "onnx", ONNXRUNTIME, sums=True, least=litert[0][ELEMENTWISE])
    _write(options.into / "rpi5.json", [onnx, litert], [HW_360])

    # These files computed equal poolings of one tensor separately, as the times show.
    names, columns, groups = _networks(pi4, "cifar10", sums=False, repeats=True)
    rpi4 = _fit(columns, pi4.columns["raspi4_cifar10_ms"][names], None, (groups,), LITERT, HELP.id)
    _write(options.into / "rpi4.json", [rpi4], [HELP])
    pixel3 = _fit(columns, pi4.columns["pixel3_cifar10_ms"][names], None, (groups,), LITERT, HELP.id)
    _write(options.into / "pixel3.json", [pixel3], [HELP])

    rows = tables["xnnpack"]["rows"].values()
    rpi3 = _scaled(rpi4, np.array([row["RPi3+ BCM2837B0"] / row["RPi4 BCM2711"] for row in rows]), XNNPACK.id)
    _write(options.into / "rpi3.json", [rpi3], [HELP, XNNPACK])
    zero = _scaled(rpi3, _ncnn_ratios(tables["ncnn"]["runs"], "Pi Zero 2 W", "Pi 3 Model B+"), NCNN.id)
    _write(options.into / "rpi-zero2w.json", [zero], [HELP, XNNPACK, NCNN])


def _fit_pi5(cells: Cells, prefix: str, backend: str, sums: bool, least: Regression | None = None) -> Fitted:
    """Fit both datasets together, so that the costs hold for more than one image size."""
    columns, ms, mj, by_size, by_cell = [], [], [], [], []
    for size, dataset in enumerate(("cifar100", "ninapro")):
        indices, rows, convolutions = _networks(cells, dataset, sums)
        columns.append(rows)
        ms.append(cells.columns[f"pi5_{prefix}_{dataset}_ms"][indices])
        mj.append(cells.columns[f"pi5_{prefix}_{dataset}_mj"][indices])
        by_size.append(np.full(len(indices), size))
        by_cell.append(convolutions)
    groups = (np.concatenate(by_size), np.concatenate(by_cell))
    joined = (np.concatenate(part) for part in (columns, ms, mj))
    return _fit(*joined, groups, backend, HW_360.id, least)


def _networks(
    cells: Cells, dataset: str, sums: bool, repeats: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return indices of cells, the columns (n, 5) of their networks, and their number of 3×3 convolutions."""
    plain = np.array([i for i in np.where(cells.developed_on)[0] if is_plain(cells.ops[i])])
    chosen = np.random.default_rng(0).choice(plain, NETWORKS, replace=False)
    rows = []
    for index in chosen:
        graph = graph_from_model(network(cells.ops[index], *SIZES[dataset]), dataset)
        totals = dict.fromkeys(COLUMNS, 0.0) | {"call": 1.0}
        for kernel in kernels_from_graph(graph, sums=sums, repeats=repeats):
            for measure, amount in (("mmac", kernel.macs), ("mb", work(kernel).moved_bytes)):
                if f"{kernel.kind} {measure}" in totals:
                    totals[f"{kernel.kind} {measure}"] += amount / 1e6
        rows.append(list(totals.values()))
    return chosen, np.array(rows), (cells.ops[chosen] == CONV3).sum(axis=1)


def _fit(
    columns: np.ndarray,
    ms: np.ndarray,
    mj: np.ndarray | None,
    groups: tuple[np.ndarray, ...],
    backend: str,
    source: str,
    least: Regression | None = None,
) -> Fitted:
    """Fit the regressions of each kind and the composition.

    The error of the composition is that of networks left out at random. The error of the kinds is that of the worst of
    `groups` left out, since a kernel to predict is rarely one of the fitted ones.
    """
    least_ms, least_mj = _least_costs(least)
    costs = dict(zip(COLUMNS, fit_costs(columns, ms, at_least=least_ms), strict=True))
    energy = None if mj is None else dict(zip(COLUMNS, fit_costs(columns, mj, at_least=least_mj), strict=True))
    inside = relative_deviation(held_out_errors(columns, ms, at_least=least_ms))
    carried = max(_worst(held_out_errors(columns, ms, by, least_ms), by) for by in groups)
    where = {"precision": FP32, "backend": backend, "threads": 1, "source": source, "n": len(ms)}
    regressions = tuple(
        Regression(
            kernel=kind,
            constant_ms=0.0,
            ms_per_mmac=_digits(costs.get(f"{kind} mmac", 0.0)),
            ms_per_mb=_digits(costs[f"{kind} mb"]),
            cv_error=_digits(max(carried, inside)),
            energy=None if energy is None else _energy(energy, kind),
            **where,
        )
        for kind in KINDS
    )
    dispatch_mj = None if energy is None else _digits(energy["call"])
    composition = Composition(
        dispatch_ms=_digits(costs["call"]), cv_error=_digits(inside), dispatch_mj=dispatch_mj, **where
    )
    return regressions, composition


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


def _energy(costs: dict[str, float], kind: str) -> RegressionEnergy:
    return RegressionEnergy(0.0, _digits(costs.get(f"{kind} mmac", 0.0)), _digits(costs[f"{kind} mb"]), "core_net")


def _scaled(fitted: Fitted, ratios: np.ndarray, source: str) -> Fitted:
    """Scale the table of another device by the median ratio of networks that ran on both.

    Errors add in quadrature.
    """
    ratio = float(np.median(ratios))
    left_out = [float(np.median(np.delete(ratios, i))) / ratios[i] - 1 for i in range(len(ratios))]
    deviation = relative_deviation(np.array(left_out))

    def combined(error: float) -> float:
        return _digits(float(np.hypot(error, deviation)))

    regressions = tuple(
        replace(
            r,
            source=source,
            n=len(ratios),
            ms_per_mmac=_digits(r.ms_per_mmac * ratio),
            ms_per_mb=_digits(r.ms_per_mb * ratio),
            cv_error=combined(r.cv_error),
        )
        for r in fitted[0]
    )
    whole = fitted[1]
    dispatch_ms = _digits(whole.dispatch_ms * ratio)
    return regressions, replace(
        whole, source=source, n=len(ratios), dispatch_ms=dispatch_ms, cv_error=combined(whole.cv_error)
    )


def _ncnn_ratios(runs: list[dict], slower: str, faster: str) -> np.ndarray:  # type: ignore[type-arg]
    """Return the ratios of mean times of fp32 networks on two boards, one thread each."""
    by_board = {
        name: next(r["ms"] for r in runs if name in r["device"] and r["num_threads"] == 1 and r["gpu_device"] == -1)
        for name in (slower, faster)
    }
    both = [n for n in by_board[slower] if n in by_board[faster] and not n.endswith("_int8")]
    return np.array([by_board[slower][n][2] / by_board[faster][n][2] for n in both])


def _write(path: Path, fitted: list[Fitted], sources: list[FigureSource]) -> None:
    """Replace the tables and sources of a profile, and keep its other parts."""
    known = read_profile(path)
    kept = tuple(s for s in known.sources if s.id not in {HELP.id, HW_360.id, XNNPACK.id, NCNN.id})
    made = replace(
        known,
        regressions=tuple(r for regressions, _ in fitted for r in regressions),
        compositions=tuple(composition for _, composition in fitted),
        sources=(*kept, *sources),
    )
    write_atomic(path, canonical({"schema": SCHEMA, **profile_document(made)}).encode(), force=True)
    _check(path, made)


def _check(path: Path, made: HwProfile) -> None:
    assert read_profile(path) == made, path


def _digits(value: float) -> float:
    """Round to four digits, the precision of the data."""
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main()
