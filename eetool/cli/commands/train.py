"""`eetool train`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eetool.cli.number_lists import parse_normalisation
from eetool.cli.options import (
    CHECKPOINT,
    EXITS,
    FRONT,
    PATH,
    REFERENCE,
    WEIGHTS,
    FiniteRange,
    data_options,
    force_option,
    named_option,
    output_option,
)
from eetool.cli.output import CommandResult, say, verb_with_request
from eetool.cli.progress_bars import TerminalProgress
from eetool.cli.train_network import TrainNetwork, at_its_size, train_network
from eetool.cli.train_output import train_result
from eetool.cli.train_request import (
    TrainRequest,
    check_request,
    chosen_data,
    training_settings,
)
from eetool.cli.train_side_outputs import check_side_outputs, epoch_listener, show_augmentation

if TYPE_CHECKING:
    from collections.abc import Callable

    from eetool.data.image_form import DataChoice
    from eetool.data.source import Source
    from eetool.model.checkpoint import Checkpoint
    from eetool.train.network_trial import Trial


_NO_TRIAL = "none"


@verb_with_request(TrainRequest)
@click.argument("model", type=REFERENCE, required=False)
@click.option("--from", "front", type=FRONT, default=None, help="Train a network of a search.front.json.")
@click.option(
    "--pick", default="knee", show_default=True, metavar="knee|cheapest|ID", help="Candidate of --from to train."
)
@data_options(required=False)
@output_option("The model.", default="model.pt")
@click.option(
    "--exits",
    type=EXITS,
    default=None,
    metavar="N|own",
    help="Early exits, placed by cumulative MACs; own: the outputs of a network that has exits already.  [2]",
)
@click.option(
    "--logits",
    default=None,
    metavar="NAME|INDEX",
    help="Output of your network that holds the class logits, where it returns more than one. With --exits own: its "
    "exits, as NAME,NAME or the list of them.",
)
@click.option("--at", "taps", default=None, metavar="TAP,TAP", help="Attach the exits to these modules instead.")
@click.option(
    "--branch",
    "branches",
    multiple=True,
    metavar="LAYERS",
    help="Layers of every exit: max2,conv3-64, linear or cls. Repeated: one per exit, from shallow to deep.",
)
@click.option(
    "--tap-layout",
    "layouts",
    multiple=True,
    metavar="NCHW|NHWC|NCL|…",
    help="Order of the axes of the features at every tap, with N the batch and C the channels; also NLC, LNC, NCDHW, "
    "NDHWC, NC. Repeated: one per exit, from shallow to deep.  [as the network uses them]",
)
@click.option("--cascade/--no-cascade", default=False, help="Every exit reads the logits of the one before.")
@click.option("--ensemble/--no-ensemble", default=False, help="Every exit averages its logits with those before.")
@click.option(
    "--weights",
    type=WEIGHTS,
    default=None,
    help="Initial weights: safetensors, a state dict of torch, or a model.pt, whose exits are used where they fit.",
)
@click.option(
    "--weights-key",
    default=None,
    metavar="KEY",
    help="Of several networks in the file of --weights, where this one lies, such as model_ema.",
)
@click.option(
    "--new-classifier/--no-new-classifier",
    default=False,
    help="Fit the last linear layer on the data, in place of that of --weights, and train from there.",
)
@click.option(
    "--normalize",
    "--normalise",
    "normalisation",
    default=None,
    metavar="imagenet|half|dataset|none|M,M,M/S,S,S",
    help="Mean and standard deviation of pixels from 0 to 1 that the weights expect. half: 0.5 and 0.5, so pixels "
    "become -1 to 1; dataset: those of the training images; none: pixels stay 0 to 1.  [as published weights of a "
    "built-in MODEL expect it, else dataset]",
)
@click.option(
    "--recipe", type=click.Choice(["joint", "frozen", "confidence", "distill"]), default="joint", show_default=True
)
@click.option("--epochs", type=click.IntRange(0), default=25, show_default=True, help="0 attaches exits only.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option(
    "--learning-rate",
    type=FiniteRange(0, min_open=True),
    default=None,
    help="At its peak.  [0.1; 0.01 where a recipe trains a backbone with --weights on]",
)
@click.option(
    "--warm-up",
    type=FiniteRange(0, 0.9),
    default=0.15,
    show_default=True,
    help="Share of the run.",
)
@click.option("--optimizer", type=click.Choice(["sgd", "adamw"]), default="sgd", show_default=True)
@click.option("--weight-decay", type=FiniteRange(0), default=5e-4, show_default=True)
@click.option("--label-smoothing", type=FiniteRange(0, 0.9), default=0.0, show_default=True)
@click.option(
    "--average", type=FiniteRange(0, 0.99999), default=0.0, show_default=True, help="Decay of averaged weights."
)
@click.option(
    "--augment",
    type=click.Choice(["none", "light", "standard", "strong"]),
    default="light",
    show_default=True,
    help="Random changes of training images: light shifts them, standard crops, mirrors and recolours them, strong "
    "also erases squares and mixes pairs (docs/data.md).",
)
@click.option(
    "--mirror/--no-mirror",
    default=None,
    help="Mirror half of the images.  [where that is known to keep the label; from standard on unless it is known not "
    "to]",
)
@click.option(
    "--erase",
    type=click.IntRange(0),
    default=0,
    help="Side in pixels of a square erased in every image.  [that of --augment]",
)
@click.option(
    "--show-augmented", type=PATH, default=None, metavar="FILE.png", help="Also draw augmented training images."
)
@click.option(
    "--keep",
    type=click.Choice(["best", "last"]),
    default="best",
    show_default=True,
    help="Epoch whose weights are kept: best is the last one whose mean accuracy over exits, on the split temperature, "
    "is within a standard error of the highest.",
)
@click.option(
    "--log-dir", type=PATH, default=None, metavar="DIR", help="Also write the learning curve for TensorBoard."
)
@click.option(
    "--feature-views",
    type=click.IntRange(0),
    default=None,
    metavar="N",
    help="Recipes with a frozen backbone: versions of the augmented data whose features are computed once and kept in "
    "the user's cache; the first is not augmented. 0: every epoch runs the backbone.  [up to 4, by their size]",
)
@click.option("--torch-device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, mps. Several: torchrun.")
@click.option(
    "--mixed-precision", "precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32", show_default=True
)
@click.option("--exit-weights", default=None, metavar="W,W,…", help="Weights of the exits' losses.  [1 each]")
@click.option("--ramp/--no-ramp", default=False, help="Raise the weights of early exits to their share of the MACs.")
@click.option("--gradient-scaling/--no-gradient-scaling", default=False, help="Average exits in shared layers.")
@click.option("--distill-share", type=FiniteRange(0, 1), default=0.5, show_default=True, help="Share of the loss.")
@click.option("--distill-temperature", type=FiniteRange(0, min_open=True), default=3.0, show_default=True)
@click.option("--teacher", type=CHECKPOINT, default=None, help="A model.pt that also teaches, in the recipe distill.")
@click.option(
    "--teacher-views",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Number of versions of the augmented data to repeat; the teacher runs once on each. 0: no repetition.",
)
@click.option(
    "--survivors",
    type=FiniteRange(0, 1),
    default=None,
    help="Share of the run after which an exit is trained mostly on examples that reach it.",
)
@click.option(
    "--targets",
    type=click.Choice(["labels", "backbone"]),
    default="labels",
    show_default=True,
    help="Targets of exits on a frozen backbone: labels, or its own predictions.",
)
@click.option(
    "--cost-weight",
    type=FiniteRange(0),
    default=0.5,
    show_default=True,
    help="Recipe confidence: weight in the loss of the cost of the whole backbone.",
)
@click.option(
    "--hold-out",
    type=click.Choice(["train", "test"]),
    default="train",
    show_default=True,
    help="Images from which the splits for tuning are taken; test is for weights trained on all training images.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=None, help="Threads of torch; the result depends on them.")
@click.option("--classes", type=click.IntRange(2), default=None, help="Number of classes.")
@click.option(
    "--trial-export",
    "trial_formats",
    type=click.Choice(["onnx", "tflite", "tflm", _NO_TRIAL]),
    multiple=True,
    default=("onnx",),
    show_default=True,
    help="Formats that a network which is not built in is converted to once, before it is trained; tflm, that of "
    "microcontrollers, also for one that is.",
)
@click.option("--resume/--no-resume", default=False, help="Continue an interrupted run.")
@named_option
@force_option
def train(request: TrainRequest) -> CommandResult:
    """Build MODEL, attach early exits and train them together.

    MODEL is a built-in backbone (resnet20, densenet100-bc, vgg16, mobilenetv2, efficientnet-lite0, vit-tiny, …;
    for features mlp-256x3 and tcresnet8; for texts text-tiny), timm:NAME, torchvision:NAME, hf:TYPE or hf:config.json,
    or package.module:factory. --input and --classes are those of the data, or without data those of the model.
    """
    from eetool.errors import UsageError
    from eetool.records import check_output
    from eetool.workspace import clear_leftovers

    check_request(request)
    request, data = chosen_data(request)
    check_output(request.output, request.force)
    check_side_outputs(request)
    clear_leftovers(request.state_file)
    if request.resume and not request.state_file.exists():
        raise UsageError(f"there is nothing to resume: {request.state_file} does not exist", "Start without --resume.")
    from eetool.model.checkpoint import save_checkpoint
    from eetool.train.exit_answers import exit_accuracies
    from eetool.train.pipeline import attach_exits, use_threads

    if request.threads:
        use_threads(request.threads)
    network, trial = train_network(request), _trial(request)
    if request.front is not None and data is not None:
        request, data, network = at_its_size(request, data, network)
    if data is None:
        checkpoint = attach_exits(
            network.backbone,
            request.shape,
            request.classes,
            network.plan,
            request.seed,
            request.weights,
            network.config,
            TerminalProgress(),
            request.weights_key,
            trial,
        )
        accuracies, n = None, 0
    else:
        checkpoint, source = _fit(request, data, network, trial)
        accuracies, n = exit_accuracies(checkpoint, source, TerminalProgress())
    save_checkpoint(request.output, checkpoint, request.force)
    return train_result(request.output, checkpoint, accuracies, n)


def _trial(request: TrainRequest) -> "Trial | None":
    """Return the trial of a network before its training: a conversion to each format."""
    from eetool.errors import UsageError

    formats = request.trial_formats
    if _NO_TRIAL in formats:
        if len(formats) > 1:
            raise UsageError(f"--trial-export {_NO_TRIAL} contradicts the others", "Give formats, or none.")
        return None

    def trial(start: "Checkpoint") -> None:
        from eetool.train.network_trial import formats_to_try

        tried = formats_to_try(start.record.spec.backbone, formats)
        if not tried:
            return
        from eetool.export.trial_export import trial_export

        say(f"trial export of {start.record.spec.backbone}: {', '.join(tried)}")
        trial_export(start, tried, "Use other operators or arguments there. --trial-export none trains without.")

    return trial


def _fit(
    request: TrainRequest, data: "DataChoice", network: TrainNetwork, trial: "Trial | None"
) -> "tuple[Checkpoint, Source]":
    """Return the trained checkpoint and the source it was trained on."""
    from eetool.data.registry import load_source
    from eetool.errors import OutputError, UsageError
    from eetool.train.initial_weights import InitialWeights, check_initial_weights
    from eetool.train.pipeline import train_model, try_before_data

    settings = training_settings(request)
    state, has_weights = request.state_file, request.weights is not None
    if state.exists() and not (request.resume or request.force):
        raise OutputError(f"{state} holds an interrupted run", "--resume continues it, --force starts anew.")
    shape, classes = request.shape, request.classes
    try_before_data(network.backbone, shape, classes, network.plan, settings, network.config, has_weights)
    normalisation = parse_normalisation("--normalize", request.normalisation)
    if request.weights is not None:
        chosen = InitialWeights(request.weights, request.weights_key, request.new_classifier)
        expected = check_initial_weights(network.backbone, chosen, data, network.config)
        normalisation = expected if request.normalisation is None else normalisation
    source = load_source(data, TerminalProgress())
    show_augmentation(request, source)
    if request.classes not in (None, len(source.classes)):
        reason = f"--classes contradicts {data.name}, which has {len(source.classes)}"
        raise UsageError(reason, "Leave --classes out.")
    work = partial(
        train_model,
        network.backbone,
        source,
        network.plan,
        settings,
        state,
        request.resume,
        TerminalProgress(),
        request.weights,
        normalisation,
        teacher=request.teacher,
        config=network.config,
        named=request.named,
        weights_key=request.weights_key,
        trial=trial,
    )
    with epoch_listener(request) as on_epoch:
        return _report_interruption(partial(work, on_epoch=on_epoch), state), source


def _report_interruption(work: "Callable[[], Checkpoint]", state: Path) -> "Checkpoint":
    """Return the result of `work`; on Ctrl-C print whether the run can be resumed."""
    try:
        return work()
    except KeyboardInterrupt:
        kept = "--resume continues after the last whole epoch." if state.exists() else "No epoch was finished."
        say(f"stopped; no model was written. {kept}")
        raise


command = train
