"""`eetool train`."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import click

from eetool.cli.options import PATH, SHAPE, FiniteRange, data_option, force_option, named_option, output_option
from eetool.cli.output import CommandResult, TerminalProgress, say, table, verb

_IMAGENET = "0.485,0.456,0.406/0.229,0.224,0.225"


@verb
@click.argument("model", required=False)
@click.option("--from", "front", type=PATH, default=None, help="Train what a search found: search.front.json.")
@click.option("--pick", default="knee", show_default=True, metavar="knee|ID", help="Which candidate of --from.")
@data_option(required=False)
@output_option("Where the model goes.", default="model.pt")
@click.option("--exits", type=click.IntRange(0), default=None, help="Early exits, placed by cumulative MACs.  [2]")
@click.option("--at", "taps", default=None, metavar="TAP,TAP", help="Attach the exits to these modules instead.")
@click.option(
    "--branch",
    "branches",
    multiple=True,
    metavar="LAYERS",
    help="Layers of every exit: max2,conv3-64, linear or cls. Given once per exit: of that one, from shallow to deep.",
)
@click.option("--cascade/--no-cascade", default=False, help="Every exit reads the answer of the one before.")
@click.option("--ensemble/--no-ensemble", default=False, help="Every exit answers together with those before.")
@click.option(
    "--weights",
    type=PATH,
    default=None,
    help="Begin with these: safetensors, a state dict of torch, or a model.pt, whose exits come along where they fit.",
)
@click.option(
    "--normalise",
    "normalisation",
    default=None,
    metavar="M,M,M/S,S,S",
    help="Mean and deviation of pixels that the weights expect, or imagenet.  [those of the data]",
)
@click.option(
    "--recipe", type=click.Choice(["joint", "frozen", "confidence", "distill"]), default="joint", show_default=True
)
@click.option("--epochs", type=click.IntRange(0), default=25, show_default=True, help="0 attaches exits only.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--learning-rate", type=FiniteRange(0, min_open=True), default=0.1, show_default=True)
@click.option("--warm-up", type=FiniteRange(0, 0.9), default=0.15, show_default=True, help="Share of the run.")
@click.option("--optimizer", type=click.Choice(["sgd", "adamw"]), default="sgd", show_default=True)
@click.option("--weight-decay", type=FiniteRange(0), default=5e-4, show_default=True)
@click.option("--label-smoothing", type=FiniteRange(0, 0.9), default=0.0, show_default=True)
@click.option(
    "--average", type=FiniteRange(0, 0.99999), default=0.0, show_default=True, help="Decay of averaged weights."
)
@click.option(
    "--erase", type=click.IntRange(0), default=0, show_default=True, help="Side of a square erased in images: pixels."
)
@click.option("--torch-device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, mps. Several: torchrun.")
@click.option(
    "--mixed-precision", "precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32", show_default=True
)
@click.option("--exit-weights", default=None, metavar="W,W,…", help="Weights of the exits' losses.  [1 each]")
@click.option("--ramp/--no-ramp", default=False, help="Weights of early exits rise to their share of the MACs.")
@click.option("--gradient-scaling/--no-gradient-scaling", default=False, help="Shared layers follow a mean of exits.")
@click.option("--distill-share", type=FiniteRange(0, 1), default=0.5, show_default=True, help="Of the loss of an exit.")
@click.option("--distill-temperature", type=FiniteRange(0, min_open=True), default=3.0, show_default=True)
@click.option("--teacher", type=PATH, default=None, help="A model.pt that teaches too, in the recipe distill.")
@click.option(
    "--teacher-views",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Repeat so many versions of the augmented data; the teacher answers each once. 0: no repetition.",
)
@click.option(
    "--survivors",
    type=FiniteRange(0, 1),
    default=None,
    help="From this share of the run on, an exit learns most from examples that reach it.",
)
@click.option(
    "--targets",
    type=click.Choice(["labels", "backbone"]),
    default="labels",
    show_default=True,
    help="What exits on a frozen backbone learn: labels, or its own answers.",
)
@click.option(
    "--cost-weight",
    type=FiniteRange(0),
    default=0.5,
    show_default=True,
    help="Recipe confidence: what the backbone's whole cost is worth in the loss.",
)
@click.option(
    "--hold-out",
    type=click.Choice(["train", "test"]),
    default="train",
    show_default=True,
    help="What thresholds are fitted on comes out of these images; test is for weights that saw all training images.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=None, help="Threads of torch; the result depends on them.")
@click.option(
    "--input", "shape", type=SHAPE, default=None, metavar="1x3x32x32", help="Input shape (1x128: 128 tokens)."
)
@click.option("--classes", type=click.IntRange(2), default=None, help="Number of classes.")
@click.option("--resume/--no-resume", default=False, help="Go on with an interrupted run.")
@named_option
@force_option
def train(
    model: str | None, data: str | None, output: Path, force: bool, resume: bool, **options: Any
) -> CommandResult:
    """Build MODEL, attach early exits, train them together.

    MODEL is a built-in backbone (resnet20, densenet100-bc, vgg16, mobilenetv2, mobilenetv3-small, vit-tiny, …;
    for features mlp-256x3 and tcresnet8; for texts text-tiny), timm:NAME, torchvision:NAME, hf:TYPE or hf:config.json,
    or package.module:factory. --input and --classes are those of the data, or else by default those of the model.
    """
    from eetool.errors import UsageError
    from eetool.records import check_output
    from eetool.workspace import clear_leftovers

    check_output(output, force)
    state = output.with_name(output.name + ".resume")
    clear_leftovers(state)
    from eetool.model.checkpoint import save_checkpoint
    from eetool.train.pipeline import attach_exits, exit_accuracies, use_threads

    if options["threads"]:
        use_threads(options["threads"])
    model, plan, config = _network(model, options)
    if data is None:
        if options["epochs"]:
            raise UsageError("there is no --data to train on", "--epochs 0 attaches exits and trains nothing.")
        shape, classes = options["shape"], options["classes"]
        checkpoint = attach_exits(model, shape, classes, plan, options["seed"], options["weights"], config)
        accuracies, n = None, 0
    else:
        checkpoint, source = _fit(model, data, plan, state, resume, force, options, config)
        accuracies, n = exit_accuracies(checkpoint, source, TerminalProgress())
    save_checkpoint(output, checkpoint, force)
    return _answer(output, checkpoint, accuracies, n)


def _network(model: str | None, options: dict[str, Any]) -> tuple[str, Any, dict[str, Any] | None]:
    """The backbone, where its exits go, and its arguments, as given or as a search found them."""
    from eetool.errors import UsageError

    if (model is None) == (options["front"] is None):
        raise UsageError("train takes either MODEL or --from search.front.json", "Give one of them.")
    if model is not None:
        return model, _plan(options), None
    from eetool.search.search_results import pick_candidate, read_front, trusted
    from eetool.train.pipeline import ExitPlan

    if options["exits"] is not None or options["taps"] or options["branches"]:
        raise UsageError("--from says where exits are and what they are", "Leave --exits, --at and --branch away.")
    found = pick_candidate(read_front(options["front"]), options["pick"])
    model, config = trusted(found, options["named"], str(options["front"]))
    say(f"candidate {found.id}: its gates go by {found.score} (eetool tune --score {found.score})")
    return model, ExitPlan(len(found.taps), found.branches or None, found.taps), config


def _plan(options: dict[str, Any]) -> Any:
    from eetool.errors import UsageError
    from eetool.train.pipeline import ExitPlan

    taps = tuple(options["taps"].split(",")) if options["taps"] else ()
    if taps and options["exits"] not in (None, len(taps)):
        raise UsageError(f"--exits {options['exits']} contradicts --at with {len(taps)} taps", "Give one of them.")
    count = len(taps) if taps else 2 if options["exits"] is None else options["exits"]
    branches = options["branches"]
    if options["ensemble"] and options["recipe"] == "confidence":
        raise UsageError("--ensemble has nothing to learn in the recipe confidence", "Give another --recipe.")
    branch = branches[0] if len(branches) == 1 else branches or None
    return ExitPlan(count, branch, taps, options["cascade"], options["ensemble"])


def _fit(
    model: str,
    data: str,
    plan: Any,
    state: Path,
    resume: bool,
    force: bool,
    options: dict[str, Any],
    config: dict[str, Any] | None = None,
) -> tuple[Any, Any]:
    """The trained checkpoint and the source it was trained on."""
    from eetool.data.registry import load_source
    from eetool.errors import OutputError, UsageError
    from eetool.train.pipeline import train_model

    settings = _settings(options)
    source = load_source(data, TerminalProgress())
    found = ((1, *source.inputs.shape[1:]), len(source.classes))
    for name, asked, given in zip(("--input", "--classes"), (options["shape"], options["classes"]), found, strict=True):
        if asked not in (None, given):
            raise UsageError(f"{name} contradicts {data}, which has {given}", f"Leave {name} out.")
    if state.exists() and not (resume or force):
        raise OutputError(f"{state} holds an interrupted run", "--resume goes on with it, --force starts anew.")
    rule = _normalisation(options["normalisation"])
    weights, teacher, progress = options["weights"], options["teacher"], TerminalProgress()
    vouched = {"teacher": teacher, "config": config, "named": options["named"]}
    work = partial(train_model, model, source, plan, settings, state, resume, progress, weights, rule, **vouched)
    return _interruptible(work, state), source


def _settings(options: dict[str, Any]) -> Any:
    from eetool.errors import UsageError
    from eetool.model.spec import LossOptions, TrainingSettings

    if options["recipe"] not in ("distill", "frozen") and options["teacher"] is not None:
        raise UsageError(f"the recipe {options['recipe']} learns from no --teacher", "Give --recipe distill.")
    if options["targets"] == "backbone" and options["recipe"] not in ("frozen", "confidence"):
        raise UsageError("--targets backbone needs a frozen backbone", "Give --recipe frozen or confidence.")
    if options["teacher_views"] and options["teacher"] is None:
        raise UsageError("--teacher-views without a --teacher", "Give one.")
    loss = LossOptions(
        label_smoothing=options["label_smoothing"],
        exit_weights=_numbers("--exit-weights", options["exit_weights"]),
        ramp=options["ramp"],
        gradient_scaling=options["gradient_scaling"],
        distill_share=options["distill_share"],
        distill_temperature=options["distill_temperature"],
        teacher_views=options["teacher_views"],
        survivors=options["survivors"],
        targets=options["targets"],
        cost_weight=options["cost_weight"],
    )
    same = ("recipe", "epochs", "seed", "batch_size", "learning_rate", "hold_out")
    more = ("warm_up", "weight_decay", "precision", "average", "optimizer", "torch_device", "erase")
    return TrainingSettings(**{name: options[name] for name in (*same, *more)}, loss=loss)


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    from eetool.errors import UsageError

    try:
        numbers = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        numbers = (math.nan,)
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise UsageError(f"{option} {text!r} are not numbers from 0 up", "Such as 1,0.5,2.")
    return numbers


def _normalisation(text: str | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    from eetool.errors import UsageError

    if text is None:
        return None
    mean, _, deviation = (_IMAGENET if text == "imagenet" else text).partition("/")
    rule = _numbers("--normalise", mean), _numbers("--normalise", deviation)
    if not rule[0] or len(rule[0]) != len(rule[1]) or min(rule[1]) == 0:
        raise UsageError(f"--normalise {text!r} is no mean and deviation per channel", f"Such as {_IMAGENET}.")
    return rule


def _interruptible(work: Any, state: Path) -> Any:
    try:
        return work()
    except KeyboardInterrupt:
        kept = "--resume goes on after the last whole epoch." if state.exists() else "No epoch was finished."
        say(f"stopped; no model was written. {kept}")
        raise


def _answer(output: Path, checkpoint: Any, accuracies: list[float] | None, n: int) -> CommandResult:
    from eetool.tune.exit_costs import model_macs

    spec = checkpoint.record.spec
    costs = model_macs(spec)
    macs = costs.leaving((0.0,) * len(spec.taps)).tolist()
    exits = [
        {"exit": i, "tap": tap, "macs": int(cost), "accuracy": accuracies[i] if accuracies else None}
        for i, (tap, cost) in enumerate(zip((*spec.taps, None), macs, strict=True))
    ]
    rows = [
        (
            str(e["exit"]),
            e["tap"] or "final",
            f"{e['macs'] / 1e6:.2f} M",
            "–" if e["accuracy"] is None else f"{100 * e['accuracy']:.2f} %",
        )
        for e in exits
    ]
    columns = {"exit": "right", "tap": "left", "MACs to leave": "right", "accuracy": "right"}
    text: list[Any] = [table(columns, rows)]
    if accuracies:
        text.append(f"accuracy of each exit alone on {n} held-out examples (split threshold)")
    text.append(f"wrote {output}")
    document = {
        "output": str(output),
        "model": spec.backbone,
        "exits": exits,
        "split": "threshold" if accuracies else None,
        "n": n,
    }
    return CommandResult("train/1", document, text)


command = train
