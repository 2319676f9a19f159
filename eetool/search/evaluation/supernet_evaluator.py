"""Evaluation of candidates whose backbones inherit the weights of a supernet."""

from collections.abc import Sequence

import torch
from torch import nn

from eetool.errors import DivergedError
from eetool.model.branches import Branch
from eetool.model.checkpoint import build_net
from eetool.model.early_exit import EarlyExitNet, capture_outputs
from eetool.model.memory_format import in_memory_format
from eetool.model.non_finite import count_non_finite
from eetool.model.references.example_inputs import example_inputs
from eetool.model.references.resolve import build
from eetool.model.spec import ModelSpec
from eetool.model.supernet import Supernet, recalibrate_batch_norm
from eetool.model.tap_layouts import choose_layouts, find_layouts
from eetool.search.evaluation.adaptive_branches import adaptive_branches
from eetool.search.evaluation.branch_training import BRANCH_BATCH, TapFeatures, labelled_outputs, train_branches
from eetool.search.evaluation.cost_estimation import CostEstimator
from eetool.search.evaluation.evaluator import BuiltCandidate, EvaluationSettings, Evaluator, seed_of
from eetool.search.evaluation.fine_tuning import fine_tune
from eetool.search.evaluation.splits import SearchData, SplitPart
from eetool.search.space.space import CandidateNetwork, Space
from eetool.tune.cross_fitting import LabelledLogits

_BATCH = 256


class SupernetEvaluator(Evaluator):
    """Evaluates genomes of a space of backbones, whose weights are shared."""

    def __init__(
        self, space: Space, supernet: Supernet, data: SearchData, estimator: CostEstimator, settings: EvaluationSettings
    ) -> None:
        super().__init__(space, data, estimator, settings)
        self.supernet = supernet

    def build(self, network: CandidateNetwork) -> tuple[EarlyExitNet, ModelSpec]:
        """Return a candidate with random weights."""
        backbone = build(network.backbone, self.data.inputs, len(self.data.classes), network.config)
        found = find_layouts(backbone, example_inputs(self.data.inputs), network.taps) if network.taps else {}
        layouts = choose_layouts({tap: found[tap] for tap in network.taps}, (), hint=False)
        branches = self._branches(network, backbone, layouts)
        learned = self.settings.learned and bool(network.taps)
        spec = ModelSpec(
            *(network.backbone, self.data.inputs, self.data.classes, network.taps, branches, network.config, learned),
            layouts=layouts,
        )
        return build_net(spec).eval(), spec

    def _branches(self, network: CandidateNetwork, backbone: nn.Module, layouts: tuple[str, ...]) -> tuple[str, ...]:
        """Return the branches that genes describe; NACHOS' rule makes the others."""
        own = tuple(branch for branch in network.branches if branch is not None)
        if len(own) == len(network.branches):
            return own
        by_rule = adaptive_branches(backbone, self.data.inputs, network.taps, layouts, len(self.data.classes))
        return tuple(branch or given for branch, given in zip(network.branches, by_rule, strict=True))

    def inherit(self, net: EarlyExitNet, key: str) -> None:
        """Copy shared weights into the candidate, and fine-tune or recalibrate them."""
        self.supernet.copy_weights_to(net.backbone)
        if self.settings.fine_tune:
            seed, epochs = seed_of(key, self.settings.seed), self.settings.fine_tune
            fine_tune(net, self.data.training, epochs, seed, self.settings.torch_device)
        else:
            recalibrate_batch_norm(net.backbone, self.data.batches(self.settings.calibration, _BATCH))

    def trained_outputs(self, built: BuiltCandidate, parts: Sequence[SplitPart]) -> list[LabelledLogits]:
        """Train the branches on features of the backbone, which runs once on every example."""
        device, net = torch.device(self.settings.torch_device), built.net
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
        branches = [branch for branch in net.exits if isinstance(branch, Branch)]
        goal = self.cost_goal(built.costs)
        train = bool(branches) and (goal is not None or not self.settings.fine_tune)  # fine-tuning trains them already
        training = _features(net, self.data.branches, device) if train else None
        held_out = [_features(net, part, device) for part in parts]
        built.timer.lap("features")
        if training is not None:
            seed = seed_of(built.key, self.settings.seed)
            train_branches(branches, training, self.settings.epochs, BRANCH_BATCH, seed, goal)
        built.timer.lap("branches")
        return [labelled_outputs(branches, features) for features in held_out]


@torch.no_grad()
def _features(net: EarlyExitNet, part: SplitPart, device: torch.device) -> TapFeatures:
    batches: list[list[torch.Tensor]] = []
    for images in part.batches():
        with capture_outputs(net.backbone, net.taps) as at:
            final = net.backbone(in_memory_format(images, torch.channels_last).to(device))
        batches.append([*(at[tap] for tap in net.taps), final])
    *taps, final = (torch.cat(chunks) for chunks in zip(*batches, strict=True))
    for name, x in zip((*net.taps, "the final exit"), (*taps, final), strict=True):
        if counts := count_non_finite(x):
            raise DivergedError(
                f"a candidate gives {counts} at {name}", "Train the supernet anew, with a lower --learning-rate."
            )
    return TapFeatures(tuple(taps), final, part.labels.to(device))


def largest_network(space: Space, data: SearchData) -> nn.Module:
    """Return the largest backbone of a space with fresh weights; it holds the weights of all others."""
    network = space.network(space.largest())
    return build(network.backbone, data.inputs, len(data.classes), network.config)
