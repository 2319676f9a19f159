"""The parts of the page that are no charts."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from eetool.bench.exits import Example
from eetool.report.documents import Material
from eetool.report.knob import Setting
from eetool.report.pictures import IMAGE
from eetool.report.theme import exit_name
from eetool.report.words import energy, energy_note, milliseconds, percent, shown, threads
from eetool_measure.machine import Machine

_TILES = {
    "accuracy": "Accuracy",
    "mean": "Mean latency",
    "p99": "99th percentile",
    "energy": "Mean energy",
    "shares": "Exit shares",
    "saved": "Compute saved",
}


def knob_panel(material: Material, positions: Sequence[Setting], place: int, charts: str) -> str:
    """The slider with its tiles; without operating points there is none."""
    if not positions:
        return ""
    words = shown(positions[place], material)
    tiles = "".join(
        f'<div><dt>{label}</dt><dd><span id="shown-{name}">{escape(words[name])}</span>'
        f'<small id="shown-{name}-note">{escape(words[f"{name}-note"])}</small></dd></div>'
        for name, label in _TILES.items()
    )
    first, last = (escape(positions[i].name) for i in (0, -1))
    return (
        '<section class="knob"><label for="knob">Operating point: '
        f'<span id="shown-name">{escape(words["name"])}</span></label>'
        f'<input type="range" id="knob" min="0" max="{len(positions) - 1}" step="1" value="{place}">'
        f'<div class="ends"><span>{first}</span><span>{last}</span></div>'
        f'<dl class="tiles" aria-live="polite">{tiles}</dl>{charts}</section>'
    )


def nets(found: Sequence[Setting], material: Material) -> str:
    """Every net as a row of figures."""
    if not found:
        return ""
    rows = []
    for s in found:
        words = shown(s, material)
        cells = [s.name, words["accuracy"], milliseconds(s.mean_ms), milliseconds(s.p99_ms), energy(s.energy_mj)]
        cells += [words["shares"] or "–", percent(s.compute_saved)]
        rows.append((s.name, cells))
    heads = ("net", "accuracy", "mean", "p99", "energy", "exits, %", "saved")
    body = "".join(f'<tr data-net="{escape(name, quote=True)}">{_cells("td", cells)}</tr>' for name, cells in rows)
    return f'<div class="scroll"><table><tr>{_cells("th", heads)}</tr>{body}</table></div>'


def certificates(material: Material) -> str:
    """What was promised of new data."""
    promised = [(name, p.certificate) for name, p in material.operating_points.items() if p.certificate is not None]
    if not promised:
        return ""
    lines = "".join(
        f"<p>{escape(name)}: on new data at most {c.max_accuracy_drop:g} points below full depth, with probability "
        f"{c.confidence:g} ({c.n} examples; {c.worse} became wrong, {c.better} right; p = {c.p_value:.3g}).</p>"
        for name, c in promised
    )
    return f'<section id="certificates"><h2>What is promised of new data</h2>{lines}</section>'


def examples(material: Material, pictures: Mapping[int, str]) -> str:
    """The easiest and the hardest inputs of every exit."""
    bench = material.bench
    if bench is None or not any(e.easiest for e in bench.exits):
        return ""
    parts = []
    for e in bench.exits:
        left = exit_name(e.exit, len(bench.exits))
        for word, chosen in (("easiest", e.easiest), ("hardest", e.hardest)):
            if chosen:
                title = f"<h3>{left.capitalize()}: the {word} that leave here</h3>"
                parts.append(f"<div>{title}{_strip(chosen, bench.labels, pictures)}</div>")
    without = "" if pictures else " <code>--data SOURCE</code> adds their pictures."
    note = (
        f"By the exit's confidence, at {escape(bench.verdict.point)}. The number is that of the example in "
        f"{escape(bench.data.source)}; wrong answers are bold.{without}"
    )
    inner = "".join(parts)
    return (
        f'<section id="examples"><h2>Easy and hard inputs</h2><p class="soft">{note}</p>'
        f'<div class="two">{inner}</div></section>'
    )


def _strip(chosen: Iterable[Example], labels: Sequence[str], pictures: Mapping[int, str]) -> str:
    items = []
    for e in chosen:
        label, answer = escape(labels[e.label]), escape(labels[e.answer])
        look = pictures.get(e.index, "")
        image = (
            f'<img src="{look}" alt="example {e.index}: {label}">'
            if look.startswith(IMAGE)
            else f"<q>{escape(look)}</q>"
        )
        image = image if look else ""
        said = label if e.label == e.answer else f'<span class="wrong">{answer}, not {label}</span>'
        items.append(f"<li>{image}{said}<br>{100 * e.confidence:.0f} %, #{e.index}</li>")
    texts = any(not look.startswith(IMAGE) for look in pictures.values())
    return f'<ul class="strip{" texts" * texts}">{"".join(items)}</ul>'


def predictions(material: Material) -> str:
    """What devices would take, from their tables."""
    parts = []
    for p in material.predictions:
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
        title = f"<h3>{escape(p.device)}, {escape(p.variant)}, {threads(p.threads)}</h3>"
        notes = "".join(f'<p class="soft">{escape(w)}</p>' for w in p.warnings)
        parts.append(f"<div>{title}{_table(heads, rows)}{notes}</div>")
    if not parts:
        return ""
    return f'<section id="predictions"><h2>Predicted for devices</h2>{"".join(parts)}</section>'


def training(material: Material) -> str:
    """Exits alone after training."""
    t = material.training
    if t is None:
        return ""
    accuracies = ["–" if e.accuracy is None else f"{100 * e.accuracy:.2f} %" for e in t.exits]
    rows = [
        (str(e.exit), e.tap or "final", f"{e.macs / 1e6:.2f} M", accuracy)
        for e, accuracy in zip(t.exits, accuracies, strict=True)
    ]
    note = f"Each exit alone on {t.n} held-out examples." if t.n else "The model was not trained here."
    inner = _table(("exit", "tap", "MACs to leave", "accuracy"), rows)
    return f'<section id="training"><h2>Training</h2><p class="soft">{escape(t.model)}. {note}</p>{inner}</section>'


def provenance(material: Material, version: str) -> str:
    """The footer: which documents, made by what, where."""
    rows = [(o.name, o.schema, o.made_by, o.sha256[:12]) for o in material.origins]
    inner = _table(("document", "schema", "made by", "SHA-256 begins"), rows, "words")
    bench = material.bench
    data = (
        f"<p>Data: {bench.data.n} examples of {escape(bench.data.source)}, split {escape(bench.data.split)}, indices "
        f"with SHA-256 {bench.data.sha256[:12]}…; {bench.passes} passes, seed {bench.seed}, pool {bench.pool}.</p>"
        if bench is not None
        else ""
    )
    machines = "".join(f"<p>{escape(line)}</p>" for line in _machines(material))
    return f"<footer><p>Made by eetool {version}.</p>{data}{machines}{inner}</footer>"


def _machines(material: Material) -> list[str]:
    """One line per machine that figures were measured on."""
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


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], css_class: str = "") -> str:
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table class="{css_class}"><tr>{_cells("th", heads)}</tr>{body}</table></div>'


def _cells(tag: str, cells: Iterable[str]) -> str:
    return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
