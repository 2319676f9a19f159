"""`eetool cascade`."""

from dataclasses import dataclass
from pathlib import Path

import click

from eetool.cli.cascade_output import cascade_result
from eetool.cli.options import (
    CHECKPOINT,
    DEVICE,
    FiniteRange,
    data_choice,
    data_options,
    force_option,
    named_option,
    output_option,
)
from eetool.cli.output import CommandResult, verb_with_request
from eetool.cli.progress_bars import TerminalProgress
from eetool.cli.shell_completion import complete_hw_profile


@dataclass(frozen=True)
class CascadeRequest:
    """Options of `eetool cascade`."""

    models: tuple[Path, ...]
    data: str | None
    shape: tuple[int, ...] | None
    fit: str | None
    output: Path
    together: bool
    fit_order: bool
    max_accuracy_drop: float
    device: str | None
    named: tuple[str, ...]
    force: bool


@verb_with_request(CascadeRequest)
@click.argument("models", type=CHECKPOINT, nargs=-1, required=True)
@output_option("The cascade.", default="cascade.pt")
@click.option(
    "--together/--no-together",
    default=False,
    help="Networks add up their logits, with weights fitted on held-out examples of --data.",
)
@click.option(
    "--fit-order/--no-fit-order",
    default=False,
    help="Choose the networks and their order: the cheapest within the drop, on held-out examples of --data.",
)
@data_options(required=False)
@click.option(
    "--max-accuracy-drop",
    type=FiniteRange(0, 100),
    default=1.0,
    show_default=True,
    help="Percentage points that it may lose against full depth; with --fit-order the best one.",
)
@click.option(
    "--device",
    type=DEVICE,
    default=None,
    metavar="NAME",
    shell_complete=complete_hw_profile,
    help="Minimise the latency that its table predicts, not MACs.",
)
@named_option
@force_option
def cascade(request: CascadeRequest) -> CommandResult:
    """Join trained networks to one model: inputs that leave at no exit of one go to the next.

    MODELS are a model.pt for each network, from cheap to expensive, trained on the same data. Every network reads the
    input anew; its pixels may be normalised in another way. Exits inside a network stay exits, and its final exit
    becomes one. The result is tuned, exported, measured and run as any model.

    With --data alone nothing is fitted; what each network contributes is shown.
    """
    from eetool.api.cascading import CascadeOrder, join_models

    images_asked = request.shape is not None or request.fit is not None
    data = data_choice(request.data, request.shape, request.fit) if request.data or images_asked else None
    order = CascadeOrder(
        request.models,
        request.output,
        request.together,
        request.fit_order,
        data,
        request.max_accuracy_drop,
        request.device,
        request.named,
        request.force,
    )
    return cascade_result(join_models(order, TerminalProgress()))


command = cascade
