"""Records of an advice: the document `advise/1`. No torch, so that reports can read it."""

from dataclasses import dataclass

SCHEMA = "advise/1"
COUNTED = "counted"  # provenance of MACs
EXITS, SIZES = "exits", "sizes"  # forms of early exit: exits inside one network, and a cascade of sizes
ALONE, UNSPLIT = "alone", "unsplit"  # forms without: the network at a smaller size, and as it is
OWN, FITTED = "own", "fitted"  # classifiers of the network at another size
_HEADLINES = {
    True: "Early exit can pay here",
    False: "Early exit does not pay here",
    None: "Cannot tell whether early exit pays here",
}


@dataclass(frozen=True)
class PointForecast:
    """Expected figures of an operating point on new data.

    Attributes:
        name: name that `eetool tune` gives the point.
        max_accuracy_drop: percentage points that its thresholds may lose.
        accuracy: accuracy in [0, 1].
        accuracy_difference: accuracy less that of the unsplit network, in percentage points.
        accuracy_difference_ci95: interval of it.
        cost: mean cost of an input.
        ratio: mean cost over that of the unsplit network.
        ratio_ci95: interval of it, from the number of examples and from the errors of the table.
        exit_shares: shares of the inputs that leave at each exit.
        ratio_all_examples: the ratio that exits trained on all training examples are expected to reach, see
            `eetool.advise.forecast.extrapolate`; it is `ratio` where the trial exits have seen all of them.
        accuracy_ci95: interval of `accuracy` on new examples; empty in documents of earlier versions. It is wider than
            that of the difference, as accuracy without early exits is itself another one on other examples.
    """

    name: str
    max_accuracy_drop: float
    accuracy: float
    accuracy_difference: float
    accuracy_difference_ci95: tuple[float, float]
    cost: float
    ratio: float
    ratio_ci95: tuple[float, float]
    exit_shares: tuple[float, ...]
    ratio_all_examples: float
    accuracy_ci95: tuple[float, ...] = ()


@dataclass(frozen=True)
class RivalForecast:
    """A static network. Its cost is null where the device's table has none, and `reason` says why.

    Attributes:
        name: file name.
        accuracy: accuracy in [0, 1] on the held-out examples; null for int8, which is not run here.
        cost: predicted cost.
        ratio: cost over that of the unsplit network.
        reason: why a figure is missing.
    """

    name: str
    accuracy: float | None
    cost: float | None
    ratio: float | None
    reason: str | None = None


@dataclass(frozen=True)
class AdviceVerdict:
    """Verdict on early exit: true, false, or null where the forecast does not decide it.

    `form` is the form of early exit that it is about.
    """

    pays: bool | None
    point: str
    text: str
    form: str = EXITS

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        return _HEADLINES[self.pays]


@dataclass(frozen=True)
class NextSteps:
    """A recipe, its reason, and its commands.

    Attributes:
        recipe: `frozen`, `distill`, `smaller` for a smaller network without exits, `sizes` for a cascade of sizes, or
            `alone` for the network at a smaller size.
        reason: one sentence.
        commands: lines for a shell.
    """

    recipe: str
    reason: str
    commands: tuple[str, ...]


@dataclass(frozen=True)
class BranchTrial:
    """A trained trial exit: its accuracy alone on the held-out examples, and the cost of its branch."""

    branch: str
    accuracy: float
    cost: float


@dataclass(frozen=True)
class TapTrial:
    """A place of an exit, with the shares of MACs and of the cost of the backbone before it."""

    tap: str
    macs_share: float
    cost_share: float
    branches: tuple[BranchTrial, ...]


@dataclass(frozen=True)
class AdvisedExit:
    """An exit that is advised."""

    tap: str
    branch: str


@dataclass(frozen=True)
class FrontChoice:
    """A choice of exits with its forecast at the whole accuracy drop."""

    exits: tuple[AdvisedExit, ...]
    accuracy: float
    ratio: float


@dataclass(frozen=True)
class UnsplitForecast:
    """The network without exits; the interval of 90 % comes from the table and is empty for MACs."""

    accuracy: float
    cost: float
    cost_interval: tuple[float, ...]


@dataclass(frozen=True)
class SizeForecast:
    """The network without exits at a smaller size of photographs. Figures are null where `reason` says why.

    Attributes:
        size: height and width in pixels.
        classifier: `own`, or `fitted` on the features at this size.
        accuracy: accuracy in [0, 1] on the held-out examples.
        accuracy_difference: accuracy less that at the full size, in percentage points.
        accuracy_difference_ci95: interval of it; empty without figures.
        cost: cost of an input.
        ratio: cost over that at the full size.
        ratio_ci95: interval of it from the errors of the table; empty without figures.
    """

    size: int
    classifier: str | None = None
    accuracy: float | None = None
    accuracy_difference: float | None = None
    accuracy_difference_ci95: tuple[float, ...] = ()
    cost: float | None = None
    ratio: float | None = None
    ratio_ci95: tuple[float, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class SizesChoice:
    """A cascade of sizes, the full one last, with its forecast at the whole accuracy drop."""

    sizes: tuple[int, ...]
    accuracy: float
    ratio: float


@dataclass(frozen=True)
class CheapestForm:
    """The cheapest form that is expected to keep the accuracy drop.

    Attributes:
        form: `exits`, `sizes`, `alone` or `unsplit`.
        sizes: sizes of photographs of its networks.
        accuracy_difference: accuracy less that of the unsplit network, in percentage points.
        ratio: mean cost over that of the unsplit network.
    """

    form: str
    sizes: tuple[int, ...]
    accuracy_difference: float
    ratio: float


@dataclass(frozen=True)
class SizesForecast:
    """Smaller sizes of photographs, each alone and in front of the full size.

    Attributes:
        full: height and width that the network has.
        alone: the network at each smaller size.
        cascade: sizes of the advised cascade, the full one last.
        points: forecasts of its operating points.
        front: this choice of sizes, then others, from the cheapest on.
        cheapest: the cheapest form of all, with exits inside the network among them.
    """

    full: int
    alone: tuple[SizeForecast, ...]
    cascade: tuple[int, ...]
    points: tuple[PointForecast, ...]
    front: tuple[SizesChoice, ...]
    cheapest: CheapestForm


@dataclass(frozen=True)
class Advice:
    """The document `advise/1`.

    `unit` is `latency_ms` or, without a device, `macs`; all costs are in it. Accuracies are in [0, 1], shares as well.
    `sizes` is null where no smaller sizes were asked for.
    """

    model: str
    data: str
    device: str | None
    unit: str
    provenance: str
    backend: str | None
    precision: str | None
    threads: int | None
    training_examples: int
    held_out_examples: int
    epochs: int
    seconds: float
    unsplit: UnsplitForecast
    int8: RivalForecast | None
    rivals: tuple[RivalForecast, ...]
    taps: tuple[TapTrial, ...]
    exits: tuple[AdvisedExit, ...]
    points: tuple[PointForecast, ...]
    front: tuple[FrontChoice, ...]
    verdict: AdviceVerdict
    next: tuple[NextSteps, ...]
    uncertainties: tuple[str, ...]
    warnings: tuple[str, ...]
    sizes: SizesForecast | None = None
