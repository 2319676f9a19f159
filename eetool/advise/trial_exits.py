"""Exits that an advice tries: branches at every place of a trained backbone, trained on features computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.branches import DEFAULT_BRANCH, LINEAR, Branch, BranchSpec, default_branch
from eetool.model.early_exit import EarlyExitNet
from eetool.model.exit_flow import keep_needed_taps
from eetool.model.macs import count_macs
from eetool.model.references.example_inputs import example_inputs
from eetool.model.spec import ModelSpec, TrainingSettings
from eetool.model.taps import TapCost, listed_taps, measure_taps
from eetool.progress import Progress
from eetool.train.feature_files import FeatureRows
from eetool.train.stored_training import ExamplesView, StoredExamples, StoredFeaturesNet, examples_digest
from eetool.train.tap_features import TapPart, backbone_digest, part_shapes, parts_of, tap_features
from eetool.train.training_examples import TrainingExamples
from eetool.train.training_loop import run_training
from eetool.workspace import scratch

_MOST_STRONG = 6  # taps that the default branch is tried at, which takes most of the time
_LAST = 0.97  # share of the MACs from which an exit can save nothing worth its own cost
_BATCH = 256


@dataclass(frozen=True)
class TrialExit:
    """A branch at a tap; `place` is the position of the tap among all that are tried."""

    place: int
    tap: str
    branch: str


@dataclass(frozen=True)
class TrialNet:
    """Exits with one kind of branch at some taps, on the common backbone."""

    spec: ModelSpec
    net: EarlyExitNet
    exits: tuple[TrialExit, ...]


def find_taps(backbone: nn.Module, spec: ModelSpec) -> list[TapCost]:
    """Return the places where exits are tried, from shallow to deep.

    Raises:
        UsageError: the network has none.
    """
    example = example_inputs(spec.inputs)
    measured, total = measure_taps(backbone, example), count_macs(backbone, example)
    if spec.outputs:
        measured, total = keep_needed_taps(backbone, example, measured)
    taps = [tap for tap in listed_taps(measured) if tap.macs < _LAST * total and tap.layout is not None]
    if not taps:
        raise UsageError(
            f"{spec.backbone} has no place for an early exit",
            "A place is a module that runs once, before the last layers, and whose output is read afterwards. Use a "
            "network with several layers in modules of their own.",
        )
    return taps


def trial_nets(backbone: nn.Module, spec: ModelSpec, taps: Sequence[TapCost], seed: int) -> list[TrialNet]:
    """Return exits with linear branches at all taps, and with stronger ones at a few of those that take them."""
    torch.manual_seed(seed)
    strong = [i for i, tap in enumerate(taps) if default_branch(tap.layout or "", class_token=False) == DEFAULT_BRANCH]
    if len(strong) > _MOST_STRONG:
        strong = [strong[i] for i in np.unique(np.linspace(0, len(strong) - 1, _MOST_STRONG).round().astype(int))]
    kinds = {LINEAR: list(range(len(taps))), DEFAULT_BRANCH: strong}
    return [trial_net(backbone, spec, taps, places, branch) for branch, places in kinds.items() if places]


def chosen_net(
    backbone: nn.Module, spec: ModelSpec, taps: Sequence[TapCost], exits: Sequence[TrialExit], seed: int
) -> TrialNet:
    """Return fresh exits at the places of `exits`, with their branches."""
    torch.manual_seed(seed)
    nets = [trial_net(backbone, spec, taps, [e.place], e.branch) for e in exits]
    joined = {e.tap: net.net.exits[0] for e, net in zip(exits, nets, strict=True)}
    layouts = tuple(net.spec.layouts[0] for net in nets)
    with_exits = replace(spec, taps=tuple(joined), branches=tuple(e.branch for e in exits), layouts=layouts)
    return TrialNet(with_exits, EarlyExitNet(backbone, joined), tuple(exits))


def trial_net(
    backbone: nn.Module, spec: ModelSpec, taps: Sequence[TapCost], places: Sequence[int], branch: str
) -> TrialNet:
    """Return fresh exits with one kind of branch at the `places` among `taps`."""
    chosen = [taps[place] for place in places]
    layouts = tuple(tap.layout or "" for tap in chosen)
    exits = {
        tap.name: Branch(BranchSpec.parse(branch), tap.shape, len(spec.labels), layout=layout)
        for tap, layout in zip(chosen, layouts, strict=True)
    }
    names = tuple(exits)
    with_exits = replace(spec, taps=names, branches=(branch,) * len(names), layouts=layouts)
    return TrialNet(
        with_exits,
        EarlyExitNet(backbone, exits),
        tuple(TrialExit(place, tap.name, branch) for place, tap in zip(places, chosen, strict=True)),
    )


class TrialFeatures:
    """Features of the common backbone for all trial exits, on some examples without augmentation."""

    def __init__(self, nets: Sequence[TrialNet], examples: TrainingExamples, progress: Progress) -> None:
        self.examples = examples
        first = nets[0].net
        parts = {part.key: part for trial in nets for part in parts_of(trial.net)}
        view = ExamplesView(examples, examples_digest(examples), None)
        self._view = view
        rows = tap_features(first, list(parts.values()), view, backbone_digest(first), progress)
        self._rows: dict[str, FeatureRows] = dict(zip(parts, rows, strict=True))

    def of(self, net: EarlyExitNet, count: int | None = None) -> tuple[StoredFeaturesNet, StoredExamples]:
        """Return a network and the first `count` examples, by default all, as the features of its exits."""
        parts: list[TapPart] = parts_of(net)
        labels = self.examples.labels[:count]
        placeholder = torch.zeros(1, dtype=torch.uint8).expand(len(labels))
        rows = tuple(self._rows[part.key] for part in parts)
        stored = StoredExamples(placeholder, labels, None, None, views=(rows,))
        return StoredFeaturesNet(net, part_shapes(net, parts, self._view[:1])), stored


def train_trial(
    trial: TrialNet,
    features: TrialFeatures,
    settings: TrainingSettings,
    progress: Progress,
    count: int | None = None,
) -> None:
    """Train the exits of `trial` in place, by the recipe `frozen`, on the first `count` examples or all."""
    net, examples = features.of(trial.net, count)
    with scratch() as folder:
        run_training(net, examples, settings, Path(folder) / "state", resume=False, progress=progress)


@torch.no_grad()
def trial_logits(trial: TrialNet, features: TrialFeatures) -> np.ndarray:
    """Return the logits of all exits, the final one last: (exits, n, classes)."""
    net, examples = features.of(trial.net)
    net.eval()
    parts: list[tuple[Tensor, ...]] = []
    for chosen in torch.split(torch.arange(len(examples.labels)), _BATCH):
        inputs = torch.cat([torch.from_numpy(rows[chosen.numpy()]) for rows in examples.views[0]], 1)
        parts.append(net(inputs))
    return torch.stack([torch.cat(outputs) for outputs in zip(*parts, strict=True)]).numpy()
