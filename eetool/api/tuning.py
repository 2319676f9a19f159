"""`eetool.calibrate` and `eetool.tune`."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Union

from eetool.api.arguments import (
    Data,
    PathLike,
    References,
    as_checkpoint,
    as_path,
    as_progress,
    as_source,
    check_choice,
    check_number,
)
from eetool.api.offload_tuning import LinkOrder
from eetool.api.python_errors import python_errors
from eetool.api.tuned_model import TunedModel, TuningOrder, check_tuning_output, tune_model
from eetool.errors import UsageError
from eetool.progress import Progress

if TYPE_CHECKING:
    from eetool.model.checkpoint import Checkpoint
    from eetool.model.goals import Budget, TuningGoals
    from eetool.tune.calibration import Calibration

_SCORES = ("max_softmax", "entropy", "margin", "learned", "patience")
_METHODS = ("temperature", "platt")


def calibrate(
    model: Union[PathLike, "Checkpoint"],
    data: Data,
    *,
    method: str = "temperature",
    score: str | None = None,
    reference: References = None,
    progress: Progress | None = None,
) -> "Calibration":
    """Fit the confidences of every exit on the held-out examples of the data, which training did not use.

    `tune` does this too. Alone it serves thresholds of your own.

    Args:
        model: a model.pt, or a checkpoint.
        data: the data that the model was trained on, as a name or as `load_data` returns it.
        method: `temperature`, one number per exit (arXiv 1706.04599), or `platt`, three.
        score: confidence that Platt's method calibrates: `max_softmax`, `entropy`, `margin` or `learned`.
        reference: your code that builds the network of a model.pt.
        progress: observer of the work.

    Returns:
        Temperatures, and with `platt` slopes and offsets, of every exit.

    Raises:
        eetool.errors.UsageError: an argument is invalid.
        eetool.errors.ArtefactError: the file is no checkpoint, or was trained on other data.
    """
    with python_errors():
        check_choice("method", method, _METHODS)
        check_choice("score", score, _SCORES)
        from eetool.data.contents import as_recorded
        from eetool.data.image_form import model_form
        from eetool.data.source import check_classes
        from eetool.data.vocabulary import use_model_vocabulary
        from eetool.model.gate_scores import LEARNED, MAX_SOFTMAX
        from eetool.train.exit_answers import NetworkAnswers
        from eetool.tune.cross_fitting import calibrate as fit
        from eetool.tune.fit_policy import predict_held_out

        checkpoint = as_checkpoint(model, reference)
        spec = checkpoint.record.spec
        gate = score or (LEARNED if spec.learned_confidence else MAX_SOFTMAX)
        if gate == LEARNED and not spec.learned_confidence:
            raise UsageError("the model has no learned confidence", "Give another score.")
        source = as_source(data, as_progress(progress), model_form(spec.inputs, "the model"))
        check_classes(source, spec.labels, "the model")
        record = checkpoint.record
        source = as_recorded(source, record.data, record.contents, as_progress(progress))
        source = use_model_vocabulary(source, spec.inputs)
        held = predict_held_out(source, checkpoint.record.data, NetworkAnswers(checkpoint), as_progress(progress))
        return fit(held, gate, method)


def tune(
    model: Union[PathLike, "Checkpoint"],
    data: Data,
    output: PathLike | None = None,
    *,
    max_accuracy_drop: float | None = None,
    certify: float | None = None,
    max_macs: float | None = None,
    max_latency_ms: float | None = None,
    max_energy_mj: float | None = None,
    device: str | None = None,
    profile: PathLike | None = None,
    drops: Sequence[float] = (),
    standard_errors: float | None = None,
    score: str | None = None,
    calibration: str | None = None,
    variant: str | None = None,
    default: str | None = None,
    stream: bool = False,
    max_reaction_s: float = 3.0,
    link: PathLike | None = None,
    max_offload_share: float | None = None,
    offload_timeout_ms: float | None = None,
    reference: References = None,
    force: bool = False,
    progress: Progress | None = None,
) -> TunedModel:
    """Fit temperatures, thresholds and operating points, as `eetool tune` does.

    Args:
        model: a model.pt, a checkpoint or a bundle.
        data: the data that the model was trained on, as a name or as `load_data` returns it.
        output: where the tuned model goes; by default `model` itself, if it was not tuned before. A checkpoint that
            was given as an object is only returned.
        max_accuracy_drop: percentage points that `fast` may lose against full depth; 1 by default.
        certify: also make a point `certified`: with this probability its drop is no larger on new data.
        max_macs: largest mean MACs of an input at the point `budget`.
        max_latency_ms: the same in milliseconds on the device.
        max_energy_mj: the same in millijoules on the device.
        device: a hw profile, such as `rpi4`: minimise the cost that its table predicts, not MACs.
        profile: a document of `eetool profile`: minimise the cost that was measured.
        drops: one more operating point for each of these accuracy drops.
        standard_errors: margin of a drop, 1 by default.
        score: confidence that gates compare: `max_softmax`, `entropy`, `margin`, `learned` or `patience`.
        calibration: `temperature` or `platt`.
        variant: variant of a bundle, by default the first.
        default: default operating point; by default the cheapest that keeps `max_accuracy_drop`.
        stream: also fit operating points for streams, on the sequences of the data.
        max_reaction_s: seconds within which their answer follows 95 % of the changes of the class.
        link: for a bundle that asks a server, a document of `eetool profile --link`: ask only where that is faster.
        max_offload_share: share of the inputs that may be sent.
        offload_timeout_ms: time limit of a call, 40 by default.
        reference: your code that builds the network of a model.pt.
        force: replace an existing output, or an earlier policy.
        progress: observer of the work.

    Returns:
        The operating points, and the tuned checkpoint.

    Raises:
        eetool.errors.UsageError: an argument is invalid, or contradicts another one.
        eetool.errors.OutputError: the model was tuned before, or the output exists.
        eetool.errors.ArtefactError: the model is none, or was trained on other data.
        eetool.errors.BudgetError: a goal cannot be kept.
    """
    with python_errors():
        check_choice("score", score, _SCORES)
        check_number("max_reaction_s", max_reaction_s, 0, exclusive=True)
        goals, named = _goals(max_accuracy_drop, certify, drops, standard_errors, calibration)
        if stream:
            goals, named = replace(goals, max_reaction_s=float(max_reaction_s)), named | {"max_reaction_s"}
        budget = _budget(max_macs, max_latency_ms, max_energy_mj, device, profile)
        order = TuningOrder(
            model=_model(model),
            output=None if output is None else as_path(output, "the tuned model"),
            goals=replace(goals, budget=budget),
            named=named,
            device=device,
            profile=None if profile is None else as_path(profile, "a document of `eetool profile`"),
            score=score,
            variant=variant,
            default=default,
            references=_references(reference),
            force=force,
            link=_link(link, max_offload_share, offload_timeout_ms),
        )
        check_tuning_output(order)
        watched = as_progress(progress)
        return tune_model(order, data, watched)


def _model(model: "PathLike | Checkpoint") -> "Path | Checkpoint":
    return as_path(model, "a model.pt or a bundle") if isinstance(model, (str, os.PathLike)) else as_checkpoint(model)


def _link(link: PathLike | None, max_share: float | None, timeout_ms: float | None) -> LinkOrder | None:
    """Return the link to tune by; raises UsageError where its settings are given without it."""
    given = {"max_offload_share": max_share, "offload_timeout_ms": timeout_ms}
    check_number("max_offload_share", max_share, 0, 1)
    check_number("offload_timeout_ms", timeout_ms, 0, exclusive=True)
    if link is not None:
        document = as_path(link, "a document of `eetool profile --link`")
        return LinkOrder(document, max_share, LinkOrder.timeout_ms if timeout_ms is None else timeout_ms)
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{name} is of a server", "Give link= as well.")
    return None


def _references(reference: References) -> tuple[str, ...]:
    if reference is None:
        return ()
    from eetool.train.module_reference import named_references

    return named_references(reference)


def _goals(
    drop: float | None,
    certify: float | None,
    drops: Sequence[float],
    standard_errors: float | None,
    calibration: str | None,
) -> "tuple[TuningGoals, frozenset[str]]":
    """Return the goals, and the names of those that were given."""
    check_number("max_accuracy_drop", drop, 0, 100)
    check_number("certify", certify, 0, 1, exclusive=True)
    check_number("standard_errors", standard_errors, 0, 10)
    check_choice("calibration", calibration, _METHODS)
    for value in drops:
        check_number("drops", value, 0, 100)
    from eetool.model.goals import TuningGoals

    given = {
        "max_accuracy_drop": drop,
        "certify": certify,
        "standard_errors": standard_errors,
        "calibration": calibration,
    }
    named = {n: float(v) if isinstance(v, int) else v for n, v in given.items() if v is not None}  # files hold 1.0
    goals = TuningGoals(**{"max_accuracy_drop": 1.0, **named, "drops": tuple(map(float, drops))})  # type: ignore[arg-type]
    return goals, frozenset(named)


def _budget(
    macs: float | None, latency_ms: float | None, energy_mj: float | None, device: str | None, profile: object
) -> "Budget | None":
    """Return the budget.

    Raises:
        UsageError: there is more than one, or it needs a device, or is of none.
    """
    limits = {"max_macs": macs, "max_latency_ms": latency_ms, "max_energy_mj": energy_mj}
    for name, most in limits.items():
        check_number(name, most, 0, exclusive=True)
    given = {name: most for name, most in limits.items() if most is not None}
    if device is not None and profile is not None:
        raise UsageError("device predicts and profile was measured", "Give one of them.")
    if len(given) > 1:
        raise UsageError("thresholds minimise one cost", f"Give one of {', '.join(given)}.")
    if not given:
        return None
    ((name, most),) = given.items()
    on_device = device is not None or profile is not None
    if (name == "max_macs") == on_device:
        hint = "Give max_macs without a device, or max_latency_ms." if on_device else "Give device= or profile=."
        raise UsageError("thresholds minimise one cost" if on_device else "a budget of which device?", hint)
    from eetool.model.goals import Budget

    return Budget(name.removeprefix("max_"), float(most))
