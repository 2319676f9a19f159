"""Outputs and costs of every exit of one backbone: what one part of the table is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from eetool.advise.exit_costs import network_target
from eetool.advise.trial_exits import find_taps
from eetool.data.image_rows import image_tensor
from eetool.data.source import Source
from eetool.errors import MissingError
from eetool.latency.estimate.cascade_cost import CascadeLayout
from eetool.latency.estimate.prediction_target import PredictionTarget
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.kernels.from_onnx import total_macs
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.weight_streaming import weight_mb
from eetool.model.checkpoint import Checkpoint
from eetool.model.early_exit import EarlyExitNet
from eetool.model.spec import ModelSpec
from eetool.search.evaluation.adaptive_branches import adaptive_branches
from eetool.search.evaluation.backbone_features import BackboneFeatures, TappedBackbone
from eetool.search.evaluation.branch_training import TapFeatures, exit_outputs, train_branches
from eetool.train.training_examples import TrainingExamples
from eetool.tune.calibration import fit_temperature
from eetool_runtime.result import softmax
from tabular.family import BRANCHES, FamilyMember, choose_taps

_TRAINING, _HELD_OUT = 0, 1  # parts of the examples


@dataclass(frozen=True)
class BranchTraining:
    """Settings of the training of all branches."""

    examples: int = 8000
    epochs: int = 4
    batch: int = 64
    seed: int = 0


@dataclass(frozen=True)
class BranchedBackbone(TappedBackbone):
    """A trained backbone, its taps, and the branches at every tap.

    Attributes:
        branches: (taps, branches); the last of each tap is that of NACHOS' rule.
    """

    branches: tuple[tuple[str, ...], ...]


def tapped(member: FamilyMember, checkpoint: Checkpoint) -> BranchedBackbone:
    """Return the taps and branches of a trained backbone."""
    spec = checkpoint.record.spec
    net = checkpoint.build()
    taps = choose_taps(find_taps(net.backbone, spec), member.name)
    names, layouts = tuple(tap.name for tap in taps), tuple(tap.layout or "" for tap in taps)
    rule = adaptive_branches(net.backbone, spec.inputs, names, layouts, len(spec.labels))
    return BranchedBackbone(spec, net, tuple(taps), tuple((*BRANCHES, own) for own in rule))


def backbone_features(
    backbone: TappedBackbone, source: Source, training: np.ndarray, held_out: np.ndarray
) -> BackboneFeatures:
    """Return features at all taps, on the training examples and on the held-out ones."""
    rule = backbone.spec.inputs[0].preprocess
    mean, std = (None, None) if rule is None else (torch.tensor(rule.mean), torch.tensor(rule.std))
    parts = [
        TrainingExamples(image_tensor(source.inputs, rows), torch.from_numpy(source.labels[rows]), mean, std)
        for rows in (training, held_out)
    ]
    return BackboneFeatures(backbone, parts)


def tap_outputs(
    backbone: BranchedBackbone, features: BackboneFeatures, tap: int, settings: BranchTraining, fitted: int
) -> dict[str, np.ndarray]:
    """Train all branches of a tap together, and return their outputs on the held-out examples, see `outputs`."""
    torch.manual_seed(settings.seed * 1000 + tap)
    classes = len(backbone.spec.labels)
    branches = [backbone.branch(tap, text, canonical=True) for text in backbone.branches[tap]]
    x, labels = features.of(_TRAINING, tap), features.labels[_TRAINING]
    training = TapFeatures((x,) * len(branches), torch.zeros(len(labels), classes), labels)
    train_branches(branches, training, settings.epochs, settings.batch, settings.seed)
    x, labels = features.of(_HELD_OUT, tap), features.labels[_HELD_OUT]
    held_out = TapFeatures((x,) * len(branches), torch.zeros(len(labels), classes), labels)
    logits = exit_outputs(branches, held_out, settings.batch)[0][:-1].numpy()
    return outputs(logits, labels.numpy(), fitted)


def outputs(logits: np.ndarray, labels: np.ndarray, fitted: int) -> dict[str, np.ndarray]:
    """Return what the table holds of logits (exits, n, classes).

    Args:
        logits: of every exit.
        labels: int64 (n,).
        fitted: number of examples, at the beginning, that temperatures are fitted on.

    Returns:
        `classes` uint8, `uncertainty` float16, one less the largest calibrated probability, and `margin` float16, the
        difference of the two largest probabilities without calibration: (exits, n) each.
    """
    classes, uncertainty, margin = [], [], []
    for one in logits:
        temperature = fit_temperature(one[:fitted], labels[:fitted])
        classes.append(one.argmax(1).astype(np.uint8))
        uncertainty.append(_uncertainty(one, temperature).astype(np.float16))
        first, second = np.sort(softmax(one.astype(np.float64), 1.0), 1)[:, :-3:-1].T
        margin.append((first - second).astype(np.float16))
    return {"classes": np.stack(classes), "uncertainty": np.stack(uncertainty), "margin": np.stack(margin)}


def _uncertainty(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return the sum of all probabilities but the largest; a difference from 1 would be 0 in float32 too early."""
    ordered = np.sort(softmax(logits.astype(np.float64), temperature), 1)
    rest: np.ndarray = ordered[:, :-1].sum(1)
    return rest


def backbone_costs(backbone: BranchedBackbone, predictors: dict[str, Predictor]) -> dict[str, np.ndarray]:
    """Return costs of the stretches between taps (taps + 1,) and of all heads (taps, branches), by array of the table.

    A stretch has no dispatch: a component of several stretches is dispatched once.

    Raises:
        MissingError: a device has no figures of energy.
    """
    arrays: dict[str, np.ndarray] = {}
    for device, predictor in predictors.items():
        targets = [network_target(spec, net, predictor) for spec, net in _networks(backbone)]
        graphs, layouts = [target.graphs for target in targets], [_layout(target) for target in targets]
        trunk = [[k for name in names for k in graphs[0][name]] for names in layouts[0].trunk]
        heads = [
            [own[name] if (name := layout.heads[tap]) else [] for own, layout in zip(graphs, layouts, strict=True)]
            for tap in range(len(backbone.taps))
        ]
        if not arrays:
            arrays["trunk_macs"] = np.array([float(total_macs(kernels)) for kernels in trunk])
            arrays["head_macs"] = np.array([[float(total_macs(kernels)) for kernels in row] for row in heads])
            arrays["trunk_weight_mb"] = np.array([weight_mb(kernels) for kernels in trunk])
            arrays["head_weight_mb"] = np.array([[weight_mb(kernels) for kernels in row] for row in heads])
        for unit, costs in (("latency_ms", _latency), ("energy_mj", _energy)):
            alone = costs(predictor, [])
            arrays[f"{device}_trunk_{unit}"] = np.array([costs(predictor, kernels) - alone for kernels in trunk])
            arrays[f"{device}_head_{unit}"] = np.array(
                [[costs(predictor, kernels) - alone for kernels in row] for row in heads]
            )
    return arrays


def empty_graph(predictor: Predictor) -> dict[str, float]:
    """Return the cost of a graph without kernels: that of one dispatch."""
    return {"latency_ms": _latency(predictor, []), "energy_mj": _energy(predictor, [])}


def _layout(target: PredictionTarget) -> CascadeLayout:
    assert target.layout is not None  # a recorded network has one
    return target.layout


def _latency(predictor: Predictor, kernels: Sequence[Kernel]) -> float:
    return predictor.graph("graph", kernels).latency_ms


def _energy(predictor: Predictor, kernels: Sequence[Kernel]) -> float:
    value = predictor.graph("graph", kernels).energy_mj.value
    if value is None:
        raise MissingError(f"{predictor.profile.name} has no figures of energy", "Give another device.")
    return value


def _networks(backbone: BranchedBackbone) -> list[tuple[ModelSpec, EarlyExitNet]]:
    """Return networks with an exit at every tap, one for each kind of branch."""
    layouts = tuple(tap.layout or "" for tap in backbone.taps)
    networks = []
    for texts in zip(*backbone.branches, strict=True):
        exits = {
            tap.name: backbone.branch(i, text) for i, (tap, text) in enumerate(zip(backbone.taps, texts, strict=True))
        }
        spec = replace(backbone.spec, taps=tuple(exits), branches=texts, layouts=layouts)
        networks.append((spec, EarlyExitNet(backbone.net.backbone, exits)))
    return networks
