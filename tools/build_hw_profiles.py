"""Builder of the tables in hw profiles from measured data: coefficients with their sources, no rows.

    python tools/build_hw_profiles.py --data DIR [--into hw_profiles]

DIR holds `nasbench201_measured.npz`, `fbnet_raspi4_latency.npz` and `raspberry_pi_tables.json`. Other parts of a
profile stay. The fit uses only the half of the cells that `benchmarks/latency/boards.py` does not report on.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks/latency"))
from board_fits import BLOCK, FitRows, Fitted, block_rows, fit_board, joined, network_rows, rounded
from fbnet import read_blocks
from nas201 import Cells, read_cells

from eetool.latency.build.robust_nnls import relative_deviation
from eetool.latency.table.hw_profile import SCHEMA, FigureSource, HwProfile, profile_document, read_profile
from eetool.latency.table.table import LITERT, ONNXRUNTIME
from eetool.records import canonical, write_atomic

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

FBNET = FigureSource(
    "hw-nas-bench-fbnet",
    "HW-NAS-Bench's operator table of FBNet (Wu et al., 2019, arXiv 1812.03443) through HELP: 72 blocks of expansion, "
    "depthwise convolution and projection on CIFAR-100 sizes, each called alone, TFLite; coefficients fitted to it, "
    "none of its rows",
    "MIT",
)
FBNET_SCALED = FigureSource(
    "hw-nas-bench-fbnet-scaled",
    "the Raspberry Pi 4's depthwise convolutions and calls (HW-NAS-Bench's operator table of FBNet), times the ratio "
    "of both boards' convolutions; error: that of the fit, and the scatter of the ratio of ncnn's networks with "
    "depthwise convolutions to that of its other networks on both boards (Tencent/ncnn benchmark/README @ a4d2ea1d)",
    "MIT and BSD-3-Clause",
)
DEPTHWISE_NETWORKS = ("mobilenet", "mobilenet_v2", "mobilenet_v3", "mnasnet", "proxylessnasnet", "efficientnet_b0")
DENSE_NETWORKS = ("resnet18", "resnet50", "vgg16", "googlenet", "squeezenet")
# Deviation of a depthwise convolution in another runtime: ONNX Runtime's is another implementation.
OTHER_RUNTIME = 0.4


SOURCES = {s.id for s in (HELP, HW_360, XNNPACK, NCNN, FBNET, FBNET_SCALED)}


def main() -> None:
    """Rewrite the tables in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--into", type=Path, default=Path(__file__).parents[1] / "hw_profiles")
    options = parser.parse_args()
    tables = json.loads((options.data / "raspberry_pi_tables.json").read_text())
    pi4, pi5 = read_cells(options.data)
    runs = tables["ncnn"]["runs"]

    boards = {}
    for board in ("raspi4", "pixel3"):
        # These files computed equal poolings of one tensor separately, as the times show.
        networks = network_rows(pi4, "cifar10", f"{board}_cifar10_ms", None, sums=False, repeats=True)
        blocks = block_rows(read_blocks(options.data, board))
        fitted, costs = fit_board(networks, blocks, LITERT, (HELP.id, FBNET.id))
        boards[board] = _with_calls(fitted, float(costs[BLOCK]), FBNET.id)
    rpi4 = boards["raspi4"]
    _write(options.into / "rpi4.json", [rpi4], [HELP, FBNET])
    _write(options.into / "pixel3.json", [boards["pixel3"]], [HELP, FBNET])

    litert, _ = fit_board(_pi5_rows(pi5, "litert", sums=False), None, LITERT, (HW_360.id, HW_360.id))
    # ONNX Runtime fuses most sums into convolutions, so their cost cannot be fitted. Moving bytes costs at least as
    # much as with LiteRT.
    least = next(r for r in litert[0] if r.kernel == "elementwise")
    onnx, _ = fit_board(_pi5_rows(pi5, "onnx", sums=True), None, ONNXRUNTIME, (HW_360.id, HW_360.id), least)
    litert = _with_depthwise(litert, rpi4, runs, 0.0)
    call_ms = litert[1].component_ms or 0.0
    onnx = _with_depthwise(onnx, rpi4, runs, OTHER_RUNTIME, call_ms)
    _write(options.into / "rpi5.json", [onnx, litert], [HW_360, FBNET_SCALED])

    rows = tables["xnnpack"]["rows"].values()
    rpi3 = _scaled(rpi4, np.array([row["RPi3+ BCM2837B0"] / row["RPi4 BCM2711"] for row in rows]), XNNPACK.id)
    _write(options.into / "rpi3.json", [rpi3], [HELP, FBNET, XNNPACK])
    ratios = _ncnn_ratios(runs, "Pi Zero 2 W", "Pi 3 Model B+")
    _write(options.into / "rpi-zero2w.json", [_scaled(rpi3, ratios, NCNN.id)], [HELP, FBNET, XNNPACK, NCNN])


def _pi5_rows(cells: Cells, prefix: str, sums: bool) -> FitRows:
    """Return both datasets together, so that the costs hold for more than one image size.

    1×1 convolutions of one cell have the same total in every network, so they share a model with the others.
    """
    first, second = (
        network_rows(cells, d, f"pi5_{prefix}_{d}_ms", f"pi5_{prefix}_{d}_mj", sums, pointwise=False)
        for d in ("cifar100", "ninapro")
    )
    return joined(first, second)


def _with_calls(fitted: Fitted, block_ms: float, source: str) -> Fitted:
    """Return a table that charges cascades for calls and caches.

    A graph that is called alone costs `block_ms` besides its MACs and bytes, the constant of the fit of blocks. It
    includes the constants of its few kernels, which a segment may not have in addition: the interval reaches from 0 to
    twice the figure. Evicted weights are read from memory again, which costs between nothing and the board's own rate
    of moving bytes.
    """
    per_mb = next(r.ms_per_mb for r in fitted[0] if r.kernel == "elementwise")
    composition = replace(
        fitted[1],
        component_ms=rounded(block_ms),
        component_error_ms=rounded(block_ms),
        turn_ms=0.0,
        turn_ms_per_mb=rounded(per_mb / 2),
        turn_error_ms_per_mb=rounded(per_mb / 2),
        cascade_source=source,
    )
    return fitted[0], composition


def _with_depthwise(
    fitted: Fitted,
    other: Fitted,
    runs: list[dict],
    runtime: float,
    call_ms: float | None = None,  # type: ignore[type-arg]
) -> Fitted:
    """Return a table with the depthwise convolutions and calls of `other`, scaled by the ratio of convolutions.

    A fitted constant of whole networks is an upper bound of the cost of a call, `call_ms` a lower one.
    """
    ratio = _conv_rate(fitted) / _conv_rate(other)
    known = next(r for r in other[0] if r.kernel == "depthwise")
    spread = relative_deviation(_depthwise_against_dense(runs))
    depthwise = replace(
        known,
        backend=fitted[1].backend,
        source=FBNET_SCALED.id,
        ms_per_mmac=rounded(known.ms_per_mmac * ratio),
        ms_per_mb=rounded(known.ms_per_mb * ratio),
        cv_error=rounded(float(np.linalg.norm((known.cv_error, spread, runtime)))),
    )
    regressions, composition = _with_calls(fitted, (other[1].component_ms or 0.0) * ratio, FBNET_SCALED.id)
    if call_ms is not None:
        low, high = sorted((call_ms, composition.dispatch_ms))
        bounds = {"component_ms": rounded((low + high) / 2), "component_error_ms": rounded((high - low) / 2)}
        composition = replace(composition, **bounds)
    return (*regressions, depthwise), composition


def _conv_rate(fitted: Fitted) -> float:
    return next(r.ms_per_mmac for r in fitted[0] if r.kernel == "conv" and not r.pointwise)


def _depthwise_against_dense(runs: list[dict]) -> np.ndarray:  # type: ignore[type-arg]
    """Return the relative errors of scaling networks with depthwise convolutions from one board to the other.

    The scale is the median ratio of networks without them.
    """
    slow, fast = (_ncnn_run(runs, board) for board in ("Pi 4", "Pi 5"))
    scale = float(np.median([fast[name][2] / slow[name][2] for name in DENSE_NETWORKS]))
    return np.array([scale * slow[name][2] / fast[name][2] - 1 for name in DEPTHWISE_NETWORKS])


def _scaled(fitted: Fitted, ratios: np.ndarray, source: str) -> Fitted:
    """Scale the table of another device by the median ratio of networks that ran on both.

    Errors add in quadrature. The ratio of two networks on one device keeps its error.
    """
    ratio = float(np.median(ratios))
    left_out = [float(np.median(np.delete(ratios, i))) / ratios[i] - 1 for i in range(len(ratios))]
    deviation = relative_deviation(np.array(left_out))

    def combined(error: float) -> float:
        return rounded(float(np.hypot(error, deviation)))

    regressions = tuple(
        replace(
            r,
            source=source,
            n=len(ratios),
            ms_per_mmac=rounded(r.ms_per_mmac * ratio),
            ms_per_mb=rounded(r.ms_per_mb * ratio),
            cv_error=combined(r.cv_error),
        )
        for r in fitted[0]
    )
    whole = fitted[1]
    times = ("dispatch_ms", "component_ms", "component_error_ms", "turn_ms_per_mb", "turn_error_ms_per_mb")
    scaled = {name: rounded((getattr(whole, name) or 0.0) * ratio) for name in times}
    n, error = len(ratios), combined(whole.cv_error)
    return regressions, replace(whole, source=source, cascade_source=source, n=n, cv_error=error, **scaled)


def _ncnn_run(runs: list[dict], board: str) -> dict[str, list[float]]:  # type: ignore[type-arg]
    found = (r["ms"] for r in runs if board in r["device"] and r["num_threads"] == 1 and r["gpu_device"] == -1)
    ms: dict[str, list[float]] = next(found)
    return ms


def _ncnn_ratios(runs: list[dict], slower: str, faster: str) -> np.ndarray:  # type: ignore[type-arg]
    """Return the ratios of mean times of fp32 networks on two boards, one thread each."""
    by_board = {name: _ncnn_run(runs, name) for name in (slower, faster)}
    both = [n for n in by_board[slower] if n in by_board[faster] and not n.endswith("_int8")]
    return np.array([by_board[slower][n][2] / by_board[faster][n][2] for n in both])


def _write(path: Path, fitted: list[Fitted], sources: list[FigureSource]) -> None:
    """Replace the tables and sources of a profile, and keep its other parts."""
    known = read_profile(path)
    kept = tuple(s for s in known.sources if s.id not in SOURCES)
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


if __name__ == "__main__":
    main()
