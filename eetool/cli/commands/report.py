"""`eetool report`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eetool.cli.options import PATH, data_option, force_option, output_option
from eetool.cli.output import CommandResult, TerminalProgress, verb
from eetool.cli.shell_completion import ArtefactPath

if TYPE_CHECKING:
    from eetool.report.chart import Chart


@verb
@click.argument("documents", type=ArtefactPath(".json"), nargs=-1, required=True)
@output_option("The page.", default="report.html")
@data_option(required=False)
@click.option("--figures", type=PATH, metavar="DIR", help="Also write every chart there, as SVG and PNG.")
@force_option
def report(
    documents: tuple[Path, ...], output: Path, data: str | None, figures: Path | None, force: bool
) -> CommandResult:
    """Make one self-contained page of DOCUMENTS: what train, tune, profile, bench and search wrote, and a bundle.

    The page works offline and from a file. With --data, the source that was benched, it shows easy and hard inputs
    as pictures.
    """
    from eetool.errors import UsageError
    from eetool.records import check_output, write_atomic
    from eetool.report.inputs import read_report_inputs
    from eetool.report.model_charts import model_charts
    from eetool.report.operating_points import initial_point, report_points, slider_points
    from eetool.report.page import render_page

    check_output(output, force)
    if figures is not None:
        _check_folder(figures)
    material = read_report_inputs(documents)
    found = report_points(material)
    positions = slider_points(found)
    begin = initial_point(material, positions)
    charts = model_charts(material, found, begin)
    if not charts and material.training is None and not material.predictions:
        raise UsageError("there is nothing to show", "Give what `eetool bench` or `eetool profile` wrote, or a bundle.")
    pictures: dict[int, str] = {}
    if data is not None:
        if material.bench is None:
            raise UsageError("--data shows the examples that a bench names, and none was given")
        from eetool.report.thumbnails import example_previews

        pictures = example_previews(data, material.bench)
    text = render_page(material, found, positions, begin, charts, pictures)
    written = _files(charts, figures, force)
    write_atomic(output, text.encode(), force)
    size = output.stat().st_size
    lines = [f"wrote {output}, {size / 1e6:.1f} MB, {len(charts)} charts"]
    lines += [f"wrote {len(written)} files in {figures}"] if figures is not None else []
    document = {
        "output": str(output),
        "size_bytes": size,
        "charts": [chart.name for chart in charts],
        "figures": [str(path) for path in written],
    }
    return CommandResult("report/1", document, lines)


def _check_folder(folder: Path) -> None:
    from eetool.errors import OutputError

    try:
        usable, reason = folder.is_dir() or not folder.exists(), "not a folder"
    except OSError as error:
        usable, reason = False, error.strerror or str(error)
    if not usable:
        raise OutputError(f"{folder} cannot be the folder of the figures: {reason}", "Give --figures another place.")


def _files(charts: "Sequence[Chart]", folder: Path | None, force: bool) -> list[Path]:
    if folder is None:
        return []
    from eetool.report.chart_files import write_charts

    folder.mkdir(parents=True, exist_ok=True)
    return write_charts(charts, folder, force, TerminalProgress())


command = report
