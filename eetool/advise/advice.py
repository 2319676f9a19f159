"""Advice on a network, data and a device, before any long training: the implementation of `eetool advise`."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eetool.advise.document import (
    COUNTED,
    Advice,
    AdvisedExit,
    BranchTrial,
    FrontChoice,
    PointForecast,
    RivalForecast,
    TapTrial,
    UnsplitForecast,
)
from eetool.advise.exit_costs import ExitCosts
from eetool.advise.exit_search import HeldOut, find_exits
from eetool.advise.forecast import accuracy_interval, decide, extrapolate, forecast_points
from eetool.advise.forms import FormsAdvice, add_sizes
from eetool.advise.network import AdvisedNetwork, NetworkChoice, open_network
from eetool.advise.next_commands import CommandContext, next_steps
from eetool.advise.rivals import judge_rivals
from eetool.advise.sizes import OpenedSizes, SizeTrials, check_sizes, judge_sizes, open_sizes, proposed_sizes, remark
from eetool.advise.smaller_network import smaller_network
from eetool.advise.trial_exits import TrialExit, chosen_net, find_taps, trial_nets
from eetool.advise.trials import Trials
from eetool.data.registry import image_reader
from eetool.data.source import Source
from eetool.latency.estimate.predictor import PREDICTED, Predictor
from eetool.latency.table.hw_profile import HwProfile
from eetool.latency.table.table import LITERT, ONNXRUNTIME
from eetool.model.taps import TapCost
from eetool.progress import Progress
from eetool.train.require_trained import require_trained
from eetool.train.training_examples import TrainingExamples
from eetool.tune.point_names import FAST, drop_limits
from eetool.wording import counted

_LEAST_HALVED = 100  # training examples of which half can train exits
_NEARLY_ALL = 0.97  # share of inputs at the first exit, from which the rest of the network does nothing
_MOST_GUESSED = 0.3  # share of a latency that may rest on no figures of its kind


@dataclass(frozen=True)
class AdviceOptions:
    """Options of an advice.

    Attributes:
        max_accuracy_drop: percentage points that a point may lose.
        most_exits: largest number of early exits.
        examples: training examples of the trial exits, at most.
        epochs: passes over them.
        threads: threads on the device.
        seed: of all randomness.
        against: ONNX files of static rivals.
        sizes: heights of smaller photographs that are judged.
    """

    max_accuracy_drop: float = 1.0
    most_exits: int = 3
    examples: int = 4096
    epochs: int = 10
    threads: int = 1
    seed: int = 0
    against: tuple[Path, ...] = ()
    sizes: tuple[int, ...] = ()


def advise(
    choice: NetworkChoice, source: Source, profile: HwProfile | None, options: AdviceOptions, progress: Progress
) -> Advice:
    """Return the advice on a trained network. The test split of the data is not used; without a device MACs count.

    Raises:
        UsageError: the network has no place for an exit, does not fit the data, or runs at none of the sizes.
        ArtefactError: its weights do not fit or are not trained, or there are too few examples.
        MissingError: the device has no table.
    """
    started = time.monotonic()
    network = open_network(choice, source, progress)
    opened = _open_sizes(choice, network, options, progress)
    taps = find_taps(network.net.backbone, network.spec)
    nets = trial_nets(network.net.backbone, network.spec, taps, options.seed)
    predictor = None if profile is None else Predictor(profile, _backend(profile), "fp32", options.threads)
    costs = ExitCosts(nets, len(taps), predictor)
    trials = Trials(nets, network, [network.held_out], options.examples, options.epochs, options.seed, progress)
    held = trials.judge(nets)
    require_trained(choice.model, held.correct[-1], held.labels)
    rivals = _rivals(options, network, held, costs, predictor, progress)
    found = find_exits(held, costs.cascade, options.max_accuracy_drop, options.most_exits)
    points = _points(trials, held, found[0], taps, costs, network, options)
    doubts = _unknowns(costs, profile)
    judged = None
    if opened is not None:
        trial = SizeTrials(options.max_accuracy_drop, options.examples, options.epochs, options.seed)
        judged = judge_sizes(opened, network, held.logits[-1], predictor, trial, progress)
    alone = () if judged is None else judged.alone
    verdict = decide(points, rivals, options.max_accuracy_drop, len(held.labels), doubts, alone)
    table = None if predictor is None else predictor.kernel_costs
    own_macs = float(costs.macs(()).leaving(())[-1])
    smaller = smaller_network(source, own_macs)
    context = _context(choice, network, profile, options)
    forms = FormsAdvice(verdict, next_steps(context, found[0], verdict.pays, smaller))
    if judged is not None:
        forms = add_sizes(forms, judged, points, rivals, len(held.labels), doubts, context, network.spec)
    return Advice(
        model=choice.model,
        data=source.name,
        device=None if profile is None else profile.name,
        unit=costs.unit,
        provenance=COUNTED if table is None else PREDICTED,
        backend=None if table is None else table.backend,
        precision=None if table is None else table.precision,
        threads=None if table is None else table.threads,
        training_examples=min(options.examples, len(network.training)),
        held_out_examples=len(held.labels),
        epochs=options.epochs,
        unsplit=_unsplit(held, costs),
        int8=_int8(costs, profile),
        rivals=tuple(rivals),
        taps=_tap_trials(taps, held, costs),
        exits=_advised(found[0]),
        points=tuple(points),
        front=_front(found, points[-1], held, costs, options),
        verdict=forms.verdict,
        next=forms.next,
        uncertainties=(
            *(*doubts, *_remarks(found[0], points), *_uncertainties(held, network, options)),
            *_about_sizes(source, options),
        ),
        warnings=() if table is None else tuple(table.warnings),
        seconds=round(time.monotonic() - started, 1),
        sizes=forms.sizes,
    )


def _open_sizes(
    choice: NetworkChoice, network: AdvisedNetwork, options: AdviceOptions, progress: Progress
) -> OpenedSizes | None:
    """Return the network at the sizes that were asked for; None where none were."""
    if not options.sizes:
        return None
    read = image_reader(choice.data, progress)
    sizes = check_sizes(options.sizes, network.source, is_folder=read is not None)
    assert read is not None
    return open_sizes(choice, network, sizes, read, progress)


def _points(
    trials: Trials,
    held: HeldOut[TrialExit],
    exits: Sequence[TrialExit],
    taps: Sequence[TapCost],
    costs: ExitCosts,
    network: AdvisedNetwork,
    options: AdviceOptions,
) -> list[PointForecast]:
    """Return the forecasts of the advised exits, extrapolated to all training examples."""
    drops = drop_limits(options.max_accuracy_drop)
    points = forecast_points(held, exits, costs, drops)
    doublings = math.log2(len(network.training) / trials.count)
    if not doublings or trials.count < _LEAST_HALVED:
        return points
    fresh = chosen_net(network.net.backbone, network.spec, taps, exits, options.seed)
    of_half = forecast_points(trials.judge([fresh], trials.count // 2), exits, costs, drops)
    return extrapolate(points, of_half, doublings, exits, costs)


def _rivals(
    options: AdviceOptions,
    network: AdvisedNetwork,
    held: HeldOut[TrialExit],
    costs: ExitCosts,
    predictor: Predictor | None,
    progress: Progress,
) -> list[RivalForecast]:
    if not options.against:
        return []
    examples: TrainingExamples = network.examples(network.held_out)
    inputs = examples.normalise(examples.images[:]).numpy()
    return judge_rivals(options.against, inputs, held.labels, len(network.spec.labels), costs, predictor, progress)


def _backend(profile: HwProfile) -> str:
    covered = {e.backend for e in profile.table} | {r.backend for r in profile.regressions}
    return LITERT if covered == {LITERT} else ONNXRUNTIME


def _unsplit(held: HeldOut[TrialExit], costs: ExitCosts) -> UnsplitForecast:
    price = costs.unsplit
    half = 1.645 * price.deviation
    interval = (max(0.0, price.value - half), price.value + half) if half else ()
    return UnsplitForecast(float(held.correct[-1].mean()), price.value, interval)


def _int8(costs: ExitCosts, profile: HwProfile | None) -> RivalForecast | None:
    """Return the unsplit network in int8, whose accuracy is not known before it is exported."""
    if profile is None:
        return None
    price, name = costs.int8(), "unsplit, int8"
    if price is None:
        return RivalForecast(name, None, None, None, f"the table of {profile.name} has no int8 figures")
    ratio = price.value / max(costs.unsplit.value, 1e-12)
    return RivalForecast(name, None, price.value, ratio, "accuracy: eetool export --precision int8, then bench")


def _tap_trials(taps: Sequence[TapCost], held: HeldOut[TrialExit], costs: ExitCosts) -> tuple[TapTrial, ...]:
    accuracies = dict(zip(held.exits, held.correct[:-1].mean(1).tolist(), strict=True))
    trials = []
    for place, tap in enumerate(taps):
        here = [e for e in held.exits if e.place == place]
        branches = tuple(BranchTrial(e.branch, accuracies[e], costs.head(e)) for e in here)
        trials.append(TapTrial(tap.name, *costs.share_of_backbone(place), branches))
    return tuple(trials)


def _front(
    found: Sequence[tuple[TrialExit, ...]],
    advised: PointForecast,
    held: HeldOut[TrialExit],
    costs: ExitCosts,
    options: AdviceOptions,
) -> tuple[FrontChoice, ...]:
    """Return the choices of exits with their forecasts at the whole drop; `advised` is that of the first."""
    drops = {FAST: options.max_accuracy_drop}
    others = [forecast_points(held, exits, costs, drops)[0] for exits in found[1:]]
    return tuple(
        FrontChoice(_advised(exits), point.accuracy, point.ratio)
        for exits, point in zip(found, [advised, *others], strict=True)
    )


def _advised(exits: Sequence[TrialExit]) -> tuple[AdvisedExit, ...]:
    return tuple(AdvisedExit(e.tap, e.branch) for e in exits)


def _unknowns(costs: ExitCosts, profile: HwProfile | None) -> list[str]:
    """Return what forbids a firm verdict."""
    share = costs.guessed_share()
    if profile is None or share <= _MOST_GUESSED:
        return []
    return [f"the table of {profile.name} has no figures for the kernels of {100 * share:.0f} % of the latency"]


def _remarks(exits: Sequence[TrialExit], points: Sequence[PointForecast]) -> list[str]:
    """Return a line where nearly all inputs leave at one early exit: a static network does the same."""
    for share, exit_ in zip(points[-1].exit_shares, exits, strict=False):
        if share >= _NEARLY_ALL:
            return [
                f"{100 * share:.0f} % of the inputs leave at {exit_.tap}: the network up to there, with this branch as "
                "its last layers and without any gate, is as good and simpler"
            ]
    return []


def _uncertainties(held: HeldOut[TrialExit], network: AdvisedNetwork, options: AdviceOptions) -> list[str]:
    training, n = len(network.training), len(held.labels)
    count = min(options.examples, training)
    full = float(held.correct[-1].mean())
    low, high = (100 * bound for bound in accuracy_interval(full, n))
    return [
        f"trial exits: {counted(options.epochs, 'epoch')} on {count} of {counted(training, 'training example')}; what "
        "all of them bring is extrapolated",
        f"accuracies are those on {counted(n, 'held-out example')}: unsplit with {100 * full:.1f} % there may have "
        f"{low:.1f} to {high:.1f} % on others, and the points with it; their difference to unsplit on the "
        "same examples is what is forecast",
    ]


def _about_sizes(source: Source, options: AdviceOptions) -> list[str]:
    if options.sizes:
        return [
            "sizes: the classifier alone is fitted at each, and `train` goes on with all layers; making smaller "
            "photographs is in no forecast, and `bench` measures it"
        ]
    proposed = proposed_sizes(source)
    return [remark(proposed)] if proposed else []


def _context(
    choice: NetworkChoice,
    network: AdvisedNetwork,
    profile: HwProfile | None,
    options: AdviceOptions,
) -> CommandContext:
    return CommandContext(
        model=network.reference,
        weights=network.weight_options,
        size=network.size_options,
        data=choice.data.name,
        hold_out=network.hold_out,
        device=choice.device if profile is not None else None,
        against=options.against,
        max_accuracy_drop=options.max_accuracy_drop,
        named=network.named,
    )
