"""Policy of a variant whose last components run on a server: temperatures and thresholds for what the wire gives."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from eetool.data.source import Source, check_classes
from eetool.data.vocabulary import use_model_vocabulary
from eetool.export.offload.cut import Cut
from eetool.export.offload.split_answers import SplitAnswers
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.latency.estimate.offload_cost import CallCharge, with_server
from eetool.model.goals import MACS, TuningGoals
from eetool.progress import SILENT, Progress
from eetool.tune.calibration import Calibration
from eetool.tune.cross_fitting import threshold_problem
from eetool.tune.exit_costs import manifest_macs
from eetool.tune.fit_policy import EarlierFit, fit_policy, predict_held_out
from eetool.tune.operating_points import TuningResult, expected_figures
from eetool.tune.outputs import runtime_answers
from eetool.tune.threshold_search import ThresholdProblem
from eetool_runtime import Bundle
from eetool_runtime.loading import load_to_judge
from eetool_runtime.manifest import Expected, Manifest, OperatingPoint
from eetool_runtime.manifest_offload import FP32, OffloadInput, OffloadPoint, OffloadPolicy

_NOTHING = CallCharge(0.0)


def sent_exits(manifest: Manifest, cut: Cut) -> frozenset[int]:
    """Return the exits on the device whose outputs travel."""
    early = manifest.exits[: cut.exits_here]
    return frozenset(i for i, e in enumerate(early) if {e.logits, e.confidence} & cut.tensors.keys())


def same_policy(manifest: Manifest, variant: str, cut: Cut, wire: str) -> OffloadPolicy:
    """Return the policy of a variant for a server, with its own temperatures and thresholds.

    Where float32 numbers travel, the server's answers are the device's, and so are the expected figures. Of other
    numbers, and of a variant that is not float itself, what the server's answers are worth is not known.
    """
    fitted = manifest.variants[variant]
    known = wire == FP32 and variant.endswith("/fp32")
    points = {}
    for name, point in fitted.operating_points.items():
        up = _device_figures(manifest, cut, point) if known else None
        points[name] = OffloadPoint(
            point.thresholds, up, point.expected, _share(point.expected, cut) if known else None
        )
    return OffloadPolicy(fitted.temperatures, points, fitted.slopes, fitted.offsets)


class OffloadFit:
    """Fit of temperatures and thresholds on the answers of device and server, with the goals of the bundle.

    The held-out examples are answered once, for any number of fits.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: str,
        cut: Cut,
        wires: tuple[OffloadInput, ...],
        source: Source,
        progress: Progress = SILENT,
    ) -> None:
        """Answer the held-out examples with the server's components, and without.

        Args:
            bundle: an opened bundle.
            variant: one of its variants.
            cut: where it is cut.
            wires: how tensors travel.
            source: the data that the bundle records.
            progress: observer.

        Raises:
            ArtefactError: the bundle records other data.
        """
        self._manifest, fitted = bundle.manifest, bundle.manifest.variants[variant]
        check_classes(source, self._manifest.labels, str(bundle.path))
        self._source, self._cut = use_model_vocabulary(source, self._manifest.inputs), cut
        before = Calibration(fitted.temperatures, fitted.slopes, fitted.offsets)
        self._own, self._macs = before, manifest_macs(self._manifest)
        self._answers = runtime_answers(SplitAnswers(bundle, variant, cut, wires), before)
        alone = runtime_answers(load_to_judge(bundle, variant=variant), before)
        self._held, self._held_alone = (
            predict_held_out(self._source, self._manifest.data, answers_of, progress)
            for answers_of in (self._answers, alone)
        )

    def fit(
        self,
        goals: TuningGoals,
        earlier: Mapping[str, OperatingPoint],
        costs: CascadeCosts | None = None,
        own: Calibration | None = None,
    ) -> tuple[OffloadPolicy, TuningResult]:
        """Return a policy with every operating point of `earlier` by name. `certified` is full depth.

        Args:
            goals: limits of the operating points.
            earlier: operating points without a server.
            costs: costs that thresholds minimise; None for the MACs of all components, wherever they run.
            own: calibration of the exits that the device computes; None for that of the variant.
        """
        own = own or self._own
        manifest, score = self._manifest, self._manifest.score
        priced = costs is not None or goals.budget is None or goals.budget.unit == MACS
        before = EarlierFit(earlier, None if priced else "costs are not those of a device with a server")
        goals = replace(goals, max_reaction_s=None, certify=None, calibration=own.method)
        minimised = self._macs if costs is None else costs
        here = device_macs(manifest, self._cut)
        tuned = fit_policy(
            self._source,
            manifest.data,
            self._answers,
            minimised,
            here,
            goals,
            score,
            earlier=before,
            held=self._held,
        )
        calibration = _joined(own, tuned.calibration, self._cut.exits_here)
        together = threshold_problem(calibration, self._held, minimised, score)
        judged = _Judged(together, threshold_problem(own, self._held_alone, minimised, score), self._macs)
        points = {name: judged.point(point, self._cut) for name, point in tuned.operating_points.items()}
        return OffloadPolicy(calibration.temperatures, points, calibration.slopes, calibration.offsets), tuned


def _joined(own: Calibration, fitted: Calibration, exits_here: int) -> Calibration:
    """Return the calibration of the device's own exits, and behind the cut what was fitted on the server's answers."""
    k = exits_here
    pairs = ((own.temperatures, fitted.temperatures), (own.slopes, fitted.slopes), (own.offsets, fitted.offsets))
    return Calibration(*((*here[:k], *there[k:]) for here, there in pairs))


def device_macs(manifest: Manifest, cut: Cut) -> CascadeCosts:
    """Return the MACs that the device runs."""
    return with_server(manifest_macs(manifest), cut.exits_here, sent_exits(manifest, cut), _NOTHING)


@dataclass(frozen=True)
class _Judged:
    """The held-out examples as device and server answer them, and as the device alone does."""

    together: ThresholdProblem
    alone: ThresholdProblem
    macs: CascadeCosts

    def point(self, fitted: OperatingPoint, cut: Cut) -> OffloadPoint:
        """Return a point with figures for link up and link down.

        What the choice of thresholds on these examples makes them look better is taken off both accuracies alike.
        """
        up, thresholds = fitted.expected, fitted.thresholds
        assert up is not None  # every fit records it
        seen, down = (expected_figures(one, self.macs, thresholds, up.split) for one in (self.together, self.alone))
        accuracy = min(max(down.accuracy + up.accuracy - seen.accuracy, 0.0), 1.0)
        return OffloadPoint(thresholds, up, replace(down, accuracy=accuracy), _share(up, cut))


def _device_figures(manifest: Manifest, cut: Cut, point: OperatingPoint) -> Expected | None:
    if point.expected is None:
        return None
    here = device_macs(manifest, cut).leaving(point.thresholds)
    return replace(point.expected, mean_macs=float(np.dot(point.expected.exit_shares, here)))


def _share(expected: Expected | None, cut: Cut) -> float | None:
    """Return the share of the inputs that travel."""
    return None if expected is None else min(float(sum(expected.exit_shares[cut.exits_here :])), 1.0)
