"""What the parts of the page say that are no charts; the templates put it into markup."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eetool.latency.estimate.predictor import Prediction
from eetool.report.chart_theme import exit_name
from eetool.report.formatting import energy, energy_note, milliseconds, percent, threads, tile_texts
from eetool.report.inputs import ReportInputs
from eetool.report.operating_points import ReportPoint
from eetool.report.thumbnails import IMAGE
from eetool_measure.machine import Machine
from eetool_runtime.manifest import Certificate

Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table with its title or a note, and remarks below it."""

    heads: Row
    rows: list[Row]
    title: str = ""
    note: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Input:
    """One example: what it is, what the exit said, and how it looks where that is known."""

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
    inputs: list[Input]


@dataclass(frozen=True)
class Examples:
    """All rows of examples; `pictured` and `worded` say whether any is shown as a picture or in words."""

    strips: list[Strip]
    pictured: bool
    worded: bool


def nets(found: Sequence[ReportPoint], material: ReportInputs) -> list[Row]:
    """Return every net as a row of figures, its name first."""
    rows: list[Row] = []
    for s in found:
        words = tile_texts(s, material)
        times = (milliseconds(s.mean_ms), milliseconds(s.p99_ms))
        shares = words["shares"] or "–"
        rows.append((s.name, words["accuracy"], *times, energy(s.energy_mj), shares, percent(s.compute_saved)))
    return rows


def certificates(material: ReportInputs) -> list[tuple[str, Certificate]]:
    """Return what was promised of new data, by operating point."""
    return [(name, p.certificate) for name, p in material.operating_points.items() if p.certificate is not None]


def examples(material: ReportInputs, pictures: Mapping[int, str]) -> Examples | None:
    """Return the easiest and the hardest inputs of every exit; None where the bench names none."""
    strips = list(_strips(material, pictures))
    worded = any(not look.startswith(IMAGE) for look in pictures.values())
    return Examples(strips, pictured=bool(pictures), worded=worded) if strips else None


def _strips(material: ReportInputs, pictures: Mapping[int, str]) -> Iterator[Strip]:
    bench = material.bench
    if bench is None:
        return
    for e in bench.exits:
        left = exit_name(e.exit, len(bench.exits)).capitalize()
        for word, chosen in (("easiest", e.easiest), ("hardest", e.hardest)):
            inputs = []
            for example in chosen:
                look = pictures.get(example.index, "")
                image, text = (look, "") if look.startswith(IMAGE) else ("", look)
                label, answer = bench.labels[example.label], bench.labels[example.answer]
                inputs.append(Input(example.index, label, answer, example.confidence, image, text))
            if inputs:
                yield Strip(f"{left}: the {word} that leave here", inputs)


def predictions(material: ReportInputs) -> list[Table]:
    """Return what devices would take, from their tables."""
    return [_prediction(p) for p in material.predictions]


def _prediction(p: Prediction) -> Table:
    rows = [
        (
            m.operating_point,
            milliseconds(m.latency_ms),
            f"{milliseconds(m.interval_ms[0])} to {milliseconds(m.interval_ms[1])}",
            energy(m.energy_mj),
            energy_note(m.energy_mj) or "–",
        )
        for m in p.means
    ] or [(g.name, milliseconds(g.latency_ms), "–", energy(g.energy_mj), "–") for g in p.graphs]
    heads = ("at", "mean latency", f"{p.confidence:.0%} interval", "mean energy", "energy is")
    title = f"{p.device}, {p.variant}, {threads(p.threads)}"
    return Table(heads, [tuple(row) for row in rows], title=title, warnings=tuple(p.warnings))


def training(material: ReportInputs) -> Table | None:
    """Return the exits alone after training."""
    t = material.training
    if t is None:
        return None
    rows: list[Row] = []
    for e in t.exits:
        accuracy = "–" if e.accuracy is None else f"{100 * e.accuracy:.2f} %"
        rows.append((str(e.exit), e.tap or "final", f"{e.macs / 1e6:.2f} M", accuracy))
    how = f"Each exit alone on {t.n} held-out examples." if t.n else "The model was not trained here."
    return Table(("exit", "tap", "MACs to leave", "accuracy"), rows, note=f"{t.model}. {how}")


def origins(material: ReportInputs) -> list[Row]:
    """Return which documents the report was made of, and what made them."""
    return [(o.name, o.schema, o.made_by, o.sha256[:12]) for o in material.origins]


def machines(material: ReportInputs) -> list[str]:
    """Return one line per machine that figures were measured on."""
    lines: dict[str, list[str]] = {}
    for o in material.origins:
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
