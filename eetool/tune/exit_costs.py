"""MACs of leaving a model at each exit."""

from eetool.latency.estimate.cascade_cost import CascadeCosts, layout_of_manifest
from eetool.model.checkpoint import build_net
from eetool.model.early_exit import capture_outputs
from eetool.model.gate_scores import MAX_SOFTMAX, PATIENCE
from eetool.model.macs import count_macs
from eetool.model.references.example_inputs import example_inputs
from eetool.model.spec import ModelSpec
from eetool.model.taps import measure_taps
from eetool_runtime.manifest import Manifest


def manifest_macs(manifest: Manifest) -> CascadeCosts:
    """Return the MACs of a bundle's components, arranged by exit."""
    return layout_of_manifest(manifest).arrange({c.name: float(c.macs) for c in manifest.components})


def model_macs(spec: ModelSpec, score: str = MAX_SOFTMAX) -> CascadeCosts:
    """Return MACs at batch 1 of each stretch of the backbone and of each early exit with this gate score."""
    net = build_net(spec).eval()
    example = example_inputs(spec.inputs)
    cumulative = [tap.macs for tap in measure_taps(net.backbone, example, spec.taps)]
    cumulative.append(count_macs(net.backbone, example))
    trunk = [after - before for before, after in zip([0, *cumulative], cumulative, strict=False)]
    with capture_outputs(net.backbone, spec.taps) as features:
        net.backbone(*example)
    heads = [count_macs(head, (features[tap],)) for tap, head in zip(spec.taps, net.exits, strict=True)]
    read_later, reads = frozenset[int](), list[frozenset[int]]()
    if score == PATIENCE:
        read_later, reads = frozenset(range(len(heads))), [frozenset(range(i)) for i in range(len(heads))]
    elif spec.cascade or spec.ensemble:
        reads = [frozenset(range(max(i - 1, 0), i)) for i in range(len(heads))]
    return CascadeCosts(
        tuple(map(float, trunk)), tuple(map(float, heads)), read_later, tuple(reads) if any(reads) else ()
    )
