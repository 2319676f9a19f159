"""Records of an advice: the document `advise/1`."""

from dataclasses import dataclass

from eetool.advise.forecast import AdviceVerdict, PointForecast, RivalForecast
from eetool.advise.next_commands import NextSteps

SCHEMA = "advise/1"
COUNTED = "counted"  # provenance of MACs


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
class Advice:
    """The document `advise/1`.

    `unit` is `latency_ms` or, without a device, `macs`; all costs are in it. Accuracies are in [0, 1], shares as well.
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
