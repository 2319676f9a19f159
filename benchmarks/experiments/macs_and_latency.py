"""Disagreement of MACs and predicted latency in a search space, on one device after another; nothing is trained.

    python benchmarks/experiments/macs_and_latency.py --spaces resnet,mobilenetv3-cifar --devices rpi4,rpi5 --count 1000

Networks are drawn at random, without exits. The result has the rank correlation of MACs and latency, how the latency
of a million MACs varies, and the pair that disagrees most: fewer MACs and a longer latency.
"""

import argparse
import json
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from eetool.latency.estimate.predictor import Predictor
from eetool.latency.table.hw_profile import load_device
from eetool.model.checkpoint import build_net
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.model.spec import ModelSpec
from eetool.search.evaluation.cost_estimation import CostEstimator
from eetool.search.search import table_backend
from eetool.search.space.builtin_spaces import load_space
from eetool.search.space.space import Genome, Space
from eetool_runtime.manifest import Input

_CLASSES = tuple(map(str, range(10)))
_INPUT = Input("input", "float32", ("batch", 3, 32, 32), None)


def main() -> None:
    """Print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--spaces", default="resnet,mobilenetv3-cifar")
    parser.add_argument("--devices", default="rpi4,rpi5")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args()
    devices = o.devices.split(",")
    document = {name: disagreements(load_space(name), devices, o.count, o.seed) for name in o.spaces.split(",")}
    print(json.dumps({"count": o.count, "spaces": document}, indent=1))


def disagreements(space: Space, devices: list[str], count: int, seed: int) -> dict[str, Any]:
    """Return by device how MACs and latencies of random backbones differ."""
    rng = np.random.default_rng(seed)
    genomes = [space.without_exits(space.sample(rng)) for _ in range(count)]
    names = [space.network(genome).backbone for genome in genomes]
    result: dict[str, Any] = {}
    for device in devices:
        macs, latency_ms = costs(space, genomes, device)
        first, second = widest_inversion(macs, latency_ms)
        result[device] = {
            "kendall_tau": float(kendalltau(macs, latency_ms).statistic),
            "ms_per_million_macs": np.quantile(latency_ms / macs * 1e6, (0.05, 0.5, 0.95)).tolist(),
            "pair": [
                {"backbone": names[i], "macs": float(macs[i]), "latency_ms": float(latency_ms[i])}
                for i in (first, second)
            ],
        }
    return result


def costs(space: Space, genomes: list[Genome], device: str) -> tuple[np.ndarray, np.ndarray]:
    """Return MACs (n,) and predicted latencies (n,) of backbones without exits."""
    profile = load_device(device)
    estimate = CostEstimator(Predictor(profile, table_backend(profile), "fp32", 1))
    rows = []
    for genome in genomes:
        network = space.network(genome)
        spec = ModelSpec(network.backbone, (_INPUT,), _CLASSES, (), (), network.config)
        found = estimate(spec, build_net(spec).eval(), MAX_SOFTMAX).costs
        rows.append([float(found[name].leaving(())[-1]) for name in ("macs", "latency_ms")])
    macs, latency_ms = np.array(rows).T
    return macs, latency_ms


def widest_inversion(macs: np.ndarray, latency_ms: np.ndarray) -> tuple[int, int]:
    """Return the pair (i, j) for which the smaller of MACs i over j and latency j over i is largest."""
    more, faster = macs[:, None] / macs[None], latency_ms[None] / latency_ms[:, None]
    first, second = np.unravel_index(int(np.minimum(more, faster).argmax()), more.shape)
    return int(first), int(second)


if __name__ == "__main__":
    main()
