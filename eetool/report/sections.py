"""Contents of the sections that are not charts; the templates turn them into HTML."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eetool.bench.device_comparison import DeviceRow, Estimate
from eetool.latency.estimate.coverage import coverage_text
from eetool.latency.estimate.energy import Energy
from eetool.metrics import degenerate_exit
from eetool.report.chart_theme import exit_name
from eetool.report.formatting import energy, energy_note, milliseconds, percent, threads, tile_texts
from eetool.report.inputs import ReportInputs
from eetool.report.operating_points import ReportPoint
from eetool.report.thumbnails import IMAGE
from eetool.wording import counted, cut_remarks
from eetool_measure.machine import Machine
from eetool_runtime.manifest import Certificate

Row = tuple[str, ...]


@dataclass(frozen=True)
class SectionTable:
    """A table with a title or a note, and warnings below it."""

    heads: Row
    rows: list[Row]
    title: str = ""
    note: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputPreview:
    """One example: its label, the prediction of the exit, and a preview where one is known."""

    index: int
    label: str
    answer: str
    confidence: float
    image: str
    text: str


@dataclass(frozen=True)
class Strip:
    """Examples in a row, under a title."""

    title: str
    inputs: list[InputPreview]


@dataclass(frozen=True)
class Examples:
    """All rows of examples; `pictured` and `worded` are whether any is shown as a picture or as text."""

    strips: list[Strip]
    pictured: bool
    worded: bool


def comparison_rows(points: Sequence[ReportPoint], inputs: ReportInputs) -> list[Row]:
    """Return one row of figures per operating point or static network, its name first."""
    rows: list[Row] = []
    for point in points:
        texts = tile_texts(point, inputs)
        times = (milliseconds(point.mean_ms), milliseconds(point.p99_ms))
        shares = texts["shares"] or "–"
        row = (energy(point.energy_mj), shares, percent(point.compute_saved), _front_mark(point, inputs))
        rows.append((point.name, texts["accuracy"], *times, *row))
    return rows


def _front_mark(point: ReportPoint, inputs: ReportInputs) -> str:
    """Return whether the point is on the front; a dash where nothing was compared."""
    compared = inputs.bench is not None and any(way.front is not None for way in inputs.bench.ways)
    return {True: "yes", False: "no", None: "perhaps"}[point.front] if compared else "–"


def certificates(inputs: ReportInputs) -> list[tuple[str, Certificate]]:
    """Return the certificates by operating point."""
    return [(name, p.certificate) for name, p in inputs.operating_points.items() if p.certificate is not None]


def examples(inputs: ReportInputs, pictures: Mapping[int, str]) -> Examples | None:
    """Return the easiest and the hardest inputs of every exit; None where the benchmark names none."""
    strips = list(_strips(inputs, pictures))
    worded = any(not preview.startswith(IMAGE) for preview in pictures.values())
    return Examples(strips, pictured=bool(pictures), worded=worded) if strips else None


def _strips(inputs: ReportInputs, pictures: Mapping[int, str]) -> Iterator[Strip]:
    bench = inputs.bench
    if bench is None:
        return
    for e in bench.exits:
        left = exit_name(e.exit, len(bench.exits)).capitalize()
        for word, chosen in (("easiest", e.easiest), ("hardest", e.hardest)):
            shown = []
            for example in chosen:
                preview = pictures.get(example.index, "")
                image, text = (preview, "") if preview.startswith(IMAGE) else ("", preview)
                label, answer = bench.labels[example.label], bench.labels[example.answer]
                shown.append(InputPreview(example.index, label, answer, example.confidence, image, text))
            if shown:
                yield Strip(f"{left}: the {word} that leave here", shown)


def predictions(inputs: ReportInputs) -> list[SectionTable]:
    """Return one table per prediction for a device, the device of the report first."""
    asked = inputs.asked_prediction
    others = [p for p in inputs.predictions if p is not asked]
    return [_prediction(p) for p in ([asked] if asked is not None else []) + others]


def _prediction(p: Estimate) -> SectionTable:
    title = f"{p.device}, {p.variant}, {threads(p.threads)}"
    comparison = p.comparison
    interval = f"{p.confidence:.0%} interval"
    heads: Row
    if comparison is not None:
        heads = ("net", "accuracy", "mean latency", interval, "ratio", "95% interval", "energy")
        rows = [_compared(row) for row in comparison.rows]
    else:
        heads = ("graph", "mean latency", interval, "energy")
        rows = [
            (g.name, milliseconds(g.latency_ms), _bounds(g.interval_ms), _energy_with_note(g.energy_mj))
            for g in p.graphs
        ]
    verdict = comparison.verdict.text if comparison is not None and comparison.verdict is not None else ""
    missing = [f"{m.variant}: no figures: {m.reason}" for m in comparison.missing] if comparison is not None else []
    missing += [f"{row.name}: no figures: {row.reason}" for row in comparison.rows if row.reason] if comparison else []
    cuts = {row.name: degenerate_exit(row.exit_shares or ()) for row in comparison.rows} if comparison else {}
    reason = [p.reason] if p.reason else []
    warnings = (*p.warnings, *coverage_text(p.coverage, {}), *missing, *reason, *cut_remarks(cuts))
    return SectionTable(heads, rows, title=title, note=verdict, warnings=warnings)


def _compared(row: DeviceRow) -> Row:
    ratio = "–" if row.latency_ratio is None else f"{row.latency_ratio:.2f}"
    accuracy = "not known" if row.accuracy is None else f"{100 * row.accuracy:.2f} %"
    bounds = " to ".join(f"{bound:.2f}" for bound in row.latency_ratio_ci95) or "–"
    times = (milliseconds(row.latency_ms), _bounds(row.interval_ms))
    return (row.name, accuracy, *times, ratio, bounds, _energy_with_note(row.energy_mj))


def _bounds(interval: tuple[float, ...]) -> str:
    return " to ".join(milliseconds(bound) for bound in interval) or "–"


def _energy_with_note(value: Energy) -> str:
    note = energy_note(value)
    return f"{energy(value)} ({note})" if note else energy(value)


def forecast(inputs: ReportInputs) -> SectionTable | None:
    """Return the forecast of `eetool advise`: networks without exits, and the advised exits at their points."""
    a = inputs.advice
    if a is None:
        return None

    def cost(value: float | None) -> str:
        if value is None:
            return "–"
        return milliseconds(value) if a.unit == "latency_ms" else f"{value / 1e6:.2f} M MACs"

    rows: list[Row] = [("unsplit", f"{100 * a.unsplit.accuracy:.1f} %", cost(a.unsplit.cost), "1", "")]
    for rival in (*([] if a.int8 is None else [a.int8]), *a.rivals):
        accuracy = "–" if rival.accuracy is None else f"{100 * rival.accuracy:.1f} %"
        ratio = "–" if rival.ratio is None else f"{rival.ratio:.2f}"
        rows.append((rival.name, accuracy, cost(rival.cost), ratio, rival.reason or ""))
    named = [(p.name, p) for p in a.points]
    if a.sizes is not None:
        for one in a.sizes.alone:
            accuracy = "–" if one.accuracy is None else f"{100 * one.accuracy:.1f} %"
            ratio = "–" if one.ratio is None else f"{one.ratio:.2f}"
            rows.append((f"{one.size} px alone", accuracy, cost(one.cost), ratio, one.reason or ""))
        sizes = ", ".join(map(str, a.sizes.cascade))
        named += [(f"{sizes} px: {p.name}", p) for p in a.sizes.points]
    for name, p in named:
        low, high = p.ratio_ci95
        shares = " / ".join(f"{100 * share:.0f}" for share in p.exit_shares)
        ratio = f"{p.ratio:.2f} ({low:.2f} to {high:.2f})"
        worst, best = p.accuracy_difference_ci95
        difference = f"{p.accuracy_difference:+.2f} points to unsplit ({worst:+.2f} to {best:+.2f})"
        note = f"{difference}; % at exit 0, 1, …: {shares}"
        rows.append((name, f"{100 * p.accuracy:.1f} %", cost(p.cost), ratio, note))
    exits = ", ".join(f"{e.tap} ({e.branch})" for e in a.exits)
    on = "MACs" if a.device is None else f"predicted for {a.device}"
    heads = ("network", "accuracy", "cost", "of unsplit", "note")
    return SectionTable(heads, rows, note=f"{a.model} on {a.data}, {on}. Advised exits: {exits}.")


def training(inputs: ReportInputs) -> SectionTable | None:
    """Return the figures of each exit after training."""
    t = inputs.training
    if t is None:
        return None
    rows: list[Row] = []
    for e in t.exits:
        accuracy = "–" if e.accuracy is None else f"{100 * e.accuracy:.2f} %"
        rows.append((str(e.exit), e.tap or "final", f"{e.macs / 1e6:.2f} M", accuracy))
    how = (
        f"Each exit on {counted(t.n, 'held-out example')}, without gates." if t.n else "The model was not trained here."
    )
    return SectionTable(("exit", "tap", "MACs to leave", "accuracy"), rows, note=f"{t.model}. {how}")


def origins(inputs: ReportInputs) -> list[Row]:
    """Return one row per document: name, schema, producer and hash."""
    return [(o.name, o.schema, o.made_by, o.sha256[:12]) for o in inputs.origins]


def machines(inputs: ReportInputs) -> list[str]:
    """Return one line per machine that figures were measured on."""
    lines: dict[str, list[str]] = {}
    for o in inputs.origins:
        if o.machine is not None:
            lines.setdefault(_machine(o.machine), []).append(o.name)
    return [f"{', '.join(names)} measured on {machine}." for machine, names in lines.items()]


def _machine(m: Machine) -> str:
    parts = [m.board, m.cpu, f"{m.cores} cores", m.architecture, m.os, f"Python {m.python}", f"numpy {m.numpy}"]
    if m.backend:
        parts.append(f"{m.backend} {m.backend_version}")
    if m.governor:
        parts.append(f"governor {m.governor}")
    return ", ".join(part for part in parts if part)
