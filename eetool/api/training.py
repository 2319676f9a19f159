"""`eetool.train`."""

import difflib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from eetool.api.arguments import (
    Data,
    PathLike,
    References,
    as_labelled_data,
    as_path,
    as_progress,
    as_strings,
    check_choice,
    check_number,
)
from eetool.api.attaching import exit_plan
from eetool.api.python_errors import python_errors
from eetool.errors import OutputError, UsageError
from eetool.progress import Progress

if TYPE_CHECKING:
    from eetool.model.backbones.published_names import Normalisation
    from eetool.model.checkpoint import Checkpoint
    from eetool.model.spec import TrainingSettings
    from eetool.train.initial_weights import InitialWeights
    from eetool.train.network_trial import Trial

_FORMATS = ("onnx", "tflite", "tflm")
_CHOICES = {
    "recipe": ("joint", "frozen", "confidence", "distill"),
    "optimizer": ("sgd", "adamw"),
    "precision": ("fp32", "bf16", "fp16"),
    "targets": ("labels", "backbone"),
    "augment": ("none", "light", "standard", "strong"),
    "keep": ("best", "last"),
}
# Least and largest value; True where they are excluded.
_RANGES: dict[str, tuple[float, float, bool]] = {
    "epochs": (0, 1e9, False),
    "seed": (0, 2**32 - 1, False),
    "batch_size": (1, 1e9, False),
    "learning_rate": (0, float("inf"), True),
    "warm_up": (0, 0.9, False),
    "weight_decay": (0, float("inf"), False),
    "average": (0, 0.99999, False),
    "erase": (0, 1e9, False),
    "label_smoothing": (0, 0.9, False),
    "distill_share": (0, 1, False),
    "distill_temperature": (0, float("inf"), True),
    "teacher_views": (0, 1e9, False),
    "feature_views": (0, 1e9, False),
    "survivors": (0, 1, False),
    "cost_weight": (0, float("inf"), False),
}
_DERIVED = ("loss", "hold_out", "teacher")  # fields of the settings that are no arguments


def train(
    model: str | Callable[..., Any],
    data: Data,
    output: PathLike | None = None,
    *,
    exits: int | Literal["own"] | None = None,
    at: Sequence[str] = (),
    branch: str | Sequence[str] | None = None,
    layout: str | Sequence[str] = (),
    logits: str | Sequence[str] = (),
    cascade: bool = False,
    ensemble: bool = False,
    recipe: str = "joint",
    epochs: int = 25,
    batch_size: int = 32,
    learning_rate: float | None = None,
    seed: int = 0,
    torch_device: str = "cpu",
    weights: PathLike | None = None,
    new_classifier: bool = False,
    teacher: PathLike | None = None,
    resume: bool = False,
    trial_export: str | Sequence[str] = "onnx",
    reference: References = None,
    force: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> "Checkpoint":
    """Build a network, attach early exits and train them together, as `eetool train` does.

    >>> checkpoint = eetool.train("resnet8", "digits", "model.pt", exits=2, epochs=5)

    A network with a loop of your own goes by `attach_exits` and `save` instead.

    Args:
        model: a built-in backbone such as `resnet20`, `timm:NAME`, `torchvision:NAME`, `hf:TYPE`,
            `package.module:factory`, or the factory itself: a function without arguments in a file of yours.
        data: the data, as a name or as `load_data` returns it.
        output: the model.pt to write; by default the checkpoint is only returned.
        exits: number of early exits, 2 by default, or `own`, see `attach_exits`.
        at: attach the exits to these modules instead.
        branch: layers of every exit, or one for each.
        layout: order of the axes of the features at every tap.
        logits: output of the network that holds its class logits.
        cascade: every exit reads the logits of the one before.
        ensemble: every exit averages its logits with those before.
        recipe: `joint`, `distill`, or for exits on a trained backbone `frozen` or `confidence`.
        epochs: passes over the training split; 0 attaches exits only.
        batch_size: examples per step.
        learning_rate: peak learning rate; by default 0.1, and 0.01 where a recipe trains a backbone with `weights` on.
        seed: of initial weights, order and augmentation.
        torch_device: `cpu`, `cuda`, `cuda:1` or `mps`.
        weights: initial weights: safetensors, a state dict, or a model.pt. Data by name are normalised as published
            weights of a built-in network expect it.
        new_classifier: fit the last linear layer on the data, in place of that of `weights`, and train from there.
        teacher: a model.pt that also teaches, in the recipe `distill`.
        resume: continue an interrupted run of the same `output`.
        trial_export: formats that a network which is not built in is converted to once, before it is trained; `tflm`,
            that of microcontrollers, also for one that is.
        reference: your code that builds the network of `teacher`.
        force: replace an existing output.
        progress: observer of the work.
        settings: further fields of `eetool.model.spec.TrainingSettings` and `LossOptions` by name, such as
            `optimizer="adamw"` or `label_smoothing=0.1`.

    Raises:
        eetool.errors.UsageError: an argument is invalid, or contradicts another one.
        eetool.errors.OutputError: the output exists and `force` was not given, or it cannot be written.
        eetool.errors.ArtefactError: data or weights cannot be read, or the network's own code fails.
        eetool.errors.DivergedError: the loss is no longer a finite number.
    """
    with python_errors():
        rate = _learning_rate(learning_rate, recipe, weights is not None)
        given = {"recipe": recipe, "epochs": epochs, "batch_size": batch_size, "learning_rate": rate, "seed": seed}
        given |= {"torch_device": torch_device, "new_classifier": new_classifier, **settings}
        _check_settings(given, teacher)
        plan = exit_plan(exits, as_strings("at", at), branch, layout, logits, cascade, ensemble)
        from eetool.model.checkpoint import save_checkpoint
        from eetool.train.module_reference import named_references
        from eetool.train.pipeline import train_model, try_before_data

        name, watched = _reference(model), as_progress(progress)
        file = None if output is None else as_path(output, "a model.pt")
        with _state_file(file, resume, force) as state:
            try_before_data(name, None, None, plan, _settings(given, "train"), has_weights=weights is not None)
            initial = _initial_weights(weights, new_classifier)
            labelled = as_labelled_data(data, watched, _expected_normalisation(name, initial, data))
            checkpoint = train_model(
                *(name, labelled.source, plan, _settings(given, labelled.hold_out), state, resume, watched),
                None if initial is None else initial.path,
                labelled.normalisation,
                None if teacher is None else as_path(teacher, "a model.pt"),
                named=named_references(reference),
                trial=_trial(as_strings("trial_export", trial_export)),
            )
        if file is not None:
            save_checkpoint(file, checkpoint, force)
        return checkpoint


def _initial_weights(weights: PathLike | None, new_classifier: bool) -> "InitialWeights | None":
    from eetool.train.initial_weights import InitialWeights

    if new_classifier not in (False, True):
        raise UsageError(f"new_classifier is {new_classifier!r}", "Give new_classifier=True or False.")
    return None if weights is None else InitialWeights(as_path(weights, "a file of weights"), None, new_classifier)


def _expected_normalisation(name: str, initial: "InitialWeights | None", data: Data) -> "Normalisation | None":
    """Check weights before the data are read; return the normalisation that they expect, where it is known."""
    from eetool.data.image_form import DataChoice
    from eetool.train.initial_weights import check_initial_weights

    if initial is None or not isinstance(data, (str, DataChoice)):
        return None
    return check_initial_weights(name, initial, data if isinstance(data, DataChoice) else DataChoice(data))


def _learning_rate(given: float | None, recipe: str, has_weights: bool) -> float:
    from eetool.train.losses import default_learning_rate

    return default_learning_rate(recipe, has_weights) if given is None else given


def _reference(model: Any) -> str:
    """Return the reference of a network that is given by name or by its factory."""
    if isinstance(model, str):
        return model
    if hasattr(model, "forward") and not isinstance(model, type):
        raise UsageError(
            f"train builds its network itself, and {type(model).__name__} is one that is built",
            "Give its factory or the name of it; or eetool.attach_exits(module, …) and a loop of your own.",
        )
    if not callable(model):
        raise UsageError(f"{type(model).__name__} is no network", "Give a name such as 'resnet20', or a factory.")
    from eetool.train.module_reference import code_reference

    return code_reference(model)


def _check_settings(given: dict[str, Any], teacher: PathLike | None) -> None:
    """Raise UsageError for a setting that does not exist, is invalid, or contradicts another one."""
    from eetool.model.spec import LossOptions, TrainingSettings

    known = [f.name for kind in (TrainingSettings, LossOptions) for f in fields(kind) if f.name not in _DERIVED]
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise UsageError(f"train has no argument {name!r}", f"Did you mean {near[0]!r}?" if near else None)
        if name in _CHOICES:
            check_choice(name, value, _CHOICES[name])
        if name in _RANGES:
            check_number(name, value, *_RANGES[name])
    if given.get("mirror") not in (None, False, True):
        raise UsageError(f"mirror is {given['mirror']!r}", "Give mirror=True or mirror=False.")
    if given["recipe"] not in ("distill", "frozen") and teacher is not None:
        raise UsageError(f"the recipe {given['recipe']} has no use for a teacher", 'Give recipe="distill".')
    if given.get("targets") == "backbone" and given["recipe"] not in ("frozen", "confidence"):
        raise UsageError('targets="backbone" needs a frozen backbone', 'Give recipe="frozen" or "confidence".')
    if given.get("feature_views") and given["recipe"] not in ("frozen", "confidence"):
        raise UsageError("feature_views needs a frozen backbone", 'Give recipe="frozen" or "confidence".')
    if given.get("teacher_views") and teacher is None:
        raise UsageError("teacher_views without a teacher", "Give teacher=, a model.pt.")


def _settings(given: dict[str, Any], hold_out: str) -> "TrainingSettings":
    from eetool.model.spec import LossOptions, TrainingSettings

    kinds = {**get_type_hints(TrainingSettings), **get_type_hints(LossOptions)}
    exact: dict[str, Any] = {name: _as_stored(value, kinds[name]) for name, value in given.items()}
    of_loss = {f.name for f in fields(LossOptions)}
    loss = {name: value for name, value in exact.items() if name in of_loss}
    rest = {name: value for name, value in exact.items() if name not in of_loss}
    defaults = _as_the_command()
    rest = {name: defaults.get(name) if value is None else value for name, value in rest.items()}
    return TrainingSettings(**{**defaults, **rest}, hold_out=hold_out, loss=LossOptions(**loss))


def _as_the_command() -> dict[str, Any]:
    """Return the defaults of `eetool train`, where those of the settings are of files of earlier versions."""
    from eetool.model.history import BEST
    from eetool.train.stored_training import AUTOMATIC

    return {"keep": BEST, "feature_views": AUTOMATIC}


def _as_stored(value: Any, kind: Any) -> Any:
    """Return a setting as the command stores it: 1.0 where a float is meant, and tuples for lists."""
    if isinstance(value, (list, tuple)):
        return tuple(float(x) if isinstance(x, int) else x for x in value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and kind in (float, float | None) else value


def _trial(formats: tuple[str, ...]) -> "Trial | None":
    """Return the trial of a network before its training: a conversion to each format."""
    for name in formats:
        check_choice("trial_export", name, _FORMATS)
    if not formats:
        return None

    def trial(start: "Checkpoint") -> None:
        from eetool.train.network_trial import formats_to_try

        tried = formats_to_try(start.record.spec.backbone, formats)
        if not tried:
            return
        from eetool.export.trial_export import trial_export

        trial_export(start, tried, "Use other operators or arguments there. trial_export=() trains without.")

    return trial


def _state_file(output: Any, resume: bool, force: bool) -> Any:
    """Return a context with the file of the state of an interrupted run, beside the output where there is one."""
    from eetool.records import check_output
    from eetool.workspace import clear_leftovers

    if output is None:
        if resume:
            raise UsageError("resume without an output", "Give the output of the interrupted run.")
        return _temporary_state()
    check_output(output, force)
    state = output.with_name(output.name + ".resume")
    clear_leftovers(state)
    if state.exists() and not (resume or force):
        raise OutputError(f"{state} holds an interrupted run", "resume=True continues it, force=True starts anew.")
    return nullcontext(state)


def _temporary_state() -> Any:
    from contextlib import contextmanager

    from eetool.workspace import scratch

    @contextmanager
    def inside() -> Any:
        with scratch() as folder:
            yield folder / "model.pt.resume"

    return inside()
