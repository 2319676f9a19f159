"""`eetool report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eetool.cli.artefact_arguments import ArtefactType
from eetool.cli.options import DEVICE, PATH, data_choice, data_options, force_option, output_option
from eetool.cli.output import CommandResult, verb_with_request
from eetool.cli.progress_bars import TerminalProgress
from eetool.cli.shell_completion import complete_hw_profile
from eetool.wording import counted

if TYPE_CHECKING:
    from eetool.data.image_form import DataChoice
    from eetool.report.chart import Chart
    from eetool.report.inputs import ReportInputs


# Any JSON passes here; the reader of documents tells what is wrong with it.
_DOCUMENT = ArtefactType(
    ("bench/", "profile/", "predict/", "advise/", "train/", "tune/", "search/", "bundle", "json"),
    ".json",
    takes="documents of advise, train, tune, profile, estimate, bench and search, and a bundle",
)


@dataclass(frozen=True)
class ReportRequest:
    """Options of `eetool report`."""

    documents: tuple[Path, ...]
    output: Path
    data: str | None
    shape: tuple[int, ...] | None
    fit: str | None
    device: str | None
    figures: Path | None
    force: bool


@verb_with_request(ReportRequest)
@click.argument("documents", type=_DOCUMENT, nargs=-1, required=True)
@output_option("The page.", default="report.html")
@data_options(required=False)
@click.option(
    "--device",
    type=DEVICE,
    metavar="NAME",
    shell_complete=complete_hw_profile,
    help="Begin with the verdict for this device: of a document of `estimate`, else estimated from the bundle.",
)
@click.option("--figures", type=PATH, metavar="DIR", help="Also write every chart to DIR, as SVG and PNG.")
@force_option
def report(request: ReportRequest) -> CommandResult:
    """Make one self-contained page of DOCUMENTS: those of other commands, and a bundle.

    Documents are those of advise, train, tune, profile, estimate, bench and search, as --json or -o gives them. The
    page works offline and from a file. With --data, the source of the benchmark, it shows easy and hard inputs as
    pictures.
    """
    from eetool.errors import UsageError
    from eetool.records import check_output, write_atomic
    from eetool.report.inputs import read_report_inputs
    from eetool.report.model_charts import model_charts
    from eetool.report.operating_points import initial_point, report_points, slider_points
    from eetool.report.page import render_page

    output, figures = request.output, request.figures
    check_output(output, request.force)
    asked = request.data is not None or request.fit is not None
    data = data_choice(request.data, request.shape, request.fit) if asked else None
    if figures is not None:
        _check_folder(figures)
    inputs = read_report_inputs(request.documents)
    if request.device is not None:
        _add_device(inputs, request.device)
    points = report_points(inputs)
    positions = slider_points(inputs, points)
    start = initial_point(inputs, positions)
    charts = model_charts(inputs, points, start)
    if not charts and inputs.training is None and inputs.advice is None and not inputs.predictions:
        raise UsageError("there is nothing to show", "Give a document of `eetool bench` or `profile`, or a bundle.")
    text = render_page(inputs, points, positions, start, charts, _pictures(data, inputs))
    written = _write_charts(charts, figures, request.force)
    write_atomic(output, text.encode(), request.force)
    size = output.stat().st_size
    lines = [f"wrote {output}, {size / 1e6:.1f} MB, {counted(len(charts), 'chart')}"]
    lines += [f"wrote {counted(len(written), 'file')} in {figures}"] if figures is not None else []
    document = {
        "output": str(output),
        "size_bytes": size,
        "charts": [chart.name for chart in charts],
        "figures": [str(path) for path in written],
    }
    return CommandResult("report/1", document, lines)


def _pictures(data: "DataChoice | None", inputs: "ReportInputs") -> dict[int, str]:
    """Return the examples that the benchmark lists, as images by index."""
    from eetool.errors import UsageError

    if data is None:
        return {}
    if inputs.bench is None:
        raise UsageError("--data shows the examples that a bench names, and none was given")
    from eetool.report.thumbnails import example_previews

    return example_previews(data, inputs.bench)


def _add_device(inputs: "ReportInputs", device: str) -> None:
    """Make `device` the one that the report begins with, and estimate the bundle for it unless a document does."""
    from eetool.api.device_estimate import EstimateRequest, make_estimate
    from eetool.errors import UsageError
    from eetool.latency.table.hw_profile import load_device

    inputs.device = load_device(device).name
    if inputs.asked_prediction is not None:
        return
    if inputs.bundle is None:
        raise UsageError(
            f"none of these documents is an estimate for {inputs.device}",
            f"Give the bundle too, or the document of `eetool estimate BUNDLE --device {device}`.",
        )
    request = EstimateRequest(input=inputs.bundle.path, device=device, variant="auto", threads=1, watts=None, named=())
    inputs.predictions.append(make_estimate(request))


def _check_folder(folder: Path) -> None:
    from eetool.errors import OutputError

    try:
        usable, reason = folder.is_dir() or not folder.exists(), "not a folder"
    except OSError as error:
        usable, reason = False, error.strerror or str(error)
    if not usable:
        raise OutputError(f"{folder} cannot be the folder of the figures: {reason}", "Give --figures another place.")


def _write_charts(charts: "Sequence[Chart]", folder: Path | None, force: bool) -> list[Path]:
    if folder is None:
        return []
    from eetool.report.chart_files import write_charts

    folder.mkdir(parents=True, exist_ok=True)
    return write_charts(charts, folder, force, TerminalProgress())


command = report
