"""`eetool train`."""

from pathlib import Path
from typing import Any

import click

from eetool.cli.console import Answer, TerminalProgress, table, verb
from eetool.cli.options import PATH, SHAPE, FiniteRange, data_option, force_option, output_option
from eetool.errors import OutputError, UsageError
from eetool.records import check_output


@verb
@click.argument("model")
@data_option(required=False)
@output_option("Where the model goes.", default="model.pt")
@click.option("--exits", type=click.IntRange(0), default=None, help="Early exits, placed by cumulative MACs.  [2]")
@click.option("--at", "taps", default=None, metavar="TAP,TAP", help="Attach the exits to these modules instead.")
@click.option("--branch", default=None, metavar="LAYERS", help="Layers of every exit: max2,conv3-64, linear or cls.")
@click.option("--weights", type=PATH, default=None, help="Begin with these: safetensors, or a state dict of torch.")
@click.option("--recipe", type=click.Choice(["joint"]), default="joint", show_default=True)
@click.option("--epochs", type=click.IntRange(0), default=25, show_default=True, help="0 attaches exits only.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--learning-rate", type=FiniteRange(0, min_open=True), default=0.1, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=None, help="Threads of torch; the result depends on them.")
@click.option(
    "--input", "shape", type=SHAPE, default=None, metavar="1x3x32x32", help="Input shape (1x128: 128 tokens)."
)
@click.option("--classes", type=click.IntRange(2), default=None, help="Number of classes.")
@click.option("--resume/--no-resume", default=False, help="Go on with an interrupted run.")
@force_option
def train(model: str, data: str | None, output: Path, force: bool, resume: bool, **options: Any) -> Answer:
    """Build MODEL, attach early exits, train them together.

    MODEL is a built-in backbone (resnet20, densenet100-bc, vgg16, mobilenetv2, mobilenetv3-small, vit-tiny, …),
    timm:NAME, torchvision:NAME, hf:TYPE or hf:config.json, or package.module:factory. --input and --classes are
    those of the data, or else by default those of the model.
    """
    check_output(output, force)
    from eetool.model.checkpoint import Training, save_checkpoint
    from eetool.train.fit import ExitPlan, attach, exit_accuracies, fit, use_threads

    if options["threads"]:
        use_threads(options["threads"])
    taps = tuple(options["taps"].split(",")) if options["taps"] else ()
    if taps and options["exits"] not in (None, len(taps)):
        raise UsageError(f"--exits {options['exits']} contradicts --at with {len(taps)} taps", "Give one of them.")
    count = len(taps) if taps else 2 if options["exits"] is None else options["exits"]
    plan = ExitPlan(count, options["branch"], taps)
    progress = TerminalProgress()
    if data is None and options["epochs"]:
        raise UsageError("there is no --data to train on", "--epochs 0 attaches exits and trains nothing.")
    if data is None or options["epochs"] == 0:
        shape, classes = _shape_and_classes(data, options)
        checkpoint = attach(model, shape, classes, plan, options["seed"], options["weights"])
        accuracies, n = None, 0
    else:
        from eetool.data.sources import load_source

        source = load_source(data)
        settings = Training(
            options["recipe"], options["epochs"], options["seed"], options["batch_size"], options["learning_rate"]
        )
        state = output.with_name(output.name + ".resume")
        if state.exists() and not (resume or force):
            raise OutputError(f"{state} holds an interrupted run", "--resume goes on with it, --force starts anew.")
        weights = options["weights"]
        checkpoint = _interruptible(lambda: fit(model, source, plan, settings, state, resume, progress, weights), state)
        accuracies, n = exit_accuracies(checkpoint, source)
    save_checkpoint(output, checkpoint)
    return _answer(output, checkpoint, accuracies, n)


def _interruptible(work: Any, state: Path) -> Any:
    try:
        return work()
    except KeyboardInterrupt:
        kept = "--resume goes on after the last whole epoch." if state.exists() else "No epoch was finished."
        click.echo(f"stopped; no model was written. {kept}", err=True)
        raise


def _shape_and_classes(data: str | None, options: dict[str, Any]) -> tuple[tuple[int, ...] | None, int | None]:
    """What was asked for, then what the data says; the rest is up to the model."""
    shape, classes = options["shape"], options["classes"]
    if data is None or (shape and classes):
        return shape, classes
    from eetool.data.sources import load_source

    source = load_source(data)
    return shape or (1, *source.images.shape[1:]), classes or len(source.classes)


def _answer(output: Path, checkpoint: Any, accuracies: list[float] | None, n: int) -> Answer:
    from eetool.tune.costs import model_macs

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
    return Answer("train/1", document, text)


command = train
