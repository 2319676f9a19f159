"""Options of `eetool train`, and what they say about exits and training."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from eetool.cli.number_lists import parse_normalisation, parse_numbers
from eetool.cli.options import data_choice
from eetool.wording import counted

if TYPE_CHECKING:
    from eetool.data.image_form import DataChoice
    from eetool.model.spec import TrainingSettings
    from eetool.train.exit_plan import ExitPlan


@dataclass(frozen=True)
class TrainRequest:
    """Options of `eetool train`."""

    model: str | None
    front: Path | None
    pick: str
    data: str | None
    output: Path
    exits: int | Literal["own"] | None
    logits: str | None
    taps: str | None
    branches: tuple[str, ...]
    layouts: tuple[str, ...]
    cascade: bool
    ensemble: bool
    weights: Path | None
    weights_key: str | None
    new_classifier: bool
    normalisation: str | None
    recipe: str
    epochs: int
    batch_size: int
    learning_rate: float | None
    warm_up: float
    optimizer: str
    weight_decay: float
    label_smoothing: float
    average: float
    augment: str
    mirror: bool | None
    erase: int
    show_augmented: Path | None
    keep: str
    log_dir: Path | None
    feature_views: int | None
    torch_device: str
    precision: str
    exit_weights: str | None
    ramp: bool
    gradient_scaling: bool
    distill_share: float
    distill_temperature: float
    teacher: Path | None
    teacher_views: int
    survivors: float | None
    targets: str
    cost_weight: float
    hold_out: str
    seed: int
    threads: int | None
    shape: tuple[int, ...] | None
    fit: str | None
    classes: int | None
    trial_formats: tuple[str, ...]
    resume: bool
    named: tuple[str, ...]
    force: bool

    @property
    def state_file(self) -> Path:
        """File beside the output that keeps the state after every epoch."""
        return self.output.with_name(self.output.name + ".resume")


def check_request(request: TrainRequest) -> None:
    """Raise UsageError where options contradict each other; before torch is imported, which takes a second."""
    from eetool.errors import UsageError

    if (request.model is None) == (request.front is None):
        raise UsageError("train takes either MODEL or --from search.front.json", "Give one of them.")
    if request.front and (request.exits is not None or request.taps or request.branches or request.layouts):
        raise UsageError(
            "--from sets the exits and their branches", "Leave --exits, --at, --branch and --tap-layout away."
        )
    if request.weights_key is not None and request.weights is None:
        raise UsageError("--weights-key without --weights", "Give both, or neither.")
    if request.new_classifier and request.weights is None:
        raise UsageError("--new-classifier without --weights", "Give the weights below it, or leave it out.")
    if request.new_classifier and request.data is None:
        raise UsageError("--new-classifier needs --data to fit it on", "Give them; --epochs 0 trains nothing else.")
    if request.data is None and request.epochs:
        raise UsageError("there is no --data to train on", "--epochs 0 attaches exits without training.")
    if request.ensemble and request.recipe == "confidence":
        raise UsageError("--ensemble has no effect in the recipe confidence", "Give another --recipe.")
    taps = listed_names(request.taps)
    if taps and request.exits not in (None, "own", len(taps)):
        raise UsageError(
            f"--exits {request.exits} contradicts --at with {counted(len(taps), 'tap')}", "Give one of them."
        )
    if request.recipe not in ("distill", "frozen") and request.teacher is not None:
        raise UsageError(f"the recipe {request.recipe} has no use for --teacher", "Give --recipe distill.")
    if request.targets == "backbone" and request.recipe not in ("frozen", "confidence"):
        raise UsageError("--targets backbone needs a frozen backbone", "Give --recipe frozen or confidence.")
    if request.teacher_views and request.teacher is None:
        raise UsageError("--teacher-views without a --teacher", "Give one.")
    if request.feature_views and request.recipe not in ("frozen", "confidence"):
        raise UsageError("--feature-views needs a frozen backbone", "Give --recipe frozen or confidence.")
    parse_numbers("--exit-weights", request.exit_weights)
    parse_normalisation("--normalize", request.normalisation)


def exit_plan(request: TrainRequest) -> "ExitPlan":
    """Return the plan of the exits of a request without contradictions."""
    from eetool.model.references.output_choice import OutputChoice
    from eetool.train.exit_plan import ExitPlan

    taps = listed_names(request.taps)
    outputs = OutputChoice(listed_names(request.logits), request.exits == "own")
    branches = request.branches
    branch = branches[0] if len(branches) == 1 else branches or None
    if request.exits == "own":
        return ExitPlan(0, branch, taps, request.cascade, request.ensemble, request.layouts, outputs)
    count = len(taps) if taps else 2 if request.exits is None else request.exits
    return ExitPlan(count, branch, taps, request.cascade, request.ensemble, request.layouts, outputs)


def chosen_data(request: TrainRequest) -> "tuple[TrainRequest, DataChoice | None]":
    """Return the data of a request, and the request with the shape (1, …) of images of a folder.

    Raises:
        UsageError: the size is impossible, `--input` contradicts the data, or `--fit` has nothing to fit.
    """
    if request.data is None and request.fit is None:
        return request, None
    choice = data_choice(request.data, request.shape, request.fit)
    form = choice.form()
    if form is None or request.shape is None:
        return request, choice
    return replace(request, shape=(1, int(request.shape[-3]), form.height, form.width)), choice


def listed_names(text: str | None) -> tuple[str, ...]:
    """Return the names in a text with commas."""
    return tuple(text.split(",")) if text else ()


def training_settings(request: TrainRequest) -> "TrainingSettings":
    """Return the settings of a request without contradictions."""
    from eetool.model.spec import LossOptions, TrainingSettings
    from eetool.train.losses import default_learning_rate
    from eetool.train.stored_training import AUTOMATIC

    loss = LossOptions(
        label_smoothing=request.label_smoothing,
        exit_weights=parse_numbers("--exit-weights", request.exit_weights),
        ramp=request.ramp,
        gradient_scaling=request.gradient_scaling,
        distill_share=request.distill_share,
        distill_temperature=request.distill_temperature,
        teacher_views=request.teacher_views,
        survivors=request.survivors,
        targets=request.targets,
        cost_weight=request.cost_weight,
    )
    rate = request.learning_rate
    return TrainingSettings(
        recipe=request.recipe,
        epochs=request.epochs,
        seed=request.seed,
        batch_size=request.batch_size,
        learning_rate=default_learning_rate(request.recipe, request.weights is not None) if rate is None else rate,
        hold_out=request.hold_out,
        warm_up=request.warm_up,
        weight_decay=request.weight_decay,
        precision=request.precision,
        average=request.average,
        optimizer=request.optimizer,
        torch_device=request.torch_device,
        erase=request.erase,
        augment=request.augment,
        mirror=request.mirror,
        keep=request.keep,
        loss=loss,
        feature_views=AUTOMATIC if request.feature_views is None else request.feature_views,
        new_classifier=request.new_classifier,
    )
