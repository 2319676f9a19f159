"""What an input pays: everything that ran before it left, rejected exits too, in MACs or in milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eetool.metrics import Thresholds
from eetool.model.checkpoint import ModelSpec, build_net, example_inputs
from eetool.model.early_exit import capture_outputs
from eetool.model.gate_scores import MAX_SOFTMAX, PATIENCE
from eetool.model.macs import count_macs, measure_taps
from eetool_runtime.manifest import Manifest


@dataclass(frozen=True)
class CascadeCosts:
    """Cost of each part: `trunk[i]` from exit i − 1 to exit i (the last holds the classifier), `heads[i]` of exit i.

    In MACs or milliseconds; a cost includes everything that ran, rejected exits too. A head whose gate never fires runs
    all the same where something that runs reads what it makes: `read_later` are the early exits that a part reads which
    always runs, `reads[i]` those that the head of exit i reads (none at all where that is empty).
    """

    trunk: tuple[float, ...]
    heads: tuple[float, ...]
    read_later: frozenset[int] = frozenset()
    reads: tuple[frozenset[int], ...] = ()

    def leaving(self, thresholds: Thresholds) -> np.ndarray:
        """Cost of an input that leaves at exit 0 … N; heads that nothing needs are not run."""
        runs = [t is not None or i in self.read_later for i, t in enumerate(thresholds)]
        for later in reversed(range(len(self.reads))):
            for earlier in self.reads[later] if runs[later] else ():
                runs[earlier] = True
        heads = [h if r else 0.0 for h, r in zip(self.heads, runs, strict=True)]
        total: np.ndarray = np.cumsum(self.trunk) + np.cumsum([*heads, 0.0])
        return total


def component_costs(manifest: Manifest, cost: Mapping[str, float]) -> CascadeCosts:
    """Costs per component, arranged by exit: the heads of early exits apart from the trunk."""
    owners = [e.component for e in manifest.exits]
    kinds = {c.name: c.kind for c in manifest.components}
    trunk = [0.0] * len(owners)
    heads = [0.0] * (len(owners) - 1)
    index = 0
    for c in manifest.components:
        if c.name in owners[:-1] and kinds[c.name] == "exit":
            heads[owners.index(c.name)] = cost[c.name]
        else:
            trunk[index] += cost[c.name]
        if c.name in owners:
            index = owners.index(c.name) + 1
    made = {name: c.name for c in manifest.components for name in c.outputs}
    early = {owner: i for i, owner in enumerate(owners[:-1])}
    read = {c.name: frozenset(early[made[n]] for n in c.inputs if made.get(n) in early) for c in manifest.components}
    gated = [owner for owner in early if kinds[owner] == "exit"]
    read_later = frozenset().union(*(read[c.name] for c in manifest.components if c.name not in gated))
    reads = tuple(read[owner] if owner in gated else frozenset() for owner in early)
    return CascadeCosts(tuple(trunk), tuple(heads), read_later, reads if any(reads) else ())


def model_macs(spec: ModelSpec, score: str = MAX_SOFTMAX) -> CascadeCosts:
    """MACs at batch 1 of each stretch of the backbone and of each early exit, whose gates go by `score`."""
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
