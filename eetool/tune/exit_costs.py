"""MACs of leaving a model at each exit."""

from eetool.latency.estimate.cascade_cost import CascadeCosts, find_restarts, layout_of_manifest
from eetool.model.checkpoint import build_net
from eetool.model.exit_flow import measure_exit_macs
from eetool.model.gate_scores import MAX_SOFTMAX, PATIENCE
from eetool.model.references.example_inputs import example_inputs
from eetool.model.spec import ModelSpec
from eetool_runtime.manifest import Manifest


def manifest_macs(manifest: Manifest) -> CascadeCosts:
    """Return the MACs of a bundle's components, arranged by exit."""
    return layout_of_manifest(manifest).arrange({c.name: float(c.macs) for c in manifest.components})


def model_macs(spec: ModelSpec, score: str = MAX_SOFTMAX) -> CascadeCosts:
    """Return MACs at batch 1 of each stretch of the backbone and of each early exit with this gate score."""
    net = build_net(spec).eval()
    macs = measure_exit_macs(net, example_inputs(spec.inputs))
    read_later, reads = macs.read_later, macs.reads
    if score == PATIENCE:  # a confidence of patience reads the outputs of all exits before
        early = len(macs.heads)
        read_later, reads = frozenset(range(early)), tuple(frozenset(range(i)) for i in range(early))
    restarts = find_restarts(len(macs.trunk), macs.crossings)
    trunk, heads = tuple(map(float, macs.trunk)), tuple(map(float, macs.heads))
    return CascadeCosts(trunk, heads, read_later, reads if any(reads) else (), restarts=restarts)
