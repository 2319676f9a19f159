"""`eetool estimate`."""

from dataclasses import dataclass, replace
from pathlib import Path

import click

from eetool.cli.estimate_output import EstimateRequest, estimate_result
from eetool.cli.options import (
    DEVICE,
    MODEL,
    FiniteRange,
    check_table_option,
    data_choice,
    data_options,
    force_option,
    named_option,
    new_data_option,
    output_option,
)
from eetool.cli.output import CommandResult, verb_with_request, write_result
from eetool.cli.shell_completion import complete_hw_profile
from eetool.cli.table_measurement import HOST, SSH


@dataclass(frozen=True, kw_only=True)
class FileEstimateRequest(EstimateRequest):
    """Options of `eetool estimate`, with the file that its document goes to."""

    shape: tuple[int, ...] | None
    fit: str | None
    output: Path | None
    force: bool


@verb_with_request(FileEstimateRequest)
@click.argument("input", type=MODEL)
@click.option(
    "--device",
    type=DEVICE,
    required=True,
    metavar="NAME",
    shell_complete=complete_hw_profile,
    help="A name from `eetool devices`, or a hw profile.",
)
@click.option(
    "--against",
    type=MODEL,
    multiple=True,
    help="A static network to compare with: .onnx, bundle or model.pt; repeatable.",
)
@data_options(required=False)
@new_data_option
@click.option("--operating-point", default=None, help="Operating point of the verdict.  [the bundle's default]")
@click.option("--max-accuracy-drop", type=FiniteRange(0, 100), default=None, help="Percentage points that it may lose.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads on the device.")
@click.option("--variant", default="auto", show_default=True, help="Of a bundle: such as onnx/int8.")
@click.option("--watts", type=FiniteRange(0, min_open=True), help="Power of the board; energy is estimated from it.")
@check_table_option
@output_option("Where to write the JSON document.")
@named_option
@force_option
def estimate(request: FileEstimateRequest) -> CommandResult:
    """Estimate latency and energy of INPUT on a device from the device's latency table, with a verdict for it.

    INPUT is a bundle, a checkpoint or an ONNX file. It is compared with its unsplit backbone and with the networks of
    --against. Accuracies are those that `tune` recorded; with --data, all networks of a bundle classify the test split
    here. A table of this machine is checked first, by probes that take a few seconds. `eetool profile` and
    `eetool bench` measure the model itself.
    """
    from eetool.errors import UsageError
    from eetool.records import check_output

    if request.device == HOST or request.device.startswith(SSH):
        raise UsageError(
            f"estimates are made from a table, and {request.device} is measured",
            "`eetool table build -o my.json` makes a table; or measure a bundle with `eetool profile`.",
        )
    if request.data is not None or request.fit is not None:
        name = request.data if isinstance(request.data, str) else None
        request = replace(request, data=data_choice(name, request.shape, request.fit))
    elif request.new_data:
        raise UsageError("--new-data says what --data are, and there are none", "Give --data.")
    if request.output is not None:
        check_output(request.output, request.force)
    result = estimate_result(request)
    if request.output is not None:
        write_result(request.output, result, request.force)
    return result


command = estimate
