"""Smaller sizes of photographs for a trained network: each alone, and in front of the network at its full size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from eetool.accuracy_difference import paired_interval
from eetool.advise.document import FITTED, OWN, PointForecast, SizeForecast, SizesChoice
from eetool.advise.exit_search import HeldOut, find_exits
from eetool.advise.forecast import forecast_points
from eetool.advise.network import AdvisedNetwork, NetworkChoice, open_network
from eetool.advise.size_costs import SizeCosts, SizedNetwork
from eetool.advise.trial_exits import TrialNet, trial_net
from eetool.advise.trials import Trials
from eetool.data.image_form import ImageForm
from eetool.data.source import Source
from eetool.errors import EarlyExitError, UsageError
from eetool.latency.estimate.predictor import Predictor
from eetool.model.branches import LINEAR
from eetool.model.references.example_inputs import example_inputs
from eetool.model.taps import measure_taps
from eetool.progress import Progress
from eetool.tune.point_names import FAST, drop_limits
from eetool.wording import counted

_MOST = 2  # networks in front of the full size
_ROUNDED = 32  # pixels that proposed sizes are multiples of
_LEAST_PROPOSED = 96  # pixels of a photograph from which smaller sizes are worth a thought
_DEVIATIONS = 1.96  # for 95 %


@dataclass(frozen=True)
class OpenedSizes:
    """The network at smaller sizes, before anything is trained.

    Attributes:
        full: the full size in pixels.
        networks: by size; those that the network runs at.
        refused: reasons by size of the others.
    """

    full: int
    networks: dict[int, AdvisedNetwork]
    refused: dict[int, str]


@dataclass(frozen=True)
class JudgedSizes:
    """Forecasts of smaller sizes; see `eetool.advise.document.SizesForecast`."""

    full: int
    alone: tuple[SizeForecast, ...]
    cascade: tuple[int, ...]
    points: tuple[PointForecast, ...]
    front: tuple[SizesChoice, ...]


@dataclass(frozen=True)
class SizeTrials:
    """Options of the trials.

    Attributes:
        max_accuracy_drop: percentage points that a cascade may lose.
        examples: training examples of a classifier, at most.
        epochs: passes over them.
        seed: of all randomness.
    """

    max_accuracy_drop: float
    examples: int
    epochs: int
    seed: int


def check_sizes(sizes: Sequence[int], source: Source, is_folder: bool) -> list[int]:
    """Return the sizes below the full one, from small to large.

    Raises:
        UsageError: the data are no photographs of a folder, the network reads no squares, or a size is too large.
    """
    if not is_folder or source.resize is None:
        raise UsageError(
            f"--sizes are for photographs, which are resized, and {source.name} has examples of one size",
            "Give --data folder:DIR@224, with the size that the network has.",
        )
    height, width = source.inputs.shape[2:]
    if height != width:
        raise UsageError(f"--sizes are of squares, and the network reads {height}x{width}", "Leave --sizes out.")
    larger = [size for size in sizes if size > height]
    if larger:
        raise UsageError(
            f"--sizes {larger[0]} is larger than the {height} pixels that the network reads",
            f"Give sizes below {height}, or train the network at {larger[0]} first.",
        )
    smaller = sorted(set(sizes) - {height})
    if not smaller:
        raise UsageError(f"--sizes has no size below {height}, which the network reads", "Give smaller ones.")
    return smaller


def proposed_sizes(source: Source) -> list[int]:
    """Return sizes below that of the photographs of `source` that are worth a trial; none for other or small images."""
    if source.resize is None or len(set(source.inputs.shape[2:])) > 1 or source.inputs.shape[2] < _LEAST_PROPOSED:
        return []
    full = source.inputs.shape[2]
    shares = (full * sevenths / 7 for sevenths in (4, 5, 6))
    return sorted({round(share / _ROUNDED) * _ROUNDED for share in shares} - {0, full})


def open_sizes(
    choice: NetworkChoice,
    network: AdvisedNetwork,
    sizes: Sequence[int],
    read: Callable[[ImageForm], Source],
    progress: Progress,
) -> OpenedSizes:
    """Return the network at each size, with the weights and the normalisation that it has.

    Raises:
        UsageError: it runs at none of them.
        ArtefactError: the folder changed since it was read first.
    """
    full, rule = network.source.inputs.shape[2], network.source.resize
    assert rule is not None
    mean, std = network.statistics.mean, network.statistics.std
    normalisation = None if mean is None or std is None else (tuple(mean.tolist()), tuple(std.tolist()))
    same = replace(choice, normalisation=normalisation, hold_out=network.hold_out)
    networks, refused = dict[int, AdvisedNetwork](), dict[int, str]()
    for size in sizes:
        source = read(ImageForm(size, size, rule.fit, network.source.inputs.shape[1]))
        try:
            networks[size] = _runs(open_network(same, source, progress))
        except EarlyExitError as error:
            refused[size] = error.message
    if not networks:
        size, reason = next(iter(refused.items()))
        raise UsageError(
            f"--sizes: the network does not run at {size} px: {reason}",
            "A network takes other sizes where it pools its features before the classifier.",
        )
    return OpenedSizes(full, networks, refused)


def _runs(network: AdvisedNetwork) -> AdvisedNetwork:
    try:
        with torch.no_grad():
            network.net(*example_inputs(network.spec.inputs))
    except RuntimeError as error:
        raise UsageError(str(error).splitlines()[0]) from None
    return network


def judge_sizes(
    opened: OpenedSizes,
    network: AdvisedNetwork,
    full_logits: np.ndarray,
    predictor: Predictor | None,
    trials: SizeTrials,
    progress: Progress,
) -> JudgedSizes:
    """Return the forecasts of the network at smaller sizes, alone and in front of the full size.

    A classifier is fitted on the features at each size, which are computed once. It takes the place of the network's
    own where it is more accurate on the held-out examples.

    Args:
        opened: the network at each size.
        network: the network at the full size.
        full_logits: its logits (n, classes) on the held-out examples.
        predictor: predictor of the device; None for MACs.
        trials: options.
        progress: observer.
    """
    sized = {SizedNetwork(i, size): one for i, (size, one) in enumerate(opened.networks.items())}
    full = SizedNetwork(len(sized), opened.full)
    costs = SizeCosts({**{k: (n.spec, n.net) for k, n in sized.items()}, full: (network.spec, network.net)}, predictor)
    labels = network.source.labels[network.held_out]
    kinds, logits = list[str](), list[np.ndarray]()
    for one in sized.values():
        kind, own = _classify(one, trials, progress)
        kinds.append(kind)
        logits.append(own)
    held = HeldOut(tuple(sized), np.stack([*logits, full_logits]), labels)
    found = find_exits(held, costs.cascade, trials.max_accuracy_drop, _MOST)
    points = forecast_points(held, found[0], costs, drop_limits(trials.max_accuracy_drop))
    alone = [_alone(one, kind, held, costs) for one, kind in zip(sized, kinds, strict=True)]
    alone += [SizeForecast(size, reason=reason) for size, reason in opened.refused.items()]
    others = [forecast_points(held, exits, costs, {FAST: trials.max_accuracy_drop})[0] for exits in found[1:]]
    sizes = [(*(one.size for one in exits), opened.full) for exits in found]
    front = tuple(
        SizesChoice(choice, p.accuracy, p.ratio) for choice, p in zip(sizes, [points[-1], *others], strict=True)
    )
    return JudgedSizes(opened.full, tuple(sorted(alone, key=lambda one: one.size)), sizes[0], tuple(points), front)


def _classify(one: AdvisedNetwork, trials: SizeTrials, progress: Progress) -> tuple[str, np.ndarray]:
    """Return the better classifier at this size, and its logits (n, classes) on the held-out examples."""
    trial = _classifier_trial(one, trials.seed)
    tested = [one.held_out]
    run = Trials([trial], one, tested, trials.examples, trials.epochs, trials.seed, progress)
    held = run.judge([trial])
    fitted, own = held.correct.mean(1)
    return (FITTED, held.logits[0]) if fitted > own else (OWN, held.logits[1])


def _classifier_trial(one: AdvisedNetwork, seed: int) -> TrialNet:
    """Return a linear classifier on the features that the network's own classifier reads."""
    taps = [tap for tap in measure_taps(one.net.backbone, example_inputs(one.spec.inputs)) if tap.layout is not None]
    torch.manual_seed(seed)
    return trial_net(one.net.backbone, one.spec, taps, [len(taps) - 1], LINEAR)


def _alone(one: SizedNetwork, classifier: str, held: HeldOut[SizedNetwork], costs: SizeCosts) -> SizeForecast:
    ours, full, n = held.correct[one.place], held.correct[-1], len(held.labels)
    gained, lost = int((ours & ~full).sum()), int((full & ~ours).sum())
    cost, ratio = costs.alone(one), costs.alone(one).value / max(costs.unsplit.value, 1e-12)
    half = _DEVIATIONS * costs.ratio_deviation((one,), (1.0, 0.0), ratio)
    return SizeForecast(
        size=one.size,
        classifier=classifier,
        accuracy=float(ours.mean()),
        accuracy_difference=100 * (gained - lost) / n,
        accuracy_difference_ci95=paired_interval(gained, lost, n),
        cost=cost.value,
        ratio=ratio,
        ratio_ci95=(max(0.0, ratio - half), ratio + half),
    )


def described(sizes: Sequence[int]) -> str:
    """Return a cascade of sizes in words."""
    *first, last = (str(size) for size in sizes)
    return f"a cascade of {', '.join(first)} and {last} px"


def remark(sizes: Sequence[int]) -> str:
    """Return what to say of sizes that were not asked for."""
    return (
        f"smaller photographs were not tried: --sizes {','.join(map(str, sizes))} judges {counted(len(sizes), 'size')}"
    )
