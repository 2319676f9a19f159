"""Trial exits of a small network, with their costs in MACs and logits that see the label better the deeper they are."""

import numpy as np

from eetool.advise.exit_costs import ExitCosts
from eetool.advise.exit_search import HeldOut
from eetool.advise.trial_exits import find_taps, trial_nets
from eetool.model.checkpoint import build_net
from eetool.model.references.reference import float_input
from eetool.model.spec import ModelSpec

_SPEC = ModelSpec("resnet-4x1-8x1-8x1", float_input("input", (1, 3, 16, 16)), ("a", "b", "c"), (), ())


def trial_logits(n: int) -> tuple[ExitCosts, HeldOut]:
    """Return the costs of linear exits at every tap, and their logits on n examples."""
    backbone = build_net(_SPEC).eval().backbone
    nets = trial_nets(backbone, _SPEC, find_taps(backbone, _SPEC), seed=0)
    exits, random = nets[0].exits, np.random.default_rng(0)
    labels = random.integers(0, 3, n)
    signal = np.eye(3)[labels] * random.uniform(0, 5, (n, 1))
    skills = np.linspace(0.7, 1.2, len(exits) + 1)[:, None, None]
    logits = skills * signal + random.normal(0, 1, (len(exits) + 1, n, 3))
    return ExitCosts(nets, len(exits), None), HeldOut(exits, logits, labels)
