"""`eetool advise`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eetool.cli.advise_output import advice_text
from eetool.cli.number_lists import parse_normalisation
from eetool.cli.options import (
    DEVICE,
    REFERENCE_OR_CHECKPOINT,
    STATIC_NETWORK,
    WEIGHTS,
    FiniteRange,
    data_choice,
    data_options,
    force_option,
    named_option,
    output_option,
    sizes_option,
)
from eetool.cli.output import CommandResult, verb_with_request, write_result
from eetool.cli.progress_bars import TerminalProgress
from eetool.cli.shell_completion import complete_hw_profile
from eetool.cli.table_measurement import HOST, SSH

if TYPE_CHECKING:
    from eetool.latency.table.hw_profile import HwProfile


@dataclass(frozen=True)
class AdviseRequest:
    """Options of `eetool advise`."""

    model: str
    data: str
    shape: tuple[int, ...] | None
    fit: str | None
    device: str | None
    threads: int
    against: tuple[Path, ...]
    sizes: tuple[int, ...]
    max_accuracy_drop: float
    exits: int
    weights: Path | None
    weights_key: str | None
    new_classifier: bool
    normalisation: str | None
    hold_out: str | None
    examples: int
    epochs: int
    seed: int
    output: Path | None
    named: tuple[str, ...]
    force: bool


@verb_with_request(AdviseRequest)
@click.argument("model")
@data_options()
@click.option(
    "--device",
    type=DEVICE,
    default=None,
    metavar="NAME",
    shell_complete=complete_hw_profile,
    help="A name from `eetool devices`, or a hw profile. Without it costs are MACs.",
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads on the device.")
@click.option(
    "--against", type=STATIC_NETWORK, multiple=True, help="A static network to compare with: .onnx; repeatable."
)
@sizes_option(
    "Smaller sizes of photographs in pixels: the network at each is judged alone, and in front of the network at its "
    "own size. For --data folder:DIR."
)
@click.option(
    "--max-accuracy-drop",
    type=FiniteRange(0, 100),
    default=1.0,
    show_default=True,
    help="Percentage points that early exit may lose.",
)
@click.option("--exits", type=click.IntRange(1, 6), default=3, show_default=True, help="Early exits, at most.")
@click.option("--weights", type=WEIGHTS, default=None, help="Trained weights of MODEL, as `eetool train` takes them.")
@click.option(
    "--weights-key", default=None, metavar="KEY", help="Of several networks in the file, where this one lies."
)
@click.option(
    "--new-classifier/--no-new-classifier",
    default=False,
    help="Fit the last linear layer on the data, in place of that of --weights.",
)
@click.option(
    "--normalize",
    "--normalise",
    "normalisation",
    default=None,
    metavar="imagenet|half|dataset|none|M,M,M/S,S,S",
    help="Mean and standard deviation of pixels that the weights expect, as in `eetool train`.  [those of a model.pt, "
    "those that published weights of a built-in MODEL expect, or of the data]",
)
@click.option(
    "--hold-out",
    type=click.Choice(["train", "test"]),
    default=None,
    help="Origin of the held-out examples; test for weights that were trained on all training images.  "
    "[that of a model.pt, or train]",
)
@click.option(
    "--examples", type=click.IntRange(1), default=4096, show_default=True, help="Training examples of trial exits."
)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True, help="Passes over them.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@output_option("Where to write the JSON document.")
@named_option
@force_option
def advise(request: AdviseRequest) -> CommandResult:
    """Forecast whether early exit can pay for MODEL on --data and --device, before any long training.

    MODEL is a trained network: a reference as `eetool train` takes it, with its --weights, or a model.pt. Linear and
    stronger exits are trained for a short time at its taps, on features that are computed once. The result is a
    forecast on held-out examples and the commands to type next. The test split is not used.
    """
    REFERENCE_OR_CHECKPOINT.convert(request.model, None, click.get_current_context())
    profile, data = _checked_profile(request), data_choice(request.data, request.shape, request.fit)
    normalisation = parse_normalisation("--normalize", request.normalisation)
    from eetool.advise.advice import AdviceOptions
    from eetool.advise.advice import advise as advise_on
    from eetool.advise.document import SCHEMA
    from eetool.advise.network import NetworkChoice, expect_published, images_form
    from eetool.data.registry import load_source

    choice = NetworkChoice(
        model=request.model,
        data=data,
        device=request.device,
        weights=request.weights,
        weights_key=request.weights_key,
        new_classifier=request.new_classifier,
        normalise=request.normalisation,
        normalisation=normalisation,
        hold_out=request.hold_out,
        named=request.named,
    )
    options = AdviceOptions(
        max_accuracy_drop=request.max_accuracy_drop,
        most_exits=request.exits,
        examples=request.examples,
        epochs=request.epochs,
        threads=request.threads,
        seed=request.seed,
        against=request.against,
        sizes=request.sizes,
    )
    progress = TerminalProgress()
    choice = expect_published(choice)
    source = load_source(data, progress, images_form(choice))
    advice = advise_on(choice, source, profile, options, progress)
    result = CommandResult(SCHEMA, vars(advice), advice_text(advice))
    if request.output is not None:
        write_result(request.output, result, request.force)
    return result


def _checked_profile(request: AdviseRequest) -> "HwProfile | None":
    """Return the hw profile of the device, after the checks that need neither torch nor the data."""
    from eetool.errors import UsageError
    from eetool.latency.table.hw_profile import load_device
    from eetool.latency.table.kernel_costs import KernelCosts
    from eetool.records import check_output

    if request.device == HOST or (request.device or "").startswith(SSH):
        raise UsageError(
            f"a forecast is made from a table, and {request.device} is measured",
            "`eetool table build -o my.json` makes a table for --device my.json; without --device MACs are compared.",
        )
    if request.weights_key is not None and request.weights is None:
        raise UsageError("--weights-key without --weights", "Give both, or neither.")
    if request.new_classifier and request.weights is None:
        raise UsageError("--new-classifier without --weights", "Give the weights below it, or leave it out.")
    if request.output is not None:
        check_output(request.output, request.force)
    if request.device is None:
        return None
    profile = load_device(request.device)
    KernelCosts(profile.latency, profile.name, "onnxruntime", "fp32", request.threads)  # refuses an empty table
    return profile


command = advise
