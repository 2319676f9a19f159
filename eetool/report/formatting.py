"""Figures as words: what the tiles of the knob and the first lines of the page say."""

from eetool.latency.estimate.energy import Energy
from eetool.report.inputs import ReportInputs
from eetool.report.operating_points import ReportPoint

UNKNOWN = "not known"


def verdict_words(material: ReportInputs) -> tuple[str, str, str]:
    """Headline, the sentence below it, and what it was found on."""
    bench, bundle = material.bench, material.bundle
    if bench is not None:
        headline = "Early exit pays" if bench.verdict.pays else "Early exit does not pay"
        text = bench.verdict.text.removeprefix(f"{headline}: ")
        if not text.startswith(tuple(p.name for p in bench.points)):  # a name keeps its letters
            text = text[:1].upper() + text[1:]
        machine = bench.machine.board or bench.machine.cpu or bench.machine.architecture
        facts = (
            f"{bench.bundle} {bench.variant}, {bench.data.n} examples of {bench.data.source} ({bench.data.split} "
            f"split), batch 1, {threads(bench.threads)}, measured on {machine}"
        )
        return headline, text, facts
    what = bundle.manifest.name if bundle is not None else "this model"
    return (
        "No verdict yet",
        f"Nothing here says what {what} costs by the clock, beside the model without exits.",
        "Measure it with: eetool bench BUNDLE --data SOURCE -o bench.json",
    )


def tile_texts(s: ReportPoint, material: ReportInputs) -> dict[str, str]:
    """What the tiles show at one operating point, by their names."""
    unsplit = next((p for p in material.bench.points if p.name == "unsplit"), None) if material.bench else None
    ratio = f"{s.mean_ms / unsplit.latency_ms.mean:.2f} of unsplit" if unsplit and s.mean_ms else ""
    drop = f"{100 * (s.accuracy - unsplit.accuracy):+.2f} points to unsplit" if unsplit else f"expected on {s.n}"
    return {
        "name": s.name,
        "accuracy": f"{100 * s.accuracy:.2f} %",
        "accuracy-note": drop,
        "mean": milliseconds(s.mean_ms),
        "mean-note": ratio or ("run bench" if s.mean_ms is None else ""),
        "p99": milliseconds(s.p99_ms),
        "p99-note": "of single inputs" if s.p99_ms is not None else "run bench",
        "energy": energy(s.energy_mj),
        "energy-note": energy_note(s.energy_mj) or "profile --power",
        "saved": percent(s.compute_saved),
        "saved-note": "of the MACs",
        "shares": " / ".join(f"{100 * share:.0f}" for share in s.exit_shares or ()),
        "shares-note": "% at exit 0, 1, …",
    }


def milliseconds(value: float | None) -> str:
    """Three digits and the unit."""
    return UNKNOWN if value is None else f"{_digits(value)} ms"


def energy(value: Energy) -> str:
    """Three digits and the unit."""
    return UNKNOWN if value.value is None else f"{_digits(value.value)} mJ"


def _digits(value: float) -> str:
    return f"{value:#.3g}" if value < 100 else f"{value:.0f}"


def energy_note(value: Energy) -> str:
    """Where the figure comes from and what it covers."""
    return "" if value.value is None else f"{value.provenance}, {value.scope}"


def percent(share: float | None) -> str:
    """A share of [0, 1]."""
    return UNKNOWN if share is None else f"{100 * share:.0f} %"


def threads(count: int) -> str:
    """`1 thread`, `4 threads`."""
    return f"{count} thread" + "s" * (count > 1)
