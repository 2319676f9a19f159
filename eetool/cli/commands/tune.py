"""`eetool tune`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from eetool.cli.options import (
    CHECKPOINT_OR_BUNDLE,
    DEVICE,
    LINK,
    PROFILE,
    FiniteRange,
    check_table_option,
    data_choice,
    data_options,
    force_option,
    named_option,
    output_option,
)
from eetool.cli.output import CommandResult, verb_with_request
from eetool.cli.progress_bars import TerminalProgress
from eetool.cli.repeated_command import repeated_command
from eetool.cli.shell_completion import complete_hw_profile
from eetool.cli.tune_output import DeviceFigures, round_up, tune_result

if TYPE_CHECKING:
    from eetool.api.offload_tuning import LinkOrder
    from eetool.model.goals import Budget

DEFAULT_REACTION_S = 3.0
_MACS, _LATENCY, _ENERGY = "macs", "latency_ms", "energy_mj"


@dataclass(frozen=True)
class TuneRequest:
    """Options of `eetool tune`."""

    model: Path
    data: str
    shape: tuple[int, ...] | None
    fit: str | None
    output: Path | None
    max_accuracy_drop: float
    certify: float | None
    max_macs: float | None
    max_latency_ms: float | None
    max_energy_mj: float | None
    device: str | None
    profile: Path | None
    drops: str | None
    standard_errors: float
    score: str | None
    calibration: str | None
    variant: str | None
    default: str | None
    stream: bool
    max_reaction_s: float | None
    named: tuple[str, ...]
    force: bool
    check_table: bool
    link: Path | None
    max_offload_share: float | None
    offload_timeout_ms: float | None


@verb_with_request(TuneRequest)
@click.argument("model", type=CHECKPOINT_OR_BUNDLE)
@data_options()
@output_option("The tuned model.  [MODEL itself, if it was not tuned before]")
@click.option(
    "--max-accuracy-drop",
    type=FiniteRange(0, 100),
    default=1.0,
    show_default=True,
    help="Percentage points that `fast` may lose against full depth; `balanced` may lose half of it.",
)
@click.option(
    "--certify",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=None,
    metavar="P",
    help="Also make a point `certified`: with probability P its drop is no larger on new data.",
)
@click.option("--max-macs", type=FiniteRange(0, min_open=True), default=None, help="Mean over inputs; see below.")
@click.option("--max-latency-ms", type=FiniteRange(0, min_open=True), default=None, help="Mean over inputs; see below.")
@click.option("--max-energy-mj", type=FiniteRange(0, min_open=True), default=None, help="Mean over inputs; see below.")
@click.option(
    "--device",
    type=DEVICE,
    default=None,
    metavar="NAME",
    shell_complete=complete_hw_profile,
    help="Minimise the cost that its table predicts, not MACs.",
)
@click.option("--profile", type=PROFILE, default=None, help="Minimise the cost in this document of `eetool profile`.")
@click.option("--drops", default=None, metavar="D,D,…", help="One more operating point for each accuracy drop.")
@click.option(
    "--standard-errors",
    type=FiniteRange(0, 10),
    default=1.0,
    show_default=True,
    help="Margin of a drop: so many of its standard errors, times the root of the number of thresholds.",
)
@click.option(
    "--score",
    type=click.Choice(["max_softmax", "entropy", "margin", "learned", "patience"]),
    default=None,
    help="Confidence that gates compare.  [max_softmax, or learned where the model has it]",
)
@click.option(
    "--calibration",
    type=click.Choice(["temperature", "platt"]),
    default=None,
    help="Calibration of confidences.  [temperature, or that of a bundle]",
)
@click.option("--variant", default=None, help="Variant of a bundle to tune.  [the first]")
@click.option(
    "--default", default=None, metavar="NAME", help="Operating point in use after loading.  [the fastest, see below]"
)
@click.option("--stream/--no-stream", default=False, help="Also fit operating points for streams of frames, see below.")
@click.option(
    "--max-reaction-s",
    type=FiniteRange(0, min_open=True),
    default=None,
    help="With --stream: seconds within which the answer follows 95 % of the changes of the class.  [3]",
)
@click.option(
    "--link",
    type=LINK,
    default=None,
    help="Document of `eetool profile BUNDLE --link URL`: ask the server only where that is faster.",
)
@click.option(
    "--max-offload-share",
    type=FiniteRange(0, 1),
    default=None,
    help="With --link: share of the inputs that may be sent.",
)
@click.option(
    "--offload-timeout-ms",
    type=FiniteRange(0, min_open=True),
    default=None,
    help="With --link: time limit of a call.  [40]",
)
@check_table_option
@named_option
@force_option
def tune(request: TuneRequest) -> CommandResult:
    """Fit temperatures and thresholds of MODEL, a model.pt or a bundle.

    Temperatures and thresholds are fitted on held-out examples, which neither training nor `bench` uses. The accuracy
    of an operating point is that expected on new data.

    With --device or --profile thresholds minimise latency on that device, or energy with --max-energy-mj. A budget, of
    MACs without a device, adds the operating point `budget`, the most accurate that keeps it. The default point is the
    cheapest, in the same unit, that keeps --max-accuracy-drop on new data.

    With --stream the points `stream-full`, `stream-balanced` and `stream-fast` are fitted as well, on whole sequences
    of --data. They are the cheapest policies of `model.stream()` that keep the reaction time and the accuracy drop,
    against full depth with an answer per frame. Their figures are expected on new groups, such as persons.

    With --link a bundle that was exported with --offload is charged, on the device, the time until the server answers,
    and after a failed call the rest of the cascade. Each operating point sends inputs only where that costs less than
    never sending any. Figures are those with the link up and with the link down.

    The model records its goals. A bundle keeps the recorded ones where no option replaces them; --drops are added.
    """
    from eetool.api.tuned_model import TuningOrder, check_tuning_output, tune_model
    from eetool.model.goals import TuningGoals

    goals = TuningGoals(
        request.max_accuracy_drop,
        request.certify,
        _drops(request.drops),
        _budget(request),
        request.calibration,
        request.standard_errors,
        max_reaction_s=_reaction(request),
    )
    order = TuningOrder(
        request.model,
        request.output,
        goals,
        _named_goals(request.stream),
        request.device,
        request.profile,
        request.score,
        request.variant,
        request.default,
        request.named,
        request.force,
        request.check_table,
        _link(request),
    )
    data = data_choice(request.data, request.shape, request.fit)
    check_tuning_output(order)
    tuned = tune_model(order, data, TerminalProgress())
    costs = tuned.device_costs
    figures = DeviceFigures(costs, dict(tuned.mean_costs)) if costs is not None else None
    assert tuned.output is not None
    drop = tuned.goals.max_accuracy_drop
    return tune_result(partial(_retry, request), tuned.output, tuned.result, drop, figures, tuned.offload)


def _link(request: TuneRequest) -> "LinkOrder | None":
    from eetool.api.offload_tuning import LinkOrder
    from eetool.errors import UsageError

    if request.link is not None:
        timeout_ms = request.offload_timeout_ms or LinkOrder.timeout_ms
        return LinkOrder(request.link, request.max_offload_share, timeout_ms)
    for name in ("max_offload_share", "offload_timeout_ms"):
        if getattr(request, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is of a server", "Give --link link.json as well.")
    return None


def _retry(request: TuneRequest, smallest_drop: float) -> str:
    """Return the command that tunes the model again, where no point is asked for less than `smallest_drop` points."""
    least = round_up(smallest_drop)
    whole = min(100, max(request.max_accuracy_drop, 2 * least))  # `balanced` is asked for half of it
    changed = {"--max-accuracy-drop": f"{whole:g}"}
    if request.drops is not None:
        changed["--drops"] = ",".join(dict.fromkeys(f"{max(drop, least):g}" for drop in _drops(request.drops)))
    return repeated_command(changed, ("--force",))


def _budget(request: TuneRequest) -> "Budget | None":
    from eetool.errors import UsageError
    from eetool.model.goals import Budget

    limits = {_MACS: request.max_macs, _LATENCY: request.max_latency_ms, _ENERGY: request.max_energy_mj}
    given = {unit: most for unit, most in limits.items() if most is not None}
    on_device = request.device is not None or request.profile is not None
    if request.device is not None and request.profile is not None:
        raise UsageError("--device predicts and --profile was measured", "Give one of them.")
    if len(given) > 1:
        raise UsageError("thresholds minimise one cost", "Give one of --max-macs, --max-latency-ms, --max-energy-mj.")
    if not given:
        return None
    ((unit, most),) = given.items()
    if unit == _MACS and on_device:
        raise UsageError("thresholds minimise one cost", "Give --max-macs without a device, or --max-latency-ms.")
    if unit != _MACS and not on_device:
        raise UsageError("a budget of which device?", "Give --device NAME, or --profile p.json.")
    return Budget(unit, most)


def _reaction(request: TuneRequest) -> float | None:
    from eetool.errors import UsageError

    if request.stream:
        return DEFAULT_REACTION_S if request.max_reaction_s is None else request.max_reaction_s
    if request.max_reaction_s is not None:
        raise UsageError("--max-reaction-s is a limit of streams", "Give --stream as well.")
    return None


def _drops(text: str | None) -> tuple[float, ...]:
    from eetool.errors import UsageError

    try:
        drops = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        drops = (-1.0,)
    if not all(0 <= drop <= 100 for drop in drops):
        raise UsageError(f"--drops {text!r} are not percentage points", "Such as 0.5,1,2.")
    return drops


def _named_goals(stream: bool) -> frozenset[str]:
    """Return the goals that the user gave on the command line, by the names of their options."""
    from eetool.model.goals import OPTION_GOALS

    source = click.get_current_context().get_parameter_source
    named = {name for name in OPTION_GOALS if source(name) is ParameterSource.COMMANDLINE}
    return frozenset(named | ({"max_reaction_s"} if stream else set()))


command = tune
